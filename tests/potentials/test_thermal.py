"""Closed heads: what follows from them without further approximation, and what they learn from exact labels."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.potentials.base import Potential
from meanforce.potentials.priors import LennardJones
from meanforce.potentials.splines import ExternalSpline, PairSpline
from meanforce.potentials.sums import Sum
from meanforce.potentials.thermal import LinearThermal, Thermal
from meanforce.reference.analytic import ExponentialBath
from meanforce.topology import Topology
from meanforce.units import KB

TOPOLOGY = Topology.of(["A"] * 6, masses={"A": 10.0})
R = np.random.default_rng(0).uniform(0, 0.8, (3, 6, 3))
KELVIN, T0 = np.array([250.0, 300.0, 420.0]), 310.0
TAU = KELVIN / T0 - 1
ONE = Topology.of(["A"], masses={"A": 1.0})


class Holder(NamedTuple):
    potential: Potential
    topology: Topology


def spline(seed):
    term = PairSpline(("A",), cutoff=0.7, start=0.1, spacing=0.06)
    return term.with_coefficients(np.random.default_rng(seed).standard_normal(term.coefficients.shape))


def of(potential, quantity=thermo.free_energy, topology=TOPOLOGY, **more):
    return quantity(Holder(potential, topology), R, temperature=KELVIN, **more)


@pytest.mark.parametrize("linear", [True, False])
def test_energy_entropy_and_heat_capacity_belong_together(linear):
    heads = spline(1), spline(2), spline(3)
    a, s, c = (of(head) for head in heads)
    if linear:
        potential = LinearThermal(heads, T0)
    else:
        potential = Thermal(*heads, reference=T0)
        unit = KB * T0
        c = of(_Softplus(heads[2], unit))
    assert of(potential) == pytest.approx(a - TAU * s + c * (TAU - (1 + TAU) * np.log1p(TAU)), rel=1e-10)
    assert of(potential, thermo.energy) == pytest.approx(a + s + TAU * c, rel=1e-10)
    assert of(potential, thermo.entropy) == pytest.approx((s + c * np.log1p(TAU)) / T0, rel=1e-10)
    assert of(potential, thermo.heat_capacity) == pytest.approx(c / T0, rel=1e-10)
    if not linear:
        assert (of(potential, thermo.variance) > 0).all()


class _Softplus(Potential):
    head: Potential
    unit: float

    @property
    def cutoffs(self):
        return self.head.cutoffs

    def energies(self, graph):
        return self.unit * jax.nn.softplus(self.head.energies(graph) / self.unit)


def test_first_order_has_an_entropy_that_does_not_change():
    potential = LinearThermal((spline(1), spline(2)), T0)
    assert of(potential, thermo.entropy) == pytest.approx(of(spline(2)) / T0, rel=1e-10)
    assert np.abs(of(potential, thermo.heat_capacity)).max() < 1e-12
    np.testing.assert_allclose(of(potential, thermo.response_force), -of(spline(2), thermo.force) / T0, rtol=1e-9)


def test_at_one_temperature_it_is_a_potential_of_the_first_kind():
    potential = LinearThermal((spline(1), spline(2), spline(3)), T0)
    frozen = potential.at(420.0)
    assert type(frozen) is PairSpline
    assert of(frozen)[2] == pytest.approx(of(potential)[2], rel=1e-12)


def test_a_prior_is_a_part_of_a_alone():
    prior = LennardJones(("A",), epsilon=np.array([1.0]), sigma=np.array([0.2]), cutoff=0.6)
    potential = LinearThermal.of(Sum.of(spline(1), prior), reference=T0, heat_capacity=True)
    assert potential.fixed is not None
    assert of(potential, thermo.entropy) == pytest.approx(of(spline(1)) / T0 * (1 + np.log1p(TAU)), rel=1e-9)
    with pytest.raises(ValueError, match="belongs under the first head"):
        LinearThermal((spline(1), Sum.of(spline(1), prior)), T0)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="1 heads"):
        LinearThermal((spline(1),), T0)
    with pytest.raises(ValueError, match="one basis"):
        LinearThermal((spline(1), PairSpline(("A",), cutoff=0.5)), T0)
    for reference in (0.0, np.nan):
        with pytest.raises(ValueError, match="a temperature in K"):
            Thermal(spline(1), spline(2), reference=reference)


@pytest.mark.filterwarnings("ignore:this model learned at")  # the form is exact at all temperatures
def test_forces_at_two_temperatures_give_the_forces_at_all():
    """V6: F = -2 R - 1.2 kT, from labels through the fit; at one temperature alone the entropy stays unknown."""
    bath = ExponentialBath()
    r, kelvin = np.linspace(-2.5, 1.0, 60), [250.0, 400.0]
    labels = Frames.concatenate([bath.noiseless(r, t) for t in kelvin])
    basis = ExternalSpline(("A",), start=-2.6, end=1.1, intervals=6)
    thermal = LinearThermal.of(basis, reference=300.0)
    fit = mf.fit(thermal, [mf.ForceMatching(Dataset.from_frames(ONE, labels))], regularisation=0)
    assert not any("compromise" in note for note in fit.model.notes)
    line = np.zeros((len(r), 1, 3))
    line[:, 0, 0] = r
    for t in (200.0, 300.0, 700.0):
        found = thermo.force(fit.model, line, temperature=t)[:, 0, 0]
        np.testing.assert_allclose(found, bath.force(r, t), atol=1e-8)
        response = thermo.response_force(fit.model, line, temperature=t)[:, 0, 0]
        np.testing.assert_allclose(response, bath.response_force(r, t), atol=1e-10)
        covariance = thermo.covariance(fit.model, line, temperature=t)[:, 0, 0]
        np.testing.assert_allclose(covariance, bath.covariance(r, t), atol=1e-7)
    entropy = thermo.entropy(fit.model, line, temperature=300.0)
    exact = bath.entropy(r, 300.0)
    np.testing.assert_allclose(entropy - entropy[0], exact - exact[0], atol=1e-10)
    single = mf.fit(thermal, [mf.ForceMatching(Dataset.from_frames(ONE, bath.noiseless(r, 250.0)))])
    assert single.outcome != fit.outcome


@pytest.mark.parametrize("linear", [True, False])
def test_simulations_are_at_their_own_temperatures(linear):
    heads = spline(1), spline(2)
    model = mf.Model(LinearThermal(heads, T0) if linear else Thermal(*heads, reference=T0), TOPOLOGY)
    settings = mf.Settings(save_every=0.001, precision="double")
    start = Frames(R[:1])
    for kelvin in (250.0, 420.0):
        run = mf.simulate(model, start, kelvin, time=0.004, timestep=0.001, seed=1, settings=settings)
        exact = thermo.free_energy(model, run.frames.positions, temperature=kelvin)
        np.testing.assert_allclose(run.frames.energy, exact, rtol=1e-9)
