"""Statistical weights of frames, as every sum over data takes them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from meanforce.data.dataset import Dataset


def frame_weights(data: Dataset) -> Float[np.ndarray, "frames"]:
    """Weights of the frames with mean one."""
    weights = data.column("weights")
    if weights is None:
        return np.ones(len(data))
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError("weights of frames must not be negative, and one at least must be positive")
    return np.asarray(weights, float) / np.mean(weights)
