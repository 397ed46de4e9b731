"""What an objective is: something wanted of a model, with its data and its weight."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.ensemble import State


class Equations(NamedTuple):
    """Normal equations of a least-squares objective, summed over frames, in float64.

    The weighted sum of squares is  c.gram.c - 2 moment.c + square  over `count` labels.
    """

    gram: np.ndarray
    moment: np.ndarray
    square: float
    count: float


class Objective(Protocol):
    data: Dataset | None
    states: tuple[State, ...]
    weight: float

    def check(self, potential) -> None:
        """Refuses by name, before the work starts, what this objective cannot do."""


class Quadratic(Objective, Protocol):
    """Least squares in the coefficients of a linear potential: opens the closed form."""

    def equations(self, potential, graph, frames) -> Equations: ...
