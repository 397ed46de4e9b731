"""Statistics on autoregressive series, whose correlation time is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from meanforce.numerics import statistics


def autoregressive(phi, shape, seed):
    """A stationary AR(1) process of unit variance along the first axis: g = (1 + phi)/(1 - phi)."""
    noise = np.random.default_rng(seed).normal(size=shape) * np.sqrt(1 - phi**2)
    noise[0] /= np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise, axis=0)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_inefficiency_of_an_autoregressive_series(phi):
    n, copies = 20_000, 16
    g = (1 + phi) / (1 - phi)
    measured = statistics.inefficiency(autoregressive(phi, (n, copies), 1))
    error = measured.std(ddof=1) / np.sqrt(copies)
    assert abs(measured.mean() - g) < 4 * error + 0.02 * g
    assert statistics.integrated_time(autoregressive(phi, (n,), 2), 0.5) == pytest.approx(g / 4, rel=0.25)


def test_autocorrelation_function():
    rho = statistics.autocorrelation(autoregressive(0.8, (200_000,), 3))
    np.testing.assert_allclose(rho[:8], 0.8 ** np.arange(8), atol=0.02)
    assert (statistics.autocorrelation(np.ones(5)) == [1, 0, 0, 0, 0]).all()


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_errors_cover_the_true_mean(phi):
    series = autoregressive(phi, (4000, 200), 4)
    true = np.sqrt((1 + phi) / (1 - phi) / 4000)
    estimate = statistics.weighted_mean(series)
    blocks = np.array([statistics.block_average(s).error for s in series.T])
    assert estimate.error.mean() == pytest.approx(true, rel=0.1)
    assert blocks.mean() == pytest.approx(true, rel=0.15)
    z = estimate.mean / estimate.error
    assert 0.8 < z.std() < 1.25  # 200 copies: one standard error of the spread is 0.05
    assert estimate.effective.mean() == pytest.approx(4000 * (1 - phi) / (1 + phi), rel=0.1)


def test_several_chains_are_not_joined():
    series = autoregressive(0.9, (500, 8), 5) + np.arange(8) * 100.0
    chain = np.repeat(np.arange(8), 500)
    shifted = statistics.weighted_mean(series.T.reshape(-1), chain=chain)
    assert shifted.error > 30  # the chains disagree: the error knows that there are eight of them
    same = statistics.weighted_mean(autoregressive(0.9, (500, 8), 5).T.reshape(-1), chain=chain)
    assert same.error == pytest.approx(np.sqrt(19 / 4000), rel=0.3)


def test_weighted_mean_corrects_the_distribution():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(20_000,))
    estimate = statistics.weighted_mean(x, np.exp(0.5 * x))  # a normal distribution about 0.5
    assert abs(estimate.mean - 0.5) < 4 * estimate.error
    repeated = [statistics.weighted_mean(y, np.exp(0.5 * y)).mean for y in rng.normal(size=(300, 2000))]
    one = statistics.weighted_mean(x[:2000], np.exp(0.5 * x[:2000]))
    assert one.error == pytest.approx(np.std(repeated), rel=0.25)
    assert statistics.effective_size(np.ones(7)) == pytest.approx(7)
    assert statistics.effective_size(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)


def test_block_errors_rise_to_a_plateau():
    series = autoregressive(0.9, (2**15,), 7)
    errors = statistics.block_errors(series)
    assert errors[0] == pytest.approx(1 / np.sqrt(2**15), rel=0.1)
    assert errors[7] == pytest.approx(np.sqrt(19 / 2**15), rel=0.2)
    assert 32 <= statistics.block_length(series) <= 512
    assert statistics.block_length(autoregressive(0.0, (2**15,), 8)) <= 64


def test_bootstrap_in_blocks():
    series = autoregressive(0.8, (5000,), 9)
    means = statistics.bootstrap(np.mean, series, length=100, resamples=400, seed=1)
    assert means.std() == pytest.approx(np.sqrt(9 / 5000), rel=0.2)
    assert (means == statistics.bootstrap(np.mean, series, length=100, resamples=400, seed=1)).all()
    naive = statistics.bootstrap(np.mean, series, seed=1)
    assert naive.std() < 0.5 * means.std()
    table = statistics.bootstrap(lambda s: s.mean(0), np.stack([series, -series], 1), length=100, seed=2)
    np.testing.assert_allclose(table[:, 0], -table[:, 1])


def test_equilibration_finds_the_end_of_a_drift():
    series = autoregressive(0.5, (4000,), 10)
    series[:800] += 8 * np.exp(-np.arange(800) / 150)
    start, size = statistics.equilibration(series)
    assert 200 <= start <= 1200
    assert size == pytest.approx((4000 - start) / 3, rel=0.3)
    assert statistics.equilibration(autoregressive(0.5, (4000,), 11))[0] < 800


def test_combining_independent_estimates():
    estimate, chi2 = statistics.combine(np.array([1.0, 3.0]), np.ones(2))
    assert (estimate.mean, estimate.error, chi2) == pytest.approx((2.0, np.sqrt(0.5), 2.0))
    assert statistics.combine(np.array([1.0, 3.0]), np.array([0.1, 10.0]))[0].mean == pytest.approx(1.0002, abs=1e-4)


def test_too_little_data_is_refused():
    with pytest.raises(ValueError, match="two samples"):
        statistics.weighted_mean(np.ones(1))
    with pytest.raises(ValueError, match="four samples"):
        statistics.block_average(np.ones(3))
    with pytest.raises(ValueError, match="positive"):
        statistics.combine([1.0], [0.0])
