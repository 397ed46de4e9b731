"""Diffusion over temperature: of the model, of the atoms, and the friction that was matched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from meanforce.observables.base import Curve, Scalar
from meanforce.observables.rounding import with_error
from meanforce.report import verdicts
from meanforce.report.figures import Series, overlay
from meanforce.report.sections import Figure, Table, Verdict


class Motion(NamedTuple):
    """Diffusion coefficients at one temperature (K), with a friction matched to the atoms here or elsewhere."""

    kelvin: float
    model: Scalar
    atoms: Scalar
    matched: bool  # here
    friction: Scalar
    window: tuple[float, float]  # ps, where the slope of the mean-square displacement was read


def figures(motion: Sequence[Motion], name: str) -> list[Figure]:
    """Diffusion over temperature, where there is more than one."""
    if len(motion) < 2:
        return []
    kelvin, matched = np.array([m.kelvin for m in motion]), [m.kelvin for m in motion if m.matched]
    series = []
    for label, role, values in (("atoms", "reference", [m.atoms for m in motion]),
                                (name, "model", [m.model for m in motion])):  # fmt: skip
        value, error = (np.array([getattr(v, part) for v in values]) for part in ("value", "error"))
        curve = Curve("diffusion", kelvin, value, error, "temperature / K", f"D / ({_spelled(values[0]).unit})")
        series.append(Series(curve, label, role))
    caption = (
        "Langevin friction is matched to the atoms where a triangle is; elsewhere diffusion is a prediction, with "
        "the error of the friction in that of the model. Bands: two standard errors."
    )
    return [overlay(series, "Diffusion over temperature", caption, learned=matched, mark="friction matched")]


def verdicts_where_predicted(motion: Sequence[Motion], name: str) -> list[tuple[float, Verdict]]:
    """One at each temperature (K); where friction was matched there is nothing to judge."""
    judge = lambda m: verdicts.compare_scalars(verdicts.DIFFUSION, _spelled(m.model), _spelled(m.atoms), name)
    return [(m.kelvin, judge(m)) for m in motion if not m.matched]


def table(motion: Sequence[Motion]) -> Table:
    """The coefficients with the friction, and where they were read."""
    said = lambda s: with_error(s.value, s.error)
    rows = tuple(
        (f"{m.kelvin:g}", "yes" if m.matched else "no", said(m.friction), said(m.model), said(m.atoms),
         f"{m.window[0]:.3g} – {m.window[1]:.3g}")
        for m in motion
    )  # fmt: skip
    unit = _spelled(motion[0].model).unit
    header = ("T / K", "Matched", "Friction / (1/ps)", f"D, model / ({unit})", "D, atoms", "Time lags / ps")
    title = (
        "Diffusion of beads: a sixth of the slope of the mean-square displacement over these time lags. With several "
        "matches the logarithm of the friction is a line in 1/T between them. One standard error."
    )
    return Table(title, header, rows, (True, False, *(True for _ in header[2:])))


def _spelled(value: Scalar) -> Scalar:
    """With the power of ten of its unit as people write it."""
    return value._replace(unit=value.unit.replace("1e-9 ", "10⁻⁹\u00a0"))
