"""Streaming: batches, blocks, weights, priors underneath, several kinds of beads; refusals before the work."""

import numpy as np
import pytest

import meanforce.numerics.precision  # noqa: F401
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.graph import build
from meanforce.learn import linear
from meanforce.learn.fit import fit
from meanforce.learn.result import Outcome
from meanforce.model import Model
from meanforce.objectives.matching import ForceMatching, PressureMatching
from meanforce.potentials.priors import HarmonicBond, LennardJones
from meanforce.potentials.splines import BondSpline, PairSpline
from meanforce.potentials.sums import Sum
from meanforce.topology import Topology

EDGE, KELVIN = 2.0, 300.0
TOPOLOGY = Topology.of(list("AABB") * 5, masses={"A": 10.0, "B": 20.0}, bonds=[(0, 1), (2, 3)], exclude=1)
PAIR = PairSpline(TOPOLOGY.types, cutoff=0.9, start=0.0, spacing=0.15)
BONDS = BondSpline(TOPOLOGY.kinds("bonds"), start=0.2, end=0.5, spacing=0.06)


def truth_of(term, seed=0):
    return term.with_coefficients(np.random.default_rng(seed).standard_normal(term.coefficients.shape))


def data_of(potential, frames=40, noise=0.0, seed=1, **labels):
    """Random frames with the forces and virials of a potential, and noise."""
    random = np.random.default_rng(seed)
    R = random.uniform(0, EDGE, (frames, len(TOPOLOGY), 3))
    R[:, [1, 3]] = R[:, [0, 2]] + 0.05 * random.standard_normal((frames, 2, 3)) + 0.2
    box = EDGE * np.eye(3)
    model = Model(potential, TOPOLOGY)
    forces = thermo.force(model, R, box, temperature=KELVIN)
    inner = np.zeros_like(R)
    for i, j in TOPOLOGY.bonds:
        mass = TOPOLOGY.masses[[i, j]] / TOPOLOGY.masses[[i, j]].sum()
        centre = mass[0] * R[:, i] + mass[1] * R[:, j]
        inner[:, i], inner[:, j] = R[:, i] - centre, R[:, j] - centre
    noisy = forces + noise * random.standard_normal(forces.shape)
    virial = thermo.virial(model, R, box, temperature=KELVIN) - (inner * noisy).sum((1, 2))
    return Dataset.from_arrays(
        TOPOLOGY, positions=R, forces=noisy, virial=virial, box=box, temperature=KELVIN, **labels
    )


def summed(normals):
    return [np.sum(field, axis=0) for normal in normals for field in normal.blocks]


def test_batches_and_blocks_do_not_matter(monkeypatch):
    data = data_of(truth_of(PAIR), noise=5.0)
    objectives = [ForceMatching(data), PressureMatching(data)]
    whole, energy, _ = linear.normal_equations(PAIR, objectives, blocks=1)
    blocked, same, _ = linear.normal_equations(PAIR, objectives, blocks=7)
    monkeypatch.setattr(linear, "DESIGN_BYTES", 3 * 24 * len(TOPOLOGY) * len(PAIR.coefficients))
    batched, _, _ = linear.normal_equations(PAIR, objectives, blocks=7)
    assert [len(n.blocks.count) for n in (*whole, *blocked)] == [1, 1, 7, 7]
    for a, b, c in zip(summed(whole), summed(blocked), summed(batched), strict=True):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-9 * np.abs(a).max())
        assert np.allclose(a, c, rtol=1e-12, atol=1e-9 * np.abs(a).max())
    assert np.allclose(energy, same, atol=1e-9 * np.abs(energy).max())


def test_equations_are_those_of_all_rows():
    data = data_of(truth_of(PAIR), frames=6, noise=5.0)
    (normal,), _, sampled = linear.normal_equations(PAIR, [ForceMatching(data)])
    design = np.stack(
        [
            thermo.force(
                Model(PAIR.with_coefficients(np.eye(len(PAIR.coefficients))[k]), TOPOLOGY),
                data[:].positions, data[:].box, temperature=KELVIN,
            ).reshape(-1)
            for k in range(len(PAIR.coefficients))
        ],
        1,
    )  # fmt: skip
    assert np.array_equal(sampled, np.flatnonzero(design.any(axis=0))) and len(sampled) < design.shape[1]
    design = design[:, sampled]
    assert normal.total.gram == pytest.approx(design.T @ design, abs=1e-8)
    assert normal.total.moment == pytest.approx(design.T @ data[:].forces.reshape(-1), abs=1e-8)


