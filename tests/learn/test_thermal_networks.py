"""Networks that depend on temperature learn from energies and covariances, constants beside them."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from networks import BEADS, EDGE, TOPOLOGY, SplineNetwork, truth

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

TRUTH = mf.Thermal(SplineNetwork(truth(1)), SplineNetwork(truth(2)), reference=300.0)
START = mf.Thermal(SplineNetwork(truth(3)), SplineNetwork(truth(4)), reference=300.0)
OPTIONS = mf.Training(
    epochs=150, batch=10, learning_rate=1.0, final_learning_rate=1e-3, precision="double", validation=0.2
)
BOX = EDGE * np.eye(3)


def data(*kelvin, variate=0.0, seed=0, frames=40):
    """Exact labels of a known model, energies 1e4 kJ/mol apart at each temperature, with noise that a variate knows."""
    random, model, parts = np.random.default_rng(seed), mf.Model(TRUTH, TOPOLOGY), []
    for t in kelvin:
        r = random.uniform(0, EDGE, (frames, BEADS, 3))
        v = 50 * random.standard_normal(frames)
        parts.append(
            Frames(
                r, np.tile(BOX, (frames, 1, 1)), temperature=np.full(frames, t), variate=v,
                forces=thermo.force(model, r, BOX, temperature=t),
                energy=thermo.energy(model, r, BOX, temperature=t) - 40 * t + variate * v,
                covariance=thermo.covariance(model, r, BOX, temperature=t),
                displacement=0.1 * np.random.default_rng(seed + 1).standard_normal(r.shape),
            )
        )  # fmt: skip
    return Dataset.from_frames(TOPOLOGY, Frames.concatenate(parts))


def error(fit, kelvin):
    r = np.random.default_rng(9).uniform(0, EDGE, (10, BEADS, 3))
    found, known = (thermo.force(model, r, BOX, temperature=kelvin) for model in (fit.model, mf.Model(TRUTH, TOPOLOGY)))
    return np.sqrt(np.mean((found - known) ** 2) / np.mean(known**2))


@pytest.mark.parametrize(
    ("kelvin", "kinds"),
    [
        ((250.0, 400.0), (mf.ForceMatching, mf.EnergyMatching)),
        ((250.0, 400.0), (mf.JointMatching,)),
        ((300.0,), (mf.ForceMatching, mf.ResponseMatching)),
    ],
)
def test_labels_of_response_carry_the_force_to_other_temperatures(kelvin, kinds):
    labels = data(*kelvin, variate=0.7)
    fit = mf.fit(START, [kind(labels) for kind in kinds], training=OPTIONS)
    assert error(fit, 700.0) < 0.04
    alone = mf.fit(START, [mf.ForceMatching(labels.select(temperature=kelvin[0]))], training=OPTIONS)
    assert error(alone, 700.0) > 0.2


def test_constants_and_variates_do_not_count_as_errors():
    """Energies 6,000 kJ/mol apart, noise of 35 kJ/mol that the variate explains: what is left is the model's error."""
    fit = mf.fit(START, [mf.EnergyMatching(data(250.0, 400.0, variate=0.7))], training=OPTIONS)
    assert fit.history.scores[0].held_out < 1.0


def test_constants_begin_where_the_labels_are():
    """Before the first step the held-out error is the scatter of the labels about the potential."""
    labels, options = data(250.0, 400.0), replace(OPTIONS, epochs=1, learning_rate=1e-9, final_learning_rate=1e-10)
    fit = mf.fit(START, [mf.EnergyMatching(labels)], training=options)
    r, found = labels[:], []
    for t in (250.0, 400.0):
        rows = np.asarray(r.temperature) == t
        found.append(
            np.std(thermo.energy(mf.Model(START, TOPOLOGY), r.positions[rows], BOX, temperature=t) - r.energy[rows])
        )
    assert fit.history.points[0].held_out[0] == pytest.approx(np.sqrt(np.mean(np.square(found))), rel=0.3)


def test_members_have_constants_of_their_own():
    """Members begin elsewhere; each is trained with its constants as if it were alone, and scored together."""
    labels = data(250.0, 400.0)
    wanted = lambda: [mf.ForceMatching(labels), mf.EnergyMatching(labels)]
    options = replace(OPTIONS, epochs=3)
    both = mf.fit(START, wanted(), training=replace(options, members=2))
    alone = mf.fit(START, wanted(), training=options)
    for one, other in zip(
        jax.tree.leaves(both.model.potential.members[0]), jax.tree.leaves(alone.model.potential), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)
    assert np.isfinite(both.history.scores[1].held_out)
