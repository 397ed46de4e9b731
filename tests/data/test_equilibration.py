"""Memory, start and drift of series whose truth is known."""

import numpy as np

from meanforce.data.equilibration import judge_run, straight_line_drift


def autoregressive(n: int, phi: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.empty(n)
    values[0] = rng.normal() / np.sqrt(1 - phi**2)
    kicks = rng.normal(size=n)
    for i in range(1, n):
        values[i] = phi * values[i - 1] + kicks[i]
    return values


def test_short_series_say_nothing():
    report = judge_run(np.array([1.0, 2.0, 1.5]), 0, "energy")
    assert (report.start, report.memory) == (0, 1.0)
    assert not report.drifts


def test_independent_frames_of_an_autoregression():
    exact = (1 + 0.5) / (1 - 0.5)
    measured = [judge_run(autoregressive(5000, 0.5, seed), 0, "energy").memory for seed in range(8)]
    assert abs(np.mean(measured) - exact) < max(4 * np.std(measured, ddof=1) / np.sqrt(8), 0.1 * exact)


def test_a_transient_is_left_out():
    values = autoregressive(2000, 0.5, 1)
    values[:600] += 40 * np.exp(-np.arange(600) / 150)
    report = judge_run(values, 0, "energy")
    assert 200 <= report.start <= 1000
    assert report.late


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


def test_equilibrated_runs_raise_few_false_alarms():
    reports = [judge_run(autoregressive(300, 0.9, seed), 0, "energy") for seed in range(60)]
    assert sum(report.late for report in reports) <= 6
