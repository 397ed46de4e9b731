"""What surrounds a bead, in numbers that stay when the beads are moved, turned or counted in another order."""

from __future__ import annotations

import abc
from collections.abc import Callable
from math import sqrt
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Edges, Graph, Whole, edges, neighbour_species
from meanforce.numerics.harmonics import degrees, harmonics
from meanforce.numerics.products import summed
from meanforce.potentials.triplets import Basis, bumps, masked

#: Neighbours that bring a moment to the order of one.
NEIGHBOURS = 10.0

once = jax.lax.optimization_barrier  # or the compiler computes it anew for everything it is in

#: Radial functions of every channel made of the splines: (slots, radial, beads) to (slots, channels, beads).
Channels = Callable[[Float[Array, "slots radial beads"]], Float[Array, "slots channels beads"]]


def moments(basis: Basis, near: Edges, channels: Channels) -> Float[Array, "channels m beads"]:
    """M_{c,lm} = sum_j R_c(r_ij) y_lm(r_ij) of the neighbours j of each bead i."""
    return once(summed(*functions(basis, near, channels), "kc,km->cm"))


def functions(
    basis: Basis, near: Edges, channels: Channels
) -> tuple[Float[Array, "slots channels beads"], Float[Array, "slots m beads"]]:
    """R_c and y_lm of every neighbour."""
    x, y, z, squared = once(tuple(component.T for component in near))
    distance = jnp.sqrt(squared)
    radial = channels(bumps(basis, distance)) / sqrt(NEIGHBOURS)
    return once((radial, harmonics(x / distance, y / distance, z / distance, basis.degree)))


def by_degree(products: Float[Array, "products m beads"], degree: int) -> list[Float[Array, "products beads"]]:
    """Products of two moments summed over the m of each degree: they no longer change when all is turned."""
    return [products[:, degrees(degree) == l].sum(1) for l in range(degree + 1)]  # noqa: E741


class Slopes(NamedTuple):
    """The descriptors of beads with all their first derivatives."""

    values: Float[Array, "beads d"]
    own: Float[Array, "beads 3 d"]  # by the position of the bead itself
    others: Float[Array, "beads capacity 3 d"] | None  # by the position of each neighbour
    strain: Float[Array, "beads d"]  # by the logarithm of the length


class Descriptor(eqx.Module):
    """Numbers that say where a bead is. Subclasses are final.

    `read` takes from the graph what belongs to each bead, beads first; the rest needs nothing else.
    """

    @property
    @abc.abstractmethod
    def cutoffs(self) -> tuple[float, ...]:
        """The neighbour lists it reads, in nm."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many numbers there are."""

    @abc.abstractmethod
    def read(self, graph: Graph) -> Any:
        """Arrays with the beads as first axis."""

    @abc.abstractmethod
    def values(self, seen: Any) -> Float[Array, "beads d"]:
        """The descriptors."""

    @abc.abstractmethod
    def slopes(self, seen: Any) -> Slopes:
        """The descriptors with their derivatives."""


class Coordinate(Descriptor):
    """The first coordinate of the bead itself in nm: for a bead in an external field."""

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    @property
    def size(self) -> int:
        return 1

    def read(self, graph: Graph) -> Float[Array, "beads 3"]:
        return graph.positions

    def values(self, seen: Float[Array, "beads 3"]) -> Float[Array, "beads 1"]:
        return seen[:, :1]

    def slopes(self, seen: Float[Array, "beads 3"]) -> Slopes:
        along = jnp.broadcast_to(jnp.eye(3, 1, dtype=seen.dtype), (len(seen), 3, 1))
        return Slopes(seen[:, :1], along, None, seen[:, :1])


