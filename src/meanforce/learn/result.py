"""The one result of `fit`: a model, how it went, what was measured on the way, what is left open."""

from __future__ import annotations

import enum
from typing import NamedTuple

from meanforce.learn.identify import Identifiability
from meanforce.learn.posterior import Posterior
from meanforce.learn.regression import Step
from meanforce.model import Model


class Outcome(enum.Enum):
    """How a fit ended; the value says it in a sentence."""

    SOLVED = "Solved: the data determine every coefficient."
    EXTRAPOLATED = (
        "Solved, but the data do not determine every coefficient. The others follow the prior: smooth, and rising "
        "towards short distances. See history.identifiability for their names."
    )
    UNSETTLED = (
        "The regularisation did not settle in the steps allowed: the evidence hardly depends on it, or there are "
        "too few labels. The coefficients are those of the last step; compare regularisation='cross-validation'."
    )

    def __str__(self) -> str:
        return self.value

    @property
    def ok(self) -> bool:
        return self is not Outcome.UNSETTLED


class Score(NamedTuple):
    """Root-mean-square errors of one objective's labels, in its unit.

    `held_out` is measured on blocks of frames that the coefficients did not see; `noise` is the estimated
    scatter of the labels about their conditional mean, together with what the basis cannot represent. No model
    of the same beads can be expected to reach less than the irreducible part of it: a held-out error close
    to `noise` says that more data would not help, not that the model is good or bad.
    """

    name: str
    unit: str
    labels: float  # of a model that says zero
    training: float
    held_out: float
    held_out_error: float  # standard error over blocks
    noise: float
    inefficiency: float  # how many labels are worth one independent label

    def __str__(self) -> str:
        return (
            f"{self.name}: held-out error {self.held_out:.4g} +- {self.held_out_error:.2g} {self.unit}, noise "
            f"{self.noise:.4g}, training {self.training:.4g}, labels themselves {self.labels:.4g}"
        )


class History(NamedTuple):
    """What was measured on the way to a model."""

    steps: tuple[Step, ...]
    scores: tuple[Score, ...]
    identifiability: Identifiability
    effective: float  # coefficients determined by the data rather than the prior
    seconds: float

    def __str__(self) -> str:
        lines = [*map(str, self.scores), str(self.identifiability)]
        lines.append(f"{self.effective:.1f} effective coefficients, {len(self.steps)} steps, {self.seconds:.1f} s")
        return "\n".join(lines)


class Fit(NamedTuple):
    """A fitted model with its outcome, its history and the posterior of its coefficients."""

    model: Model
    outcome: Outcome
    history: History
    posterior: Posterior
