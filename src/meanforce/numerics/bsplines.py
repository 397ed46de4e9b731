"""B-splines of any order on equal intervals, with values and derivatives in closed form.

On every interval the degree + 1 basis functions that do not vanish are polynomials in t, the place within
the interval from 0 to 1; their coefficients are computed once, exactly, when the basis is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Local(NamedTuple):
    """The basis functions `first` to `first + degree`: all that do not vanish at a point."""

    first: Int[Array, "..."]
    value: Float[Array, "... order"]
    slope: Float[Array, "... order"]
    curvature: Float[Array, "... order"]


class BSpline(eqx.Module):
    """`intervals + degree` basis functions between low and high.

    Clamped: the first and last coefficient are the values at the ends. Otherwise the knots go on at equal
    distance beyond the ends, and leaving out the last `degree` functions makes the value and the first
    degree - 1 derivatives vanish at `high`. Beyond the ends the point is taken to be the nearer end.
    """

    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    intervals: int = eqx.field(static=True)
    degree: int = eqx.field(static=True, default=3)
    clamped: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        if not (self.high > self.low and self.intervals >= 1 and self.degree >= 0):
            raise ValueError(
                f"a spline of degree {self.degree} on {self.intervals} intervals from {self.low} to {self.high} "
                "does not exist: high must exceed low, with at least one interval"
            )

    @property
    def size(self) -> int:
        return self.intervals + self.degree

    @property
    def spacing(self) -> float:
        return (self.high - self.low) / self.intervals

    @property
    def knots(self) -> Float[np.ndarray, "knots"]:
        return self.low + self.spacing * self._steps()

    @property
    def greville(self) -> Float[np.ndarray, "size"]:
        """The abscissa of each coefficient: with them as coefficients the spline is the identity."""
        if self.degree == 0:
            return (self.knots[1:] + self.knots[:-1]) / 2
        return np.convolve(self.knots[1:-1], np.full(self.degree, 1 / self.degree), "valid")

    def local(self, x: Float[Array | np.ndarray, "..."] | float) -> Local:
        """The functions that do not vanish at x, with two derivatives."""
        first, t = self._place(x)
        matrices = self._matrices()
        matrix = jnp.asarray(matrices[0] if self._uniform else matrices, t.dtype)
        if not self._uniform:
            matrix = matrix[first]
        orders = [jnp.einsum("...bp,...p->...b", matrix, _powers(t, self.degree, k)) for k in range(3)]
        return Local(first, orders[0], orders[1] / self.spacing, orders[2] / self.spacing**2)

    def design(self, x: Float[Array | np.ndarray, "n"], derivative: int = 0) -> Float[Array, "n size"]:
        """All basis functions, or their first or second derivative, at n points."""
        local = self.local(x)
        rows = jnp.arange(len(x))[:, None]
        columns = local.first[:, None] + jnp.arange(self.degree + 1)[None]
        return jnp.zeros((len(x), self.size), local.value.dtype).at[rows, columns].set(local[1 + derivative])

    def pieces(self, coefficients: Float[Array, "size"]) -> Float[Array, "intervals order"]:
        """The polynomial in t on every interval, lowest power first: for many points, the fast form."""
        window = np.arange(self.intervals)[:, None] + np.arange(self.degree + 1)
        return jnp.einsum("ib,ibp->ip", coefficients[window], jnp.asarray(self._matrices(), coefficients.dtype))

    def evaluate(
        self, pieces: Float[Array, "intervals order"], x: Float[Array | np.ndarray, "..."] | float
    ) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Value and slope at x of a spline given by its `pieces`."""
        cell, t = self._place(x)
        coefficients = [pieces[:, p].at[cell].get(mode="promise_in_bounds") for p in range(self.degree + 1)]
        value, slope = coefficients[-1], jnp.zeros_like(t)
        for c in reversed(coefficients[:-1]):
            value, slope = value * t + c, slope * t + value
        return value, slope / self.spacing

    def __call__(
        self, coefficients: Float[Array, "size"], x: Float[Array | np.ndarray, "..."] | float
    ) -> Float[Array, "..."]:
        return self.evaluate(self.pieces(coefficients), x)[0]

    def fit(self, function: Callable, points: int = 8) -> Float[np.ndarray, "size"]:
        """Coefficients of the best approximation to a function, by least squares at Gauss points."""
        x, weight = self.gauss(points)
        root = np.sqrt(weight)
        design = np.asarray(self.design(jnp.asarray(x)))
        return np.linalg.lstsq(design * root[:, None], np.asarray(function(x)) * root, rcond=None)[0]

    def roughness(self, derivative: int = 2) -> Float[np.ndarray, "size size"]:
        """The matrix of the integral of the squared derivative: a penalty for least squares."""
        x, weight = self.gauss(self.degree + 1)
        design = np.asarray(self.design(jnp.asarray(x), derivative))
        return design.T @ (weight[:, None] * design)

    def gauss(self, points: int) -> tuple[np.ndarray, np.ndarray]:
        """Gauss-Legendre points and weights on every interval."""
        node, weight = np.polynomial.legendre.leggauss(points)
        middle = self.low + self.spacing * (np.arange(self.intervals)[:, None] + 0.5)
        x = middle + node * self.spacing / 2
        return x.reshape(-1), np.tile(weight * self.spacing / 2, self.intervals)

    @property
    def _uniform(self) -> bool:
        return not self.clamped

    def _place(self, x):
        x = jnp.asarray(x)
        scaled = (jnp.clip(x, self.low, self.high) - self.low) / self.spacing
        cell = jnp.clip(jnp.floor(scaled), 0, self.intervals - 1)
        return cell.astype(jnp.int32), scaled - cell

    def _steps(self) -> np.ndarray:
        """Knots in units of the spacing, from low."""
        steps = np.arange(-self.degree, self.intervals + self.degree + 1, dtype=float)
        return np.clip(steps, 0, self.intervals) if self.clamped else steps

    def _matrices(self) -> np.ndarray:
        """Coefficient of t^p in basis function first + b on every interval (Cox and de Boor)."""
        degree, u = self.degree, self._steps()
        out = np.zeros((self.intervals, degree + 1, degree + 1))
        for cell in range(self.intervals):
            x = np.zeros(degree + 1)
            x[0], x[1:2] = cell, 1.0
            basis = {cell + degree: np.eye(1, degree + 1)[0]}
            for k in range(1, degree + 1):
                basis = {i: _raise(basis, i, k, u, x) for i in range(cell + degree - k, cell + degree + 1)}
            for b in range(degree + 1):
                out[cell, b] = basis[cell + b]
        return out


def _raise(basis: dict[int, np.ndarray], i: int, k: int, u: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Basis function i of degree k from those of degree k - 1, as a polynomial."""
    one = np.eye(1, len(x))[0]
    out = np.zeros(len(x))
    for j, factor in ((i, x - u[i] * one), (i + 1, u[i + k + 1] * one - x)):
        width = u[j + k] - u[j]
        if j in basis and width > 0:
            out += np.convolve(basis[j], factor)[: len(x)] / width
    return out


def _powers(t, degree: int, derivative: int):
    """The derivative of (1, t, ..., t^degree)."""
    terms = []
    for p in range(degree + 1):
        factor = np.prod(np.arange(p, p - derivative, -1.0)) if derivative else 1.0
        terms.append(jnp.zeros_like(t) if p < derivative else factor * t ** (p - derivative))
    return jnp.stack(terms, -1)
