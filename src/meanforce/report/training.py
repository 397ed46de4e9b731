"""The section on how a model was trained: the history in words and, of a training by gradient, its curve."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meanforce.observables.base import Curve
from meanforce.report.figures import Series, trace
from meanforce.report.sections import Figure, Section

_CAPTION = (
    "Root-mean-square error at every validation, noise of the labels included: on the frames held out, with the mean "
    "of the weights, and on those learned from, while the weights moved. The weights of the smallest held-out error "
    "are kept; where the held-out error rises again the model has begun to learn the noise."
)


def training(history: str, curve: Path | None = None) -> Section:
    """`curve` is the table that `TrainingHistory.to_csv` writes."""
    if curve is None or not curve.exists():
        return Section("Training", verbatim=history)
    with curve.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    learned = [name.removeprefix("held-out ") for name in rows[0] if name.startswith("held-out ")]
    return Section("Training", figures=tuple(_figure(rows, name) for name in learned), verbatim=history)


def _figure(rows: Sequence[Mapping[str, str]], name: str) -> Figure:
    """One objective: its error by epochs."""
    what, unit = name.removesuffix("]").split(" [")
    epoch = np.array([float(row["epoch"]) for row in rows])
    series = []
    for source, label, role in (("training", "learned from", "rival"), ("held-out", "held out", "model")):
        value = np.array([float(row[f"{source} {name}"]) for row in rows])
        known = np.isfinite(value)
        axes = ("epoch", f"{what} error / {unit}")
        curve = Curve(name, epoch[known], value[known], np.zeros(known.sum()), *axes)
        if known.any():
            series.append(Series(curve, label, role))
    return trace(series, f"Training: {what}", _CAPTION)
