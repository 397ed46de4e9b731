"""Radial functions against scipy and closed forms, in value and in derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import spherical_jn

from meanforce.numerics.radial import bessel_roots, envelope, sines, spherical_bessel

INSIDE = np.linspace(1e-6, 1, 400)
P = 6


def published_envelope(x):
    return 1 - (P + 1) * (P + 2) / 2 * x**P + P * (P + 2) * x ** (P + 1) - P * (P + 1) / 2 * x ** (P + 2)


def expected_bessel(degree, radial, x):
    roots = bessel_roots(degree, radial)
    norm = np.sqrt(2) / np.abs([spherical_jn(n + 1, z) for n, z in enumerate(roots)])
    return [c * published_envelope(x)[:, None] * spherical_jn(n, x[:, None] * z) for n, (z, c) in
            enumerate(zip(roots, norm, strict=True))]  # fmt: skip


def test_roots_are_zeros_in_a_row():
    roots = bessel_roots(6, 6)
    np.testing.assert_allclose(roots[0], np.pi * np.arange(1, 7))
    np.testing.assert_allclose(roots[1, :3], [4.493409457909064, 7.725251836937707, 10.904121659428899])
    for degree, row in enumerate(roots):
        np.testing.assert_allclose(spherical_jn(degree, row), 0, atol=1e-14)
        signs = np.sign(spherical_jn(degree, np.linspace(0.1, row[-1] + 1e-3, 5000)))
        assert (np.diff(signs) != 0).sum() == len(row)  # none is left out


def test_bessel_functions_are_those_of_scipy():
    for value, expected in zip(
        spherical_bessel(jnp.asarray(INSIDE), 6, 6, P), expected_bessel(6, 6, INSIDE), strict=True
    ):
        np.testing.assert_allclose(value, expected, atol=2e-12)


@pytest.mark.parametrize("degree", range(4))
def test_bessel_functions_are_orthonormal_without_their_envelope(degree):
    roots = bessel_roots(degree, 3)[degree]
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x = (nodes + 1) / 2
    values = np.sqrt(2) / np.abs(spherical_jn(degree + 1, roots)) * spherical_jn(degree, x[:, None] * roots)
    gram = np.einsum("x,xa,xb->ab", weights / 2 * x * x, values, values)
    np.testing.assert_allclose(gram, np.eye(3), atol=1e-10)


def test_bessel_functions_are_accurate_in_single_precision_down_to_zero():
    x = np.concatenate([np.geomspace(1e-6, 1e-2, 100), INSIDE]).astype(np.float32)
    values = spherical_bessel(jnp.asarray(x), 6, 6, P)
    for value, expected in zip(values, expected_bessel(6, 6, x.astype(float)), strict=True):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, atol=3e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_of_bessel_functions(order):
    whole = lambda x: jnp.concatenate(spherical_bessel(x, 6, 6, P), -1)
    slope = lambda f: lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]
    f = slope(whole) if order == 2 else whole
    x, step = jnp.linspace(0.01, 0.99, 50), 1e-5
    numeric = (f(x + step) - f(x - step)) / (2 * step)
    np.testing.assert_allclose(slope(f)(x), numeric, atol=1e-6 * np.abs(numeric).max())
    backward = jax.vmap(jax.jacrev(f))(x)
    np.testing.assert_allclose(backward, slope(f)(x), atol=1e-9 * np.abs(numeric).max())


def test_envelope_is_the_published_one_and_ends_at_one():
    np.testing.assert_allclose(envelope(jnp.asarray(INSIDE), P), published_envelope(INSIDE), atol=1e-13)
    f = lambda x: envelope(x, P)
    for _ in range(3):
        np.testing.assert_allclose([f(1 - 1e-9), f(1.0), f(1.2), f(2e4)], 0, atol=1e-5)
        f = jax.grad(f)


def test_sines_are_bessel_functions_of_degree_zero():
    x = jnp.asarray(INSIDE)
    np.testing.assert_allclose(sines(x, jnp.pi * jnp.arange(1.0, 7), P), spherical_bessel(x, 0, 6, P)[0], atol=1e-9)


def test_all_is_exactly_zero_far_away():
    far = jnp.asarray([1.0, 1.1, 2e4])
    for values in (*spherical_bessel(far, 6, 6, P), sines(far, jnp.pi * jnp.arange(1.0, 7), P)):
        assert (values == 0).all()
