"""The section on temperature: structure, energy, heat capacity at each, and the relations A(R; T) obeys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from meanforce.observables.base import Curve, Scalar
from meanforce.observables.consistency import Check
from meanforce.observables.rounding import number, with_error
from meanforce.report import motion, verdicts
from meanforce.report.figures import Series, overlay, panels, trace
from meanforce.report.motion import Motion
from meanforce.report.page import MARKS
from meanforce.report.sections import Figure, Outcome, Section, Table, Verdict
from meanforce.report.structure import Comparison, Kind, error_of, reach_of, rule_of

_RULES = {
    "forces against configurations": verdicts.FORCE_BALANCE,
    "frames with negative heat capacity": verdicts.NEGATIVE_HEAT,
    "Maxwell's relation, dF/dT against grad S": verdicts.IDENTITY,
    "A/kT against the integral of E": verdicts.IDENTITY,
}
_MEANING = {
    "forces against configurations": "E[div g + g.F/kT] = 0 for a field g that pushes neighbours apart: the "
    "temperature at which the model's forces and the atoms' configurations belong together",
    "response of forces against configurations": "E[g.Cov(f, U)] = -Cov(g.F + kT div g, E), the derivative of the "
    "relation above in temperature: how much of the model's thermal response the atoms' energies have",
    "energies against the entropy of the beads": "energies of the atoms less the model's do not depend on its entropy",
    "scatter of forces with energies against the model's": "(f - F)(U - E) over Cov(f, U) along the same field",
    "labels of the atoms against configurations": "the same relation for the labels alone: a check of the data",
    "forces of another legal map": "E[g.f'] = E[g.f] for labels f and f' by two legal maps from atoms to beads: the "
    "mean force depends on neither",
    "energies against their scatter": "total variance: the rise of the energies to the next temperature over the heat "
    "capacity that their scatter at fixed beads gives",
    "frames with negative heat capacity": "A is concave in T: c_v is positive in every frame",
    "Maxwell's relation, dF/dT against grad S": "forces change with temperature as the entropy does with the beads",
    "A/kT against the integral of E": "both over the whole range of temperatures",
}


class Distribution(NamedTuple):
    """One distribution at one temperature (K), of the atoms and of the model."""

    kind: Kind
    kelvin: float
    atoms: Curve
    model: Curve
    learned: bool


class Energetics(NamedTuple):
    """Energies and heat capacities of one temperature (K), per molecule; None where they are not known."""

    kelvin: float
    energy: Scalar
    atoms_energy: Scalar | None
    heat: Scalar | None
    atoms_heat: Scalar | None
    learned: bool
    entropy: Scalar | None = None  # above that at the lowest temperature
    atoms_entropy: Scalar | None = None


class Heating(NamedTuple):
    """Energy per molecule of the beads over a ramp, and at rest at single temperatures; without the model's gauge."""

    ramp: tuple[float, float]  # K
    along: Curve
    rest: Curve
    compared: tuple[tuple[float, Scalar, Scalar], ...]  # K, of the ramp as it passes there, at rest


class Exchanged(NamedTuple):
    """Two neighbours on the ladder of a replica exchange (K), and how often they changed places."""

    low: float
    high: float
    tried: int
    accepted: float  # mean probability


@dataclass(frozen=True)
class Report:
    """What the section is made of."""

    name: str  # of the model
    learned: tuple[float, ...]  # K
    distributions: tuple[Distribution, ...]
    energetics: tuple[Energetics, ...]
    checks: tuple[Check, ...]
    determined: tuple[int, int] | None = None  # coefficients that labels determine, or that shift A, of all
    motion: tuple[Motion, ...] = ()
    heating: Heating | None = None
    exchanged: tuple[Exchanged, ...] = ()
    round_trips: int = 0  # of all replicas, between the ends of the ladder


