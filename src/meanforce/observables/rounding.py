"""Numbers as a chemist writes them: the error to two digits, the value to the same place."""

from __future__ import annotations

import math

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def with_error(value: float, error: float) -> str:
    """`with_error(3.0612, 0.0134)` is '3.061 ± 0.013'; a missing error, or one of rounding only, is left out."""
    if not math.isfinite(value):
        return str(value)
    if not math.isfinite(error) or error <= 1e-12 * abs(value):
        return number(value)
    power = _power(float(f"{error:.1e}"))  # 0.0999 has the two digits 0.10
    scale = max(_power(value), power) if value else power
    if -4 < scale < 5:
        decimals = max(0, 1 - power)
        return f"{_plain(value, decimals)} ± {error:.{decimals}f}"
    decimals = max(0, scale - power + 1)
    return f"({_plain(value / 10.0**scale, decimals)} ± {error / 10.0**scale:.{decimals}f}) × {_ten(scale)}"


def number(value: float, digits: int = 3) -> str:
    """A number to so many significant digits: '0.0123', '7.5 × 10⁻⁵'."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    rounded = float(f"{value:.{digits - 1}e}")
    scale = _power(rounded)
    if -4 < scale < 5:
        return f"{rounded:.{max(0, digits - 1 - scale)}f}" if scale < digits else f"{rounded:.0f}"
    return f"{rounded / 10.0**scale:.{digits - 1}f} × {_ten(scale)}"


def _power(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _plain(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _ten(power: int) -> str:
    return "10" + str(power).translate(_RAISED)
