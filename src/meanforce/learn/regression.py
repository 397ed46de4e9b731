"""Bayesian linear regression from normal equations: strengths of the prior by evidence or by held-out blocks.

Labels y = X c + noise, prior exp(-sum_t strength_t c.P_t.c / 2). For each objective the noise variance and the
statistical inefficiency g of its labels are estimated with the strengths: n correlated labels count as n/g,
where g is measured from the scores X^T(y - X c) of contiguous blocks of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import qr, solve_triangular

from meanforce.learn.errors import FEWEST_BLOCKS, block_scores, root, score_covariance
from meanforce.learn.identify import ROUNDED, Basis, Identifiability, identify, penalty_matrix
from meanforce.learn.normal import Normal
from meanforce.objectives.base import Equations
from meanforce.potentials.base import Penalty

#: Sums of squares are known to this part of the labels' own; a smaller residual is rounding.
ROUNDING = 16 * np.finfo(float).eps
MAX_STEPS = 200
#: How far below the scale at which data and prior are alike a strength may fall, and how far it may rise above: a
#: term is as smooth as it can be long before, and the rounding of more would drown what the data say of others.
STRENGTH_RANGE = 1e14
#: The part of labels that coefficients do not follow is known to rounding, and counts as no less than this.
_LEAST_LEFT = 1e-4
STIFFEST = 1e7


class Step(NamedTuple):
    """One step of the search for the strengths."""

    log_evidence: float  # natural units, up to a constant of the potential
    strengths: Float[np.ndarray, "penalties"]
    noise: Float[np.ndarray, "objectives"]


class Regression(NamedTuple):
    """The solution: covariance = factor @ factor.T; as many as `effective` coefficients are told by the data."""

    coefficients: Float[np.ndarray, "k"]
    factor: Float[np.ndarray, "k m"]
    strengths: Float[np.ndarray, "penalties"]  # of each penalty, as precisions
    noise: Float[np.ndarray, "objectives"]  # standard deviation of one label
    inefficiency: Float[np.ndarray, "objectives"]
    effective: float
    determined: Float[np.ndarray, "k"]  # 1: by the data, 0: by the prior
    identifiability: Identifiability
    steps: tuple[Step, ...]
    converged: bool


class Problem(NamedTuple):
    """Totals of the objectives in the variables z of `basis`."""

    basis: Basis
    grams: tuple[np.ndarray, ...]
    moments: tuple[np.ndarray, ...]
    totals: tuple[Equations, ...]
    penalties: tuple[Penalty, ...]
    ranks: np.ndarray
    rows: tuple[np.ndarray, ...]  # whose squares are the Gram matrices, then the penalties


class Solution(NamedTuple):
    coefficients: np.ndarray
    factor: np.ndarray  # k x m
    z_factor: np.ndarray
    log_determinant: float


def regress(
    normals: Sequence[Normal],
    penalties: Sequence[Penalty],
    names: Sequence[str],
    *,
    energy: Float[np.ndarray, "k k"] | None = None,
    strengths: float | None = None,
) -> Regression:
    """The most probable coefficients with their covariance.

    With `strengths=None` those of the penalties maximise the evidence, by the fixed-point rule of MacKay and of
    Fellner and Schall, one strength for each penalty. A number fixes all of them at this multiple of the
    strength at which prior and data weigh alike (see `balance`); noise and inefficiency are still estimated. Zero
    leaves the penalties only where the data say nothing. `energy` is the covariance of the basis functions over
    the frames, for the report on what is determined.
    """
    problem, report = pose(normals, penalties, names, energy)
    weights = np.array([n.weight for n in normals])
    noise = np.array([_label_variance(total) for total in problem.totals])
    inefficiency = np.ones(len(normals))
    precision = weights / noise
    strengths = None if strengths is None else max(strengths, 1.0 / STRENGTH_RANGE)
    scale = balance(problem.totals, precision, problem.penalties)
    values = scale * (1e-4 if strengths is None else strengths)
    steps: list[Step] = []
    converged = False
    for _ in range(MAX_STEPS):
        solution = solve(problem, precision, values)
        steps.append(Step(log_evidence(problem, solution, precision, noise, values), values, np.sqrt(noise)))
        noise_new, inefficiency = _noise(normals, problem, solution, precision)
        precision = weights / (inefficiency * noise_new)
        if strengths is None:
            values_new = _strengths(problem, solution, values, scale)
        else:
            values_new = strengths * balance(problem.totals, precision, problem.penalties)
        moved = np.abs(np.log(noise_new / noise)).max(initial=0.0)
        moved = max(moved, _moved(problem, solution, values, values_new))
        noise, values = noise_new, values_new
        if moved < 1e-3:
            converged = True
            break
    solution = solve(problem, precision, values)
    return Regression(
        coefficients=solution.coefficients,
        factor=_covariance_factor(normals, problem, solution, precision, noise * inefficiency, values),
        strengths=values,
        noise=np.sqrt(noise),
        inefficiency=inefficiency,
        effective=float(_gammas(problem, solution, precision).sum()),
        determined=_determined(problem, solution, values),
        identifiability=report,
        steps=tuple(steps),
        converged=converged,
    )


def balance(
    totals: Sequence[Equations], precision: Sequence[float] | np.ndarray, penalties: Sequence[Penalty]
) -> Float[np.ndarray, "penalties"]:
    """The strength of each penalty at which its trace is that of the data's precision on the same coefficients.

    One for a term that the data do not touch, or by rounding only.
    """
    diagonal = sum(weight * np.diag(total.gram) for weight, total in zip(precision, totals, strict=True))
    least = ROUNDED * np.max(diagonal, initial=0.0)
    scales = []
    for penalty in penalties:
        run = slice(penalty.start, penalty.start + len(penalty.matrix))
        data, prior = float(np.sum(diagonal[run])), float(np.trace(penalty.matrix)) + penalty.taken
        scales.append(data / prior if data > least and prior > 0 else 1.0)
    return np.array(scales)


def residual_square(equations: Equations, coefficients: Float[np.ndarray, "k"]) -> float:
    """The weighted sum of squared residuals, never below what rounding leaves of it."""
    fitted = coefficients @ (equations.gram @ coefficients) - 2 * equations.moment @ coefficients
    return float(max(equations.square + fitted, ROUNDING * equations.square))


def pose(
    normals: Sequence[Normal],
    penalties: Sequence[Penalty],
    names: Sequence[str],
    energy: Float[np.ndarray, "k k"] | None = None,
) -> tuple[Problem, Identifiability]:
    """The totals in variables that the data or at least the prior determine."""
    totals = tuple(n.total for n in normals)
    size = len(totals[0].moment)
    gram = sum((t.gram / (t.count * _label_variance(t)) for t in totals), np.zeros((size, size)))
    basis, report = identify(gram, penalties, names, energy)
    grams, moments = [], []
    for total in totals:
        inner = basis.transform.T @ total.gram @ basis.transform
        inner[basis.rank :] = inner[:, basis.rank :] = 0.0
        if len(totals) == 1:
            inner = np.diag(np.diag(inner))
        moment = basis.transform.T @ total.moment
        moment[basis.rank :] = 0.0
        grams.append(inner)
        moments.append(moment)
    priors = [square_rows(p.matrix) @ basis.transform[p.start : p.start + len(p.matrix)] for p in penalties]
    ranks = np.array([float(len(prior)) for prior in priors])
    rows = (*map(square_rows, grams), *priors)
    return Problem(basis, tuple(grams), tuple(moments), totals, tuple(penalties), ranks, rows), report


def square_rows(matrix: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "r n"]:
    """R with R^T R = matrix, each variable in units of its own while it is found."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    values, vectors = np.linalg.eigh(matrix * inverse[:, None] * inverse)
    kept = values > len(values) * np.finfo(float).eps * values.max(initial=0.0)
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T * scale


