"""The section on forces: what was taught, held out, beside the noise that no model can learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.observables.averages import average
from meanforce.observables.base import Curve, Scalar
from meanforce.observables.rounding import number, with_error
from meanforce.report import verdicts
from meanforce.report.figures import Series, parity, trace
from meanforce.report.sections import Section, Table

UNIT = "kJ/(mol nm)"
_GROUPS = 30  # points of the calibration curve


class HeldOut(NamedTuple):
    """Forces on frames that a model did not see: labels of the atoms, and what the model says."""

    name: str
    labels: Float[np.ndarray, "frames beads 3"]
    predictions: Float[np.ndarray, "frames beads 3"]
    chain: np.ndarray | None = None  # which continuous run each frame belongs to

    def error(self) -> Scalar:
        """The held-out root-mean-square error per component, with its block error."""
        residual = np.asarray(self.labels, float) - self.predictions
        rows = (residual**2).mean((1, 2))
        mean = average(rows, np.full(len(rows), 1 / len(rows)), self._chain())
        root = float(np.sqrt(mean.value[0]))
        return Scalar("held-out force error", root, float(mean.error[0]) / (2 * root) if root > 0 else 0.0, UNIT)

    def _chain(self) -> np.ndarray:
        return np.zeros(len(self.labels), int) if self.chain is None else np.asarray(self.chain)


def forces(models: Sequence[HeldOut], floor: tuple[float, float] | None = None, text: Sequence[str] = ()) -> Section:
    """Parity, calibration and errors of held-out forces; the first model is the one judged.

    `floor` is the interval of the irreducible root-mean-square noise in kJ/(mol nm); without it no verdict is
    passed, for a force error alone says nothing about a model.
    """
    if not models:
        raise ValueError("there are no held-out forces to compare")
    judged = models[0]
    if np.shape(judged.labels) != np.shape(judged.predictions):
        raise ValueError(
            f"labels {np.shape(judged.labels)} and predictions {np.shape(judged.predictions)} differ in shape"
        )
    figures = (
        parity(
            judged.predictions, judged.labels, "Held-out forces", "Every component of every force: the label of the "
            "atoms, which scatters about its mean, against the model. Darker means more often.",
            axes_labels=(f"model force / {UNIT}", f"atoms' force / {UNIT}"),
        ),
        trace(
            [Series(_diagonal(judged), "exact mean force", "reference")]
            + [Series(_calibration(m), m.name, role) for m, role in zip(models, _roles(models), strict=True)],
            "Mean label at a given prediction",
            "Where the model says F, the atoms' forces average to F if it is right, however noisy they are. "
            "Bands: two standard errors.",
        ),
    )  # fmt: skip
    judgements = () if floor is None else tuple(
        verdicts.judge_floor(verdicts.FORCE, m.error(), floor, m.name) for m in models
    )  # fmt: skip
    return Section("Forces", (*text, _in_words(floor)), figures, judgements, (_table(models, floor),))


def _roles(models: Sequence[HeldOut]) -> list[str]:
    return ["model"] + ["rival"] * (len(models) - 1)


def _in_words(floor: tuple[float, float] | None) -> str:
    noise = (
        "Each label is the force of one arrangement of the atoms, which scatters about the mean force that a model of "
        "these beads can know."
    )
    if floor is None:
        return f"{noise} How large that scatter is was not determined, and the error is not judged."
    low, high = (number(v) for v in floor)
    return (
        f"{noise} That noise floor lies between {low} and {high} {UNIT}, root mean square per component: an error "
        "there is as good as it gets. Force errors hardly tell good models from bad ones; structure does."
    )


def _table(models: Sequence[HeldOut], floor: tuple[float, float] | None) -> Table:
    rows = []
    for m in models:
        error = m.error()
        labels = float(np.sqrt(np.mean(np.asarray(m.labels, float) ** 2)))
        correlation = float(np.corrcoef(np.ravel(m.labels), np.ravel(m.predictions))[0, 1])
        rows.append((m.name, with_error(error.value, error.error), number(error.value / labels), number(correlation)))
    if floor is not None:
        low, high = (number(v) for v in floor)
        rows.append(("noise floor", f"{low} to {high}", "", ""))
    header = ("Model", f"Held-out error / {UNIT}", "relative to the labels", "correlation")
    return Table("Root-mean-square force errors per component on held-out frames.", header, tuple(rows),
                 (False, True, True, True))  # fmt: skip


def _calibration(held: HeldOut) -> Curve:
    """The mean label in groups of equal prediction, with block errors over frames."""
    predictions = np.asarray(held.predictions, float).reshape(len(held.predictions), -1)
    labels = np.asarray(held.labels, float).reshape(predictions.shape)
    low, high = np.quantile(predictions, [0.001, 0.999])
    edges = np.linspace(low, high, _GROUPS + 1)
    group = np.digitize(predictions, edges) - 1
    inside = (group >= 0) & (group < _GROUPS)
    flat = np.arange(len(labels))[:, None] * _GROUPS + np.clip(group, 0, _GROUPS - 1)
    size = len(labels) * _GROUPS
    count, total, centre = (
        np.bincount(flat[inside], weights=w[inside], minlength=size).reshape(-1, _GROUPS)
        for w in (np.ones_like(labels), labels, predictions)
    )
    enough = count.sum(0) >= 20
    count, total, centre = count[:, enough], total[:, enough], centre[:, enough]
    mean = total.sum(0) / count.sum(0)
    scatter = average(total - count * mean, np.full(len(labels), 1 / len(labels)), held._chain())
    error = scatter.error / count.mean(0)
    return Curve(f"mean label, {held.name}", centre.sum(0) / count.sum(0), mean, error, f"model force / {UNIT}",
                 f"mean label / {UNIT}")  # fmt: skip


def _diagonal(held: HeldOut) -> Curve:
    axis = np.quantile(held.predictions, [0.001, 0.999])
    return Curve("agreement", axis, axis, np.zeros(2), f"model force / {UNIT}", f"mean label / {UNIT}")
