"""Numbers as a chemist writes them: the error to two digits, the value to the same place."""

from __future__ import annotations

import math


def with_error(value: float, error: float) -> str:
    """`with_error(3.0612, 0.0134)` is '3.061 ± 0.013'; a missing error is left out."""
    if not math.isfinite(value):
        return str(value)
    if not math.isfinite(error) or error <= 0:
        return number(value)
    power = math.floor(math.log10(error))
    digits = 1 - power
    scale = math.floor(math.log10(max(abs(value), error)))
    if scale >= 5 or scale < -3:
        decimals = max(0, scale - power + 1)
        return f"({value / 10**scale:.{decimals}f} ± {error / 10**scale:.{decimals}f})e{scale:d}"
    return f"{value:.{max(0, digits)}f} ± {error:.{max(0, digits)}f}"


def number(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, without a needless exponent."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.{digits}g}"
