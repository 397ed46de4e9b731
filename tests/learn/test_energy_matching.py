"""Energies beside forces: V6, where F = -2 R - 1.2 kT and E = R^2 + 1.5 kT, from labels through the fit."""

import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.learn.result import Outcome
from meanforce.potentials.local import LocalNetwork
from meanforce.potentials.splines import ExternalSpline
from meanforce.reference.analytic import ExponentialBath, ModulatedBath
from meanforce.reference.liquids import DiatomicLiquid
from meanforce.topology import Topology
from meanforce.units import KB

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

ONE = Topology.of(["A"], masses={"A": 1.0})
BATH = ExponentialBath()
R = np.linspace(-2.5, 1.0, 60)
BASIS = ExternalSpline(("A",), start=-2.6, end=1.1, intervals=6)


def exact(*kelvin, shift=lambda t: 0.0):
    """Noiseless labels; no zero of energy is agreed on."""
    frames = [BATH.noiseless(R, t) for t in kelvin]
    frames = [f.with_(energy=f.energy + shift(t)) for f, t in zip(frames, kelvin, strict=True)]
    return Dataset.from_frames(ONE, Frames.concatenate(frames))


def line(quantity, model, kelvin, r=R):
    positions = np.zeros((len(r), 1, 3))
    positions[:, 0, 0] = r
    found = quantity(model, positions, temperature=kelvin)
    return found[:, 0, 0] if found.ndim == 3 else found


def fitted(data, *, heat_capacity=False, energies=True, **options):
    thermal = mf.LinearThermal.of(BASIS, reference=300.0, heat_capacity=heat_capacity)
    objectives = [mf.ForceMatching(data)] + energies * [mf.EnergyMatching(data)]
    return mf.fit(thermal, objectives, **options)


@pytest.mark.parametrize(
    ("kelvin", "heat_capacity"), [((250.0,), False), ((250.0, 400.0), False), ((250.0, 320.0, 400.0), True)]
)
def test_forces_and_energies_give_the_forces_at_all_temperatures(kelvin, heat_capacity):
    data = exact(*kelvin, shift=lambda t: -1e4 + 3.7 * t)
    fit = fitted(data, heat_capacity=heat_capacity, regularisation=0)
    assert fit.outcome is Outcome.SOLVED
    for t in (200.0, 300.0, 700.0):
        np.testing.assert_allclose(line(thermo.force, fit.model, t), BATH.force(R, t), atol=1e-8)
        for quantity, truth in ((thermo.energy, BATH.energy), (thermo.entropy, BATH.entropy)):
            found, known = line(quantity, fit.model, t), truth(R, t)
            np.testing.assert_allclose(found - found[0], known - known[0], atol=1e-8)
        np.testing.assert_allclose(line(thermo.response_force, fit.model, t), BATH.response_force(R, t), atol=1e-9)


def test_what_the_data_determine():
    """Forces at one temperature leave the entropy open; energies beside them, or another temperature, do not."""
    free = lambda fit: (fit.outcome, fit.history.identifiability.rank)
    one, two, both = (
        fitted(exact(250.0), energies=False),
        fitted(exact(250.0, 400.0), energies=False),
        fitted(exact(250.0)),
    )
    functions = len(BASIS.coefficients) - 1  # a constant is a gauge
    assert free(one) == (Outcome.EXTRAPOLATED, functions)
    assert free(two) == (Outcome.SOLVED, 2 * functions)
    assert free(both) == (Outcome.SOLVED, 2 * functions)


def test_energies_of_samples_carry_the_force_to_twice_the_temperature():
    """4000 frames at one temperature, on a basis that holds the answer: within three standard errors."""
    kelvin, deviations = 200.0, []
    r = np.linspace(-1.2, 0.5, 8)
    for seed in range(6):
        data = Dataset.from_frames(ONE, BATH.sample(4000, kelvin, seed))
        basis = ExternalSpline(("A",), start=-4.0, end=3.0, intervals=1)
        thermal = mf.LinearThermal.of(basis, reference=kelvin)
        fit = mf.fit(thermal, [mf.ForceMatching(data), mf.EnergyMatching(data)], regularisation=1e-6)
        errors = [line(thermo.force, mf.Model(p, ONE), 2 * kelvin, r) for p in fit.posterior.sample(200, seed)]
        deviations.append(
            (line(thermo.force, fit.model, 2 * kelvin, r) - BATH.force(r, 2 * kelvin)) / np.std(errors, 0)
        )
    assert np.abs(deviations).max() < 4.5
    assert 0.5 < np.sqrt(np.mean(np.square(deviations))) < 1.6


