"""Cumulants across replicas: unbiased, seen by going through every outcome."""

from itertools import product

import numpy as np
import pytest

from meanforce.numerics import replicas

#: Outcomes (x, y) with their probabilities.
OUTCOMES = [((0.3, -1.0), 0.2), ((1.7, 0.4), 0.5), ((-0.9, 2.2), 0.3)]


def moments():
    x, y, p = (np.array(v) for v in zip(*[(*o, p) for o, p in OUTCOMES], strict=True))
    dx, dy = x - p @ x, y - p @ y
    return {"mean": p @ x, "covariance": p @ (dx * dy), "third": p @ (dx * dy**2)}


def every(count):
    """All draws of `count` replicas of one sample each, with their probabilities."""
    for draw in product(OUTCOMES, repeat=count):
        values = np.array([outcome for outcome, _ in draw])
        yield values[:, 0], values[:, 1], np.prod([p for _, p in draw])


@pytest.mark.parametrize("count", [3, 4])
def test_cumulants_are_unbiased(count):
    total = dict.fromkeys(moments(), 0.0)
    for x, y, p in every(count):
        total["mean"] += p * replicas.mean(x).value
        total["covariance"] += p * replicas.covariance(x, y, x * y).value
        total["third"] += p * replicas.third_cumulant(x, y, x * y, y * y, x * y * y).value
    for name, value in moments().items():
        assert total[name] == pytest.approx(value, rel=1e-12), name


def test_correlated_samples_leave_the_covariance_unbiased():
    """Each replica holds one outcome twice over: its own mean is worth one sample, and nothing changes."""
    total = 0.0
    for x, y, p in every(2):
        doubled = [np.repeat(v[:, None], 2, axis=1) for v in (x, y)]
        means = [v.mean(1) for v in (*doubled, doubled[0] * doubled[1])]
        total += p * replicas.covariance(*means).value
    assert total == pytest.approx(moments()["covariance"], rel=1e-12)


def test_constants_change_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 50))
    y += 0.5 * x

    def third(x, y):
        return replicas.third_cumulant(*(v.mean(1) for v in (x, y, x * y, y * y, x * y * y)))

    np.testing.assert_allclose(third(x + 3, y - 7), third(x, y), rtol=1e-9, atol=1e-9)


def test_errors_are_those_of_repeated_experiments():
    rng = np.random.default_rng(1)
    x, y = rng.exponential(size=(2, 4000, 8, 20))
    y = y + x
    names = (x, y, x * y, y * y, x * y * y)
    x, y, xy, yy, xyy = (np.moveaxis(v.mean(2), 1, 0) for v in names)
    for found in (replicas.mean(x), replicas.covariance(x, y, xy), replicas.third_cumulant(x, y, xy, yy, xyy)):
        assert np.sqrt((found.error**2).mean()) == pytest.approx(found.value.std(), rel=0.1)


def test_too_few_replicas_are_refused():
    x = np.ones(2)
    with pytest.raises(ValueError, match="3 independent replicas"):
        replicas.third_cumulant(x, x, x, x, x)
    with pytest.raises(ValueError, match="2 independent replicas"):
        replicas.covariance(x[:1], x[:1], x[:1])
