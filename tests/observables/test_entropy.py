"""Entropy from energies: exact where the heat capacity is constant, errors as they are propagated by hand."""

import numpy as np
import pytest

from meanforce.observables.base import Scalar
from meanforce.observables.entropy import entropy_rises
from meanforce.observables.gauge import Gauge

KELVIN = np.array([250.0, 300.0, 400.0, 500.0])


def energies(of, error=0.0):
    return [Scalar("U", float(of(t)), error, "kJ/mol") for t in KELVIN]


def test_a_constant_heat_capacity_gives_a_logarithm_exactly():
    found = entropy_rises(KELVIN, energies(lambda t: -40 + 0.06 * t))
    np.testing.assert_allclose([s.value for s in found], 60 * np.log(KELVIN / 250.0), rtol=1e-12)
    assert {s.unit for s in found} == {"J/(mol K)"} and found[0].name == "entropy above that at 250 K"


def test_a_heat_capacity_that_changes_is_followed_closely():
    """C = 60 J/(mol K) at 300 K, less 5 % for each 100 K: S = a ln T + b T."""
    found = entropy_rises(KELVIN, energies(lambda t: 1e-3 * (69 * t - 0.015 * t**2)))
    exact = 69 * np.log(KELVIN / 250.0) - 0.03 * (KELVIN - 250.0)
    np.testing.assert_allclose([s.value for s in found], exact, rtol=1e-3)
    assert exact[-1] > 40


def test_errors_of_independent_energies():
    """Between two temperatures: both errors, over the logarithmic mean temperature."""
    found = entropy_rises(KELVIN[:2], energies(lambda t: 0 * t, 0.02)[:2])
    assert (found[0].value, found[0].error) == (0.0, 0.0)
    assert found[1].error == pytest.approx(1e3 * np.sqrt(2) * 0.02 * np.log(300 / 250) / 50)


def test_errors_of_a_gauge_that_is_carried_on_go_together():
    """Beyond the one temperature that is known a slope with an error s gives s ln(T/T1), and the constant nothing."""
    gauge = Gauge(*(np.array([value]) for value in (250.0, -40.0, 0.3, 0.06, 0.002)))
    shared = gauge.covariance(KELVIN)
    found = entropy_rises(KELVIN, energies(lambda t: gauge.energy(t).value), shared)
    np.testing.assert_allclose([s.error for s in found], 2.0 * np.log(KELVIN / 250.0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.diag(shared), [gauge.energy(t).error ** 2 for t in KELVIN])


def test_temperatures_out_of_order_are_refused():
    with pytest.raises(ValueError, match="in order"):
        entropy_rises(KELVIN[::-1], energies(lambda t: t))
