"""Real spherical harmonics with sum_m y_lm(a) y_lm(b) = P_l(a.b): moments over neighbours give Legendre sums."""

from __future__ import annotations

from math import factorial, sqrt
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import legendre, polynomial


class HarmonicGradients(NamedTuple):
    """Derivatives of harmonics with respect to the direction, within the sphere's tangent plane."""

    x: Float[Array, "rows m columns"]
    y: Float[Array, "rows m columns"]
    z: Float[Array, "rows m columns"]


def degrees(degree: int) -> np.ndarray:
    """The l of each of the (degree + 1)^2 harmonics, in their order."""
    return np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1)


def harmonics(
    x: Float[Array, "rows columns"], y: Float[Array, "rows columns"], z: Float[Array, "rows columns"], degree: int
) -> Float[Array, "rows m columns"]:
    """All harmonics up to `degree` of unit vectors; l ascending, and m = 0, then cosine and sine of each m."""
    cosine, sine = _azimuthal(x, y, degree)
    values = []
    for scale, m, polar, _ in _terms(degree):
        height = _horner(scale * polar, z)
        values.append(height * cosine[m])
        if m:
            values.append(height * sine[m])
    return jnp.stack(values, 1)


def harmonic_gradients(
    x: Float[Array, "rows columns"], y: Float[Array, "rows columns"], z: Float[Array, "rows columns"], degree: int
) -> HarmonicGradients:
    """The gradient of each harmonic on the unit sphere: tangential, so that its radial part is zero."""
    cosine, sine = _azimuthal(x, y, degree)
    rows: list[tuple] = []
    for scale, m, polar, slope in _terms(degree):
        height, rise = _horner(scale * polar, z), _horner(scale * slope, z)
        if m == 0:
            rows.append((jnp.zeros_like(x), jnp.zeros_like(x), rise))
            continue
        c, s = m * height * cosine[m - 1], m * height * sine[m - 1]
        rows.append((c, -s, rise * cosine[m]))
        rows.append((s, c, rise * sine[m]))
    gx, gy, gz = (jnp.stack(part, 1) for part in zip(*rows, strict=True))
    x, y, z = x[:, None], y[:, None], z[:, None]
    radial = gx * x + gy * y + gz * z
    return HarmonicGradients(gx - radial * x, gy - radial * y, gz - radial * z)


def _azimuthal(x, y, degree: int):
    """Real and imaginary parts of (x + iy)^m."""
    real, imaginary = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(degree):
        real, imaginary = (
            [*real, real[-1] * x - imaginary[-1] * y],
            [*imaginary, real[-1] * y + imaginary[-1] * x],
        )
    return real, imaginary


def _terms(degree: int):
    """Scale, m, and the m-th and (m+1)-th derivatives of P_l as polynomials in z."""
    for l in range(degree + 1):  # noqa: E741
        series = legendre.leg2poly([0.0] * l + [1.0])
        for m in range(l + 1):
            scale = sqrt(2 * factorial(l - m) / factorial(l + m)) if m else 1.0
            yield scale, m, polynomial.polyder(series, m), polynomial.polyder(series, m + 1)


def _horner(coefficients: np.ndarray, z):
    value = jnp.full_like(z, float(coefficients[-1]))
    for c in coefficients[-2::-1]:
        value = value * z + float(c)
    return value
