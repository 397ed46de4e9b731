"""The section on energy: what the model thinks of the atoms' frames, and of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from meanforce.observables.base import Curve, Scalar
from meanforce.report import verdicts
from meanforce.report.figures import Series, overlay
from meanforce.report.sections import Figure, Section, Verdict


class Overlap(NamedTuple):
    """The free energy that a model gives to the atoms' frames and to its own: mean and distribution."""

    name: str
    atoms: Scalar
    own: Scalar
    atoms_curve: Curve
    own_curve: Curve


def energies(models: Sequence[Overlap], text: Sequence[str] = ()) -> Section:
    """A figure and a verdict for each model; the first is the one judged."""
    words = (
        "The free energy A of the beads weighs all pairs and all triplets at once. A model that samples what the atoms "
        "do gives one distribution of A to their frames and to its own. That is necessary and not sufficient: a model "
        "without eyes for the difference finds none."
    )
    figures = tuple(_figure(m, role) for m, role in zip(models, _roles(models), strict=True))
    return Section("Energy", (words, *text), figures, tuple(_verdict(m) for m in models))


def _roles(models: Sequence[Overlap]) -> list[str]:
    return ["model"] + ["rival"] * (len(models) - 1)


def _figure(overlap: Overlap, role: str) -> Figure:
    caption = "Distribution over the atoms' frames and over the model's own. Bands: two standard errors."
    series = [
        Series(overlap.atoms_curve, "frames of the atoms", "reference"),
        Series(overlap.own_curve, f"samples of {overlap.name}", role),
    ]
    return overlay(series, f"Free energy of the beads, {overlap.name}", caption)


def _verdict(overlap: Overlap) -> Verdict:
    return verdicts.compare_scalars(verdicts.FREE_ENERGY, overlap.own, overlap.atoms, overlap.name)
