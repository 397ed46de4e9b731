"""The one result of `fit`: a model, how it went, what was measured on the way, what is left open."""

from __future__ import annotations

import enum
from typing import NamedTuple

from meanforce.learn.curve import TrainingHistory
from meanforce.learn.identify import Identifiability
from meanforce.learn.posterior import Uncertainty
from meanforce.learn.regression import Step
from meanforce.learn.score import Score
from meanforce.model import Model


class Outcome(enum.Enum):
    """How a fit ended; the value says it in a sentence."""

    SOLVED = "Solved: the data determine every coefficient."
    EXTRAPOLATED = (
        "Solved, but the data leave parts of the free energy open: distances, angles or surroundings of no frame. "
        "There it follows its prior: smooth, and rising towards short distances. The history of the fit lists them."
    )
    UNSETTLED = (
        "The regularisation did not settle in the steps allowed: the evidence hardly depends on it, or there are "
        "too few labels. The coefficients are those of the last step; compare regularisation='cross-validation'."
    )
    TRAINED = "Trained to the last epoch. The weights are those of the smallest held-out error."
    STOPPED = "Trained until the held-out error fell no more. The weights are those of its smallest value."
    NOT_FINITE = (
        "A loss or a gradient was not finite and the training ended there: see history.message for the step. The "
        "weights are those of the smallest held-out error before; look at the frames named, or lower learning_rate."
    )
    DIVERGED = (
        "The held-out error stayed far above its smallest value and the training ended: see history.message. The "
        "weights are those of the smallest held-out error; lower learning_rate or gradient_clip."
    )

    def __str__(self) -> str:
        return self.value

    @property
    def ok(self) -> bool:
        return self not in (Outcome.UNSETTLED, Outcome.NOT_FINITE, Outcome.DIVERGED)


class History(NamedTuple):
    """What was measured on the way to a model in closed form."""

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
    """A fitted model with its outcome, its history and what the data leave open.

    The posterior is that of the coefficients in closed form, the spread of a committee, or that of a last layer; None
    for one network.
    """

    model: Model
    outcome: Outcome
    history: History | TrainingHistory
    posterior: Uncertainty | None
