"""State points, and samples drawn at them: numbers only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from meanforce.frames import Frames
from meanforce.topology import Topology


class State(NamedTuple):
    """A state point: temperature in K, pressure in bar (None at constant volume), further parameters."""

    temperature: float
    pressure: float | None = None
    parameters: tuple[tuple[str, float], ...] = ()


class Ensemble(NamedTuple):
    """Frames sampled at one state, with log-weights (zeros when drawn from the state itself).

    `frames.energy` holds the coarse-grained potential A in kJ/mol; `reduced` is A/kT, and `chain`
    says which replica a frame came from. Frames of one chain are ordered in time.
    """

    frames: Frames
    topology: Topology
    state: State
    reduced: np.ndarray
    log_weights: np.ndarray
    chain: np.ndarray

    def weights(self) -> np.ndarray:
        """Normalised weights."""
        w = np.exp(self.log_weights - self.log_weights.max())
        return w / w.sum()

    def effective_frames(self) -> float:
        """How many frames of equal weight would tell as much: exp(-sum w ln w), correlation in time left aside."""
        w = self.weights()
        return float(np.exp(-(w[w > 0] * np.log(w[w > 0])).sum()))