def thermodynamics(found: Report) -> Section:
    """Figures, verdicts and tables over temperatures."""
    figures: list[Figure] = []
    judged: list[Verdict] = []
    tables: list[Table] = []
    for _, group in groupby(found.distributions, key=lambda d: d.atoms.name):
        same = list(group)
        figures += _structure_figures(found, same)
        judged += [_structure_verdict(found, d) for d in same]
        tables.append(_structure_table(found, same))
    figures += _energy_figures(found)
    judged += _energy_verdicts(found)
    if found.energetics:
        tables.append(_energy_table(found))
    if found.motion:
        figures += motion.figures(found.motion, found.name)
        predicted = motion.verdicts_where_predicted(found.motion, found.name)
        judged += [_worst(f"{verdicts.DIFFUSION.observable}, predicted", predicted)] if predicted else []
        tables.append(motion.table(found.motion))
    if found.heating is not None:
        figures.append(_heating_figure(found, found.heating))
        judged += _heating_verdicts(found, found.heating)
    if found.exchanged:
        tables.append(_exchange_table(found))
    kinds = [(name, list(group)) for name, group in groupby(sorted(found.checks, key=_place), key=_kind)]
    judged += [_check_verdict(found, name, checks) for name, checks in kinds]
    if found.determined is not None:
        judged.append(_determined(found))
    tables += _check_tables(kinds) if kinds else []
    learned = ", ".join(f"{t:g}" for t in found.learned) or "none of these temperatures"
    text = (
        f"{found.name} learned from atoms at {learned}{' K' if found.learned else ''}; at other temperatures what it "
        "says is a prediction. Relations that any free energy A(R; T) obeys exactly are checked on frames of the "
        "atoms, those held out where it learned.",
    )
    figures.sort(key=lambda figure: not figure.wide)
    return Section("Thermodynamics", text, tuple(figures), tuple(judged), tuple(tables))


def _structure_figures(found: Report, same: Sequence[Distribution]) -> list[Figure]:
    groups = [
        (f"{d.kelvin:g} K", (Series(d.atoms, "atoms", "reference"), Series(d.model, found.name, "model"))) for d in same
    ]
    first, title = same[0].atoms, same[0].atoms.name
    span = None
    if same[0].kind == "rdf":
        rises = min(float(d.atoms.axis[np.argmax(d.atoms.value > 0.01)]) for d in same)
        span = (max(0.0, rises - 0.03), float(first.axis[-1]))
    caption = "One plot for each temperature. Bands: two standard errors."
    drawn = [panels(groups, f"{title} over temperatures", caption, span=span)]
    if len(same) > 1:
        errors = [error_of(_compared(found, d)) for d in same]
        kelvin = np.array([d.kelvin for d in same])
        scale = 10.0 ** math.floor(math.log10(rule_of(same[0].kind).effect))
        value, error = (np.array([getattr(e, part) for e in errors]) / scale for part in ("excess", "error"))
        unit = "" if scale == 1 else f" / {number(scale, 1).removeprefix('1 × ')}"
        curve = Curve(title, kelvin, value, error, "temperature / K", f"mean-square error beyond noise{unit}")
        caption = "Distance from the atoms, less what the noise of both gives; it may fall below zero. " + _marks(found)
        drawn.append(
            trace([Series(curve, found.name, "model")], f"{title}: error over temperature", caption,
                  learned=found.learned, level=rule_of(same[0].kind).effect / scale)
        )  # fmt: skip
    return drawn


def _marks(found: Report) -> str:
    return "Triangles: temperatures learned from. Bands: two standard errors."


def _compared(found: Report, d: Distribution) -> Comparison:
    return Comparison(d.kind, d.atoms, ((found.name, d.model),))


def _structure_verdict(found: Report, d: Distribution) -> Verdict:
    label = f"{d.atoms.name} at {d.kelvin:g} K: mean-square error{'' if d.learned else ' (not learned from)'}"
    return verdicts.judge_structure(rule_of(d.kind), error_of(_compared(found, d)), found.name, label)


def _structure_table(found: Report, same: Sequence[Distribution]) -> Table:
    rows = []
    for d in same:
        error = error_of(_compared(found, d))
        parts = number(error.mean_square, 2), number(error.noise, 2), with_error(error.excess, error.error)
        rows.append((f"{d.kelvin:g}", "yes" if d.learned else "no", *parts))
    header = ("T / K", "Learned from", "Mean-square error", "of which noise", "beyond noise")
    title = f"{same[0].atoms.name}{reach_of(_compared(found, same[0]))}. One standard error."
    return Table(title, header, tuple(rows), (True, False, True, True, True))


