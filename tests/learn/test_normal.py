"""Constants beside the coefficients: what a part left out may know of them; labels fewer than coefficients."""

import numpy as np
import pytest

from meanforce.learn.normal import Normal
from meanforce.learn.regression import _inverse_root, regress
from meanforce.learn.validation import held_out
from meanforce.objectives.base import Equations
from meanforce.potentials.base import Penalty


def equations(x, y):
    return Equations(x.T @ x, x.T @ y, np.asarray(y @ y), np.asarray(float(len(y))))


def blocked(x, y, z, blocks):
    """Equations with the columns of the unknowns last."""
    both = np.concatenate([x, z], axis=1)
    parts = [equations(both[i], y[i]) for i in np.array_split(np.arange(len(y)), blocks)]
    return Equations(*map(np.stack, zip(*parts, strict=True)))


def square(e, c):
    return c @ e.gram @ c - 2 * e.moment @ c + e.square


@pytest.fixture
def labelled():
    random = np.random.default_rng(0)
    x, state = random.standard_normal((60, 4)), np.repeat([0, 1], 30)
    y = x @ random.standard_normal(4) + np.array([7.0, -3.0])[state] + 0.3 * random.standard_normal(60)
    return x, y, np.eye(2)[state]


def test_a_part_left_out_does_not_tell_the_constants(labelled):
    x, y, z = labelled
    normal = Normal.of(blocked(x, y, z, 6), 4, 1.0)
    coefficients = np.random.default_rng(1).standard_normal(4)
    for block, out in enumerate(np.array_split(np.arange(60), 6)):
        kept = np.setdiff1d(np.arange(60), out)
        constants = np.linalg.lstsq(z[kept], y[kept] - x[kept] @ coefficients)[0]
        rest, held = normal.split(block)
        assert square(held, coefficients) == pytest.approx(
            np.sum((y[out] - x[out] @ coefficients - z[out] @ constants) ** 2), rel=1e-6
        )
        assert square(rest, coefficients) == pytest.approx(
            np.sum((y[kept] - x[kept] @ coefficients - z[kept] @ constants) ** 2), rel=1e-6
        )
        assert (rest.count, held.count) == (pytest.approx(48.0), 10.0)


def test_a_state_of_the_part_alone_has_its_own_constant(labelled):
    x, y, z = labelled
    normal = Normal.of(blocked(x, y, z, 2), 4, 1.0)
    coefficients = np.ones(4)
    left = y[:30] - x[:30] @ coefficients
    assert square(normal.split(0)[1], coefficients) == pytest.approx(np.sum((left - left.mean()) ** 2), rel=1e-6)


def test_without_constants_parts_are_plain(labelled):
    x, y, _ = labelled
    normal = Normal.of(blocked(x, y, np.zeros((60, 0)), 6), 4, 1.0)
    rest, held = normal.split(2)
    assert np.allclose(rest.gram, x[:20].T @ x[:20] + x[30:].T @ x[30:])
    assert np.allclose(held.moment, x[20:30].T @ y[20:30])


def test_fewer_labels_than_coefficients_are_not_taken_for_exact():
    """Twenty labels of pure noise about a constant: forty coefficients could follow them all."""
    random = np.random.default_rng(2)
    x, y = random.standard_normal((20, 40)), 5.0 * random.standard_normal(20)
    normal = Normal.of(blocked(x, y, np.ones((20, 1)), 20), 40, 1.0)
    penalties, names = [Penalty("all", 0, np.eye(40))], [f"c{i}" for i in range(40)]
    found = regress([normal], penalties, names)
    assert found.noise[0] > 0.2 * y.std()
    assert found.effective < 19
    error = np.sqrt(np.nanmean(held_out([normal], penalties, names, found)))
    assert error > 0.8 * y.std(), "labels that follow nothing cannot be foretold"


def test_rows_that_leave_a_direction_open_by_rounding_have_an_inverse_root():
    random = np.random.default_rng(3)
    vectors = np.linalg.qr(random.standard_normal((30, 30)))[0]
    rows = np.sqrt(np.linspace(0.5, 1.5, 30))[:, None] * vectors.T
    root, logarithm = _inverse_root(rows)
    assert np.allclose(root @ root.T @ rows.T @ rows, np.eye(30))
    assert logarithm == pytest.approx(np.linalg.slogdet(rows.T @ rows)[1])
    kept = vectors[:, 1:]
    for broken in (rows[1:], np.concatenate([1e-17 * rows[:1], rows[1:]])):
        root, logarithm = _inverse_root(broken)
        assert np.isfinite(root).all() and np.isfinite(logarithm)
        inverse = np.diag(1 / np.linspace(0.5, 1.5, 30)[1:])
        assert np.allclose(kept.T @ root @ root.T @ kept, inverse, rtol=1e-6, atol=1e-6)
