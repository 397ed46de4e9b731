"""What an observable is: a value per frame, and a way to average it with weights and errors."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from meanforce.ensemble import State
from meanforce.frames import Frames
from meanforce.topology import Topology


class Curve(NamedTuple):
    """An averaged observable over an axis, with one standard error per point."""

    name: str
    axis: np.ndarray
    value: np.ndarray
    error: np.ndarray
    axis_label: str
    value_label: str


class Scalar(NamedTuple):
    """An averaged number with its standard error."""

    name: str
    value: float
    error: float
    unit: str


class Observable(Protocol):
    name: str
    unit: str
    depends_on_potential: bool  # else its values per frame may be cached
    needs_time: bool  # ordered frames of continuous chains; refuses weights

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray: ...

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Curve | Scalar: ...