def _label_variance(total: Equations) -> float:
    return max(total.square / max(total.count, 1.0), 1e-300)


def solve(problem: Problem, precision: np.ndarray, strengths: np.ndarray) -> Solution:
    """The most probable coefficients for given precisions of the labels and strengths of the penalties."""
    transform = problem.basis.transform
    weights = np.sqrt(np.concatenate([precision, strengths]))
    rows = np.concatenate([weight * part for weight, part in zip(weights, problem.rows, strict=True)])
    moment = sum(weight * m for weight, m in zip(precision, problem.moments, strict=True))
    scale = 1.0 / np.sqrt(np.maximum((rows**2).sum(axis=0), 1e-300))
    inverse, log_determinant = _inverse_root(rows * scale)
    z_factor = scale[:, None] * inverse
    z = z_factor @ (z_factor.T @ moment)
    return Solution(transform @ z, transform @ z_factor, z_factor, log_determinant - 2 * np.log(scale).sum())


def _inverse_root(rows: Float[np.ndarray, "r m"]) -> tuple[Float[np.ndarray, "m k"], float]:
    """Q with Q Q^T = (rows^T rows)^-1, and the logarithm of the determinant of rows^T rows.

    The rows are never squared: double precision holds the condition of a stiff prior beside faint data, not its square.
    """
    upper = qr(rows, mode="r", check_finite=False)[0][: rows.shape[1]]
    diagonal = np.abs(np.diag(upper))
    least = np.finfo(float).eps * len(diagonal)
    if len(upper) == rows.shape[1] and diagonal.min(initial=1.0) > least * diagonal.max(initial=0.0):
        inverse = solve_triangular(upper, np.eye(len(upper)), check_finite=False)
        return inverse, float(2 * np.log(diagonal).sum())
    # What neither data nor prior hold is gone already: only rounding can bring us here.
    values, vectors = np.linalg.svd(rows, full_matrices=False)[1:]
    values = np.maximum(values, np.sqrt(least) * values.max(initial=0.0))
    return vectors.T / values, float(2 * np.log(values).sum())


