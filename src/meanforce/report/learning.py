"""The section on errors of several models, against temperature and against the number of frames they learned from."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meanforce.observables.base import Curve
from meanforce.observables.rounding import number, with_error
from meanforce.report.figures import Series, errors
from meanforce.report.sections import Figure, Outcome, Section, Table, Verdict

_ROLES = ("model", "rival", "third", "fourth")
_BARS = "Bars: two standard errors. Open marks: not told from zero, drawn where the error may at most be."


class Row(NamedTuple):
    """The error of a model that learned from a number of frames, at one temperature; `bar` is one standard error."""

    model: str
    frames: int
    kelvin: float
    error: float
    bar: float


class Quantity(NamedTuple):
    """What the errors are of, and how large one would matter."""

    name: str  # such as 'RDF'
    error: str  # such as 'mean-square error beyond noise'
    unit: str = ""
    level: float | None = None

    @property
    def label(self) -> str:
        return f"{self.error} / ({self.unit})" if self.unit else self.error


class Claim(NamedTuple):
    """That beyond the error of `floor`, `model` leaves at most `part` of what `than` leaves, where said."""

    model: str
    than: str
    floor: str
    kelvin: float
    frames: int
    part: float = 1 / 3
    k: float = 2.0  # standard errors


def read_rows(path: str | Path, quantity: str) -> list[Row]:
    """Rows of a file with a line of JSON for each model and temperature.

    `quantity` is a key whose value is a number, or a mean-square error with its noise and its standard error: the noise
    is taken off. Lines without it are left out.
    """
    found = []
    for line in Path(path).read_text("utf-8").splitlines():
        said = json.loads(line) if line.strip() else {}
        if (value := said.get(quantity)) is None:
            continue
        error, bar = (value[0] - value[1], value[2]) if isinstance(value, list) else (value, 0.0)
        found.append(Row(said["model"], int(said["frames"]), float(said["kelvin"]), float(error), float(bar)))
    if not found:
        raise ValueError(f"{path}: no line has {quantity!r}; name a key of its lines, such as rdf, adf or force")
    return found


def learning(
    rows: Sequence[Row], quantity: Quantity, *, reference: str | None = None, claims: Sequence[Claim] = ()
) -> Section:
    """Errors over temperature and over the number of frames; `reference` is the model drawn as what can be reached."""
    names = list(dict.fromkeys(row.model for row in rows))
    models = [name for name in names if name != reference]
    if len(models) > len(_ROLES):
        raise ValueError(
            f"{len(models)} models in one figure cannot be told apart; give {len(_ROLES)} beside a reference"
        )
    roles = dict(zip(models, _ROLES, strict=False)) | ({reference: "reference"} if reference in names else {})
    counts, kelvins = sorted({row.frames for row in rows}), sorted({row.kelvin for row in rows})
    wide = [n for n in counts if len({row.kelvin for row in rows if row.frames == n}) > 1]
    long = [t for t in kelvins if len({row.frames for row in rows if row.kelvin == t}) > 1]
    figures: list[Figure] = []
    if wide:
        groups = [(f"{n} frames", _series(rows, roles, quantity, frames=n)) for n in wide]
        caption = f"For each number of frames learned from, against temperature. {_BARS}"
        figures.append(errors(groups, f"{quantity.name}: error over temperature", caption, level=quantity.level))
    if long:
        groups = [(f"{t:g} K", _series(rows, roles, quantity, kelvin=t)) for t in long]
        caption = f"For each temperature, against the number of frames learned from. {_BARS}"
        title = f"{quantity.name}: error over the number of frames"
        figures.append(errors(groups, title, caption, decades=True, level=quantity.level))
    judged = tuple(judge(rows, claim, quantity) for claim in claims)
    return Section("Errors of models", (), tuple(figures), judged, (_table(rows, names, kelvins, counts, quantity),))


def judge(rows: Sequence[Row], claim: Claim, quantity: Quantity) -> Verdict:
    """Whether d = (E - E_floor) - part (E_than - E_floor) is below zero, by its standard error."""
    ours, theirs, floor = (_one(rows, name, claim) for name in (claim.model, claim.than, claim.floor))
    left, whole = ours.error - floor.error, theirs.error - floor.error
    beyond = left - claim.part * whole
    bar = math.sqrt(ours.bar**2 + (claim.part * theirs.bar) ** 2 + ((1 - claim.part) * floor.bar) ** 2)
    said = f"{100 * claim.part:.3g} % of what {claim.than} leaves beyond {claim.floor}"
    finding = f"{number(left, 2)} beyond {claim.floor}, against {number(whole, 2)}: {100 * left / whole:.2g} %"
    finding += f"; distance from the limit {with_error(beyond, bar)}"
    outcome: Outcome = (
        "agrees" if beyond + claim.k * bar <= 0 else "differs" if beyond - claim.k * bar > 0 else "not resolved"
    )
    rule = f"at most {said}, k = {claim.k:g} combined standard errors"
    where = f"{quantity.name}: {quantity.error} at {claim.kelvin:g} K from {claim.frames} frames"
    return Verdict(where, outcome, finding, rule, claim.model)


def _one(rows: Sequence[Row], model: str, claim: Claim) -> Row:
    found = [row for row in rows if (row.model, row.kelvin, row.frames) == (model, claim.kelvin, claim.frames)]
    if len(found) != 1:
        raise ValueError(f"there are {len(found)} errors of {model} at {claim.kelvin:g} K from {claim.frames} frames; "
                         "a verdict needs one")  # fmt: skip
    return found[0]


def _series(
    rows: Sequence[Row], roles: dict[str, str], quantity: Quantity, *, kelvin: float | None = None,
    frames: int | None = None,
) -> list[Series]:  # fmt: skip
    """One for each model that has anything at this temperature, or from this number of frames."""
    over_frames = kelvin is not None
    label = "number of frames learned from" if over_frames else "temperature / K"
    found = []
    for name, role in roles.items():
        own = [r for r in rows if r.model == name and (r.kelvin == kelvin if over_frames else r.frames == frames)]
        own.sort(key=lambda r: r.frames if over_frames else r.kelvin)
        if own:
            axis, value, bar = np.array([(r.frames if over_frames else r.kelvin, r.error, r.bar) for r in own]).T
            found.append(Series(Curve(quantity.name, axis, value, bar, label, quantity.label), name, role))
    return found


def _table(
    rows: Sequence[Row], names: Sequence[str], kelvins: Sequence[float], counts: Sequence[int], quantity: Quantity
) -> Table:
    """A row for each model and number of frames, a column for each temperature."""
    known = {(r.model, r.frames, r.kelvin): with_error(r.error, r.bar) if r.bar else number(r.error) for r in rows}
    lines = [
        (name, str(n), *(known.get((name, n, t), "–") for t in kelvins))
        for name in names for n in counts if any((name, n, t) in known for t in kelvins)
    ]  # fmt: skip
    header = ("Model", "Frames", *(f"{t:g} K" for t in kelvins))
    unit = f" / ({quantity.unit})" if quantity.unit else ""
    return Table(
        f"{quantity.name}{unit}. One standard error.", header, tuple(lines), (False, *(True for _ in header[1:]))
    )
