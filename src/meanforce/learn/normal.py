"""Normal equations in contiguous blocks of frames, and the unknowns that are fitted beside the coefficients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.objectives.base import Equations

#: What a block that is left out still says of a constant: nothing, where the other blocks say anything.
_FAINT = 1e-9


class Normal(NamedTuple):
    """Normal equations of one objective in contiguous blocks of frames, with its weight."""

    blocks: Equations  # every field with a leading axis of blocks
    weight: float
    beside: Equations | None = None  # the same with the constants and shares of variates last, still unknown

    @staticmethod
    def of(sums: Equations, size: int, weight: float) -> Normal:
        """From equations whose unknowns beyond the first `size` are fitted beside, over all frames."""
        if sums.moment.shape[-1] == size:
            return Normal(sums, weight)
        return Normal(Profile.of(total(sums), size).without(sums), weight, sums)

    @property
    def total(self) -> Equations:
        return total(self.blocks)

    def split(self, block: int) -> tuple[Equations, Equations]:
        """The equations of all other blocks, and those of this one with the constants that the others say.

        A constant of a state that is in this block alone is fitted there.
        """
        if self.beside is None:
            held = Equations(*(field[block] for field in self.blocks))
            return Equations(*(a - b for a, b in zip(self.total, held, strict=True))), held
        held = Equations(*(field[block] for field in self.beside))
        rest = Equations(*(a - b for a, b in zip(total(self.beside), held, strict=True)))
        said = Equations(*(a + _FAINT * b for a, b in zip(rest, held, strict=True)))
        profile = Profile.of(said, self.blocks.moment.shape[-1])
        return profile.without(rest), profile.without(held)._replace(count=held.count)


class Profile(NamedTuple):
    """The best unknowns beside the coefficients c: shift - slope @ c."""

    slope: Float[np.ndarray, "unknowns k"]
    shift: Float[np.ndarray, "unknowns"]
    share: float  # of the labels, that determine the unknowns

    @staticmethod
    def of(sums: Equations, size: int) -> Profile:
        """From the equations of all labels, unknowns last."""
        scale = 1 / np.sqrt(np.maximum(np.diag(sums.gram)[size:], 1e-300))
        inverse = np.linalg.pinv(sums.gram[size:, size:] * scale * scale[:, None], rcond=1e-12, hermitian=True)
        determined = np.linalg.matrix_rank(inverse, hermitian=True)
        inverse *= scale * scale[:, None]
        slope, shift = inverse @ sums.gram[size:, :size], inverse @ sums.moment[size:]
        return Profile(slope, shift, float(min(1.0, determined / max(float(sums.count), 1.0))))

    def without(self, sums: Equations) -> Equations:
        """The same equations, of one block or of many, for the coefficients alone."""
        size = self.slope.shape[1]
        rows = np.concatenate([np.eye(size), -self.slope])
        labels = np.concatenate([np.zeros(size), self.shift])
        left = sums.moment - sums.gram @ labels
        return Equations(
            rows.T @ sums.gram @ rows,
            left @ rows,
            np.maximum(sums.square - (sums.moment + left) @ labels, 0.0),
            sums.count * (1 - self.share),
        )


def total(blocks: Equations) -> Equations:
    return Equations(*(np.sum(field, axis=0) for field in blocks))
