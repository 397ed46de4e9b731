"""Functions that no frame touches: taken out before a fit, and put back as their prior says.

No label tells of their coefficients u, so that the penalty alone ties them to those of their term that are sampled, c:
with rows R^T R of its matrix, |R_u u + R_c c|^2 is smallest at u = -R_u^+ R_c c, whatever its strength, and what is
left of it is a penalty of c. About there u has the covariance (strength R_u^T R_u)^+, independent of c.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.learn.regression import Regression, square_rows
from meanforce.potentials.base import Penalty

#: Parts of a term that its penalty holds less than this, as a part of what it holds most, it leaves open.
_OPEN = 1e-12


class Followers(NamedTuple):
    """Coefficients u of a term that no frame touches: following @ c, with the covariance root @ root.T / strength."""

    places: Int[np.ndarray, "n"]  # among all coefficients
    following: Float[np.ndarray, "n sampled"]
    root: Float[np.ndarray, "n m"]


class Sampled(NamedTuple):
    """The part of a linear problem that frames touch, and the way back to all of it."""

    penalties: tuple[Penalty, ...]  # of the functions that are sampled
    names: tuple[str, ...]
    places: Int[np.ndarray, "sampled"]  # of these among all coefficients
    followers: tuple[Followers, ...]  # of each penalty
    all_names: tuple[str, ...]

    @staticmethod
    def of(places: Int[np.ndarray, "sampled"], penalties: Sequence[Penalty], names: Sequence[str]) -> Sampled:
        parts = [_apart(penalty, places) for penalty in penalties]
        inner, followers = tuple(part for part, _ in parts), tuple(rest for _, rest in parts)
        return Sampled(inner, tuple(names[k] for k in places), places, followers, tuple(names))

    def whole(self, found: Regression) -> Regression:
        """The same solution for all coefficients."""
        size, known = len(self.all_names), found.factor.shape[1]
        column = known
        coefficients, determined = np.zeros(size), np.zeros(size)
        factor = np.zeros((size, known + sum(f.root.shape[1] for f in self.followers)))
        coefficients[self.places], determined[self.places] = found.coefficients, found.determined
        factor[self.places, :known] = found.factor
        for penalty, rest, strength in zip(self.penalties, self.followers, found.strengths, strict=True):
            run = slice(penalty.start, penalty.start + len(penalty.matrix))
            own = slice(column, column := column + rest.root.shape[1])
            coefficients[rest.places] = rest.following @ found.coefficients[run]
            factor[rest.places, :known] = rest.following @ found.factor[run]
            factor[rest.places, own] = rest.root / np.sqrt(strength)
        touched = {*self.names} - {*found.identifiability.unsampled}
        unsampled = tuple(name for name in self.all_names if name not in touched)
        report = found.identifiability._replace(size=size, unsampled=unsampled)
        return found._replace(coefficients=coefficients, factor=factor, determined=determined, identifiability=report)


def _apart(penalty: Penalty, sampled: Int[np.ndarray, "sampled"]) -> tuple[Penalty, Followers]:
    """The penalty of what is sampled of its term, and how the rest follows."""
    size = len(penalty.matrix)
    first, last = np.searchsorted(sampled, [penalty.start, penalty.start + size])
    kept = sampled[first:last] - penalty.start
    others = np.delete(np.arange(size), kept)
    if not len(others):
        return penalty._replace(start=int(first)), Followers(others, np.zeros((0, size)), np.zeros((0, 0)))
    rows = square_rows(penalty.matrix)
    left, lengths, right = np.linalg.svd(rows[:, others], full_matrices=False)
    held = lengths**2 > _OPEN * np.max(lengths, initial=0.0) ** 2
    left, lengths, right = left[:, held], lengths[held], right[held]
    told = left.T @ rows[:, kept]
    rest = rows[:, kept] - left @ told
    root = right.T / lengths
    taken = float(np.trace(penalty.matrix) - np.sum(rest**2))
    inner = Penalty(penalty.name, int(first), rest.T @ rest, penalty.taken + taken)
    return inner, Followers(penalty.start + others, -root @ told, root)
