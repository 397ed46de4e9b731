"""One bead with a bath (V2, V3, V6): labels -> fit -> force, against the closed forms."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.interpolate import BSpline

import meanforce.numerics.precision  # noqa: F401
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.learn.fit import fit
from meanforce.learn.result import Outcome
from meanforce.objectives.matching import ForceMatching
from meanforce.potentials.splines import ExternalSpline
from meanforce.reference.analytic import ExponentialBath, ModulatedBath, TwoStateBath
from meanforce.topology import Topology
from meanforce.units import KB

TOPOLOGY = Topology.of(["X"], masses={"X": 1.0})
KELVIN = 0.6 / KB  # kT = 0.6 kJ/mol, the temperature of the golden numbers of V2
X = Polynomial([0.0, 1.0])


class Compensated:
    """V(R) for which A is a given cubic spline at one temperature: the bath's share is taken out of it."""

    def __init__(self, spline, share, order=0):
        self.spline, self.share, self.order = spline, share, order

    def __call__(self, r):
        return (
            self.spline.derivative(self.order)(r) - self.share(r, self.order)
            if self.order
            else self.spline(r) - self.share(r, 0)
        )

    def deriv(self):
        return Compensated(self.spline, self.share, self.order + 1)


def random_spline(low, high, intervals, seed):
    h = (high - low) / intervals
    knots = low + h * np.arange(-3, intervals + 4)
    return BSpline(knots, np.random.default_rng(seed).standard_normal(intervals + 3), 3)


def modulated_in_span(spline):
    """V2: A = V + (d/2) kT ln kappa + const."""
    stiffness = 1 + X**2 / 2
    bath = [lambda r: 0.9 * np.log(stiffness(r)), lambda r: 0.9 * stiffness.deriv()(r) / stiffness(r)]
    return ModulatedBath(potential=Compensated(spline, lambda r, order: bath[order](r)), stiffness=stiffness)


def two_state_in_span(spline):
    """V3: A = V - kT ln(1 + g exp(-Delta/kT))."""
    gap, g = 1.5 + X, 5.0
    p = lambda r: g * np.exp(-gap(r) / 0.6) / (1 + g * np.exp(-gap(r) / 0.6))
    bath = [lambda r: -0.6 * np.log1p(g * np.exp(-gap(r) / 0.6)), lambda r: gap.deriv()(r) * p(r)]
    return TwoStateBath(potential=Compensated(spline, lambda r, order: bath[order](r)), gap=gap, degeneracy=g)


def learned(system, r, intervals, low, high):
    data = Dataset.from_frames(TOPOLOGY, system.noiseless(r, KELVIN))
    return fit(ExternalSpline(TOPOLOGY.types, start=low, end=high, intervals=intervals), ForceMatching(data))


def force_of(model, at):
    R = np.stack([at, 0 * at, 0 * at], -1)[:, None]
    return thermo.force(model, R, temperature=KELVIN)[:, 0, 0]


def free_energy_of(model, at):
    R = np.stack([at, 0 * at, 0 * at], -1)[:, None]
    values = thermo.free_energy(model, R, temperature=KELVIN)
    return values - values.mean()


IN_SPAN = {
    "V2": lambda: modulated_in_span(random_spline(-1.5, 1.5, 12, 1)),
    "V3": lambda: two_state_in_span(random_spline(-1.5, 1.5, 12, 2)),
    "V6": ExponentialBath,  # quadratic in R: in the span of any cubic spline
}


@pytest.mark.parametrize("name", IN_SPAN)
def test_noiseless_labels_in_the_span_are_recovered(name):
    system = IN_SPAN[name]()
    r = np.random.default_rng(3).uniform(-1.5, 1.5, 400)
    found = learned(system, r, 12, -1.5, 1.5)
    at = np.linspace(-1.49, 1.49, 101)
    assert np.abs(force_of(found.model, at) - system.force(at, KELVIN)).max() < 1e-8
    exact = system.free_energy(at, KELVIN)
    assert np.abs(free_energy_of(found.model, at) - (exact - exact.mean())).max() < 1e-8
    assert found.outcome is Outcome.SOLVED
    assert found.history.identifiability.gauge == 1


@pytest.mark.parametrize("system", [ModulatedBath(), TwoStateBath()], ids=["V2", "V3"])
def test_error_falls_as_the_order_of_the_spline(system):
    """Cubic splines: h^3 for the force, h^4 for the free energy."""
    r = np.linspace(-1.5, 1.5, 1200)
    at = np.linspace(-1.3, 1.3, 301)
    errors = []
    for intervals in (8, 16, 32):
        found = learned(system, r, intervals, -1.5, 1.5)
        exact = system.free_energy(at, KELVIN)
        errors.append(
            (
                np.sqrt(np.mean((force_of(found.model, at) - system.force(at, KELVIN)) ** 2)),
                np.sqrt(np.mean((free_energy_of(found.model, at) - exact + exact.mean()) ** 2)),
            )
        )
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders[:, 0] == pytest.approx(3, abs=0.4)
    assert orders[:, 1] == pytest.approx(4, abs=0.6)


@pytest.mark.parametrize("system", [ModulatedBath(), TwoStateBath(), ExponentialBath()], ids=["V2", "V3", "V6"])
def test_sampled_labels_agree_within_three_standard_errors(system):
    frames = system.sample(20_000, KELVIN, seed=5)
    low, high = np.quantile(frames.positions[:, 0, 0], [0.0, 1.0])
    potential = ExternalSpline(TOPOLOGY.types, start=low, end=high, intervals=14)
    found = fit(potential, ForceMatching(Dataset.from_frames(TOPOLOGY, frames)))
    at = np.quantile(frames.positions[:, 0, 0], np.linspace(0.02, 0.98, 25))
    R = np.stack([at, 0 * at, 0 * at], -1)[:, None]
    error = np.asarray(found.posterior.force_std(build(Frames(R), TOPOLOGY, ())))[:, 0]
    z = (force_of(found.model, at) - system.force(at, KELVIN)) / error
    assert np.abs(z).max() < 3
    assert 0.3 < np.sqrt(np.mean(z**2)) < 1.6
    floor = np.sqrt(np.mean(system.force_variance(frames.positions[:, 0, 0], KELVIN)))
    score = found.history.scores[0]
    assert score.noise == pytest.approx(floor, rel=0.03)
    assert abs(score.held_out - floor) < 4 * score.held_out_error