def test_weights_of_frames_are_multiplicities():
    data = data_of(truth_of(PAIR), frames=12, noise=5.0)
    weights = np.arange(12) % 3
    weighted = Dataset.from_frames(TOPOLOGY, data[:].with_(weights=0.01 * weights))
    repeated = Dataset.from_frames(TOPOLOGY, data[np.repeat(np.arange(12), weights)])
    (one,), _, _ = linear.normal_equations(PAIR, [ForceMatching(weighted)])
    (other,), _, _ = linear.normal_equations(PAIR, [ForceMatching(repeated)])
    for a, b in zip(one.total, other.total, strict=True):
        assert np.allclose(a, b, rtol=1e-10, atol=1e-9 * np.abs(a).max())


def test_what_is_fixed_underneath_is_taken_from_the_labels():
    """Labels of splines and priors; the splines learn what the priors leave, forces and virials alike."""
    bond = HarmonicBond(TOPOLOGY.kinds("bonds"), length=np.array([0.3, 0.35]), stiffness=np.array([900.0, 500.0]))
    contact = LennardJones(TOPOLOGY.types, epsilon=np.full(3, 1e-6), sigma=np.full(3, 0.3), cutoff=0.9)
    truth = truth_of(PAIR)
    data = data_of(Sum.of(truth, bond, contact))
    found = fit(Sum.of(PAIR, bond, contact), [ForceMatching(data), PressureMatching(data)])
    learned = found.model.potential.terms[0].coefficients
    seen = found.posterior.coefficient_std() < 1e-3
    assert seen.sum() > 0.8 * len(learned)
    assert np.abs(learned - truth.coefficients)[seen].max() < 1e-6
    R = data[3].positions
    exact = thermo.force(Model(Sum.of(truth, bond, contact), TOPOLOGY), R, data[3].box, temperature=KELVIN)
    assert np.abs(thermo.force(found.model, R, data[3].box, temperature=KELVIN) - exact).max() < 1e-6


def test_a_plain_sum_is_fitted_in_its_linear_terms():
    bond = HarmonicBond(TOPOLOGY.kinds("bonds"), length=np.array([0.3, 0.35]), stiffness=np.array([900.0, 500.0]))
    data = data_of(Sum.of(truth_of(PAIR), bond))
    found = fit(Sum((PAIR, bond)), ForceMatching(data))
    assert found.history.scores[0].held_out < 1e-4


def test_terms_are_told_apart_and_gauge_is_named():
    """Pairs and bonds of two kinds; bonded splines have a constant that no force sees."""
    potential = Sum.of(PAIR, BONDS)
    data = data_of(Sum.of(truth_of(PAIR), truth_of(BONDS, 1)), frames=300)
    found = fit(potential, ForceMatching(data))
    report = found.history.identifiability
    assert (report.size, report.gauge) == (len(potential.coefficients), len(BONDS.kinds))
    assert (report.unsampled, report.combinations) == ((), ())
    assert found.outcome is Outcome.SOLVED
    assert found.history.scores[0].held_out < 1e-4


def test_held_out_errors_grow_with_what_is_memorised():
    """Few frames and many splines without regularisation: training errors deceive, held-out errors do not."""
    fine = PairSpline(TOPOLOGY.types, cutoff=0.9, start=0.0, spacing=0.02)
    data = data_of(truth_of(PAIR), frames=12, noise=20.0)
    loose = fit(fine, ForceMatching(data), regularisation=0.0).history.scores[0]
    held = fit(fine, ForceMatching(data)).history.scores[0]
    crossed = fit(fine, ForceMatching(data), regularisation="cross-validation").history.scores[0]
    assert loose.training < held.training
    assert loose.held_out > 1.05 * held.held_out
    assert crossed.held_out < 1.05 * held.held_out


