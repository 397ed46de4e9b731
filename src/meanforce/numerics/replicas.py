"""Cumulants from independent replicas, unbiased however correlated the samples of each one are.

A product of means is taken between different replicas, which share no noise: <x><y> is the mean of x_a y_b over
a != b. Arguments hold one mean for each replica along the first axis. Errors come from the scatter of the replicas,
of the first-order (influence) terms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Means = Float[np.ndarray, "replicas ..."]


class Scattered(NamedTuple):
    """A value with its standard error."""

    value: np.ndarray
    error: np.ndarray


def mean(x: Means) -> Scattered:
    """<x>."""
    return Scattered(np.asarray(x.mean(0)), _error(x))


def covariance(x: Means, y: Means, xy: Means) -> Scattered:
    """Cov(x, y) from the means of x, y and their product, of two replicas or more."""
    _at_least(2, x)
    value = xy.mean(0) - _pairs(x, y)
    return Scattered(np.asarray(value), _error(xy - x.mean(0) * y - y.mean(0) * x))


def third_cumulant(x: Means, y: Means, xy: Means, yy: Means, xyy: Means) -> Scattered:
    """kappa(x, y, y) from the means of x, y and their products, of three replicas or more."""
    _at_least(3, x)
    value = xyy.mean(0) - 2 * _pairs(xy, y) - _pairs(x, yy) + 2 * _triples(x, y)
    a, b = x.mean(0), y.mean(0)
    centred = xyy - 2 * b * xy + b**2 * x - a * yy + 2 * a * b * y
    spread, joint = yy.mean(0) - b**2, xy.mean(0) - a * b
    return Scattered(np.asarray(value), _error(centred - spread * x - 2 * joint * y))


def _pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of x_a y_b over a != b."""
    m = len(x)
    return np.asarray((x.sum(0) * y.sum(0) - (x * y).sum(0)) / (m * (m - 1)))


def _triples(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean of x_a y_b y_c over replicas that all differ."""
    m = len(x)
    sums = x.sum(0) * y.sum(0) ** 2 - 2 * (x * y).sum(0) * y.sum(0) - x.sum(0) * (y * y).sum(0) + 2 * (x * y * y).sum(0)
    return np.asarray(sums / (m * (m - 1) * (m - 2)))


def _error(x: np.ndarray) -> np.ndarray:
    if len(x) < 2:
        return np.full(x.shape[1:], np.nan)
    return np.asarray(x.std(axis=0, ddof=1) / np.sqrt(len(x)))


def _at_least(count: int, x: np.ndarray) -> None:
    if len(x) < count:
        raise ValueError(f"this cumulant needs {count} independent replicas, and there are {len(x)}; run more")
