"""The section on numbers: pressure, energy, density and whatever else is one value with an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from meanforce.observables.base import Scalar
from meanforce.observables.rounding import with_error
from meanforce.report import verdicts
from meanforce.report.sections import Figure, Section, Table


class Pair(NamedTuple):
    """A number of a model and the same number of the reference, with the rule for them.

    Without a rule the two are shown side by side and not judged; a reference of None is an unknown one.
    """

    model_name: str
    model: Scalar
    reference: Scalar | None
    rule: verdicts.Rule | None


def quantities(
    pairs: Sequence[Pair], figures: Sequence[Figure] = (), text: Sequence[str] = (), title: str = "Thermodynamics"
) -> Section:
    """A table of numbers with errors, and a verdict where there is a rule and a reference."""
    for pair in pairs:
        if pair.reference is not None and pair.reference.unit != pair.model.unit:
            raise ValueError(f"{pair.model.name} is in {pair.model.unit} and its reference in {pair.reference.unit}")
    judged = tuple(
        verdicts.compare_scalars(p.rule, p.model, p.reference, p.model_name, observable=p.model.name)
        for p in pairs
        if p.rule is not None and p.reference is not None
    )
    rows = tuple(
        (p.model.name, p.model_name, with_error(p.model.value, p.model.error),
         "not measured" if p.reference is None else with_error(p.reference.value, p.reference.error), p.model.unit)
        for p in pairs
    )  # fmt: skip
    header = ("Quantity", "Model", "Value", "Reference", "Unit")
    table = Table("Averages with one standard error.", header, rows, (False, False, True, True, False))
    return Section(title, tuple(text), tuple(figures), judged, (table,) if rows else ())
