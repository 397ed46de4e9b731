"""What an observable is: a value per frame, and a way to average it with weights and errors."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from meanforce.ensemble import State
from meanforce.frames import Frames
from meanforce.observables.rounding import with_error
from meanforce.topology import Topology

Result_co = TypeVar("Result_co", covariant=True)


class Curve(NamedTuple):
    """An averaged observable over an axis, with one standard error per point.

    `blocks` holds the block means (blocks, points) whose scatter gave the errors: neighbouring points of a
    curve are correlated, and only the blocks know how much. None where a curve came without them.
    """

    name: str
    axis: np.ndarray
    value: np.ndarray
    error: np.ndarray
    axis_label: str
    value_label: str
    blocks: np.ndarray | None = None

    def between(self, low: float, high: float) -> Curve:
        """The part of the curve with low < axis < high."""
        inside = (self.axis > low) & (self.axis < high)
        if not inside.any():
            raise ValueError(f"{self.name} has no point between {low} and {high}: its axis runs from "
                             f"{self.axis[0]:.4g} to {self.axis[-1]:.4g}")  # fmt: skip
        blocks = None if self.blocks is None else self.blocks[:, inside]
        return self._replace(axis=self.axis[inside], value=self.value[inside], error=self.error[inside], blocks=blocks)


class Scalar(NamedTuple):
    """An averaged number with its standard error."""

    name: str
    value: float
    error: float
    unit: str

    def __str__(self) -> str:
        return f"{self.name}: {with_error(self.value, self.error)} {self.unit}"


@runtime_checkable
class Observable(Protocol[Result_co]):
    """A quantity to average over an ensemble or a reference data set.

    `per_frame` returns one row per frame; unless the observable depends on the potential the rows are worth
    keeping, and `reduce` may be called on them again with other weights. An observable that needs time is
    handed the ordered frames of one chain at a time, returns one row per independent piece of it, and its
    rows are never reweighted.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def depends_on_potential(self) -> bool: ...

    @property
    def needs_time(self) -> bool: ...

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray: ...

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Result_co: ...
