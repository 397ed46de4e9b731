"""Free energies with any dependence on temperature that a free energy may have: concave, by construction.

    A = a(R) - tau s(R) + sum_k c_k(R) h_k(x),      x = T/T0,  tau = x - 1,  h_k'' = -b_k(x)/x,  h_k(1) = h_k'(1) = 0

The hats b_k are one at their own temperature, zero at the others, straight lines between, constant beyond the first and
the last, and add up to one. So the heat capacity C_V = sum_k c_k b_k / T0 is any curve that is linear between the
given temperatures, and with c_k >= 0 it is nowhere negative: beyond them it stays what it is at the last. One
temperature alone is the closed form of `Thermal`. The h_k are exact integrals: energy and entropy follow from A.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Graph
from meanforce.potentials.base import Potential
from meanforce.units import KB


class ConcaveThermal(Potential):
    """Any potentials as heads, one of them for the heat capacity at each of `temperatures` (K, rising)."""

    value: Potential
    entropy: Potential
    capacities: tuple[Potential, ...]
    temperatures: tuple[float, ...] = eqx.field(static=True)
    reference: float = eqx.field(static=True, default=300.0)  # T0, K

    def __check_init__(self):
        if not (np.isfinite(self.reference) and self.reference > 0):
            raise ValueError(f"reference={self.reference}: a temperature in K, best amid those of the data")
        kelvin = np.asarray(self.temperatures, float)
        if kelvin.ndim != 1 or not len(kelvin) or not kelvin[0] > 0 or not (np.diff(kelvin) > 0).all():
            raise ValueError(
                f"temperatures={self.temperatures}: give temperatures in K, from the lowest to the highest"
            )
        if len(kelvin) != len(self.capacities):
            raise ValueError(
                f"{len(self.capacities)} capacities for {len(kelvin)} temperatures: give a potential for each"
            )

    @property
    def depends_on_temperature(self) -> bool:
        return True

    @property
    def cutoffs(self) -> tuple[float, ...]:
        heads = (self.value, self.entropy, *self.capacities)
        return tuple(sorted({cutoff for head in heads for cutoff in head.cutoffs}))

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        if graph.temperature is None:
            raise ValueError("a potential that depends on temperature needs frames with one: give temperature= in K")
        x, unit = jnp.asarray(graph.temperature) / self.reference, KB * self.reference
        found = self.value.energies(graph) - (x - 1)[graph.frame] * self.entropy.energies(graph)
        for head, factor in zip(self.capacities, factors(x, self.temperatures, self.reference), strict=True):
            found = found + factor[graph.frame] * unit * jax.nn.softplus(head.energies(graph) / unit)
        return found


def factors(
    x: Float[Array, "frames"], temperatures: Sequence[float], reference: float
) -> Float[Array, "temperatures frames"]:
    """h_k in each frame: in every interval of temperature -alpha (x ln x - x) - beta x^2/2 + p x + q."""
    knots = np.asarray(temperatures, float) / reference
    alpha, beta, p, q = (jnp.asarray(part, x.dtype)[:, jnp.searchsorted(knots, x)] for part in _pieces(knots))
    return -alpha * (x * jnp.log(x) - x) - beta * x**2 / 2 + p * x + q


def _pieces(knots: Float[np.ndarray, "k"]) -> tuple[Float[np.ndarray, "k intervals"], ...]:
    """alpha, beta, p and q of each h_k in the intervals below, between and above the knots."""
    size = len(knots)
    alpha, beta = np.zeros((size, size + 1)), np.zeros((size, size + 1))
    alpha[0, 0] = alpha[-1, -1] = 1.0
    for j in range(1, size):
        slope = 1 / (knots[j] - knots[j - 1])
        alpha[j - 1, j], beta[j - 1, j] = knots[j] * slope, -slope
        alpha[j, j], beta[j, j] = -knots[j - 1] * slope, slope
    p, q = np.zeros_like(alpha), np.zeros_like(alpha)
    home = int(np.searchsorted(knots, 1.0))
    p[:, home], q[:, home] = beta[:, home], -alpha[:, home] - beta[:, home] / 2
    for step, j in [(1, j) for j in range(home + 1, size + 1)] + [(-1, j) for j in range(home - 1, -1, -1)]:
        x, before = knots[j - 1] if step > 0 else knots[j], j - step
        p[:, j] = p[:, before] + (alpha[:, j] - alpha[:, before]) * np.log(x) + (beta[:, j] - beta[:, before]) * x
        value = lambda i, x=x: -alpha[:, i] * (x * np.log(x) - x) - beta[:, i] * x**2 / 2 + p[:, i] * x
        q[:, j] = value(before) + q[:, before] - value(j)
    return alpha, beta, p, q
