"""A friction that changes with temperature as the pace of motion over barriers does."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclass(frozen=True)
class Activated:
    """Frictions at rising temperatures: ln(gamma) is a line in 1/T between neighbours, and goes on beyond the last."""

    kelvins: tuple[float, ...]
    frictions: tuple[float, ...]  # 1/ps

    def __post_init__(self):
        known = np.array([*self.kelvins, *self.frictions], float)
        if len(self.kelvins) < 2 or len(self.kelvins) != len(self.frictions) or (np.diff(self.kelvins) <= 0).any():
            raise ValueError(f"give frictions at two or more rising temperatures, not at {self.kelvins} K")
        if not (np.isfinite(known).all() and (known > 0).all()):
            raise ValueError(
                f"temperatures (K) and frictions (1/ps) are positive, not {self.kelvins}, {self.frictions}"
            )

    def weights(self, kelvin: Float[Array, "*states"] | float) -> Float[Array, "*states knots"]:
        """Of each known logarithm in that at other temperatures (K)."""
        at, knots, one = (
            1 / jnp.asarray(kelvin, float),
            jnp.asarray(1 / np.array(self.kelvins)),
            np.eye(len(self.kelvins)),
        )
        piece = (at[..., None] < knots[1:-1]).sum(-1)
        share = ((at - knots[piece]) / (knots[piece + 1] - knots[piece]))[..., None]
        return (1 - share) * jnp.asarray(one)[piece] + share * jnp.asarray(one)[piece + 1]

    def at(self, kelvin: Float[Array, "*states"] | float) -> Float[Array, "*states"]:
        """The friction at these temperatures (K), 1/ps."""
        return jnp.exp(self.weights(kelvin) @ jnp.log(jnp.asarray(self.frictions, float)))
