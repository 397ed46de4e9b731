"""Several potentials of one kind: their mean is the model, their spread says where it is not to be trusted."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from meanforce.graph import Graph
from meanforce.potentials.base import Potential


class Committee(Potential):
    """A is the mean of the members' A, and the force the mean of their forces."""

    members: tuple[Potential, ...]

    def __check_init__(self):
        if len(self.members) < 2:
            raise ValueError(f"a committee of {len(self.members)} has no spread; give two potentials at least")

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return tuple(sorted({cutoff for member in self.members for cutoff in member.cutoffs}))

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return jnp.stack([member.energies(graph) for member in self.members]).mean(0)

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        return jnp.stack([member.energy(graph) for member in self.members]).mean(0)

    def force_std(self, graph: Graph) -> Float[Array, "beads 3"]:
        """The standard deviation of each force component between members, kJ/(mol nm)."""
        return jnp.std(jnp.stack([_force(member, graph) for member in self.members]), axis=0, ddof=1)

    def energy_std(self, graph: Graph) -> Float[Array, "frames"]:
        """The standard deviation of A between members, against its mean over the frames of the graph, kJ/mol."""
        values = jnp.stack([member.energy(graph) for member in self.members])
        return jnp.std(values - values.mean(axis=1, keepdims=True), axis=0, ddof=1)


def _force(potential: Potential, graph: Graph) -> Float[Array, "beads 3"]:
    total = lambda positions: potential.energy(eqx.tree_at(lambda g: g.positions, graph, positions)).sum()
    return -jax.grad(total)(graph.positions)
