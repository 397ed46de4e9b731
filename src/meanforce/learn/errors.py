"""Error bars that hold where noise is uneven and labels are correlated.

Force noise depends on the configuration, so that one noise variance gives errors too large here and too small
there. The covariance is  H^-1 (sum precision^2 S + prior) H^-1,  where H is the precision matrix of the fit and S
the covariance of the scores X^T(y - X c), measured between contiguous blocks of frames and shrunk, by as much as
the number of blocks asks for (Ledoit and Wolf), to that of even noise. For even noise it is H^-1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.linalg import LinAlgError, cholesky

from meanforce.objectives.base import Equations

FEWEST_BLOCKS = 4


def block_scores(blocks: Equations, coefficients: Float[np.ndarray, "k"]) -> Float[np.ndarray, "blocks k"]:
    """X^T(y - X c) of every block, less its share of the total, and scaled up for what that takes away."""
    scores = blocks.moment - blocks.gram @ coefficients
    share = blocks.count / max(blocks.count.sum(), 1e-300)
    count = len(share)
    return (scores - share[:, None] * scores.sum(axis=0)) * np.sqrt(count / (count - 1))


def score_covariance(
    gram: Float[np.ndarray, "m m"], scores: Float[np.ndarray, "blocks m"], level: float
) -> Float[np.ndarray, "m m"]:
    """The covariance of the summed scores, between what the blocks show and `level` times the Gram matrix."""
    blocks = len(scores)
    diagonal = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    values, vectors = np.linalg.eigh(gram / diagonal[:, None] / diagonal[None, :])
    kept = values > 1e-12 * max(values.max(initial=0.0), 1e-300)
    size = int(kept.sum())
    if blocks < FEWEST_BLOCKS or not size:
        return level * gram
    roots = np.sqrt(values[kept])
    white = np.sqrt(blocks) * (scores / diagonal) @ (vectors[:, kept] / roots)
    sample = white.T @ white / blocks
    even = np.trace(sample) / size * np.eye(size)
    distance = np.sum((sample - even) ** 2)
    uncertain = (np.sum(np.sum(white**2, axis=1) ** 2) / blocks - np.sum(sample**2)) / blocks
    shrink = 1.0 if distance <= 0 else min(1.0, uncertain / distance)
    mixed = (1 - shrink) * sample + shrink * even
    back = diagonal[:, None] * vectors[:, kept] * roots
    return back @ mixed @ back.T


def root(matrix: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "m m"]:
    """A factor R with R R^T = matrix, for matrices that are positive up to rounding."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    scaled = matrix / scale[:, None] / scale[None, :]
    try:
        return scale[:, None] * cholesky((scaled + scaled.T) / 2, lower=True, check_finite=False)
    except LinAlgError:
        values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
        return scale[:, None] * vectors * np.sqrt(np.maximum(values, 1e-15 * len(values)))
