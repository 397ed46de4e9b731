"""Which combinations of coefficients the data determine, which only the prior does, and which nothing does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.potentials.base import Penalty

#: Eigenvalues of the scaled Gram matrix below this part of the largest are rounding: a design of condition 1e6.
RANK_TOLERANCE = 1e-12
#: A basis function with less than this part of the largest diagonal of its own term is not sampled: one frame grazes
#: its edge, and in units in which the data see it the prior would be so stiff that rounding decides.
TOUCH_TOLERANCE = 1e-20
#: A function that is sampled less than this, as a part of the largest diagonal of its own term, is measured in units of
#: as much: in units of its own it would be as large as any other where one frame touches both, and a stiff prior on it
#: would drown in its rounding what the data say of the others.
FAINT = 1e-4
#: Diagonals below this part of the largest are rows of rounding, squared: a head of T - T0 at T0, as computed.
ROUNDED = 1e-26


class Identifiability(NamedTuple):
    """What the labels say about the coefficients of a linear potential.

    `rank` combinations of `size` are determined by the data. `gauge` combinations shift A by the same constant in
    every frame, which no force and no average can tell. `unsampled` names the basis functions that no frame
    touches, and `combinations` are further sums of basis functions that change A between frames and yet no
    label, each as the names and weights of its leading members: terms that stand for one another, or
    regions that no frame connects.
    """

    size: int
    rank: int
    gauge: int
    unsampled: tuple[str, ...]
    combinations: tuple[tuple[tuple[str, float], ...], ...]

    @property
    def complete(self) -> bool:
        """Whether the data determine the potential up to a constant."""
        return self.rank + self.gauge == self.size

    @property
    def unseen(self) -> str:
        """Where no frame has been, in words: 'pair W-W 0.18 to 0.22 nm, bond A-B 0.5 nm'."""
        return ", ".join(_regions(self.unsampled))

    def __str__(self) -> str:
        lines = [f"{self.rank} of {self.size} coefficients are determined by the data"]
        if self.gauge:
            lines.append(f"{self.gauge} combination(s) only shift the free energy by a constant")
        if self.unsampled:
            lines.append(f"no frame samples: {self.unseen}")
        for members in self.combinations:
            lines.append("no label sees: " + " ".join(f"{weight:+.2f} {name}" for name, weight in members))
        return "\n".join(lines)


def _regions(names: Sequence[str]) -> list[str]:
    """Names that differ in one length or angle at the end, as ranges; of others the first and how many there are."""
    places: dict[tuple[str, str], list[float]] = {}
    others: dict[str, list[str]] = {}
    for name in names:
        if found := re.fullmatch(r"(\D.*?) ([-+.\de]+) (nm|rad)", name):
            places.setdefault((found[1], found[3]), []).append(float(found[2]))
        else:
            others.setdefault(re.split(r": (?=\S+ \d)|, function", name)[0], []).append(name)
    said = []
    for (what, unit), values in places.items():
        at, step = np.sort(values), 1.5 * np.diff(np.sort(values)).min(initial=np.inf)
        parts = np.split(at, 1 + np.flatnonzero(np.diff(at) > step))
        spans = [f"{p[0]:g}" if len(p) == 1 else f"{p[0]:g} to {p[-1]:g}" for p in parts]
        said.append(f"{what} {' and '.join(spans)} {unit}")
    return said + [n[0] if len(n) == 1 else f"{what} ({len(n)} functions, as {n[0]})" for what, n in others.items()]


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
    gram: Float[np.ndarray, "k k"],
    penalties: Sequence[Penalty],
    names: Sequence[str],
    energy: Float[np.ndarray, "k k"] | None = None,
) -> tuple[Basis, Identifiability]:
    """Splits the space of coefficients by what determines them.

    The split is made once, on the Gram matrix scaled to unit diagonal, so that what the data cannot see is
    an exact zero later on and the prior stays visible beside data of any precision. `energy` is the covariance
    of the basis functions themselves over the frames; it tells constants from the rest of what no label sees.
    """
    size = len(gram)
    diagonal = np.diag(gram).copy()
    unsampled = _unsampled(diagonal, penalties)
    unit = [1.0 / max(np.trace(p.matrix), 1e-300) for p in penalties]
    prior = penalty_matrix(penalties, unit, size)
    prior_scale = np.sqrt(np.where(np.diag(prior) > 0, np.diag(prior), 1.0))
    scale = 1.0 / np.where(unsampled, prior_scale, np.sqrt(np.maximum(diagonal, _least(diagonal, penalties, FAINT))))
    scaled = np.where(unsampled[:, None] | unsampled[None, :], 0.0, gram * scale[:, None] * scale[None, :])
    values, vectors = np.linalg.eigh(scaled)
    seen = values > RANK_TOLERANCE * max(values.max(initial=0.0), 1e-300)
    unseen = scale[:, None] * vectors[:, ~seen]
    transform = np.concatenate([scale[:, None] * vectors[:, seen], unseen @ _held(unseen, prior)], axis=1)
    blind = scale[:, None] * _sampled_part(vectors[:, ~seen], unsampled)
    moving = blind @ _held(blind, energy) if energy is not None else blind
    report = Identifiability(
        size=size,
        rank=int(seen.sum()),
        gauge=blind.shape[1] - moving.shape[1],
        unsampled=tuple(name for name, missing in zip(names, unsampled, strict=True) if missing),
        combinations=tuple(_leading(direction, names) for direction in moving.T),
    )
    return Basis(transform, int(seen.sum())), report


def _unsampled(diagonal: Float[np.ndarray, "k"], penalties: Sequence[Penalty]) -> np.ndarray:
    """Basis functions that no frame touches; terms may be of very different size, functions of one term are not."""
    return diagonal <= _least(diagonal, penalties, TOUCH_TOLERANCE)


def _least(diagonal: Float[np.ndarray, "k"], penalties: Sequence[Penalty], part: float) -> Float[np.ndarray, "k"]:
    """This part of the largest diagonal of the term that each basis function belongs to."""
    least = np.full(len(diagonal), ROUNDED * max(diagonal.max(initial=0.0), 1e-300))
    for penalty in penalties:
        run = slice(penalty.start, penalty.start + len(penalty.matrix))
        least[run] = np.maximum(least[run], part * diagonal[run].max(initial=0.0))
    return least


def _held(blind: Float[np.ndarray, "k n"], form: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "n m"]:
    """The directions within a space in which a quadratic form does not vanish."""
    if not blind.shape[1]:
        return np.zeros((0, 0))
    reach = np.sum(np.abs(blind) * (np.abs(form) @ np.abs(blind)), axis=0)  # of a direction, if nothing cancelled
    units = 1.0 / np.sqrt(np.where(reach > 0, reach, 1.0))
    values, vectors = np.linalg.eigh((blind * units).T @ form @ (blind * units))
    return units[:, None] * vectors[:, values > 1e-12]


def _sampled_part(null: Float[np.ndarray, "k n"], unsampled: np.ndarray) -> Float[np.ndarray, "k m"]:
    """Null vectors that involve sampled basis functions: singular values are 1 or, by rounding, nearly 0."""
    sampled = np.where(unsampled[:, None], 0.0, null)
    if not sampled.size:
        return sampled[:, :0]
    _, lengths, directions = np.linalg.svd(sampled.T, full_matrices=False)
    return directions[lengths > 0.5].T


def _leading(direction: Float[np.ndarray, "k"], names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    weights = direction / direction[np.abs(direction).argmax()]
    order = np.argsort(-np.abs(weights), kind="stable")[:8]
    return tuple((names[i], float(weights[i])) for i in order if abs(weights[i]) > 0.05)
