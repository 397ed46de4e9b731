"""Errors of correlated series: autocorrelation times, blocks, bootstrap, equilibration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

#: An array, or of one series a number.
Numbers = np.ndarray | np.float64


class Estimate(NamedTuple):
    """A mean with its standard error, and how many independent samples it is worth."""

    mean: Numbers
    error: Numbers
    effective: Numbers


def autocorrelation(series: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
    """The normalised autocorrelation function about the mean, for every lag."""
    return _normalised(_autocovariance(np.asarray(series, float) - np.mean(series, 0)))


def inefficiency(series: Float[np.ndarray, "n ..."], chain: Int[np.ndarray, "n"] | None = None) -> Numbers:
    """g = 1 + 2 sum rho(t): how many samples one independent sample costs; at least 1.

    The sum ends at the first lag that is five times the running integrated time (Sokal's window). Several
    chains share one autocovariance, about their common mean.
    """
    series = np.asarray(series, float)
    return _inefficiency(series - series.mean(0), chain)


def integrated_time(series: Float[np.ndarray, "n ..."], interval: float = 1.0) -> Numbers:
    """The integrated autocorrelation time 1/2 + sum rho(t), in units of the sampling interval."""
    return inefficiency(series) * interval / 2


def effective_size(weights: Float[np.ndarray, "n ..."]) -> float:
    """Kish's effective number of weighted samples, (sum w)^2 / sum w^2."""
    weights = np.asarray(weights, float)
    return float(weights.sum() ** 2 / (weights**2).sum())


def weighted_mean(
    values: Float[np.ndarray, "n ..."],
    weights: Float[np.ndarray, "n"] | None = None,
    chain: Int[np.ndarray, "n"] | None = None,
) -> Estimate:
    """The mean of correlated, weighted samples with its error.

    The error is that of the ratio sum(w v) / sum(w): the variance of w (v - mean) times its inefficiency.
    Samples of one chain follow each other in time; different chains are independent.
    """
    values = np.asarray(values, float)
    n = len(values)
    if n < 2:
        raise ValueError(f"an error needs at least two samples, and there are {n}")
    weights = np.ones(n) if weights is None else np.asarray(weights, float)
    weights = (weights / weights.mean()).reshape(n, *(1,) * (values.ndim - 1))
    mean = (weights * values).mean(0)
    residual = weights * (values - mean)
    g = _inefficiency(residual, chain)
    return Estimate(mean, np.sqrt((residual**2).sum(0) / (n - 1) * g / n), effective_size(weights) / g)


def block_length(series: Float[np.ndarray, "n"]) -> int:
    """The length at which block errors have reached their plateau.

    The smallest power of two B with B^3 > 2 n (error_B / error_1)^4, which balances what is left of the bias
    against the noise of few blocks (Lee and others 2011); Flyvbjerg and Petersen's transformation finds the errors.
    """
    errors = block_errors(series)
    growth = (errors / max(errors[0], 1e-300)) ** 4
    lengths = 2 ** np.arange(len(errors))
    enough = np.flatnonzero(lengths**3 > 2 * len(series) * growth)
    return int(lengths[enough[0] if len(enough) else -1])


def block_errors(series: Float[np.ndarray, "n"]) -> Float[np.ndarray, "levels"]:
    """The standard error of the mean from blocks of 1, 2, 4, ... samples, while there are four blocks."""
    blocks, errors = np.asarray(series, float), []
    if len(blocks) < 4:
        raise ValueError(f"block averages need at least four samples, and there are {len(blocks)}")
    while len(blocks) >= 4:
        errors.append(blocks.std(ddof=1) / np.sqrt(len(blocks)))
        blocks = blocks[: len(blocks) // 2 * 2].reshape(-1, 2).mean(1)
    return np.array(errors)


def block_average(series: Float[np.ndarray, "n"], length: int | None = None) -> Estimate:
    """The mean with the error of blocks of the given length, or of the length where the error levels off."""
    series = np.asarray(series, float)
    length = length or block_length(series)
    count = len(series) // length
    if count < 2:
        raise ValueError(f"{len(series)} samples do not fill two blocks of {length}")
    blocks = series[len(series) - count * length :].reshape(count, length).mean(1)
    error = blocks.std(ddof=1) / np.sqrt(count)
    variance = series.var(ddof=1)
    return Estimate(blocks.mean(), error, variance / error**2 if error > 0 else np.float64(len(series)))


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    series: np.ndarray,
    *,
    length: int = 1,
    resamples: int = 200,
    seed: int,
) -> np.ndarray:
    """The statistic of resampled series, drawn in blocks of `length` that wrap around the end."""
    series = np.asarray(series)
    n, rng = len(series), np.random.default_rng(seed)
    if not 1 <= length <= n:
        raise ValueError(f"blocks of {length} cannot be drawn from {n} samples")
    starts = rng.integers(0, n, (resamples, -(-n // length)))
    index = (starts[..., None] + np.arange(length)).reshape(resamples, -1)[:, :n] % n
    return np.stack([statistic(series[i]) for i in index])


def equilibration(series: Float[np.ndarray, "n"], candidates: int = 50) -> tuple[int, float]:
    """Where the series is equilibrated, and how many independent samples follow (Chodera 2016).

    The start is the one that leaves the most effective samples.
    """
    series = np.asarray(series, float)
    n = len(series)
    if n < 4:
        raise ValueError(f"equilibration needs at least four samples, and there are {n}")
    starts = np.unique(np.linspace(0, n - max(4, n // 20), min(candidates, n), dtype=int))
    sizes = [(n - s) / float(inefficiency(series[s:])) for s in starts]
    best = int(np.argmax(sizes))
    return int(starts[best]), float(sizes[best])


def combine(means: Float[np.ndarray, "k ..."], errors: Float[np.ndarray, "k ..."]) -> tuple[Estimate, Numbers]:
    """Independent estimates of one number weighted by their errors, and chi^2 per degree of freedom."""
    means, errors = np.asarray(means, float), np.asarray(errors, float)
    if not (errors > 0).all():
        raise ValueError("estimates are combined by their errors, which must be positive")
    weight = errors**-2
    total = weight.sum(0)
    mean = (weight * means).sum(0) / total
    chi2 = (weight * (means - mean) ** 2).sum(0) / max(len(means) - 1, 1)
    return Estimate(mean, total**-0.5, total**2 / (weight**2).sum(0)), chi2


def _inefficiency(residual: np.ndarray, chain: np.ndarray | None) -> Numbers:
    """The inefficiency of residuals about a mean that is known."""
    parts = [residual] if chain is None else [residual[chain == c] for c in np.unique(chain)]
    longest = max(len(p) for p in parts)
    covariance = np.zeros((longest, *residual.shape[1:]))
    for part in parts:
        covariance[: len(part)] += _autocovariance(part)
    rho = _normalised(covariance)
    time = 2 * np.cumsum(rho, 0) - 1
    lag = np.arange(longest).reshape(-1, *(1,) * (residual.ndim - 1))
    window = np.argmax(lag >= 2.5 * time, 0)
    inside = (lag >= 2.5 * time).any(0)
    window = np.where(inside, window, longest - 1)
    return np.maximum(np.take_along_axis(time, window[None], 0)[0], 1.0)


def _autocovariance(residual: np.ndarray) -> np.ndarray:
    """Sums of products at every lag, by Fourier transform."""
    n = len(residual)
    size = 1 << (2 * n - 1).bit_length()
    transform = np.fft.rfft(residual, size, axis=0)
    return np.fft.irfft(transform * transform.conj(), size, axis=0)[:n]


def _normalised(covariance: np.ndarray) -> np.ndarray:
    """Correlations; a series that does not vary is uncorrelated."""
    start = np.where(covariance[0] > 0, covariance[0], 1.0)
    out = covariance / start
    out[0] = 1.0
    return out
