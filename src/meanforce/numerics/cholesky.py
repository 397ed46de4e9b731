"""Few of many points, chosen so that a kernel on the others is best known from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int


def pivots(
    column: Callable[[int], Float[np.ndarray, "n"]], diagonal: Float[np.ndarray, "n"], count: int, tolerance: float
) -> Int[np.ndarray, "m"]:
    """Pivoted Cholesky: each time the point whose value is least known from those before, until none is worth it.

    `column(i)` is the kernel of all n points with point i. The variance left of every point, at first its `diagonal`,
    falls with each pivot; no point below `tolerance` is taken. The cost is n m^2, and the matrix is never held.
    """
    left = np.array(diagonal, float)
    rows = np.zeros((min(count, len(left)), len(left)))
    chosen: list[int] = []
    while len(chosen) < len(rows) and left.max(initial=0.0) > tolerance:
        pivot, done = int(left.argmax()), rows[: len(chosen)]
        row = (column(pivot) - done[:, pivot] @ done) / np.sqrt(left[pivot])
        rows[len(chosen)] = row
        left = np.maximum(left - row**2, 0.0)
        chosen.append(pivot)
        left[chosen] = 0.0
    return np.array(chosen, int)