def _energy_figures(found: Report) -> list[Figure]:
    both = [e for e in found.energetics if e.atoms_energy is not None]
    if len(both) < 2:
        return []
    gauge = (
        "The atoms' energies are known to the model up to a constant at each temperature, taken from those it learned "
        "from; between them it follows from their scatter, beyond them it is extrapolated. "
    )
    drawn = [
        _over_t(found, ("mean potential energy", "U"), gauge, [(e.kelvin, e.energy, e.atoms_energy) for e in both])
    ]
    heats = [(e.kelvin, e.heat, e.atoms_heat) for e in both if e.heat is not None and e.atoms_heat is not None]
    if len(heats) > 1:
        what = "Scatter of the beads' energy in the simulation, and that of the atoms at fixed beads. "
        drawn.append(_over_t(found, ("configurational heat capacity", "C_V"), what, heats))
    rises = [(e.kelvin, e.entropy, e.atoms_entropy) for e in found.energetics if e.entropy is not None]
    if len(rises) > 1:
        what = f"ΔS = S − S({rises[0][0]:g} K), the integral of dU/T, for atoms and model from the energies above. "
        drawn.append(_over_t(found, ("rise of the entropy", "ΔS"), what, rises))
    return drawn


def _over_t(
    found: Report, named: tuple[str, str], caption: str, points: Sequence[tuple[float, Scalar, Scalar | None]]
) -> Figure:
    (what, symbol), kelvin, unit = named, np.array([p[0] for p in points]), points[0][1].unit
    series = []
    for column, label, role in ((2, "atoms", "reference"), (1, found.name, "model")):
        values = [p[column] for p in points]
        value = np.array([v.value for v in values if isinstance(v, Scalar)])
        error = np.array([v.error for v in values if isinstance(v, Scalar)])
        curve = Curve(what, kelvin, value, error, "temperature / K", f"{symbol} per molecule / ({unit})")
        series.append(Series(curve, label, role))
    return overlay(series, f"{what.capitalize()} per molecule", caption + _marks(found), learned=found.learned)


def _energy_verdicts(found: Report) -> list[Verdict]:
    judged = []
    for rule, which, theirs in (
        (verdicts.ENERGY_OVER_T, "energy", "atoms_energy"),
        (verdicts.HEAT_CAPACITY, "heat", "atoms_heat"),
        (verdicts.ENTROPY, "entropy", "atoms_entropy"),
    ):
        pairs = [(e.kelvin, getattr(e, which), getattr(e, theirs)) for e in found.energetics]
        known = [(kelvin, ours, atoms) for kelvin, ours, atoms in pairs if ours is not None and atoms is not None]
        known = known[which == "entropy" :]  # the first is zero by definition
        if known:
            single = [(k, verdicts.compare_scalars(rule, ours, atoms, found.name)) for k, ours, atoms in known]
            judged.append(_worst(rule.observable, single))
    return judged


def _energy_table(found: Report) -> Table:
    said = lambda s: "–" if s is None else with_error(s.value, s.error)
    rows = tuple(
        (f"{e.kelvin:g}", "yes" if e.learned else "no", said(e.energy), said(e.atoms_energy), said(e.heat),
         said(e.atoms_heat), said(e.entropy), said(e.atoms_entropy))
        for e in found.energetics
    )  # fmt: skip
    header = ("T / K", "Learned from", "U, model / kJ/mol", "U, atoms", "C_V, model / J/(mol K)", "C_V, atoms",
              "ΔS, model / J/(mol K)", "ΔS, atoms")  # fmt: skip
    title = (
        "Potential energy, configurational heat capacity and rise of the entropy, ΔS, per molecule, with the model's "
        "gauge. One standard error."
    )
    return Table(title, header, rows, (True, False, *(True for _ in header[2:])))


def _heating_figure(found: Report, heating: Heating) -> Figure:
    first, last = heating.ramp
    verb = "heated" if last > first else "cooled"
    series = [Series(heating.rest, "at one temperature each", "reference"),
              Series(heating.along, f"{verb} from {first:g} to {last:g} K", "model")]  # fmt: skip
    caption = "Energy of the beads as the model has it. Beads that fall behind the ramp lie off the points at rest. "
    return trace(series, "Energy per molecule over the ramp", caption + _marks(found), learned=found.learned)


