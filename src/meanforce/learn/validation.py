"""Held-out errors from the saved equations of blocks: nothing is computed from frames again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from meanforce.learn.errors import root
from meanforce.learn.identify import penalty_matrix
from meanforce.learn.normal import Normal
from meanforce.learn.regression import Problem, Regression, balance, pose, regress, residual_square, solve, square_rows
from meanforce.objectives.base import Equations
from meanforce.potentials.base import Penalty

#: Strengths tried by cross-validation, as multiples of the one at which prior and data weigh alike.
GRID = np.logspace(-12, 3, 31)


def held_out(
    normals: Sequence[Normal], penalties: Sequence[Penalty], names: Sequence[str], regression: Regression
) -> Float[np.ndarray, "objectives blocks"]:
    """Mean squares of the labels of every block under the fit to all other blocks, NaN with a single block.

    Strengths and noise are those of `regression`; block b of every objective is left out at once, and constants are
    those of the other blocks.
    """
    weights = np.array([n.weight for n in normals])
    precision = weights / (regression.inefficiency * regression.noise**2)
    return _left_out(normals, penalties, names, precision, regression.strengths, np.ones(1))[0]


def cross_validated(
    normals: Sequence[Normal],
    penalties: Sequence[Penalty],
    names: Sequence[str],
    *,
    energy: Float[np.ndarray, "k k"] | None = None,
) -> Regression:
    """The regression whose strengths, one multiple for all penalties, predict held-out blocks best.

    The error is the sum of the objectives' mean squares, each in units of its label variance and times its
    weight.
    """
    blocks = _common_blocks(normals)
    if blocks < 2:
        raise ValueError("cross-validation needs at least two blocks of frames; use regularisation='evidence'")
    weights = np.array([n.weight for n in normals])
    totals = [n.total for n in normals]
    variance = np.array([t.square / t.count for t in totals])
    precision = weights / variance
    squares = _left_out(normals, penalties, names, precision, balance(totals, precision, penalties), GRID)
    errors = np.einsum("gob,o->g", squares, precision)
    best = float(GRID[int(np.argmin(errors))])
    return regress(normals, penalties, names, energy=energy, strengths=best)


def _left_out(
    normals: Sequence[Normal],
    penalties: Sequence[Penalty],
    names: Sequence[str],
    precision: np.ndarray,
    strengths: Float[np.ndarray, "penalties"],
    multiples: Float[np.ndarray, "trials"],
) -> Float[np.ndarray, "trials objectives blocks"]:
    blocks = _common_blocks(normals)
    squares = np.full((len(multiples), len(normals), blocks), np.nan)
    if blocks < 2:
        return squares
    whole, _ = pose(normals, penalties, names)
    for b in range(blocks):
        parts = [normal.split(b) for normal in normals]
        problem = _told_by(whole, [rest for rest, _ in parts])
        for trial, coefficients in enumerate(_path(problem, precision, strengths, multiples)):
            for o, (_, held) in enumerate(parts):
                squares[trial, o, b] = residual_square(held, coefficients) / max(float(held.count), 1e-300)
    return squares


def _path(
    problem: Problem, precision: np.ndarray, strengths: np.ndarray, multiples: np.ndarray
) -> Float[np.ndarray, "trials k"]:
    """The coefficients for each multiple of the strengths; several come from one simultaneous diagonalisation."""
    if len(multiples) == 1:
        return solve(problem, precision, multiples[0] * strengths).coefficients[None]
    transform = problem.basis.transform
    prior = transform.T @ penalty_matrix(problem.penalties, strengths, len(transform)) @ transform
    data = sum(weight * gram for weight, gram in zip(precision, problem.grams, strict=True))
    moment = sum(weight * m for weight, m in zip(precision, problem.moments, strict=True))
    both = data + prior
    scale = 1.0 / np.sqrt(np.maximum(np.diag(both), 1e-300))
    inverse = np.linalg.inv(root(both * scale[:, None] * scale[None, :])) * scale
    share, vectors = np.linalg.eigh(inverse @ prior @ inverse.T)
    share = np.clip(share, 0.0, 1.0)
    turned = vectors.T @ (inverse @ moment)
    z = turned / np.maximum(1.0 - share + multiples[:, None] * share, 1e-300)
    return z @ (transform @ inverse.T @ vectors).T


def _told_by(problem: Problem, parts: Sequence[Equations]) -> Problem:
    """The same problem told by these equations of every objective, in the variables of the whole."""
    seen = problem.basis.transform[:, : problem.basis.rank]
    run = slice(0, problem.basis.rank)
    grams, moments = [], []
    for gram, moment, part in zip(problem.grams, problem.moments, parts, strict=True):
        left, rest = np.zeros_like(gram), np.zeros_like(moment)
        left[run, run] = seen.T @ part.gram @ seen
        rest[run] = seen.T @ part.moment
        grams.append(left)
        moments.append(rest)
    rows = (*map(square_rows, grams), *problem.rows[len(grams) :])
    return problem._replace(grams=tuple(grams), moments=tuple(moments), rows=rows)


def _common_blocks(normals: Sequence[Normal]) -> int:
    return min(len(n.blocks.count) for n in normals)
