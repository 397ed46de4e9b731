"""Parameters of the state are learned from dU/d lambda: V11 and a linear coupling, through labels and the fit."""

import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.potentials.splines import ExternalSpline
from meanforce.reference.exact import Labels, line_frames
from meanforce.topology import Topology
from meanforce.units import KB

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

ONE = Topology.of(["A"], masses={"A": 1.0})
BASIS = ExternalSpline(("A",), start=-2.1, end=2.1, intervals=6)
R = np.linspace(-2.0, 2.0, 40)
KAPPA, SLOPE = 3.0, 1.2  # U = R^2/2 + kappa q^2/2 - lambda g(R) q with g = 1 + a R, so that A is quadratic in lambda


def labels(kelvin, field, *, noise=None):
    """V11, the second: A = V - lambda^2 g^2/(2 kappa); q is Gaussian about lambda g/kappa."""
    kt, g = KB * kelvin, 1 + SLOPE * R
    spread = 0.0 if noise is None else np.sqrt(kt / KAPPA) * noise.standard_normal(len(R))
    q = field * g / KAPPA + spread
    bath = KAPPA * q**2 / 2 if noise is not None else (field * g) ** 2 / (2 * KAPPA) + kt / 2
    frames = line_frames(R, Labels(-R + field * SLOPE * q, R**2 / 2 + bath - field * g * q), kelvin)
    along = {"parameters": {"field": np.full(len(R), field)}, "slopes": {"field": -g * q + 7.0 * field}}
    return frames.with_(**along)  # the slopes are known up to a constant at each state


def at(quantity, model, kelvin, field, **options):
    positions = np.zeros((len(R), 1, 3))
    positions[:, 0, 0] = R
    found = quantity(model, positions, temperature=kelvin, parameters={"field": field}, **options)
    return found[:, 0, 0] if found.ndim == 3 else found


def data(*states, noise=None):
    return Dataset.from_frames(ONE, Frames.concatenate([labels(*state, noise=noise) for state in states]))


def test_slopes_give_the_force_at_other_fields():
    """From forces without a field and slopes at two fields: exact forces and derivatives anywhere."""
    known = data((300.0, 0.0), (300.0, 0.5))
    coupled = mf.LinearCoupled.of(BASIS, parameter="field")
    forces = mf.ForceMatching(known.select(parameters={"field": 0.0}))
    model = mf.fit(coupled, [forces, mf.SlopeMatching(known, parameter="field")], regularisation=0).model
    g = 1 + SLOPE * R
    for field in (0.0, 0.5, 1.7):
        expected = -R + field**2 * g * SLOPE / KAPPA
        np.testing.assert_allclose(at(thermo.force, model, 300.0, field), expected, atol=1e-8)
        slope = at(thermo.by_parameter, model, 300.0, field, name="field")
        np.testing.assert_allclose(slope - slope[0], -field * (g**2 - g[0] ** 2) / KAPPA, atol=1e-8)
        second = at(thermo.by_parameter, model, 300.0, field, name="field", order=2)
        np.testing.assert_allclose(second - second[0], -(g**2 - g[0] ** 2) / KAPPA, atol=1e-7)


def test_temperature_and_a_field_together():
    """Energies beside slopes: E = A here, since q costs energy alone; both kinds of heads stand on one another."""
    known = data((250.0, 0.0), (250.0, 0.5), (400.0, 0.5))
    coupled = mf.LinearCoupled.of(mf.LinearThermal.of(BASIS, reference=300.0), parameter="field")
    wanted = [mf.ForceMatching(known), mf.EnergyMatching(known), mf.SlopeMatching(known, parameter="field")]
    fit = mf.fit(coupled, wanted, regularisation=0)
    g = 1 + SLOPE * R
    expected = -R + 1.7**2 * g * SLOPE / KAPPA
    np.testing.assert_allclose(at(thermo.force, fit.model, 350.0, 1.7), expected, atol=1e-7)
    np.testing.assert_allclose(at(thermo.response_force, fit.model, 350.0, 1.7), 0.0, atol=1e-9)


def test_slopes_of_samples():
    """Instantaneous slopes: within three standard errors of the posterior."""
    deviations = []
    for seed in range(6):
        noise = np.random.default_rng(seed)
        states = [(300.0, field) for field in (0.0, 0.5)] * 40
        known = data(*states, noise=noise)
        coupled = mf.LinearCoupled.of(ExternalSpline(("A",), start=-2.1, end=2.1, intervals=1), parameter="field")
        wanted = [mf.ForceMatching(known), mf.SlopeMatching(known, parameter="field")]
        fit = mf.fit(coupled, wanted, regularisation=1e-6)
        errors = [at(thermo.force, mf.Model(p, ONE), 300.0, 1.0) for p in fit.posterior.sample(200, seed)]
        found = at(thermo.force, fit.model, 300.0, 1.0)
        deviations.append((found - (-R + (1 + SLOPE * R) * SLOPE / KAPPA)) / np.std(errors, 0))
    assert np.abs(deviations).max() < 4.5
    assert 0.4 < np.sqrt(np.mean(np.square(deviations))) < 1.7


def test_what_is_missing_is_named():
    known = data((300.0, 0.0), (300.0, 0.5))
    coupled = mf.LinearCoupled.of(BASIS, parameter="field")
    with pytest.raises(ValueError, match=r"parameter='charge' has no values, or no slopes.*there are: field"):
        mf.fit(coupled, [mf.SlopeMatching(known, parameter="charge")])
    with pytest.raises(ValueError, match=r"depends on 'field'; give it in parameters="):
        thermo.force(mf.Model(coupled, ONE), np.zeros((1, 3)), temperature=300.0)
    with pytest.raises(ValueError, match="order=3"):
        mf.LinearCoupled.of(BASIS, parameter="field", order=3)
