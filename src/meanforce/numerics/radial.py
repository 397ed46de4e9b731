"""Radial functions on the unit interval that end at 1 with two derivatives: Bessel functions under an envelope."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev, polynomial
from scipy.optimize import brentq
from scipy.special import spherical_jn

_TERMS = 100  # of the Chebyshev series before it is cut where the rest is rounding


@lru_cache
def bessel_roots(degree: int, count: int) -> Float[np.ndarray, "degrees count"]:
    """The first `count` positive roots of each spherical Bessel function j_l up to `degree`."""
    roots = [np.pi * np.arange(1, count + degree + 1)]
    for l in range(1, degree + 1):  # noqa: E741
        brackets = zip(roots[-1][:-1], roots[-1][1:], strict=True)  # the roots of j_l lie between those of j_(l-1)
        roots.append(np.array([_root(l, *bracket) for bracket in brackets]))
    return np.stack([r[:count] for r in roots])


def _root(degree: int, low: float, high: float) -> float:
    return brentq(lambda z: spherical_jn(degree, z), low, high, xtol=1e-14)


def envelope(x: Float[Array, "..."] | float, power: int) -> Float[Array, "..."]:
    """u(x) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2), and 0 beyond 1 (DimeNet, eq. 8)."""
    return _cut(x) * _horner(_envelope_quotient(power), x)


def sines(x: Float[Array, "..."], frequencies: Float[Array, "radial"], power: int) -> Float[Array, "... radial"]:
    """sqrt(2) u(x) sin(f x)/x for each frequency: with f = n pi, the spherical Bessel functions j_0."""
    scaled = (jnp.sqrt(jnp.asarray(2, x.dtype)) * envelope(x, power) / x)[..., None]
    return scaled * jnp.sin(jnp.minimum(x, 1)[..., None] * frequencies.reshape((1,) * x.ndim + (-1,)))


def spherical_bessel(
    x: Float[Array, "..."], degree: int, radial: int, power: int
) -> tuple[Float[Array, "... radial"], ...]:
    """sqrt(2)/|j_(l+1)(z_ln)| u(x) j_l(z_ln x) for each l up to `degree`: orthonormal without their envelope u."""
    values = _cut(x)[None] * _series(_bessel_series(degree, radial, power), 2 * jnp.minimum(x, 1) - 1)
    return tuple(jnp.moveaxis(values[n : n + radial], 0, -1) for n in range(0, len(values), radial))


def _cut(x):
    """The part of every envelope that makes an end with two derivatives, exactly zero beyond it."""
    return jnp.maximum(1 - x, 0) ** 3


@lru_cache
def _envelope_quotient(power: int) -> np.ndarray:
    """u(x) / (1 - x)^3 as a polynomial."""
    p = power
    u = np.zeros(p + 3)
    u[0], u[p:] = 1, [-(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2]
    return np.asarray(polynomial.polydiv(u, [1, -3, 3, -1])[0])


@lru_cache
def _bessel_series(degree: int, radial: int, power: int) -> Float[np.ndarray, "terms functions"]:
    """Chebyshev series on [0, 1] of all functions without their cut, to the last bit of double precision."""
    x = (np.cos(np.pi * (np.arange(_TERMS) + 0.5) / _TERMS) + 1) / 2
    quotient = polynomial.polyval(x, _envelope_quotient(power))
    values = []
    for l, roots in enumerate(bessel_roots(degree, radial)):  # noqa: E741
        norm = np.sqrt(2) / np.abs(spherical_jn(l + 1, roots))
        values.append(norm * quotient[:, None] * spherical_jn(l, x[:, None] * roots))
    series = chebyshev.chebfit(2 * x - 1, np.concatenate(values, 1), _TERMS - 1)
    kept = 1 + np.flatnonzero(np.abs(series).max(1) > 1e-14 * np.abs(series).max())[-1]
    return series[:kept]


def _series(
    coefficients: Float[np.ndarray, "terms functions"], t: Float[Array, "..."]
) -> Float[Array, "functions ..."]:
    """sum_k c_k T_k(t), for several functions at once; each derivative is a series of its own."""

    @jax.custom_jvp
    def value(t):
        return jnp.tensordot(jnp.asarray(coefficients.T, t.dtype), _chebyshev(t, len(coefficients)), 1)

    @value.defjvp
    def _(primals, tangents):
        return value(*primals), _series(chebyshev.chebder(coefficients), *primals) * tangents[0][None]

    return value(t)


def _chebyshev(t: Float[Array, "..."], count: int) -> Float[Array, "count ..."]:
    """T_0 to T_(count - 1), in few steps: T_(n+m) = 2 T_n T_m - T_(n-m)."""
    values = jnp.stack([jnp.ones_like(t), t])
    while len(values) < count:
        values = jnp.concatenate([values, 2 * values[-1:] * values[1:] - values[-2::-1]])
    return values[:count]


def _horner(coefficients: np.ndarray, x):
    value = jnp.full_like(x, float(coefficients[-1]))
    for c in coefficients[-2::-1]:
        value = value * x + float(c)
    return value
