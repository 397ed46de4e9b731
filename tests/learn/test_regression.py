"""The closed form itself, on matrices: exactness, noise, strengths, errors, what is not determined."""

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.linalg import block_diag, cholesky

from meanforce.learn.identify import Identifiability
from meanforce.learn.normal import Normal
from meanforce.learn.regression import STIFFEST, balance, pose, regress, solve
from meanforce.learn.validation import cross_validated, held_out
from meanforce.objectives.base import Equations
from meanforce.potentials.base import Penalty


def normal_of(x, y, blocks=16, weight=1.0):
    parts = [
        Equations(a.T @ a, a.T @ b, np.asarray(b @ b), np.asarray(float(len(b))))
        for a, b in zip(np.array_split(x, blocks), np.array_split(y, blocks), strict=True)
    ]
    return Normal(Equations(*map(np.stack, zip(*parts, strict=True))), weight)


def names(k):
    return [f"c{i}" for i in range(k)]


def curvature(k):
    d = np.diff(np.eye(k), 2, axis=0)
    return Penalty("curve", 0, d.T @ d)


def splines(r, k=24):
    knots = np.concatenate([[0] * 3, np.linspace(0, 1, k - 2), [1] * 3])
    return BSpline.design_matrix(r, knots, 3).toarray()


def truth(r):
    return np.sin(5 * r) + 0.5 * r**2


def curve_data(n, noise, seed, k=24):
    random = np.random.default_rng(seed)
    r = random.uniform(0, 1, n)
    return splines(r, k), truth(r) + noise * random.standard_normal(n)


def test_noiseless_labels_give_the_coefficients_to_rounding():
    x, _ = curve_data(2000, 0.0, 0)
    c = np.random.default_rng(1).standard_normal(24)
    found = regress([normal_of(x, x @ c)], [curvature(24)], names(24))
    assert np.abs(found.coefficients - c).max() < 1e-10
    assert found.identifiability.rank == 24
    assert found.converged


def test_columns_of_very_different_size_are_no_harder():
    random = np.random.default_rng(2)
    x = random.standard_normal((400, 6)) * 10.0 ** np.array([-6, -3, 0, 2, 4, 7])
    c = random.standard_normal(6) / 10.0 ** np.array([-6, -3, 0, 2, 4, 7])
    penalties = [Penalty(f"p{i}", i, np.eye(1)) for i in range(6)]
    found = regress([normal_of(x, x @ c)], penalties, names(6))
    assert np.abs(found.coefficients / c - 1).max() < 1e-10


def test_noise_is_estimated_within_its_error():
    x, y = curve_data(4000, 0.3, 3)
    found = regress([normal_of(x, y)], [curvature(24)], names(24))
    assert abs(found.noise[0] / 0.3 - 1) < 3 / np.sqrt(2 * 4000)


def test_evidence_comes_near_the_best_strength():
    """Averaged over data sets, the error under evidence is at most a quarter above that of the best fixed strength."""
    grid = np.logspace(-8, 2, 21)
    at = np.linspace(0.02, 0.98, 200)
    by_evidence, by_grid = [], []
    for seed in range(12):
        x, y = curve_data(300, 0.5, seed)
        normal = [normal_of(x, y)]
        error = lambda fit: np.mean((splines(at) @ fit.coefficients - truth(at)) ** 2)
        by_evidence.append(error(regress(normal, [curvature(24)], names(24))))
        by_grid.append([error(regress(normal, [curvature(24)], names(24), strengths=s)) for s in grid])
    oracle = np.mean(by_grid, axis=0).min()
    assert np.mean(by_evidence) < 1.25 * oracle
    assert np.mean(by_grid, axis=0)[0] > 1.5 * oracle  # else the strength would not matter


def test_cross_validation_comes_near_evidence():
    x, y = curve_data(600, 0.5, 5)
    normal = [normal_of(x, y)]
    at = np.linspace(0.02, 0.98, 200)
    error = lambda fit: np.sqrt(np.mean((splines(at) @ fit.coefficients - truth(at)) ** 2))
    by_blocks = error(cross_validated(normal, [curvature(24)], names(24)))
    assert by_blocks < 2 * error(regress(normal, [curvature(24)], names(24)))


def test_posterior_errors_are_calibrated():
    """The truth lies within k standard errors as often as a normal distribution says."""
    at = np.linspace(0.05, 0.95, 19)
    z = []
    for seed in range(60):
        x, y = curve_data(500, 0.4, 100 + seed)
        found = regress([normal_of(x, y)], [curvature(24)], names(24))
        rows = splines(at)
        z.append((rows @ found.coefficients - truth(at)) / np.linalg.norm(rows @ found.factor, axis=1))
    z = np.array(z)
    assert 0.85 < np.sqrt(np.mean(z**2)) < 1.15
    assert abs(np.mean(np.abs(z) < 1) - 0.683) < 0.07
    assert abs(np.mean(np.abs(z) < 2) - 0.954) < 0.04


