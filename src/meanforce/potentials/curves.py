"""Functions of one variable in cubic B-splines on uniform knots, linear in their coefficients.

A spline is evaluated from tables of its polynomials, which are made from the coefficients once per compiled
call: one gather per polynomial coefficient, and none for those that a derivative does not need. Design rows
hold the four B-splines that do not vanish, each put in its column.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.numerics.edges import take

#: What holds at the ends. `cutoff`: zero with two derivatives at the high end, linear below the low end;
#: `free`: linear beyond both; `even`: mirrored at both ends, as functions of an angle are; `periodic`.
Ends = Literal["cutoff", "free", "even", "periodic"]


class Curve(eqx.Module):
    """Knots of a cubic B-spline from `low` to `high`: the coefficients are kept apart."""

    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    intervals: int = eqx.field(static=True)
    ends: Ends = eqx.field(static=True)

    def __check_init__(self):
        least = {"cutoff": 1, "free": 1, "even": 2, "periodic": 4}
        if self.ends not in least:
            raise ValueError(f"unknown ends {self.ends!r} of a spline; use one of {', '.join(least)}")
        if not self.high > self.low or self.intervals < least[self.ends]:
            raise ValueError(
                f"a spline needs low < high and at least {least[self.ends]} intervals, "
                f"not {self.low} to {self.high} in {self.intervals}"
            )

    @property
    def size(self) -> int:
        """How many coefficients it has."""
        return self._fold().shape[1]

    @property
    def spacing(self) -> float:
        return (self.high - self.low) / self.intervals

    @property
    def middles(self) -> np.ndarray:
        """Where the basis function of each coefficient is largest."""
        first = 1 if self.ends == "even" else 0
        return self.low + self.spacing * (np.arange(self.size) + first - 1)

    def tables(self, coefficients: Float[Array, "kinds size"]) -> Float[Array, "4 entries"]:
        """Polynomials of every interval, one further below and above, for all kinds in a row."""
        c = coefficients @ jnp.asarray(self._fold().T, coefficients.dtype)
        a, b, d, e = c[:, :-3], c[:, 1:-2], c[:, 2:-1], c[:, 3:]
        inside = jnp.stack([(a + 4 * b + d) / 6, (d - a) / 2, (a - 2 * b + d) / 2, (e - a + 3 * (b - d)) / 6])
        flat = jnp.zeros_like(inside[:2, :, 0])
        below = jnp.concatenate([inside[:2, :, 0], flat])
        last = inside[:, :, -1]
        above = jnp.concatenate([jnp.stack([last.sum(0), last[1] + 2 * last[2] + 3 * last[3]]), flat])
        if self.ends == "cutoff":
            above = jnp.zeros_like(above)  # exactly, whatever the rounding: unused neighbours are far above
        return jnp.concatenate([below[..., None], inside, above[..., None]], -1).reshape(4, -1)

    def evaluate(self, tables: Float[Array, "4 entries"], kind: Int[Array, "..."] | int, x: Float[Array, "..."]):
        """The value at each x of the spline of its kind."""
        t = self._knots(x)
        interval = jnp.clip(jnp.floor(t), -1, self.intervals)
        u = t - jnp.maximum(interval, 0)
        a, b, c, d = (take(row, self._entry(interval, kind)) for row in tables)
        return a + u * (b + u * (c + u * d))

    def slope(self, tables: Float[Array, "4 entries"], kind: Int[Array, "..."] | int, x: Float[Array, "..."]):
        """The derivative at each x of the spline of its kind."""
        t = self._knots(x)
        interval = jnp.clip(jnp.floor(t), -1, self.intervals)
        u = t - jnp.maximum(interval, 0)
        b, c, d = (take(row, self._entry(interval, kind)) for row in tables[1:])
        return (b + u * (2 * c + u * 3 * d)) / self.spacing

    def rows(self, x: Float[Array, "..."]) -> tuple[Float[Array, "... size"], Float[Array, "... size"]]:
        """Every basis function and its derivative at x."""
        t = self._knots(x)
        inside = jnp.clip(t, 0, self.intervals)
        first = jnp.clip(jnp.floor(inside), 0, self.intervals - 1)
        u = inside - first
        slopes = [-((1 - u) ** 2) / 2, u * (3 * u - 4) / 2, (1 + u * (2 - 3 * u)) / 2, u * u / 2]
        values = [(1 - u) ** 3 / 6, (4 + u * u * (3 * u - 6)) / 6, (1 + 3 * u * (1 + u * (1 - u))) / 6, u**3 / 6]
        values = [value + slope * (t - inside) for value, slope in zip(values, slopes, strict=True)]
        used = self.intervals + (0 if self.ends == "cutoff" else 3)
        place = jnp.arange(used).reshape((1,) * x.ndim + (-1,)) - first.astype(jnp.int32)[..., None]
        value, slope = _put(values, place), _put(slopes, place)
        if self.ends in ("even", "periodic"):
            fold = jnp.asarray(self._fold(), x.dtype)
            value, slope = value @ fold, slope @ fold
        return value, slope / self.spacing

    def roughness(self) -> Float[np.ndarray, "size size"]:
        """Sum of squared second differences: where data are missing, the smoothest continuation is linear.

        The trace of a plain ridge, a millionth of it, decides what curvature leaves open (a constant).
        """
        fold = self._fold()
        second = np.diff(fold, 2, axis=0)
        if self.ends == "periodic":
            second = second[: self.intervals]
        return second.T @ second + 1e-6 * np.eye(fold.shape[1])

    def _entry(self, interval, kind):
        return interval.astype(jnp.int32) + (1 + kind * (self.intervals + 2))

    def _knots(self, x):
        t = (x - self.low) / self.spacing
        return t - self.intervals * jnp.floor(t / self.intervals) if self.ends == "periodic" else t

    def _fold(self) -> Float[np.ndarray, "all size"]:
        """Turns the free coefficients into those of all B-splines that reach into the range."""
        n = self.intervals
        full = np.eye(n + 3)
        if self.ends == "cutoff":
            return full[:, :n]
        if self.ends == "periodic":
            return np.eye(n)[np.arange(n + 3) % n]
        if self.ends == "even":
            fold = full[:, 1:-1].copy()
            fold[0, 1] = fold[-1, -2] = 1.0
            return fold
        return full


def _put(parts: list[Float[Array, "..."]], place: Int[Array, "... size"]) -> Float[Array, "... size"]:
    """Each part in the column where `place` is its number."""
    first, *others = (jnp.where(place == number, part[..., None], 0) for number, part in enumerate(parts))
    return sum(others, first)


def core(coefficients: Float[np.ndarray, "size"], determined: np.ndarray, step: float) -> np.ndarray:
    """Raises the coefficients below the first determined one, so that each is `step` above the next."""
    raised = np.array(coefficients)
    known = np.flatnonzero(determined)
    for k in range(known[0] - 1 if len(known) else len(raised) - 2, -1, -1):
        raised[k] = max(raised[k], raised[k + 1] + step)
    return raised
