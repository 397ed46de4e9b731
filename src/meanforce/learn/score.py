"""The errors of one objective's labels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.objectives.base import Quadratic


class Score(NamedTuple):
    """Root-mean-square errors of one objective's labels, in its unit.

    `held_out` is measured on blocks of frames that the coefficients did not see; `noise` is the estimated
    scatter of the labels about their conditional mean, together with what the basis cannot represent. No model
    of the same beads can be expected to reach less than the irreducible part of it: a held-out error close
    to `noise` says that more data would not help, not that the model is good or bad. A gradient fit does not
    estimate noise and inefficiency: NaN.
    """

    name: str
    unit: str
    labels: float  # of a model that says zero
    training: float
    held_out: float
    held_out_error: float  # standard error over blocks
    noise: float
    inefficiency: float  # how many labels are worth one independent label

    @staticmethod
    def of(
        objective: Quadratic,
        squares: Float[np.ndarray, "blocks"],
        counts: Float[np.ndarray, "blocks"],
        *,
        labels: float,
        training: float,
        noise: float = math.nan,
        inefficiency: float = math.nan,
    ) -> Score:
        """The score from the mean squares of held-out blocks."""
        mean = float(np.average(squares, weights=counts))
        error = float(np.std(squares, ddof=1) / np.sqrt(len(squares))) if len(squares) > 1 else math.nan
        return Score(
            name=objective.name, unit=objective.unit, labels=labels, training=training, held_out=float(np.sqrt(mean)),
            held_out_error=error / (2 * np.sqrt(mean)) if mean > 0 else error, noise=noise, inefficiency=inefficiency,
        )  # fmt: skip

    def __str__(self) -> str:
        noise = "" if math.isnan(self.noise) else f" noise {self.noise:.4g},"
        return (
            f"{self.name}: held-out error {self.held_out:.4g} +- {self.held_out_error:.2g} {self.unit},{noise} "
            f"training {self.training:.4g}, labels themselves {self.labels:.4g}"
        )
