"""The curve of a training run: what was measured at every validation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from meanforce.learn.score import Score


class Point(NamedTuple):
    """One validation. Errors are root mean squares per objective, in its unit; of members, over all of them."""

    epoch: int
    step: int
    training: tuple[float, ...]  # over the steps since the last validation, while weights moved; NaN before the first
    held_out: tuple[float, ...]  # of the running mean of the weights
    learning_rate: float
    gradient_norm: float  # of the scaled loss, mean over the steps since the last validation
    seconds: float


class TrainingHistory(NamedTuple):
    """How a gradient fit went."""

    points: tuple[Point, ...]
    scores: tuple[Score, ...]
    message: str  # how the run ended, and at which step
    best: int  # step of the weights that were kept; of members, of the first
    seconds: float
    waited: float  # seconds of those in which the device had nothing to do
    compilations: int  # of steps of training and validation, in this process

    def to_csv(self, path: str | Path) -> Path:
        """Writes the curve, one line for each validation."""
        names = [f"{s.name} [{s.unit}]" for s in self.scores]
        path = Path(path)
        with open(path, "w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file)
            lines.writerow(
                ["epoch", "step", *(f"training {n}" for n in names), *(f"held-out {n}" for n in names),
                 "learning rate", "gradient norm", "seconds"]
            )  # fmt: skip
            lines.writerows(
                [p.epoch, p.step, *p.training, *p.held_out, p.learning_rate, p.gradient_norm, p.seconds]
                for p in self.points
            )
        return path

    def __str__(self) -> str:
        last = self.points[-1]
        lines = [*map(str, self.scores), self.message]
        lines.append(f"{last.step} steps, {last.epoch} epochs, {self.seconds:.1f} s, {self.compilations} compilations")
        return "\n".join(lines)