def _gammas(problem: Problem, solution: Solution, precision: np.ndarray) -> np.ndarray:
    """How many coefficients each objective determines."""
    return np.array(
        [
            weight * np.sum(solution.z_factor * (gram @ solution.z_factor))
            for weight, gram in zip(precision, problem.grams, strict=True)
        ]
    )


def _noise(
    normals: Sequence[Normal], problem: Problem, solution: Solution, precision: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Variance and statistical inefficiency of the labels of each objective."""
    gammas = _gammas(problem, solution, precision)
    variances, inefficiencies = [], []
    for normal, total, gamma, weight in zip(normals, problem.totals, gammas, precision, strict=True):
        square, freedom = residual_square(total, solution.coefficients), total.count - gamma
        if total.count <= problem.basis.rank:
            # The coefficients can follow every label, and what they leave says nothing; what they would say of labels
            # left out does (generalised cross-validation).
            left = np.clip(freedom / total.count, _LEAST_LEFT, 1.0)
            variance, spread = min(square / total.count / left**2, _label_variance(total)), 1.0
        else:
            variance = square / max(freedom, 0.5)
            exact = _is_exact(total, square)
            spread = 1.0 if exact else _inefficiency(normal, solution, variance * gamma / weight)
        variances.append(max(variance, 1e-300))
        inefficiencies.append(spread)
    return np.array(variances), np.array(inefficiencies)


def _inefficiency(normal: Normal, solution: Solution, expected: float) -> float:
    """Measured scatter of the blocks' scores over that of independent labels, in the metric of the posterior.

    `expected` is what labels of independent noise would give: variance times trace(covariance . Gram).
    """
    if len(normal.blocks.count) < FEWEST_BLOCKS or expected <= 0:
        return 1.0
    projected = block_scores(normal.blocks, solution.coefficients) @ solution.factor
    return float(max((projected**2).sum() / expected, 1e-3))


def _is_exact(total: Equations, square: float) -> bool:
    """Whether nothing is left of the labels but rounding."""
    return bool(square <= 2 * ROUNDING * total.square)


def _covariance_factor(
    normals: Sequence[Normal],
    problem: Problem,
    solution: Solution,
    precision: np.ndarray,
    level: np.ndarray,
    strengths: np.ndarray,
) -> Float[np.ndarray, "k m"]:
    """A factor of the covariance of the coefficients; see `errors`."""
    transform, rank = problem.basis
    meat = transform.T @ penalty_matrix(problem.penalties, strengths, len(transform)) @ transform
    seen = slice(0, rank)
    for normal, total, gram, weight, even in zip(normals, problem.totals, problem.grams, precision, level, strict=True):
        if _is_exact(total, residual_square(total, solution.coefficients)) or len(normal.blocks.count) < FEWEST_BLOCKS:
            covariance = even * gram[seen, seen]
        else:
            scores = block_scores(normal.blocks, solution.coefficients) @ transform[:, seen]
            covariance = score_covariance(gram[seen, seen], scores, even)
        meat[seen, seen] += weight**2 * covariance
    return solution.factor @ (solution.z_factor.T @ root(meat))


def _strengths(problem: Problem, solution: Solution, values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The fixed-point rule: determined coefficients of the term over its roughness."""
    new = []
    for penalty, rank, value, typical in zip(problem.penalties, problem.ranks, values, scale, strict=True):
        free, rough = _gamma_and_roughness(penalty, rank, value, solution)
        if free <= 1e-8 * rank:  # the data say nothing about this term
            new.append(value)
            continue
        new.append(float(np.clip(free / max(rough, 1e-300), typical / STRENGTH_RANGE, typical * STIFFEST)))
    return np.array(new)


def _gamma_and_roughness(penalty: Penalty, rank: float, value: float, solution: Solution) -> tuple[float, float]:
    run = slice(penalty.start, penalty.start + len(penalty.matrix))
    part = solution.factor[run]
    free = rank - value * np.sum(part * (penalty.matrix @ part))
    coefficients = solution.coefficients[run]
    return max(float(free), 0.0), float(coefficients @ penalty.matrix @ coefficients)


def _moved(problem: Problem, solution: Solution, old: np.ndarray, new: np.ndarray) -> float:
    """The largest change of a strength, each counted as far as the fit depends on it."""
    moved = 0.0
    for penalty, rank, before, after in zip(problem.penalties, problem.ranks, old, new, strict=True):
        free, _ = _gamma_and_roughness(penalty, rank, before, solution)
        leverage = min(1.0, free, rank - free) if rank else 0.0
        moved = max(moved, leverage * abs(np.log(after / before)))
    return moved


def log_evidence(
    problem: Problem, solution: Solution, precision: np.ndarray, noise: np.ndarray, strengths: np.ndarray
) -> float:
    """ln p(labels | strengths, noise), correlated labels counted by their worth."""
    value = -0.5 * solution.log_determinant
    for total, weight, variance in zip(problem.totals, precision, noise, strict=True):
        worth = total.count * weight * variance
        value -= 0.5 * worth * np.log(2 * np.pi * variance)
        value -= 0.5 * weight * residual_square(total, solution.coefficients)
    for penalty, rank, strength in zip(problem.penalties, problem.ranks, strengths, strict=True):
        _, rough = _gamma_and_roughness(penalty, rank, strength, solution)
        value += 0.5 * rank * np.log(strength) - 0.5 * strength * rough
    return float(value)


def _determined(problem: Problem, solution: Solution, strengths: np.ndarray) -> np.ndarray:
    """The share of every coefficient's determination that comes from the data: 1 - diag(covariance . prior)."""
    prior = penalty_matrix(problem.penalties, strengths, len(problem.basis.transform))
    return np.clip(1.0 - np.sum(solution.factor * (prior @ solution.factor), axis=1), 0.0, 1.0)
