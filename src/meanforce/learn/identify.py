"""Which combinations of coefficients the data determine, which only the prior does, and which nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.potentials.base import Penalty

#: Eigenvalues of the scaled Gram matrix below this part of the largest are rounding: a design of condition 1e6.
RANK_TOLERANCE = 1e-12


class Identifiability(NamedTuple):
    """What the labels say about the coefficients of a linear potential.

    `rank` combinations of `size` are determined by the data; `unsampled` names the basis functions that no
    frame touches, `combinations` the further sums of basis functions that change no label, each as the names
    and weights of its leading members. Of all these, `free` leave even the prior unchanged: they shift the
    free energy by a constant (or change nothing at all) and are set to zero.
    """

    size: int
    rank: int
    unsampled: tuple[str, ...]
    combinations: tuple[tuple[tuple[str, float], ...], ...]
    free: int

    def __str__(self) -> str:
        lines = [f"{self.rank} of {self.size} coefficients are determined by the data"]
        if self.unsampled:
            lines.append(f"no frame samples: {', '.join(self.unsampled)}")
        for members in self.combinations:
            lines.append("no label sees: " + " ".join(f"{weight:+.2f} {name}" for name, weight in members))
        if self.free:
            lines.append(f"{self.free} combinations are gauge (a constant in the free energy) and were set to zero")
        return "\n".join(lines)


class Basis(NamedTuple):
    """New variables z with coefficients = transform @ z: first `rank` seen by the data, then by the prior only."""

    transform: Float[np.ndarray, "k m"]
    rank: int


def penalty_matrix(
    penalties: Sequence[Penalty], strengths: Sequence[float] | np.ndarray, size: int
) -> Float[np.ndarray, "k k"]:
    """The sum of the penalties, each times its strength."""
    total = np.zeros((size, size))
    for penalty, strength in zip(penalties, strengths, strict=True):
        run = slice(penalty.start, penalty.start + len(penalty.matrix))
        total[run, run] += strength * penalty.matrix
    return total


def identify(
    gram: Float[np.ndarray, "k k"], penalties: Sequence[Penalty], names: Sequence[str]
) -> tuple[Basis, Identifiability]:
    """Splits the space of coefficients by what determines them.

    The split is made once, on the Gram matrix scaled to unit diagonal, so that what the data cannot see is
    an exact zero later on and the prior stays visible beside data of any precision.
    """
    size = len(gram)
    diagonal = np.diag(gram).copy()
    unsampled = diagonal <= 1e-30 * max(diagonal.max(initial=0.0), 1e-300)
    unit = [1.0 / max(np.trace(p.matrix), 1e-300) for p in penalties]
    prior = penalty_matrix(penalties, unit, size)
    prior_scale = np.sqrt(np.where(np.diag(prior) > 0, np.diag(prior), 1.0))
    scale = 1.0 / np.where(unsampled, prior_scale, np.sqrt(np.where(unsampled, 1.0, diagonal)))
    scaled = np.where(unsampled[:, None] | unsampled[None, :], 0.0, gram * scale[:, None] * scale[None, :])
    values, vectors = np.linalg.eigh(scaled)
    seen = values > RANK_TOLERANCE * max(values.max(initial=0.0), 1e-300)
    blind = scale[:, None] * vectors[:, ~seen]
    kept, free = _penalised(blind, prior)
    transform = np.concatenate([scale[:, None] * vectors[:, seen], kept], axis=1)
    combos = _combinations(vectors[:, ~seen], scale, unsampled, names)
    report = Identifiability(
        size=size,
        rank=int(seen.sum()),
        unsampled=tuple(name for name, missing in zip(names, unsampled, strict=True) if missing),
        combinations=combos,
        free=free,
    )
    return Basis(transform, int(seen.sum())), report


def _penalised(blind: Float[np.ndarray, "k n"], prior: Float[np.ndarray, "k k"]) -> tuple[np.ndarray, int]:
    """The part of what the data cannot see that the prior can, and the number of directions left over."""
    if not blind.shape[1]:
        return blind, 0
    inside = blind.T @ prior @ blind
    reach = np.abs(blind).T @ np.abs(prior) @ np.abs(blind)  # how large an entry could be without cancelling
    values, vectors = np.linalg.eigh(inside)
    penalised = values > 1e-11 * max(np.abs(reach).max(initial=0.0), 1e-300)
    return blind @ vectors[:, penalised], int((~penalised).sum())


def _combinations(
    null: Float[np.ndarray, "k n"], scale: Float[np.ndarray, "k"], unsampled: np.ndarray, names: Sequence[str]
) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Null vectors that involve sampled basis functions, with their leading members."""
    sampled = np.where(unsampled[:, None], 0.0, null)
    if not sampled.size:
        return ()
    _, lengths, directions = np.linalg.svd(sampled.T, full_matrices=False)
    found = []
    for length, direction in zip(lengths, directions, strict=True):
        if length < 0.5:  # singular values are 1 or, by rounding, nearly 0
            continue
        weights = scale * direction
        weights = weights / weights[np.abs(weights).argmax()]
        order = np.argsort(-np.abs(weights))[:8]
        found.append(tuple((names[i], float(weights[i])) for i in order if abs(weights[i]) > 0.05))
    return tuple(found)
