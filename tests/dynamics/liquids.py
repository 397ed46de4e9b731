"""Small systems that the tests of this folder share."""

from types import SimpleNamespace

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from meanforce.frames import Frames
from meanforce.graph import Graph
from meanforce.potentials.base import Potential
from meanforce.potentials.priors import LennardJones
from meanforce.topology import Topology

SIGMA, EPSILON, MASS = 0.34, 0.996, 39.948  # argon


class Trap(Potential):
    """Independent harmonic wells about the origin, and nothing else."""

    stiffness: float = eqx.field(static=True)  # kJ/(mol nm^2)

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph: Graph):
        return 0.5 * self.stiffness * (graph.positions**2).sum(-1)


def model(potential: Potential, beads: int, mass: float = MASS):
    return SimpleNamespace(potential=potential, topology=Topology.of(["A"] * beads, masses={"A": mass}))


def argon(beads: int, cutoff: float = 0.8, truncation="switched"):
    potential = LennardJones(
        ("A",), sigma=jnp.array([SIGMA]), epsilon=jnp.array([EPSILON]), cutoff=cutoff, truncation=truncation
    )
    return model(potential, beads)


def lattice(side: int, density: float = 0.7, shear: float = 0.0, seed: int = 0) -> Frames:
    """side^3 beads near a lattice at a reduced density, in a cube or a sheared box."""
    spacing = SIGMA * density ** (-1 / 3)
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    box = side * spacing * np.array([[1, 0, 0], [shear, 1, 0], [shear / 2, -shear, 1]])
    noise = np.random.default_rng(seed).normal(0, 0.01, sites.shape)
    return Frames(((sites + 0.5) / side @ box + noise)[None], box[None])


class Swelling(Potential):
    """Independent wells about the origin whose stiffness is `stiffness` times T / 300 K: all entropy."""

    stiffness: float = eqx.field(static=True)  # kJ/(mol nm^2)

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph: Graph):
        return 0.5 * self.stiffness * graph.temperature[graph.frame] / 300.0 * (graph.positions**2).sum(-1)
