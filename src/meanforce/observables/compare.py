"""How far two curves are apart, and how much of that is noise: the structure error, defined once.

The mean-square error of the radial distribution function is taken on 0.005 nm bins over 0.2 to 0.9 nm,
that of the angular distribution function (radians, unit integral) on 90 bins over 0 to pi.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from meanforce.observables.base import Curve, Scalar

RDF_BIN = 0.005  # nm
RDF_RANGE = (0.2, 0.9)  # nm
ADF_BINS = 90


class StructureError(NamedTuple):
    """The mean-square difference of two curves over an axis.

    `noise` is what the error bars of both would give if the curves had one mean; `excess` is the rest, an
    unbiased estimate of the mean-square difference of the true curves (it may fall below zero), with `error`.
    """

    mean_square: float
    noise: float
    error: float

    @property
    def excess(self) -> float:
        return self.mean_square - self.noise


def structure_error(curve: Curve, reference: Curve) -> StructureError:
    """The mean-square error between two curves on the same axis, and the part of it that is noise."""
    _same_axis(curve, reference)
    difference = curve.value - reference.value
    noise = float(np.mean(curve.error**2 + reference.error**2))
    slope = 2 * difference / len(difference)
    # With a true difference d and the covariance C of its noise, mean(d^2) has the variance
    # (4 d.C.d + 2 tr C^2) / n^2, and d.C.d taken with the noisy difference is too large by tr C^2.
    scatter = _projected_variance(curve, slope) + _projected_variance(reference, slope)
    squared = _covariance_squared(curve, reference) / len(difference) ** 2
    variance = max(scatter - 4 * squared, 0.0) + 2 * squared
    return StructureError(float(np.mean(difference**2)), noise, float(np.sqrt(variance)))


def rdf_error(curve: Curve, reference: Curve) -> StructureError:
    """The structure error of a radial distribution function: 0.005 nm bins over 0.2 to 0.9 nm."""
    for rdf in (curve, reference):
        width = np.diff(rdf.axis)
        if not np.allclose(width, RDF_BIN, rtol=1e-6):
            raise ValueError(f"{rdf.name}: the structure error is defined on bins of {RDF_BIN} nm, not {width[0]:.4g}")
        if rdf.axis[-1] + 0.51 * RDF_BIN < RDF_RANGE[1]:
            raise ValueError(f"{rdf.name} ends at {rdf.axis[-1]:.3f} nm: the structure error is defined up to "
                             f"{RDF_RANGE[1]} nm and needs a box at least {2 * RDF_RANGE[1]} nm wide")  # fmt: skip
    return structure_error(curve.between(*RDF_RANGE), reference.between(*RDF_RANGE))


def adf_error(curve: Curve, reference: Curve) -> StructureError:
    """The structure error of an angular distribution function: 90 bins over 0 to pi, unit integral in radians."""
    for adf in (curve, reference):
        if len(adf.axis) != ADF_BINS:
            raise ValueError(f"{adf.name}: the structure error is defined on {ADF_BINS} bins, not {len(adf.axis)}")
    if curve.name != reference.name:
        raise ValueError(f"{curve.name!r} and {reference.name!r} do not have the same species and cut-off")
    return structure_error(curve, reference)


def first_peak(curve: Curve) -> tuple[Scalar, Scalar]:
    """Position and height of the first peak, by a parabola through the five points around the highest.

    The errors are those of the jackknife over the curve's blocks, where it has them.
    """
    top = _first_maximum(curve.value)
    position, height = _parabola(curve.axis, curve.value, top)
    unit = curve.axis_label.rsplit(" / ", maxsplit=1)[-1]
    if curve.blocks is None or len(curve.blocks) < 2:
        errors = (float(curve.axis[1] - curve.axis[0]) / 2, float(curve.error[top]))
    else:
        count = len(curve.blocks)
        left_out = (curve.blocks.sum(0) - curve.blocks) / (count - 1)
        peaks = np.array([_parabola(curve.axis, row, top) for row in left_out])
        errors = tuple(np.sqrt((count - 1) / count * ((peaks - peaks.mean(0)) ** 2).sum(0)))
    return (
        Scalar(f"first peak of {curve.name}, position", position, float(errors[0]), unit),
        Scalar(f"first peak of {curve.name}, height", height, float(errors[1]), ""),
    )


def _first_maximum(value: np.ndarray) -> int:
    """The highest point of the first stretch that rises half-way from 1 to the maximum, until it falls below 1."""
    if value.max() <= 1:
        raise ValueError("the curve never rises above 1: it has no first peak")
    start = int(np.argmax(value > (1 + value.max()) / 2))
    below = np.flatnonzero(value[start:] < 1)
    stop = start + int(below[0]) if len(below) else len(value)
    return start + int(np.argmax(value[start:stop]))


def _parabola(axis: np.ndarray, value: np.ndarray, top: int) -> tuple[float, float]:
    if not 2 <= top < len(axis) - 2:
        raise ValueError("the highest point lies at the end of the axis: this curve has no first peak")
    near = slice(top - 2, top + 3)
    a, b, c = np.polyfit(axis[near] - axis[top], value[near], 2)
    if a >= 0:
        return float(axis[top]), float(value[top])
    shift = float(np.clip(-b / (2 * a), -2 * (axis[1] - axis[0]), 2 * (axis[1] - axis[0])))
    return float(axis[top] + shift), float(c + b * shift + a * shift**2)


def _projected_variance(curve: Curve, slope: np.ndarray) -> float:
    """The variance of slope . curve: from the blocks, else as if all points moved together (an upper bound)."""
    if curve.blocks is None or len(curve.blocks) < 2:
        return float(np.sum(np.abs(slope) * curve.error) ** 2)
    projected = curve.blocks @ slope
    return float(projected.var(ddof=1) / len(projected))


def _covariance_squared(curve: Curve, reference: Curve) -> float:
    """tr C^2 of the difference: from the blocks without their own sampling bias, never below its diagonal."""
    diagonal = curve.error**2 + reference.error**2
    blocks = [c.blocks for c in (curve, reference) if c.blocks is not None and len(c.blocks) >= 4]
    if len(blocks) < 2:
        return float(diagonal.sum() ** 2)  # as if all points moved together: an upper bound
    a, b = ((rows - rows.mean(0)) / np.sqrt(len(rows) * (len(rows) - 1)) for rows in blocks)
    trace = _unbiased(a) + _unbiased(b) + 2 * float(((a @ b.T) ** 2).sum())
    return max(trace, float((diagonal**2).sum()))


def _unbiased(deviations: np.ndarray) -> float:
    """tr S^2 of a covariance estimated from few blocks holds (tr S)^2 / (blocks - 1) too much."""
    free = len(deviations) - 1
    squared = float(((deviations @ deviations.T) ** 2).sum())
    return (squared - float((deviations**2).sum()) ** 2 / free) * free**2 / ((free + 2) * (free - 1))


def _same_axis(curve: Curve, reference: Curve) -> None:
    if curve.axis.shape != reference.axis.shape or not np.allclose(curve.axis, reference.axis, atol=1e-9):
        raise ValueError(f"{curve.name} and {reference.name} do not share their axis; compute both on the same bins")
