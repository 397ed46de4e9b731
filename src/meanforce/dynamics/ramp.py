"""Heating and cooling: a temperature that changes at a constant rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.dynamics.integrators import Phase


@dataclass(frozen=True)
class Ramp:
    """A temperature that goes from `start` to `end` (K) at a constant rate over a whole run.

    Step n of N is taken at start + (end - start) n/N by the bath and by the free energy A(R; T), and each frame has
    the temperature of its step. Beads follow only a ramp that is slow beside their own relaxation.
    """

    start: float
    end: float

    def __post_init__(self):
        for name, value in (("start", self.start), ("end", self.end)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"a ramp has a positive {name} in K, not {value}")

    def over(self, steps: int, replicas: int) -> Rising:
        """As the compiled loop reads it."""
        same = lambda value: jnp.full(replicas, float(value))
        return Rising(same(self.start), same(self.end), jnp.array(steps))


class Rising(NamedTuple):
    """The temperature of every step of a ramp."""

    start: Float[Array, "replicas"]  # K
    end: Float[Array, "replicas"]  # K
    steps: Int[Array, ""]

    def kelvin(self, phase: Phase) -> Float[Array, "replicas"]:
        return self.start + (self.end - self.start) * (phase.step / self.steps)
