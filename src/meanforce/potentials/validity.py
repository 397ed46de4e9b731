"""Where a model holds: at the temperatures that it learned from."""

from __future__ import annotations

import sys
import warnings
from typing import Protocol, runtime_checkable

import numpy as np

from meanforce.potentials.base import Potential

#: Temperatures closer than this part of themselves count as the same: 298.15 K and 300 K do.
_NEAR = 0.01


class ExtrapolationWarning(UserWarning):
    """A model is used, or its simulation has gone, beyond what it learned from."""


@runtime_checkable
class Learned(Protocol):
    """A model that knows the range of temperatures (K) of its data, or None."""

    @property
    def potential(self) -> Potential: ...

    @property
    def temperature(self) -> tuple[float, float] | None: ...


def check_temperature(model: object, kelvin: float | np.ndarray) -> None:
    """Warns of temperatures outside of those that the model learned from; one that does not know them is silent."""
    if not isinstance(model, Learned) or model.temperature is None:
        return
    low, high = model.temperature
    values = np.atleast_1d(np.asarray(kelvin, float))
    outside = values[(values < low * (1 - _NEAR)) | (values > high * (1 + _NEAR))]
    if not len(outside):
        return
    used, learned = _span(outside.min(), outside.max()), _span(low, high)
    if model.potential.depends_on_temperature:
        advice = "how its free energy changes with temperature is extrapolated there. Add data at such temperatures"
    else:
        advice = (
            "its free energy does not depend on temperature and stays that of the data. Learn one that does "
            "(mf.LinearThermal), or add data at such temperatures"
        )
    message = f"this model learned at {learned} and is used at {used}: {advice}"
    warnings.warn(message, ExtrapolationWarning, stacklevel=_level_of_caller())


def _span(low: float, high: float) -> str:
    return f"{low:g} K" if low == high else f"{low:g} to {high:g} K"


def _level_of_caller() -> int:
    """How far up the first line outside of this package is: Python shows a warning once for each such line."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "meanforce":
        level, frame = level + 1, frame.f_back
    return level