def test_offsets_belong_to_each_temperature():
    """Energies of two temperatures shifted apart by anything: one offset for both would bend the entropy."""
    plain, shifted = (fitted(exact(250.0, 400.0, shift=s), regularisation=0) for s in (lambda t: 0.0, lambda t: 5 * t))
    for t in (250.0, 500.0):
        np.testing.assert_allclose(line(thermo.force, plain.model, t), line(thermo.force, shifted.model, t), atol=1e-8)
    assert plain.history.scores[1].training < 1e-6
    assert shifted.history.scores[1].training < 1e-6


def test_the_noise_of_energies_is_that_of_the_bath():
    """V2: Var_R(U) = d kT^2/2, whatever R is; the labels' own scatter is larger."""
    bath, kelvin = ModulatedBath(), 0.6 / KB
    data = Dataset.from_frames(ONE, bath.sample(20_000, kelvin, seed=2))
    basis = ExternalSpline(("A",), start=-2.5, end=2.5, intervals=12)
    fit = mf.fit(mf.LinearThermal.of(basis, reference=kelvin), [mf.ForceMatching(data), mf.EnergyMatching(data)])
    score = fit.history.scores[1]
    assert score.noise == pytest.approx(np.sqrt(0.54), rel=0.02)
    assert score.labels > 1.02 * score.noise
    line_of = np.array([0.8])
    assert line(thermo.response_force, fit.model, kelvin, line_of)[0] == pytest.approx(
        bath.response_force(line_of, kelvin)[0], abs=0.3 * abs(bath.response_force(line_of, kelvin)[0])
    )


def test_a_liquid_at_twice_the_temperature():
    """V9: from forces and energies of 200 frames at each of two temperatures, within 5 % of the exact forces."""
    liquid = DiatomicLiquid()
    frames = [liquid.sample(200, t, seed=150 + n) for n, t in enumerate((300.0, 400.0))]
    data = Dataset.from_frames(liquid.topology, Frames.concatenate(frames))
    pairs = mf.SplinePotential(liquid.topology, cutoff=0.9, many_body=False)
    centres = liquid.draw(30, 600.0, seed=99, chains=6).centres
    truth = liquid.force(centres, 600.0)

    def error(fit):
        found = thermo.force(fit.model, centres, np.eye(3) * liquid.edge, temperature=600.0)
        return np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2))

    thermal = mf.fit(
        mf.LinearThermal.of(pairs, reference=300.0), [mf.ForceMatching(data), mf.EnergyMatching(data)], blocks=8
    )
    assert error(thermal) < 0.05
    assert error(mf.fit(pairs, [mf.ForceMatching(data.select(temperature=300.0))], blocks=8)) > 0.12


@pytest.mark.parametrize("reference", [300.0, 300.0 * (1 + 1e-15), 310.0])
def test_a_head_that_no_label_sees_leaves_the_others_alone(reference):
    """V9, forces at 300 K: an entropy that they do not touch, or by rounding only, does not change the force."""
    liquid = DiatomicLiquid()
    data = Dataset.from_frames(liquid.topology, liquid.sample(60, 300.0, seed=150))
    pairs = mf.SplinePotential(liquid.topology, cutoff=0.9, many_body=False)
    at = data[:5]
    force = lambda potential: thermo.force(
        mf.fit(potential, [mf.ForceMatching(data)], blocks=8).model, at.positions, at.box, temperature=300.0
    )
    alone = force(pairs)
    thermal = force(mf.LinearThermal.of(pairs, reference=reference))
    np.testing.assert_allclose(thermal, alone, atol=5e-3 * np.sqrt(np.mean(alone**2)))


def test_what_cannot_be_learned_is_refused():
    data = exact(250.0)
    thermal = mf.LinearThermal.of(BASIS, reference=300.0)
    with pytest.raises(ValueError, match="this potential does not change"):
        mf.fit(BASIS, [mf.EnergyMatching(data)])
    frames = data[:]
    with pytest.raises(ValueError, match="the data hold no energies"):
        mf.fit(thermal, [mf.EnergyMatching(Dataset.from_frames(ONE, frames.with_(energy=None)))])
    with pytest.raises(ValueError, match="no temperature"):
        mf.fit(thermal, [mf.EnergyMatching(Dataset.from_frames(ONE, frames.with_(temperature=None)))])
    network = LocalNetwork(("A",))
    with pytest.raises(ValueError, match=r"this potential does not change; .* mf.Thermal for networks"):
        mf.fit(network, [mf.ForceMatching(data), mf.EnergyMatching(data)])
