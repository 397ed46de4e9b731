"""B-splines: closed forms, derivatives, order of convergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline as Scipy

import meanforce.numerics.precision  # noqa: F401
from meanforce.numerics.bsplines import BSpline

CASES = [BSpline(0.2, 1.1, 7, degree, clamped) for degree in (1, 2, 3, 5) for clamped in (False, True)]


@pytest.mark.parametrize("spline", CASES, ids=lambda s: f"{s.degree}-{'clamped' if s.clamped else 'uniform'}")
def test_values_and_derivatives_are_those_of_scipy(spline):
    x = np.linspace(spline.low, spline.high - 1e-9, 83)
    c = np.random.default_rng(0).normal(size=spline.size)
    other = Scipy(spline.knots, c, spline.degree)
    for derivative in range(min(3, spline.degree + 1)):
        expected = other(x, nu=derivative)
        close = {"rtol": 1e-10, "atol": 1e-10 * np.abs(expected).max()}
        np.testing.assert_allclose(spline.design(x, derivative) @ c, expected, **close)
    value, slope = spline.evaluate(spline.pieces(jnp.asarray(c)), x)
    np.testing.assert_allclose(value, other(x), atol=1e-11)
    np.testing.assert_allclose(slope, other(x, nu=1), atol=1e-9)


@pytest.mark.parametrize("spline", CASES, ids=str)
def test_functions_sum_to_one_and_greville_gives_the_identity(spline):
    x = np.linspace(spline.low, spline.high, 41)
    np.testing.assert_allclose(spline.design(x).sum(1), 1, atol=1e-13)
    np.testing.assert_allclose(spline.design(x) @ spline.greville, x, atol=1e-13)


def test_cubic_weights_in_closed_form():
    local = BSpline(0.0, 10.0, 10).local(jnp.array(4.25))
    t = 0.25
    expected = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    np.testing.assert_allclose(local.value, np.array(expected) / 6, rtol=1e-14)
    assert int(local.first) == 4


def test_derivative_matches_differentiation_and_precision_is_kept():
    spline = BSpline(0.0, 1.0, 5)
    pieces = spline.pieces(jnp.arange(8.0) ** 2)
    x = jnp.linspace(0.01, 0.99, 17)
    slope = jax.vmap(jax.grad(lambda x: spline.evaluate(pieces, x)[0]))(x)
    np.testing.assert_allclose(jax.jit(spline.evaluate)(pieces, x)[1], slope, rtol=1e-12)
    assert spline.local(x.astype(jnp.float32)).value.dtype == jnp.float32


def test_without_its_last_functions_a_spline_ends_smoothly():
    spline = BSpline(0.3, 0.9, 12)
    c = np.random.default_rng(1).normal(size=spline.size)
    c[-3:] = 0
    end = np.array([0.9, 5.0, 1e4])
    for derivative in range(3):
        np.testing.assert_allclose(spline.design(end, derivative) @ c, 0, atol=1e-9)
    assert (BSpline(0.3, 0.9, 12, clamped=True).design(np.array([0.3]))[0, :2] == np.array([1.0, 0.0])).all()


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("clamped", [False, True])
def test_error_falls_with_the_order_of_the_spline(degree, clamped):
    x = np.linspace(0, 2, 777)
    function = lambda x: np.sin(3 * x) + np.exp(-x)
    errors, slopes = [], []
    for n in (16, 32):
        spline = BSpline(0.0, 2.0, n, degree, clamped)
        c = spline.fit(function)
        errors.append(np.abs(spline.design(x) @ c - function(x)).max())
        slopes.append(np.abs(spline.design(x, 1) @ c - (3 * np.cos(3 * x) - np.exp(-x))).max())
    assert abs(np.log2(errors[0] / errors[1]) - (degree + 1)) < 0.35
    assert abs(np.log2(slopes[0] / slopes[1]) - degree) < 0.35


def test_roughness_is_the_integral_of_the_squared_derivative():
    spline = BSpline(0.0, 2.0, 9)
    c = spline.fit(lambda x: x**3)
    assert c @ spline.roughness() @ c == pytest.approx(36 * 2**3 / 3)
    assert c @ spline.roughness(1) @ c == pytest.approx(9 * 2**5 / 5)


def test_impossible_splines_are_refused():
    with pytest.raises(ValueError, match="high must exceed low"):
        BSpline(1.0, 0.5, 3)
