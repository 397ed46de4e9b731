"""Small potentials that are learned by gradient, and data for them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.graph import edges
from meanforce.model import Model
from meanforce.potentials.base import NetworkPotential
from meanforce.potentials.priors import Repulsion
from meanforce.potentials.splines import PairSpline
from meanforce.topology import Topology

BEADS = 8
TOPOLOGY = Topology.of(["A"] * BEADS, masses={"A": 10.0})
EDGE, KELVIN, CUTOFF = 1.6, 300.0, 0.7
WALL = Repulsion(TOPOLOGY.types, height=[2.0], distance=[0.3], width=[0.05], cutoff=0.6)
PAIR = PairSpline(("A",), cutoff=CUTOFF, start=0.0, spacing=0.1)


class PairNetwork(NetworkPotential):
    """A = sum over pairs of a small network of Gaussians of the distance, under a smooth envelope."""

    inner: Float[Array, "features hidden"]
    outer: Float[Array, "hidden"]
    cutoff: float = eqx.field(static=True)

    def __init__(self, key, *, features: int = 8, hidden: int = 12, cutoff: float = CUTOFF):
        first, second = jax.random.split(key)
        self.inner = jax.random.normal(first, (features, hidden)) / jnp.sqrt(features)
        self.outer = jax.random.normal(second, (hidden,)) / jnp.sqrt(hidden)
        self.cutoff = cutoff

    def reinitialised(self, seed: int) -> "PairNetwork":
        features, hidden = self.inner.shape
        return network(seed, features=features, hidden=hidden, cutoff=self.cutoff)

    @property
    def last_layer(self) -> tuple[Any, ...]:
        return (self.outer,)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (self.cutoff,)

    def energies(self, graph) -> Float[Array, "beads"]:
        squared = edges(graph, self.cutoff).squared
        near = squared < self.cutoff**2
        distance = jnp.sqrt(jnp.where(near, squared, self.cutoff**2))
        centres = jnp.linspace(0.1, self.cutoff, self.inner.shape[0], dtype=distance.dtype)
        features = jnp.exp(-(((distance[..., None] - centres[None, None]) / 0.1) ** 2))
        envelope = (1 - (distance / self.cutoff) ** 2) ** 3
        return (envelope * (jnp.tanh(features @ self.inner) @ self.outer)).sum(1)


class SplineNetwork(NetworkPotential):
    """Splines that call themselves a network: linear in their weights, so that the answer is known."""

    spline: PairSpline

    def reinitialised(self, seed: int) -> "SplineNetwork":
        return SplineNetwork(truth(seed))

    @property
    def last_layer(self) -> tuple[Any, ...]:
        return (self.spline.coefficients,)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.spline.cutoffs

    def energies(self, graph) -> Float[Array, "beads"]:
        return self.spline.energies(graph)

    def energy(self, graph) -> Float[Array, "frames"]:
        return self.spline.energy(graph)


def network(seed: int = 0, **options) -> PairNetwork:
    return PairNetwork(jax.random.key(seed), **options)


def truth(seed: int = 0) -> PairSpline:
    size = PAIR.coefficients.shape[0]
    return PAIR.with_coefficients(jnp.asarray(10 * np.random.default_rng(seed).standard_normal(size)))


def data_of(potential=None, frames=40, noise=0.0, seed=0, **labels) -> Dataset:
    """Random configurations with forces and virials of a potential, and noise."""
    random = np.random.default_rng(seed)
    R = random.uniform(0, EDGE, (frames, BEADS, 3))
    box = EDGE * np.eye(3)
    model = Model(truth() if potential is None else potential, TOPOLOGY)
    forces = thermo.force(model, R, box, temperature=KELVIN)
    forces += noise * random.standard_normal(forces.shape)
    virial = thermo.virial(model, R, box, temperature=KELVIN) + noise * random.standard_normal(frames)
    return Dataset.from_arrays(
        TOPOLOGY, positions=R, forces=forces, virial=virial, box=box, temperature=KELVIN, **labels
    )


def growing():
    """Two frames are dense: rows of neighbours that were long enough no longer are."""
    topology, random = Topology.of(["A"] * 14, masses={"A": 10.0}), np.random.default_rng(3)
    edge = np.where(np.isin(np.arange(20), (5, 19)), 1.41, 2.8)
    return Dataset.from_arrays(
        topology, positions=edge[:, None, None] * random.uniform(size=(20, 14, 3)), temperature=KELVIN,
        forces=random.normal(size=(20, 14, 3)), box=edge[:, None, None] * np.eye(3),
    )  # fmt: skip