class Surroundings(Descriptor):
    """Sums over pairs and over triplets of the neighbours of a bead, by their species.

    Moments M_{c,lm} = sum_j R_c(r_ij) y_lm(r_ij), where a channel c is a species of neighbours and one of `radial`
    B-splines between `start` and `cutoff` (nm), give M_{c,00} and, for each degree l up to `degree`,
    sum_m M_{c,lm} M_{c',lm}. All beads near count, also those that the topology excludes from pair terms.
    """

    types: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True, default=0.5)  # nm
    start: float = eqx.field(static=True, default=0.15)  # nm, where the innermost spline begins
    radial: int = eqx.field(static=True, default=5)
    degree: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        if not 0 <= self.start < self.cutoff:
            raise ValueError(f"the splines begin at {self.start} nm, which must lie below the cut-off {self.cutoff} nm")
        if not self.types or self.radial < 1 or self.degree < 0:
            raise ValueError(
                f"types={self.types}, radial={self.radial}, degree={self.degree}: at least one type, one radial "
                "function and a degree >= 0 are needed"
            )

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (Whole(self.cutoff),)

    @property
    def size(self) -> int:
        channels = len(self.types) * self.radial
        return channels + self.degree * channels * (channels + 1) // 2

    def read(self, graph: Graph) -> tuple[Array, ...]:
        return (*edges(graph, Whole(self.cutoff)), neighbour_species(graph, Whole(self.cutoff)))

    def values(self, seen: tuple[Array, ...]) -> Float[Array, "beads d"]:
        return self._invariants(moments(self._basis, Edges(*seen[:4]), self._channels(seen[4]))).T

    def slopes(self, seen: tuple[Array, ...]) -> Slopes:
        *vectors, _, kinds = seen

        def of(x, y, z):
            return functions(self._basis, Edges(x, y, z, x * x + y * y + z * z), self._channels(kinds))

        radial, angular = of(*vectors)
        found = once(summed(radial, angular, "kc,km->cm"))
        turns = self._met(angular, found)
        units = [[jnp.full_like(v, float(n == axis)) for n, v in enumerate(vectors)] for axis in range(3)]
        moved = [jax.jvp(of, tuple(vectors), tuple(unit))[1] for unit in units]
        others = jnp.stack([self._moved(radial, turns, r, self._met(a, found)) for r, a in moved], 2)
        strain = jnp.einsum("abk,bkad->bd", jnp.stack(vectors), others)
        return Slopes(self._invariants(found).T, -others.sum(1), others, strain)

    def _met(
        self, angular: Float[Array, "slots m beads"], found: Float[Array, "channels m beads"]
    ) -> Float[Array, "slots channels degrees beads"]:
        """The moments of each degree but 0 that functions of a neighbour meet."""
        met = angular[:, None] * found
        each = [met[:, :, n**2 : (n + 1) ** 2].sum(2, keepdims=True) for n in range(self.degree + 1)]
        return jnp.concatenate(each, 2)[:, :, 1:]

    def _moved(self, radial: Array, turns: Array, radial_dot: Array, turns_dot: Array) -> Float[Array, "beads slots d"]:
        """How the descriptors change with each neighbour: product rule for its function and for what that meets."""
        one, two, twice = self._pairs
        wide = lambda rows, place: rows[:, place, None]
        change = lambda a, b: wide(radial_dot, a) * turns[:, b] + wide(radial, a) * turns_dot[:, b]
        products = (change(one, two) + change(two, one)) * twice.astype(radial.dtype)[:, None, None]
        products = jnp.transpose(products, (3, 0, 2, 1)).reshape(products.shape[-1], len(products), -1)
        return jnp.concatenate([jnp.moveaxis(radial_dot, -1, 0), products], -1)

    @property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Two channels each, and the root of how often they stand for a product."""
        one, two = np.triu_indices(len(self.types) * self.radial)
        return one, two, np.where(one == two, 1.0, sqrt(2))

    @property
    def _basis(self) -> Basis:
        return Basis(self.start, (self.cutoff - self.start) / (self.radial + 3), self.radial, self.degree)

    def _channels(self, kinds: Array) -> Channels:
        several = range(len(self.types) if len(self.types) > 1 else 0)
        return lambda splines: masked(tuple((kinds == kind).T for kind in several), splines)

    def _invariants(self, moments: Float[Array, "channels m beads"]) -> Float[Array, "d beads"]:
        one, two, twice = self._pairs
        of_degree = by_degree(moments[one] * moments[two], self.degree)[1:]  # those of degree 0 are in the pairs
        return jnp.concatenate([moments[:, 0], *(twice.astype(moments.dtype)[:, None] * each for each in of_degree)])