def test_correlated_labels_count_less():
    """Each label repeated eight times within its block: the errors stay those of the labels that are really new."""
    errors, z = [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        x = random.standard_normal((320, 4))
        y = x @ np.ones(4) + random.standard_normal(320)
        penalties = [Penalty("c", 0, np.eye(4))]
        found = regress([normal_of(np.repeat(x, 8, 0), np.repeat(y, 8))], penalties, names(4))
        errors.append(found.inefficiency[0])
        z.append((found.coefficients - 1) / np.linalg.norm(found.factor, axis=1))
    assert abs(np.mean(errors) / 8 - 1) < 0.15
    assert abs(np.sqrt(np.mean(np.square(z))) - 1) < 0.2


def test_two_kinds_of_labels_are_weighed_by_their_noise():
    """Labels in other units and of other noise: the answer is that of generalised least squares."""
    random = np.random.default_rng(7)
    c = random.standard_normal(5)
    x1, x2 = random.standard_normal((3000, 5)), 50 * random.standard_normal((200, 5))
    y1, y2 = x1 @ c + 0.5 * random.standard_normal(3000), x2 @ c + 400 * random.standard_normal(200)
    found = regress([normal_of(x1, y1), normal_of(x2, y2)], [Penalty("c", 0, np.eye(5))], names(5))
    best = np.linalg.solve(x1.T @ x1 / 0.25 + x2.T @ x2 / 400**2, x1.T @ y1 / 0.25 + x2.T @ y2 / 400**2)
    # strengths, noises and inefficiencies are estimated: a fraction of a standard error is left
    assert np.all(np.abs(found.coefficients - best) < 0.5 * np.linalg.norm(found.factor, axis=1))
    assert np.allclose(found.noise, [0.5, 400], rtol=0.15)


def test_what_the_data_do_not_determine_is_named():
    random = np.random.default_rng(8)
    x = random.standard_normal((500, 6))
    x[:, 2] = 0.0  # never sampled
    x[:, 4] = 2 * x[:, 3]  # only c3 + 2 c4 is seen
    y = x[:, 0] + x[:, 3]
    found = regress([normal_of(x, y)], [Penalty("c", 0, np.eye(6))], names(6))
    report = found.identifiability
    assert (report.rank, report.size, report.gauge) == (4, 6, 0)
    assert report.unsampled == ("c2",)
    (members,) = report.combinations
    assert {name: round(weight, 6) for name, weight in members} == {"c3": 1.0, "c4": -0.5}
    assert "c2" in str(report)
    assert found.coefficients[2] == pytest.approx(0, abs=1e-10)
    assert np.allclose(found.coefficients[3:5], [0.2, 0.4], atol=1e-8)  # the smallest of all that fit


def test_a_constant_nobody_sees_is_gauge():
    """Derivatives of splines and a curvature penalty: the constant is seen by neither."""
    r = np.random.default_rng(9).uniform(0, 1, 500)
    knots = np.concatenate([[0] * 3, np.linspace(0, 1, 10), [1] * 3])
    slopes = np.stack([BSpline(knots, np.eye(12)[i], 3).derivative()(r) for i in range(12)], 1)
    energy = np.cov(BSpline.design_matrix(r, knots, 3).toarray().T)
    found = regress([normal_of(slopes, 5 * np.cos(5 * r))], [curvature(12)], names(12), energy=energy)
    assert (found.identifiability.rank, found.identifiability.gauge) == (11, 1)
    assert found.identifiability.complete
    assert np.isfinite(found.coefficients).all()


def test_unseen_splines_go_on_smoothly():
    """No data below 0.5: a curvature penalty goes on in a straight line, and the errors grow."""
    random = np.random.default_rng(10)
    r = random.uniform(0.5, 1, 2000)
    x = splines(r)
    found = regress([normal_of(x, 3 * r + 0.05 * random.standard_normal(2000))], [curvature(24)], names(24))
    error = np.linalg.norm(splines(np.array([0.25, 0.75])) @ found.factor, axis=1)
    assert abs((splines(np.array([0.25])) @ found.coefficients).item() - 0.75) < 0.05
    assert error[0] > 3 * error[1]
    assert found.determined[:8].max() < 0.5 < found.determined[16:].min()


def test_held_out_errors_are_those_of_refits():
    x, y = curve_data(800, 0.4, 11)
    normal, penalties = normal_of(x, y, blocks=8), [curvature(24)]
    found = regress([normal], penalties, names(24))
    squares = held_out([normal], penalties, names(24), found)
    precision = 1 / (found.inefficiency[0] * found.noise[0] ** 2)
    for block, keep in enumerate(np.array_split(np.arange(800), 8)):
        rest = np.delete(np.arange(800), keep)
        hessian = precision * x[rest].T @ x[rest] + found.strengths[0] * penalties[0].matrix
        c = np.linalg.solve(hessian, precision * x[rest].T @ y[rest])
        assert squares[0, block] == pytest.approx(np.mean((y[keep] - x[keep] @ c) ** 2), rel=1e-6)


def test_plain_least_squares():
    x, y = curve_data(500, 0.4, 12)
    found = regress([normal_of(x, y)], [curvature(24)], names(24), strengths=0.0)
    assert np.allclose(found.coefficients, np.linalg.lstsq(x, y)[0], atol=1e-8)


def test_uneven_noise_has_uneven_errors():
    """Noise only where |r - 1/2| is large: errors follow it, and hold on either side."""
    at = np.linspace(0.1, 0.9, 9)
    z, errors = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        r = random.uniform(0, 1, 2000)
        x = splines(r, 8)
        y = x @ np.arange(8.0) + 2 * np.abs(r - 0.5) * random.standard_normal(2000)
        found = regress([normal_of(x, y, blocks=32)], [curvature(8)], names(8))
        rows = splines(at, 8)
        errors.append(np.linalg.norm(rows @ found.factor, axis=1))
        z.append((rows @ (found.coefficients - np.arange(8.0))) / errors[-1])
    spread = np.sqrt(np.mean(np.square(z), axis=0))
    assert np.all((spread > 0.65) & (spread < 1.45))
    assert np.mean(errors, axis=0)[4] < 0.6 * np.mean(errors, axis=0)[0]


def test_a_function_that_a_frame_only_grazes_does_not_spoil_the_others():
    """Its curvature penalty, in units in which the data see it, would leave the rest to rounding."""
    random = np.random.default_rng(5)
    x = random.standard_normal((2000, 8))
    x[:, 7] = 0.0
    x[0, 7] = 1e-13
    c = random.standard_normal(8)
    labels = x @ c + 0.1 * random.standard_normal(2000)
    second = np.diff(np.eye(8), 2, axis=0)
    found = regress([normal_of(x, labels)], [Penalty("curve", 0, second.T @ second + 1e-6 * np.eye(8))], names(8))
    assert np.abs(found.coefficients[:7] - c[:7]).max() < 0.02
    assert found.identifiability.unsampled == (names(8)[7],)


def test_functions_that_one_frame_grazes_together_leave_the_solution_exact_beside_a_stiff_term():
    """Against least squares on stacked rows, which squares no condition number."""
    random = np.random.default_rng(8)
    r, other = random.normal(0.5, 0.06, 3000), random.uniform(0, 1, 3000)
    r[0] = 0.95  # one frame alone reaches the last functions, and some of them faintly
    x = np.concatenate([splines(r, 60), splines(other) + 0.3 * splines(r)], 1)
    y = x @ random.standard_normal(84) + 0.3 * random.standard_normal(3000)
    rough = [curvature(60).matrix + 1e-6 * np.eye(60), curvature(24).matrix + 1e-6 * np.eye(24)]
    penalties = [Penalty("one", 0, rough[0]), Penalty("two", 60, rough[1])]
    problem, _ = pose([normal_of(x, y)], penalties, names(84))
    strengths = np.array([1e-2, STIFFEST])
    found = solve(problem, np.ones(1), strengths).coefficients
    stacked = np.concatenate(
        [x, block_diag(*(np.sqrt(s) * cholesky(p) for s, p in zip(strengths, rough, strict=True)))]
    )
    exact = np.linalg.lstsq(stacked, np.concatenate([y, np.zeros(84)]))[0]
    assert np.std(x @ (found - exact)) < 1e-6


def test_a_strength_stops_rising_before_its_rounding_drowns_the_other_terms():
    """Two splines of nearly the same variable: one of them does all the work, and the other becomes a straight line."""
    random = np.random.default_rng(0)
    r = random.uniform(0, 1, 3000)
    near = np.clip(r + 1e-3 * random.standard_normal(3000), 0, 1)
    x = np.concatenate([splines(r), splines(near)], 1)
    y = 3 * r + truth(near) + 0.3 * random.standard_normal(3000)
    normal = normal_of(x, y)
    rough = curvature(24).matrix + 1e-6 * np.eye(24)
    penalties = [Penalty("one", 0, rough), Penalty("two", 24, rough)]
    found = regress([normal], penalties, names(48))
    typical = balance([normal.total], 1 / (found.inefficiency * found.noise**2), penalties)
    assert 1e4 < (found.strengths / typical).max() < 2 * STIFFEST
    assert found.noise[0] == pytest.approx(0.3, rel=0.05)


def test_what_no_frame_has_is_said_in_ranges():
    missing = (
        "pair W-W 0.18 nm", "pair W-W 0.2 nm", "pair W-W 0.22 nm", "pair W-W 0.8 nm", "entropy: angle A-B-A 3.1 rad",
        "three-body W: W 0.250, W 0.270 nm, P0", "three-body W: W 0.250, W 0.270 nm, P1", "kernel W, function 3",
    )  # fmt: skip
    assert Identifiability(9, 1, 0, missing, ()).unseen == (
        "pair W-W 0.18 to 0.22 and 0.8 nm, entropy: angle A-B-A 3.1 rad, "
        "three-body W (2 functions, as three-body W: W 0.250, W 0.270 nm, P0), kernel W, function 3"
    )
