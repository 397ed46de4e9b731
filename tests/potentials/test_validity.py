"""A model says where it is used beyond the temperatures that it learned from."""

import warnings

import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.potentials.splines import ExternalSpline
from meanforce.potentials.thermal import LinearThermal
from meanforce.reference.analytic import ExponentialBath

ONE = mf.Topology.of(["A"], masses={"A": 10.0})
R = np.full((2, 1, 3), 0.3)
SPLINE = ExternalSpline(("A",), start=-1.0, end=1.0, intervals=4)
PLAIN = mf.Model(SPLINE, ONE, temperature=(300.0, 300.0))
THERMAL = mf.Model(LinearThermal.of(SPLINE, reference=300.0), ONE, temperature=(250.0, 350.0))
QUANTITIES = (thermo.free_energy, thermo.force, thermo.entropy, thermo.variance, thermo.response_force, thermo.virial)


def told(work):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        work()
    return [str(w.message) for w in seen if issubclass(w.category, mf.ExtrapolationWarning)]


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda q: q.__name__)
def test_thermodynamics_names_the_range(quantity):
    (said,) = told(lambda: quantity(THERMAL, R, temperature=500.0))
    assert "learned at 250 to 350 K and is used at 500 K" in said
    assert "extrapolated" in said
    (said,) = told(lambda: quantity(THERMAL, R, temperature=np.array([300.0, 200.0])))
    assert "used at 200 K" in said
    (said,) = told(lambda: quantity(PLAIN, R, temperature=350.0))
    assert "learned at 300 K and is used at 350 K: its free energy does not depend on temperature" in said
    assert told(lambda: [quantity(THERMAL, R, temperature=t) for t in (250.0, 300.0, 350.0)]) == []
    assert told(lambda: quantity(PLAIN, R, temperature=298.15)) == []
    assert told(lambda: quantity(mf.Model(SPLINE, ONE), R, temperature=10.0)) == []


def test_simulations_name_the_range():
    start = mf.Frames(R[:1])
    run = lambda model, kelvin: mf.simulate(model, start, kelvin, time=0.01, timestep=0.005, seed=1)
    (said,) = told(lambda: run(THERMAL, 400.0))
    assert "learned at 250 to 350 K and is used at 400 K" in said
    assert told(lambda: run(THERMAL, 300.0)) == []
    (said,) = told(lambda: run(PLAIN, 400.0))
    assert "mf.LinearThermal" in said


def test_a_loop_says_so_once_and_points_to_the_line_that_asks():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            thermo.energetic_force(PLAIN, R, temperature=400.0)
    assert len(seen) == 1


def test_a_fit_knows_its_temperatures():
    bath = ExponentialBath()
    r = np.linspace(-0.9, 0.9, 20)
    labels = mf.Frames.concatenate([bath.noiseless(r, t) for t in (250.0, 400.0)])
    data = mf.Dataset.from_frames(ONE, labels)
    fit = mf.fit(LinearThermal.of(SPLINE, reference=300.0), [mf.ForceMatching(data)])
    assert fit.model.temperature == (250.0, 400.0)
    (said,) = told(lambda: thermo.force(fit.model, R, temperature=600.0))
    assert "250 to 400 K" in said