def test_the_posterior_draws_potentials():
    data = data_of(truth_of(PAIR), frames=60, noise=5.0)
    found = fit(PAIR, ForceMatching(data), core=False)
    R, box = data[0].positions, data[0].box
    forces = np.stack(
        [thermo.force(Model(p, TOPOLOGY), R, box, temperature=KELVIN)[0] for p in found.posterior.sample(200, seed=3)]
    )
    graph = build(data[0], TOPOLOGY, PAIR.cutoffs)
    expected = np.asarray(found.posterior.force_std(graph))
    assert np.allclose(forces.std(axis=0), expected, rtol=0.35)
    assert np.sqrt(np.mean(forces.std(axis=0) ** 2)) == pytest.approx(np.sqrt(np.mean(expected**2)), rel=0.05)
    pair = build(data[:5], TOPOLOGY, PAIR.cutoffs)
    assert np.all(np.asarray(found.posterior.energy_std(pair)) > 0)
    assert np.all(np.asarray(found.posterior.virial_std(pair)) > 0)


def test_a_model_can_be_fitted_again_and_keeps_its_mapping():
    data = data_of(truth_of(PAIR), noise=5.0)
    first = fit(Model(PAIR, TOPOLOGY, mapping={"by": "hand"}), [ForceMatching(data, weight=0.5)])
    again = fit(first.model, ForceMatching(data))
    assert again.model.mapping == {"by": "hand"}
    assert again.model.temperature == (KELVIN, KELVIN)
    assert again.model.data == (data.hash,)
    assert "ForceMatching x 0.5" in first.model.notes[0]
    assert np.allclose(again.model.potential.coefficients, fit(PAIR, ForceMatching(data)).model.potential.coefficients)


def test_several_temperatures_are_noted():
    kelvin = np.repeat([280.0, 320.0], 20)
    data = Dataset.from_frames(TOPOLOGY, data_of(truth_of(PAIR), noise=5.0)[:].with_(temperature=kelvin))
    model = fit(PAIR, ForceMatching(data)).model
    assert model.temperature == (280.0, 320.0)
    assert any("compromise between 280, 320 K" in note for note in model.notes)


def test_outcomes_and_histories_read_as_sentences():
    data = data_of(truth_of(PAIR), frames=30, noise=5.0)
    found = fit(PairSpline(TOPOLOGY.types, cutoff=0.9, start=0.0, spacing=0.02), ForceMatching(data))
    assert found.outcome is Outcome.EXTRAPOLATED
    assert found.outcome.ok
    assert "of no frame" in str(found.outcome) and "identifiability" not in str(found.outcome)
    text = str(found.history)
    assert "held-out error" in text
    missing = found.history.identifiability.unsampled
    assert len(missing) > 2 and f"no frame samples: {missing[0].removesuffix(' nm')} to " in text


def test_progress_ends_at_one():
    data = data_of(truth_of(PAIR), noise=5.0)
    other = Dataset.from_frames(TOPOLOGY, data[:10])
    seen = []
    fit(PAIR, [ForceMatching(data), ForceMatching(other)], progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def refused():
    data = data_of(truth_of(PAIR), frames=2)
    forceless = Dataset.from_frames(TOPOLOGY, data[:].with_(forces=None))
    bond = HarmonicBond(TOPOLOGY.kinds("bonds"), length=np.array([0.3, 0.35]), stiffness=np.array([9.0, 5.0]))
    elsewhere = Dataset.from_arrays(
        Topology.of(["C"], masses=[1.0]), positions=np.zeros((2, 1, 3)), forces=np.zeros((2, 1, 3))
    )
    wanted = ForceMatching(data)
    return {
        "at least one objective": lambda: fit(PAIR, []),
        "not linear": lambda: fit(bond, wanted),
        "no quadratic objective": lambda: fit(PAIR, [data]),
        "hold no forces": lambda: fit(PAIR, ForceMatching(forceless)),
        "regularisation='strong'": lambda: fit(PAIR, wanted, regularisation="strong"),
        "zero or positive": lambda: fit(PAIR, wanted, regularisation=-1.0),
        "at least one block": lambda: fit(PAIR, wanted, blocks=0),
        "different bead types": lambda: fit(PAIR, [wanted, ForceMatching(elsewhere)]),
        "at least two blocks": lambda: fit(PAIR, wanted, blocks=1, regularisation="cross-validation"),
    }


@pytest.mark.parametrize("message", list(refused()))
def test_refusals_name_what_is_wrong(message):
    with pytest.raises(ValueError, match=message):
        refused()[message]()
