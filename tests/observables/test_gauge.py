"""Constants of the energy between and beyond the temperatures at which they are known."""

import numpy as np
import pytest

from meanforce.observables.gauge import Gauge

KELVIN = np.array([250.0, 300.0, 500.0])


def gauge(energy, slope) -> Gauge:
    return Gauge(KELVIN, energy(KELVIN), np.full(3, 0.2), slope(KELVIN), np.full(3, 0.01))


def test_a_cubic_is_followed_exactly_between_known_temperatures():
    known = gauge(lambda t: 1e-5 * t**3 - 2 * t + 7, lambda t: 3e-5 * t**2 - 2)
    for kelvin in (*KELVIN, 261.0, 333.0, 480.0):
        assert known.energy(kelvin).value == pytest.approx(1e-5 * kelvin**3 - 2 * kelvin + 7)


@pytest.mark.parametrize(("kelvin", "end"), [(200.0, 250.0), (700.0, 500.0)])
def test_beyond_them_it_goes_on_straight_with_growing_errors(kelvin, end):
    known = gauge(lambda t: 0.01 * t**2, lambda t: 0.02 * t)
    found = known.energy(kelvin)
    assert found.value == pytest.approx(0.01 * end**2 + 0.02 * end * (kelvin - end))
    assert found.error == pytest.approx(np.hypot(0.2, 0.01 * (kelvin - end)))
    assert known.heat_capacity(kelvin).value == pytest.approx(0.02 * end)


def test_errors_are_those_of_the_weights():
    """At a known temperature its own; halfway both constants count half and the slopes an eighth of the way."""
    known = gauge(lambda t: t, np.ones_like)
    assert known.energy(300.0).error == pytest.approx(0.2)
    assert known.energy(400.0).error == pytest.approx(np.sqrt(2) * np.hypot(0.1, 0.01 * 200 / 8))
    assert known.heat_capacity(400.0) == (
        *known.heat_capacity(400.0)[:2],
        pytest.approx(0.01 / np.sqrt(2)),
        "kJ/(mol K)",
    )


def test_one_temperature_is_carried_on_by_its_scatter():
    known = Gauge(*(np.array([v]) for v in (300.0, -20.0, 0.1, 0.05, 0.002)))
    assert known.energy(320.0).value == pytest.approx(-19.0)
