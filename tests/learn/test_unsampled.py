"""Functions that no frame touches: taken out and put back, the fit is the fit of all coefficients."""

import numpy as np
import pytest

from meanforce.learn.normal import Normal
from meanforce.learn.regression import regress
from meanforce.learn.unsampled import Sampled
from meanforce.learn.validation import cross_validated, held_out
from meanforce.objectives.base import Equations
from meanforce.potentials.base import Penalty

#: Of three terms the first is sampled at both ends, the second in the middle, the third nowhere.
SAMPLED = np.r_[0:4, 8:12, 15:21]
NAMES = [f"c{k}" for k in range(30)]


def roughness(size):
    second = np.diff(np.eye(size), 2, axis=0)
    return second.T @ second + 1e-6 * np.eye(size)


PENALTIES = [Penalty("one", 0, roughness(12)), Penalty("two", 12, roughness(12)), Penalty("three", 24, roughness(6))]


def normal_of(x, y, blocks=16):
    parts = [
        Equations(a.T @ a, a.T @ b, np.asarray(b @ b), np.asarray(float(len(b))))
        for a, b in zip(np.array_split(x, blocks), np.array_split(y, blocks), strict=True)
    ]
    return Normal(Equations(*map(np.stack, zip(*parts, strict=True))), 1.0)


@pytest.fixture(scope="module")
def both():
    """The equations of all coefficients, and those of the sampled ones alone."""
    random = np.random.default_rng(0)
    x = np.zeros((400, 30))
    x[:, SAMPLED] = random.standard_normal((400, len(SAMPLED)))
    x[:, 10] = 2 * x[:, 9]  # sampled, and yet only c9 + 2 c10 is seen
    y = x @ np.cumsum(random.standard_normal(30)) + 0.5 * random.standard_normal(400)
    return normal_of(x, y), normal_of(x[:, SAMPLED], y)


@pytest.mark.parametrize("strengths", [None, 1e-3, 10.0])
def test_it_is_the_fit_of_all_coefficients(both, strengths):
    everything, seen = both
    sampled = Sampled.of(SAMPLED, PENALTIES, NAMES)
    energy = np.diag(np.isin(np.arange(30), SAMPLED).astype(float))
    known = regress([everything], PENALTIES, NAMES, energy=energy, strengths=strengths)
    inner = regress(
        [seen], sampled.penalties, sampled.names, energy=energy[np.ix_(SAMPLED, SAMPLED)], strengths=strengths
    )
    found = sampled.whole(inner)
    assert np.allclose(found.coefficients, known.coefficients, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.factor @ found.factor.T, known.factor @ known.factor.T, rtol=1e-6, atol=1e-7)
    for name in ("strengths", "noise", "inefficiency", "effective"):
        np.testing.assert_allclose(getattr(found, name), getattr(known, name), rtol=1e-8, err_msg=name)
    assert np.allclose(found.determined, known.determined, atol=1e-8)
    assert found.identifiability[:4] == known.identifiability[:4]
    assert len(found.identifiability.combinations) == len(known.identifiability.combinations) == 1
    rises = np.diff([step.log_evidence for step in known.steps])
    assert np.allclose(np.diff([step.log_evidence for step in found.steps]), rises, atol=1e-6)
    np.testing.assert_allclose(
        held_out([seen], sampled.penalties, sampled.names, inner), held_out([everything], PENALTIES, NAMES, known)
    )


def test_cross_validation_is_that_of_all_coefficients(both):
    everything, seen = both
    sampled = Sampled.of(SAMPLED, PENALTIES, NAMES)
    known = cross_validated([everything], PENALTIES, NAMES)
    found = sampled.whole(cross_validated([seen], sampled.penalties, sampled.names))
    assert np.allclose(found.coefficients, known.coefficients, rtol=1e-8, atol=1e-8)


def test_what_its_penalty_leaves_open_stays_zero():
    """A penalty of differences alone says nothing of a constant, and a coefficient without a penalty of itself."""
    first = np.diff(np.eye(3), axis=0)
    penalties, names = [Penalty("differences", 1, first.T @ first)], ["seen", "a", "b", "c", "without"]
    x = np.random.default_rng(1).standard_normal((50, 1))
    sampled = Sampled.of(np.array([0]), penalties, names)
    found = sampled.whole(regress([normal_of(x, 3 * x[:, 0])], sampled.penalties, sampled.names))
    assert np.allclose(found.coefficients, [3, 0, 0, 0, 0])
    assert np.isfinite(found.factor).all() and not found.factor[4].any()
    assert np.allclose(found.factor[1:4].sum(axis=0), 0)
    assert found.identifiability.unsampled == ("a", "b", "c", "without")
