"""How a network is trained: every option of a gradient fit, checked before anything is read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

_WRONG_LOSS = {
    "mae": "the minimiser of an absolute error on noisy instantaneous labels is their conditional median, not the "
    "mean force",
    "rmse": "a root of the mean square of a small batch is biased: with one label it is the absolute error, whose "
    "minimiser is the conditional median, not the mean force",
}
#: What does not change the numbers, or only their rounding: a run may be resumed with other values.
_FREE = ("checkpoint", "checkpoint_every", "resume", "devices")


@dataclass(frozen=True)
class Training:
    """The options of a gradient fit: `mf.fit(network, objectives, training=mf.Training(epochs=50))`.

    ======================  ===================================================================================
    epochs                  how often every training frame is seen
    batch                   frames in one step
    learning_rate           of Adam, decaying exponentially to `final_learning_rate` over the run
    warmup                  share of the steps over which the learning rate rises from zero
    gradient_clip           largest norm of the gradient of the scaled loss, which is near one; None: no limit
    ema                     decay of the running mean of the weights that is validated and returned; 0: none
    validation              share of the frames, at the end of every run of the data, that is only judged by
    validate_every          epochs between validations
    patience                validations without a smaller held-out error after which the fit stops; None: never
    seed                    of the order of frames and, with members, of their weights
    precision               of weights and graphs: "single", or "double" as a check; sums are always double
    members                 networks trained side by side from different weights; more than one is a committee
    bootstrap               blocks of consecutive frames, drawn with replacement for each member, so that their spread
                            holds the noise of the labels; 0: all members learn from the same frames
    devices                 among which the frames of a batch are divided
    checkpoint              a file from which a stopped run goes on with `resume=True`
    checkpoint_every        seconds of work that a kill may cost; 0: checkpoint at every step
    loss                    "mean-square" and nothing else: it has the mean force for its minimiser
    ======================  ===================================================================================
    """

    epochs: int = 100
    batch: int = 8
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup: float = 0.01
    gradient_clip: float | None = 10.0
    ema: float = 0.999
    validation: float = 0.1
    validate_every: int = 1
    patience: int | None = None
    seed: int = 0
    precision: Literal["single", "double"] = "single"
    members: int = 1
    bootstrap: int = 0
    devices: int = 1
    checkpoint: str | Path | None = None
    checkpoint_every: float = 60.0
    resume: bool = False
    loss: str = "mean-square"

    def __post_init__(self):
        _refuse_loss(self.loss)
        for name in ("epochs", "batch", "validate_every", "members", "devices"):
            self._need(name, _whole(getattr(self, name)) and getattr(self, name) >= 1, "a whole number from 1 on")
        self._need("seed", _whole(self.seed) and self.seed >= 0, "a whole number from 0 on")
        self._need(
            "bootstrap",
            self.bootstrap == 0 or (_whole(self.bootstrap) and self.bootstrap >= 2),
            "0 or blocks from 2 on",
        )
        self._need("learning_rate", 0 < self.learning_rate < np.inf, "a positive number")
        self._need(
            "final_learning_rate", 0 < self.final_learning_rate <= self.learning_rate, "positive, at most learning_rate"
        )
        self._need("warmup", 0 <= self.warmup < 1, "a share of the steps, from 0 to below 1")
        self._need("gradient_clip", self.gradient_clip is None or 0 < self.gradient_clip < np.inf, "positive or None")
        self._need("ema", 0 <= self.ema < 1, "a decay from 0 (no mean) to below 1")
        self._need("validation", 0 < self.validation < 1, "a share of the frames between 0 and 1")
        self._need(
            "patience", self.patience is None or (_whole(self.patience) and self.patience >= 1), "1, ... or None"
        )
        self._need("precision", self.precision in ("single", "double"), "'single' or 'double'")
        self._need("checkpoint_every", 0 <= self.checkpoint_every < np.inf, "a number of seconds")
        if self.batch % self.devices:
            raise ValueError(
                f"Training: a batch of {self.batch} frames is not divided evenly among {self.devices} devices"
            )
        if self.bootstrap and self.members == 1:
            raise ValueError("Training: bootstrap= draws frames for each member of a committee; give members= too")
        if self.resume and self.checkpoint is None:
            raise ValueError("Training: resume=True needs checkpoint=, the file in which the run was kept")

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32 if self.precision == "single" else np.float64)

    def binding(self) -> dict:
        """The options that fix every number of the run."""
        return {
            name: value
            for name, value in json.loads(json.dumps(asdict(self), default=str)).items()
            if name not in _FREE
        }

    def _need(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"Training: {name}={getattr(self, name)!r}; {name} must be {what}")


def _whole(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _refuse_loss(loss: str) -> None:
    if loss == "mean-square":
        return
    reason = _WRONG_LOSS.get(str(loss).lower(), "labels are noisy values whose mean is wanted")
    raise ValueError(
        f"Training: loss={loss!r} is not offered: {reason}. Leave loss= out: the fit minimises mean squares"
    )
