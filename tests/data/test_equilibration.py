"""Memory, start and drift of series whose truth is known."""

import numpy as np
import pytest

from meanforce.data.equilibration import equilibrated_from, judge_run, statistical_inefficiency, straight_line_drift


def autoregressive(n: int, phi: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.empty(n)
    values[0] = rng.normal() / np.sqrt(1 - phi**2)
    kicks = rng.normal(size=n)
    for i in range(1, n):
        values[i] = phi * values[i - 1] + kicks[i]
    return values


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_memory_of_an_autoregression(phi):
    exact = (1 + phi) / (1 - phi)
    measured = [statistical_inefficiency(autoregressive(20_000, phi, seed)) for seed in range(8)]
    error = np.std(measured, ddof=1) / np.sqrt(8)
    assert abs(np.mean(measured) - exact) < max(4 * error, 0.06 * exact)


def test_constant_and_short_series():
    assert statistical_inefficiency(np.ones(100)) == 1.0
    report = judge_run(np.array([1.0, 2.0, 1.5]), 0, "energy")
    assert report.start == 0 and not report.drifts


def test_a_transient_is_left_out():
    values = autoregressive(2000, 0.5, 1)
    values[:300] += 40 * np.exp(-np.arange(300) / 60)
    assert 80 <= equilibrated_from(values) <= 600
    assert equilibrated_from(autoregressive(2000, 0.5, 2)) < 600


def test_drift_is_told_from_fluctuation():
    false_alarms = 0
    for seed in range(40):
        values = autoregressive(1000, 0.8, seed)
        false_alarms += judge_run(values, 0, "energy").drifts
    assert false_alarms <= 2
    values = autoregressive(1000, 0.8, 0) + np.linspace(0, 5, 1000)
    drift, error = straight_line_drift(values)
    assert abs(drift - 5) < 4 * error < 5
    assert judge_run(values, 0, "energy").drifts
