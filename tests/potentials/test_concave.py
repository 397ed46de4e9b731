"""Any dependence on temperature that is concave: against quadrature, its closed form, and a bath that needs it."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.potentials.base import Potential
from meanforce.potentials.concave import factors
from meanforce.potentials.splines import PairSpline
from meanforce.reference.analytic import TwoStateBath
from meanforce.topology import Topology
from meanforce.units import KB

TOPOLOGY = Topology.of(["A"] * 6, masses={"A": 10.0})
KELVIN = np.array([180.0, 250.0, 310.0, 340.0, 420.0, 800.0])
R = np.tile(np.random.default_rng(0).uniform(0, 0.8, (1, 6, 3)), (len(KELVIN), 1, 1))
KNOTS, T0 = (250.0, 300.0, 400.0, 600.0), 310.0


class Holder(NamedTuple):
    potential: Potential
    topology: Topology


def spline(seed):
    term = PairSpline(("A",), cutoff=0.7, start=0.1, spacing=0.06)
    return term.with_coefficients(5 * np.random.default_rng(seed).standard_normal(term.coefficients.shape))


POTENTIAL = mf.ConcaveThermal(spline(1), spline(2), tuple(spline(k) for k in (3, 4, 5, 6)), KNOTS, T0)


def of(quantity, potential=POTENTIAL):
    return quantity(Holder(potential, TOPOLOGY), R, temperature=KELVIN)


def hats(t):
    return np.stack([np.interp(t, KNOTS, row) for row in np.eye(len(KNOTS))])


@pytest.mark.parametrize("reference", [310.0, 250.0, 200.0, 700.0])
def test_factors_are_integrals_of_hats(reference):
    found = np.asarray(factors(jnp.asarray(KELVIN / reference), KNOTS, reference))
    for k, row in enumerate(found):
        for t, value in zip(KELVIN, row, strict=True):
            inner = lambda s, t=t, k=k: (t - s) * hats(s)[k] / s / reference
            exact = -quad(inner, reference, t, points=KNOTS, epsabs=1e-12)[0]
            assert value == pytest.approx(exact, abs=1e-10)


def test_heat_capacity_is_the_curve_and_nowhere_negative():
    unit = KB * T0
    c = np.stack([unit * np.log1p(np.exp(bead_energies(head) / unit)).sum(-1) for head in POTENTIAL.capacities])
    np.testing.assert_allclose(of(thermo.heat_capacity), (c * hats(KELVIN)).sum(0) / T0, rtol=1e-9)
    assert (of(thermo.heat_capacity) > 0).all()


def bead_energies(potential):
    graph = build(Frames(R, temperature=KELVIN), TOPOLOGY, potential.cutoffs)
    return np.asarray(potential.energies(graph)).reshape(len(R), -1)


def test_heads_of_one_kind_are_the_closed_form():
    """The same heat capacity at all temperatures, or at one alone: `mf.Thermal`."""
    closed = bead_energies(mf.Thermal(spline(1), spline(2), spline(3), reference=T0))
    for knots in (KNOTS, (275.0,)):
        same = mf.ConcaveThermal(spline(1), spline(2), (spline(3),) * len(knots), knots, T0)
        np.testing.assert_allclose(bead_energies(same), closed, rtol=1e-10)


def test_a_bath_whose_heat_capacity_changes():
    """V3: heat capacities at nine temperatures carry the entropy over the range; one at the middle does not."""
    bath, r, range_ = TwoStateBath(), np.array([0.7]), np.linspace(0.5, 2.0, 9) / KB
    capacity = lambda t: bath.variance(r, t)[0] / (KB * t**2)
    middle = range_[4]

    def entropy(knots, t):
        x = jnp.asarray([t * 0.9999, t * 1.0001]) / middle
        slopes = np.diff(np.asarray(factors(x, knots, middle)))[:, 0] / (2e-4 * t / middle)
        return -np.dot([capacity(k) for k in knots], slopes)

    for t in (range_[0], range_[-1]):
        exact = bath.entropy(r, t)[0] - bath.entropy(r, middle)[0]
        assert entropy(tuple(range_), t) == pytest.approx(exact, rel=0.05)
        assert abs(entropy((middle,), t) / exact - 1) > 0.2


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="2 capacities for 1 temperatures"):
        mf.ConcaveThermal(spline(1), spline(2), (spline(3), spline(4)), (300.0,), T0)
    with pytest.raises(ValueError, match="from the lowest to the highest"):
        mf.ConcaveThermal(spline(1), spline(2), (spline(3), spline(4)), (300.0, 200.0), T0)
    with pytest.raises(ValueError, match="a temperature in K"):
        mf.ConcaveThermal(spline(1), spline(2), (spline(3),), (300.0,), 0.0)
