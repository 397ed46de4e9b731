"""Weighted averages with block errors: frames next to each other in a chain are not independent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Blocks over all chains. Twenty give an error to one part in six, and stay long in a short run.
BLOCKS = 20


class Average(NamedTuple):
    """A mean over frames, its standard error, and rows whose mean and scatter give both."""

    value: np.ndarray  # (points,)
    error: np.ndarray
    blocks: np.ndarray  # (blocks, points)


def average(values: np.ndarray, weights: np.ndarray, chain: np.ndarray) -> Average:
    """The weighted mean of rows (frames, points), with the error of a ratio of block sums."""
    return ratio(values, np.ones(len(values)), weights, chain)


def ratio(values: np.ndarray, amounts: np.ndarray, weights: np.ndarray, chain: np.ndarray) -> Average:
    """sum(w values) / sum(w amounts): a mean per amount, such as a histogram per counted pair.

    The error is that of the sum over blocks of (values - mean amounts), linear in the fluctuations, so it
    holds for weights and for amounts that fluctuate together with the values.
    """
    values = np.asarray(values, float).reshape(len(values), -1)
    total = float(weights @ amounts)
    if not total > 0:
        raise ValueError("nothing was counted in any frame: there is no average to take")
    mean = weights @ values / total
    label = blocks(chain)
    count = label.max() + 1
    order = np.flatnonzero(np.r_[True, np.diff(label) != 0])
    sums = np.add.reduceat(weights[:, None] * (values - amounts[:, None] * mean), order, axis=0) / total
    rows = mean + count * sums
    if count < 2:
        return Average(mean, np.full_like(mean, np.nan), rows)
    error = rows.std(0, ddof=1) / np.sqrt(count)
    stretch = np.sqrt(_memory(rows - mean))
    return Average(mean, error * stretch, mean + (rows - mean) * stretch)


def blocks(chain: np.ndarray, count: int = BLOCKS) -> np.ndarray:
    """A block number for each frame: every chain is cut into equal contiguous pieces, about `count` in all."""
    changes = np.flatnonzero(np.diff(chain) != 0) + 1
    pieces = np.split(np.arange(len(chain)), changes)
    labels = np.empty(len(chain), int)
    first = 0
    for piece in pieces:
        inside = max(1, min(len(piece), round(count * len(piece) / len(chain))))
        labels[piece] = first + np.arange(len(piece)) * inside // len(piece)
        first += inside
    return labels


def _memory(deviations: np.ndarray) -> float:
    """By how much blocks that resemble their neighbours understate the variance: 1 where they do not.

    The correlation of neighbouring blocks is pooled over all points; within one of its own standard errors
    of none, which is -1/blocks, it counts as none.
    """
    count = len(deviations)
    square = float((deviations**2).sum())
    if count < 4 or square == 0:
        return 1.0
    likeness = float((deviations[1:] * deviations[:-1]).sum()) / square + 1 / count
    if likeness < 1 / np.sqrt(count):
        return 1.0
    likeness = min(likeness, 0.9)  # a drift: no number of blocks tells its memory
    return (1 + likeness) / (1 - likeness)