def _heating_verdicts(found: Report, heating: Heating) -> list[Verdict]:
    rule = verdicts.RAMP
    single = [(k, verdicts.compare_scalars(rule, ours, rest, found.name)) for k, ours, rest in heating.compared]
    return [_worst(rule.observable, single)] if single else []


def _exchange_table(found: Report) -> Table:
    rows = tuple((f"{e.low:g} – {e.high:g}", str(e.tried), number(e.accepted, 2)) for e in found.exchanged)
    title = (
        f"Exchanges of replicas between neighbouring temperatures, and {found.round_trips} round trips between the "
        "coldest and the hottest. A fifth accepted or more is good."
    )
    return Table(title, ("T / K", "Tried", "Accepted"), rows, (False, True, True))


def _kind(check: Check) -> str:
    """The relation, without the temperatures in its name."""
    return "A/kT against the integral of E" if check.name.startswith("A/kT") else check.name


def _place(check: Check) -> int:
    return list(_MEANING).index(_kind(check))


def _single(check: Check) -> Verdict:
    rule = _RULES.get(_kind(check), verdicts.BALANCE)
    outcome = rule.outcome(check.value - check.expected, check.error, check.expected or 1.0)
    finding = f"{with_error(check.value, check.error)} {check.unit}".rstrip()
    if check.expected:
        finding += f", and {number(check.expected)} {check.unit}".rstrip() + " is exact"
    return Verdict(check.name, outcome, finding, str(rule))


def _check_verdict(found: Report, name: str, checks: Sequence[Check]) -> Verdict:
    worst = _worst(name, [(c.kelvin, _single(c)) for c in checks])
    data = name in ("labels of the atoms against configurations", "forces of another legal map")
    return Verdict(worst.observable, worst.outcome, worst.finding, worst.rule, "" if data else found.name)


def _worst(observable: str, single: Sequence[tuple[float, Verdict]]) -> Verdict:
    """One verdict for all temperatures: they agree if each does; what is shown is the first that is worst."""
    order: tuple[Outcome, ...] = ("differs", "not resolved", "agrees")
    outcome = min((v.outcome for _, v in single), key=order.index)
    kelvin, shown = next((k, v) for k, v in single if v.outcome == outcome)
    count = sum(v.outcome == outcome for _, v in single)
    share = f"{count} of {len(single)} temperatures, " if len(single) > 1 and outcome != "agrees" else ""
    every = f"all {len(single)} temperatures, " if len(single) > 1 and outcome == "agrees" else ""
    where = f"at {kelvin:g} K: " if math.isfinite(kelvin) else ""
    return Verdict(observable, outcome, f"{every}{share}{where}{shown.finding}", shown.rule, shown.model)


def _determined(found: Report) -> Verdict:
    assert found.determined is not None
    rank, size = found.determined
    rule = "every combination of coefficients that changes A between frames is seen by a label"
    finding = f"{rank} of {size} coefficients follow from the labels, the rest from the prior alone"
    if rank == size:
        finding = f"all {size} coefficients follow from the labels"
    return Verdict("what the labels determine", "agrees" if rank == size else "not resolved", finding, rule, found.name)


def _check_tables(kinds: Sequence[tuple[str, Sequence[Check]]]) -> list[Table]:
    """What was found at each temperature, a row for each relation; and what the relations say."""
    kelvins = sorted({check.kelvin for _, checks in kinds for check in checks})
    rows, words = [], []
    for name, checks in kinds:
        cells = {
            check.kelvin: f"{with_error(check.value, check.error)} {MARKS[_single(check).outcome]}" for check in checks
        }
        exact = "T / K" if checks[0].unit == "K" else number(checks[0].expected)
        rows.append((name, exact, *(cells.get(kelvin, "–") for kelvin in kelvins)))
        words.append((name, _MEANING[name]))
    header = ("Relation", "Exact", *(f"{kelvin:g} K" for kelvin in kelvins))
    marks = ", ".join(f"{mark} {outcome}" for outcome, mark in MARKS.items())
    title = f"Relations of one free energy, on frames of the atoms. One standard error; {marks}."
    found = Table(title, header, tuple(rows), (False, True, *(True for _ in kelvins)))
    return [found, Table("What the relations say.", ("Relation", "Meaning"), tuple(words))]
