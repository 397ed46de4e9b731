"""Settings by evidence, and errors of whatever is linear in A."""

import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.learn.tuning import tuned
from meanforce.potentials.kernels import KernelPotential, SquaredExponential
from meanforce.potentials.splines import ExternalSpline
from meanforce.potentials.surroundings import Coordinate
from meanforce.reference.analytic import ModulatedBath
from meanforce.topology import Topology
from meanforce.units import KB

ONE = Topology.of(["A"], masses={"A": 1.0})
BATH, KELVIN = ModulatedBath(), 0.6 / KB
R = np.linspace(-1.3, 1.3, 30)


def placed(r):
    return np.stack([r, 0 * r, 0 * r], -1)[:, None]


def kernel(length):
    return KernelPotential.of(DATA, count=12, descriptor=Coordinate(), kernel=SquaredExponential(length))


DATA = Dataset.from_frames(ONE, BATH.sample(400, KELVIN, seed=3))


def error(fit):
    found = thermo.force(fit.model, placed(R), temperature=KELVIN)[:, 0, 0]
    return np.sqrt(np.mean((found - BATH.force(R, KELVIN)) ** 2))


def test_the_length_of_most_evidence_has_better_forces_than_others():
    fit = tuned(kernel, mf.ForceMatching(DATA), length=(0.05, 5.0), evaluations=10)
    length = float(fit.model.potential.kernel.length)
    assert 0.4 < length < 4.0
    assert f"length={length:.4g} by evidence" in fit.model.notes[-1]
    short = mf.fit(kernel(0.05), mf.ForceMatching(DATA))
    assert error(fit) < 0.7 * error(short)


def test_what_cannot_be_tuned_is_refused():
    with pytest.raises(ValueError, match="name at least one argument"):
        tuned(kernel, mf.ForceMatching(DATA))
    with pytest.raises(ValueError, match="the lower one first"):
        tuned(kernel, mf.ForceMatching(DATA), length=(1.0, 0.5))
    with pytest.raises(ValueError, match="need at least 3"):
        tuned(kernel, mf.ForceMatching(DATA), length=(0.1, 0.5), evaluations=2)


QUANTITIES = {
    "free_energy": thermo.free_energy,
    "force": thermo.force,
    "energy": thermo.energy,
    "entropy": thermo.entropy,
    "heat_capacity": thermo.heat_capacity,
    "variance": thermo.variance,
    "response_force": thermo.response_force,
    "virial": thermo.virial,
}


def test_errors_of_quantities_are_those_of_their_coefficients():
    """Each quantity, through the public functions, of the potential moved along every column of the factor."""
    assert set(QUANTITIES) == set(thermo.LINEAR)
    frames = Frames.concatenate([BATH.sample(300, t * KELVIN, seed=4) for t in (0.8, 1.3)])
    thermal = mf.LinearThermal.of(
        ExternalSpline(("A",), start=-2.0, end=2.0, intervals=2), reference=KELVIN, heat_capacity=True
    )
    data = Dataset.from_frames(ONE, frames)
    posterior = mf.fit(thermal, [mf.ForceMatching(data), mf.EnergyMatching(data)]).posterior
    at = Frames(placed(R), temperature=np.full(len(R), 1.1 * KELVIN))
    graph = build(at, ONE, ())
    nothing = np.zeros(len(posterior.mean))
    of = lambda quantity, c: quantity(
        mf.Model(posterior.potential.with_coefficients(c), ONE), at.positions, temperature=at.temperature
    )
    for name, quantity in QUANTITIES.items():
        moved = np.array([of(quantity, column) - of(quantity, nothing) for column in posterior.factor.T])
        known = np.sqrt((moved**2).sum(0))
        found = posterior.std(name, graph)
        np.testing.assert_allclose(found, known, rtol=1e-8, atol=1e-12 * known.max(), err_msg=name)
    with pytest.raises(ValueError, match="give a function, or one of free_energy"):
        posterior.std("pressure", graph)
