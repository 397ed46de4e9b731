"""Free energies that depend on temperature by closed heads: energy, entropy and heat capacity belong together.

    A = a(R) - tau s(R) + c(R) [tau - (1 + tau) ln(1 + tau)],      tau = (T - T0)/T0

a is A at T0, s = T0 S at T0 and c = T0 c_v, all in kJ/mol, and each is a potential of its own. Then E = a + s + tau c
and S = [s + c ln(1 + tau)]/T0 follow without further approximation, and c >= 0 makes A concave in T, as it must be.
Without c the entropy does not depend on temperature: the first order. Where the heat capacity of the atoms at fixed
beads is the same at all temperatures (baths that are powers of their coordinates), the form is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Graph
from meanforce.potentials.base import LinearPotential, Potential
from meanforce.potentials.heads import LinearHeads, heads_of
from meanforce.units import KB


class Thermal(Potential):
    """Any potentials as heads; the heat capacity of each bead is made positive."""

    value: Potential
    entropy: Potential
    capacity: Potential | None = None
    reference: float = eqx.field(static=True, default=300.0)  # T0, K

    def __check_init__(self):
        _check_reference(self.reference)

    @property
    def depends_on_temperature(self) -> bool:
        return True

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return tuple(sorted({cutoff for head in self._heads() for cutoff in head.cutoffs}))

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        parts = [head.energies(graph) for head in self._heads()]
        if self.capacity is not None:
            unit = KB * self.reference
            parts[2] = unit * jax.nn.softplus(parts[2] / unit)
        weights = factors(graph, self.reference, len(parts))
        return sum((w[graph.frame] * part for w, part in zip(weights[1:], parts[1:], strict=True)), parts[0])

    def _heads(self) -> tuple[Potential, ...]:
        return (self.value, self.entropy) if self.capacity is None else (self.value, self.entropy, self.capacity)


class LinearThermal(LinearHeads):
    """The same linear potential as each head: linear in all coefficients, which follow the order of the heads.

    What is fixed under the first head stays as it is at all temperatures. The heat capacity is not made positive: what
    labels say of it stands, and a check of the model shows where it is not.
    """

    reference: float = eqx.field(static=True)  # T0, K

    def __check_init__(self):
        _check_reference(self.reference)
        if len(self.heads) not in (2, 3):
            raise ValueError(f"{len(self.heads)} heads: give A and T0 S, or A, T0 S and T0 c_v")
        if any(head.depends_on_temperature for head in self.heads):
            raise ValueError("the heads of a LinearThermal do not depend on temperature themselves: give one without")

    @staticmethod
    def of(potential: LinearPotential, *, reference: float, heat_capacity: bool = False) -> LinearThermal:
        """`potential` made to depend on temperature; `reference` (K) lies best amid the temperatures of the data."""
        return LinearThermal(heads_of(potential, 2 + heat_capacity), float(reference))

    @property
    def depends_on_temperature(self) -> bool:
        return True

    @property
    def names(self) -> tuple[str, ...]:
        return ("A", "T0 S", "T0 c_v")[: len(self.heads)]

    def weights(self, graph: Graph) -> Sequence[Float[Array, "frames"]]:
        return factors(graph, self.reference, len(self.heads))

    def at(self, temperature: float) -> LinearPotential:
        """The potential at one temperature, as cheap as the heads' own kind."""
        return self.together(_of_tau(jnp.asarray((temperature - self.reference) / self.reference))[: len(self.heads)])


def folded(potential: Potential, temperature: float) -> Potential:
    """The same free energy at one temperature (K): each `LinearThermal` in it, at any depth, as cheap as one head."""
    thermal = lambda node: isinstance(node, LinearThermal)
    at = lambda node: folded(node.at(temperature), temperature) if thermal(node) else node
    return jax.tree.map(at, potential, is_leaf=thermal)


def factors(graph: Graph, reference: float, count: int) -> Sequence[Float[Array, "frames"]]:
    """What multiplies each head in each frame."""
    if graph.temperature is None:
        raise ValueError("a potential that depends on temperature needs frames with one: give temperature= in K")
    return _of_tau((graph.temperature - reference) / reference)[:count]


def _of_tau(tau: Float[Array, "..."]) -> tuple[Float[Array, "..."], ...]:
    return jnp.ones_like(tau), -tau, tau - (1 + tau) * jnp.log1p(tau)


def _check_reference(reference: float) -> None:
    if not (np.isfinite(reference) and reference > 0):
        raise ValueError(f"reference={reference}: a temperature in K, best amid those of the data")
