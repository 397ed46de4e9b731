"""The section on structure: distributions of the model over those of the atoms, judged one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from meanforce.observables.base import Curve
from meanforce.observables.compare import (
    RDF_BIN,
    RDF_RANGE,
    StructureError,
    adf_error,
    first_peak,
    rdf_error,
    structure_error,
)
from meanforce.observables.rounding import number, with_error
from meanforce.report import verdicts
from meanforce.report.figures import Series, overlay
from meanforce.report.sections import Figure, Section, Table, Verdict

Kind = Literal["rdf", "adf", "bonded"]

_CAPTION = {
    "rdf": "How likely a bead is at distance r from another, relative to an even spread.",
    "adf": "Angles between two neighbours seen from the bead between them; unit integral.",
    "bonded": "Distribution of an internal coordinate of the molecule; unit integral.",
}


@dataclass(frozen=True)
class Comparison:
    """One distribution of the reference with that of the model, and of rivals to set beside it."""

    kind: Kind
    reference: Curve
    models: tuple[tuple[str, Curve], ...]  # (name of the model, curve); the first is the one judged
    learned: Curve | None = None  # the curve of the one judged, with its error of learning


def structure(
    comparisons: Sequence[Comparison],
    reference: str = "atoms",
    text: Sequence[str] = (),
    *,
    same_frames: bool = False,
) -> Section:
    """Figures, verdicts and errors of every distribution.

    Errors of learning widen the bands, unless they are the scatter of networks that saw the `same_frames`: that is no
    error bar. Verdicts rest on the errors of sampling alone.
    """
    if not comparisons:
        raise ValueError("there is no distribution to compare")
    figures = tuple(_figure(c, reference, same_frames) for c in comparisons)
    judged = tuple(v for c in comparisons for v in _verdicts(c))
    rows = tuple(row for c in comparisons for row in _rows(c))
    header = (
        "Distribution",
        "Model",
        "Mean-square error",
        "of which noise",
        "beyond noise",
        "Peak height",
        "Peak position",
    )
    table = Table(
        "Structure errors: radial on 0.005 nm bins over 0.2 to 0.9 nm, angular in radians on 90 bins, bonded relative "
        "to the mean square of the reference. One standard error.",
        header, rows, (False, False, True, True, True, True, True),
    )  # fmt: skip
    tables = (table, *_left_open(comparisons, same_frames))
    return Section("Structure", (*text, *_in_words(comparisons)), figures, judged, tables)


def rule_of(kind: Kind) -> verdicts.Rule:
    """By which a distribution is judged."""
    return {"rdf": verdicts.RDF, "adf": verdicts.ADF, "bonded": verdicts.BONDED}[kind]


def reach_of(comparison: Comparison) -> str:
    """Where the box ends what the error of a radial distribution is taken over, in words; else nothing."""
    end = float(comparison.reference.axis[-1]) + RDF_BIN / 2
    if comparison.kind != "rdf" or end > RDF_RANGE[1] - RDF_BIN / 2:
        return ""
    return f", over {RDF_RANGE[0]:g} to {end:.3g} nm where the box ends"


def error_of(comparison: Comparison, curve: Curve | None = None) -> StructureError:
    """The structure error as it is defined for this kind of distribution; of the model judged if no curve is given."""
    curve = comparison.models[0][1] if curve is None else curve
    if comparison.kind == "rdf" and reach_of(comparison):
        from_on = lambda c: c.between(RDF_RANGE[0], np.inf)
        return structure_error(from_on(curve), from_on(comparison.reference))
    if comparison.kind == "rdf":
        return rdf_error(curve, comparison.reference)
    if comparison.kind == "adf":
        return adf_error(curve, comparison.reference)
    scale = float(np.mean(comparison.reference.value**2))
    return StructureError(*(part / scale for part in structure_error(curve, comparison.reference)))


def _figure(comparison: Comparison, reference: str, same_frames: bool) -> Figure:
    (judged, ours), *rivals = comparison.models
    errors = "two standard errors"
    if comparison.learned is not None and not same_frames:
        ours = ours._replace(error=np.hypot(ours.error, comparison.learned.error))
        errors += f", of {judged} those of sampling and learning together"
    series = [Series(comparison.reference, reference, "reference"), Series(ours, judged, "model")]
    series += [Series(curve, name, "rival") for name, curve in rivals]
    span = None
    if comparison.kind == "rdf":
        rises = comparison.reference.axis[np.argmax(comparison.reference.value > 0.01)]
        span = (max(0.0, rises - 0.05), float(comparison.reference.axis[-1]))
    caption = f"{_CAPTION[comparison.kind]} Bands: {errors}; below, the distance from {reference}."
    return overlay(series, comparison.reference.name, caption, span=span)


def _verdicts(comparison: Comparison) -> list[Verdict]:
    rule = rule_of(comparison.kind)
    found = []
    for place, (name, curve) in enumerate(comparison.models):
        label = f"{comparison.reference.name}: mean-square error{reach_of(comparison)}"
        found.append(verdicts.judge_structure(rule, error_of(comparison, curve), name, label))
        if comparison.kind == "rdf" and place == 0:
            for which, ours, theirs in zip(
                (verdicts.PEAK_POSITION, verdicts.PEAK_HEIGHT), first_peak(curve), first_peak(comparison.reference),
                strict=True,
            ):  # fmt: skip
                found.append(verdicts.compare_scalars(which, ours, theirs, name, observable=ours.name))
    return found


def _rows(comparison: Comparison) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, curve in (("reference", comparison.reference), *comparison.models):
        if curve is comparison.reference:
            errors: tuple[str, ...] = ("–", "–", "–")
        else:
            error = error_of(comparison, curve)
            errors = (number(error.mean_square, 2), number(error.noise, 2), with_error(error.excess, error.error))
        peak = ("–", "–")
        if comparison.kind == "rdf":
            position, height = first_peak(curve)
            peak = (with_error(height.value, height.error), f"{with_error(position.value, position.error)} nm")
        rows.append((comparison.reference.name, name, *errors, *peak))
    return rows


def _left_open(comparisons: Sequence[Comparison], same_frames: bool) -> list[Table]:
    """Errors of learning beside those of sampling, where they are known."""
    rows = []
    for comparison in comparisons:
        if comparison.learned is not None:
            curve = comparison.models[0][1]
            unit = curve.value_label.partition(" / ")[2]
            both = (np.sqrt(np.mean(c.error**2)) for c in (comparison.learned, curve))
            rows.append((curve.name, *(f"{number(float(rms), 2)} {unit}".strip() for rms in both)))
    if not rows:
        return []
    what = (
        "disagreement of members that saw the same frames, which is no error bar"
        if same_frames
        else "error of learning, by the scatter of networks that saw frames drawn anew, on the same splines"
    )
    title = (
        f"What the data leave open: {what}; beside it the error of sampling. Root mean squares over the whole axis of "
        f"{comparisons[0].models[0][0]}, one standard error."
    )
    return [Table(title, ("Distribution", "Learning", "Sampling"), tuple(rows), (False, True, True))]


def _in_words(comparisons: Sequence[Comparison]) -> list[str]:
    """One sentence for each rival: how much worse it is than the model beside it."""
    sentences = []
    for comparison in comparisons:
        ours = error_of(comparison, comparison.models[0][1]).mean_square
        for name, curve in comparison.models[1:]:
            theirs = error_of(comparison, curve).mean_square
            worse = f"{number(theirs / ours, 2)} times" if theirs > ours else f"only {number(theirs / ours, 2)} times"
            sentences.append(
                f"{comparison.reference.name}: the mean-square error of {name} ({number(theirs, 2)}) is {worse} "
                f"that of {comparison.models[0][0]} ({number(ours, 2)})."
            )
    return sentences
