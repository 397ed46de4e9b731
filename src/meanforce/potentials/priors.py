"""Potentials of known form: what keeps a model physical where there are no data. Their constants are fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from meanforce.graph import Graph, edges, neighbour_species, pair_energy
from meanforce.potentials import internal
from meanforce.potentials.base import Potential
from meanforce.potentials.splines import pair_kind, pair_names
from meanforce.units import KCAL

Truncation = Literal["truncated", "shifted", "switched"]


class HarmonicBond(Potential):
    """A = sum over bonds of k (r - r0)^2 / 2, with constants for each kind of bond."""

    kinds: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    length: Float[Array, "kinds"]  # nm
    stiffness: Float[Array, "kinds"]  # kJ/(mol nm^2)

    def __init__(self, kinds, *, length: Float[ArrayLike, "kinds"], stiffness: Float[ArrayLike, "kinds"]):
        self.kinds = tuple(tuple(kind) for kind in kinds)
        self.length, self.stiffness = jnp.asarray(length), jnp.asarray(stiffness)

    def __check_init__(self):
        _check(("length", "stiffness"), (self.length, self.stiffness), (len(self.kinds),))

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        terms = internal.terms(graph, "bonds")
        away = internal.coordinate(terms.vectors) - _of_kind(self.length, terms)
        return internal.shared(graph, terms.beads, _of_kind(self.stiffness, terms) * away**2 / 2)


class HarmonicAngle(Potential):
    """A = sum over angles of k (theta - theta0)^2 / 2, with constants for each kind of angle."""

    kinds: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    angle: Float[Array, "kinds"]  # rad
    stiffness: Float[Array, "kinds"]  # kJ/(mol rad^2)

    def __init__(self, kinds, *, angle: Float[ArrayLike, "kinds"], stiffness: Float[ArrayLike, "kinds"]):
        self.kinds = tuple(tuple(kind) for kind in kinds)
        self.angle, self.stiffness = jnp.asarray(angle), jnp.asarray(stiffness)

    def __check_init__(self):
        _check(("angle", "stiffness"), (self.angle, self.stiffness), (len(self.kinds),))

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        terms = internal.terms(graph, "angles")
        away = internal.coordinate(terms.vectors) - _of_kind(self.angle, terms)
        return internal.shared(graph, terms.beads, _of_kind(self.stiffness, terms) * away**2 / 2)


class PeriodicDihedral(Potential):
    """A = sum over dihedrals and n = 1, 2, ... of k_n (1 + cos(n phi - phi_n)), with constants for each kind."""

    kinds: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    barrier: Float[Array, "kinds n"]  # kJ/mol: k_n
    phase: Float[Array, "kinds n"]  # rad: phi_n

    def __init__(self, kinds, *, barrier: Float[ArrayLike, "kinds n"], phase: Float[ArrayLike, "kinds n"]):
        self.kinds = tuple(tuple(kind) for kind in kinds)
        self.barrier, self.phase = jnp.asarray(barrier), jnp.asarray(phase)

    def __check_init__(self):
        waves = self.barrier.shape[1:] if self.barrier.ndim == 2 else (1,)
        _check(("barrier", "phase"), (self.barrier, self.phase), (len(self.kinds), *waves))

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        terms = internal.terms(graph, "dihedrals")
        n = jnp.arange(1, self.barrier.shape[1] + 1, dtype=terms.vectors.dtype)
        waves = 1 + jnp.cos(internal.coordinate(terms.vectors)[:, None] * n[None] - _of_kind(self.phase, terms))
        return internal.shared(graph, terms.beads, (_of_kind(self.barrier, terms) * waves).sum(-1))


class Repulsion(Potential):
    """A = sum over pairs of e exp(-(r - s) / w) (1 - r^2/rc^2)^3: soft, and smooth where it ends.

    Constants for each pair of species, in the order of `splines.pair_names`: e (kJ/mol) is the height at
    about the distance s (nm), w (nm) the length over which it falls. Pairs that the topology excludes do not
    count; those three bonds apart, where it keeps them, count in full, so that they cannot overlap either.
    """

    types: tuple[str, ...] = eqx.field(static=True)
    height: Float[Array, "pairs"]
    distance: Float[Array, "pairs"]
    width: Float[Array, "pairs"]
    cutoff: float = eqx.field(static=True)  # nm

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        height: Float[ArrayLike, "pairs"],
        distance: Float[ArrayLike, "pairs"],
        width: Float[ArrayLike, "pairs"],
        cutoff: float,
    ):
        self.types, self.cutoff = tuple(types), float(cutoff)
        self.height, self.distance, self.width = jnp.asarray(height), jnp.asarray(distance), jnp.asarray(width)

    def __check_init__(self):
        names, values = ("height", "distance", "width"), (self.height, self.distance, self.width)
        _check(names, values, (len(pair_names(self.types)),))
        _check_cutoff(self.cutoff)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (self.cutoff,)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return _pair_energies(graph, self.cutoff, self.types, self._function(), self._constants(graph))

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        return _pair_energy(graph, self.cutoff, self.types, self._function(), self._constants(graph))

    def _constants(self, graph: Graph) -> Float[Array, "pairs 3"]:
        return jnp.stack([self.height, self.distance, self.width], -1).astype(graph.positions.dtype)

    def _function(self):
        limit = self.cutoff**2

        def u(squared, height, distance, width):
            inside = jnp.minimum(squared, limit)
            return height * jnp.exp((distance - jnp.sqrt(inside)) / width) * (1 - inside / limit) ** 3

        return u


class Wall(Potential):
    """A = sum over pairs of k (d - r)^3 where r < d, and nothing beyond: contacts that were never seen stay rare.

    Constants for each pair of species, in the order of `splines.pair_names`; excluded pairs do not count.
    """

    types: tuple[str, ...] = eqx.field(static=True)
    distance: Float[Array, "pairs"]  # nm: d; 0 where nothing is to be kept apart
    stiffness: Float[Array, "pairs"]  # kJ/(mol nm^3): k
    cutoff: float = eqx.field(static=True)  # nm, the longest distance

    def __init__(
        self, types: tuple[str, ...], *, distance: Float[ArrayLike, "pairs"], stiffness: Float[ArrayLike, "pairs"]
    ):
        self.types = tuple(types)
        self.distance, self.stiffness = jnp.asarray(distance), jnp.asarray(stiffness)
        self.cutoff = float(np.max(np.asarray(distance)))

    def __check_init__(self):
        _check(("distance", "stiffness"), (self.distance, self.stiffness), (len(pair_names(self.types)),))
        _check_cutoff(self.cutoff)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (self.cutoff,)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return _pair_energies(graph, self.cutoff, self.types, self._of_pair, self._constants(graph))

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        return _pair_energy(graph, self.cutoff, self.types, self._of_pair, self._constants(graph))

    def _constants(self, graph: Graph) -> Float[Array, "pairs 2"]:
        return jnp.stack([self.distance, self.stiffness], -1).astype(graph.positions.dtype)

    def _of_pair(self, squared, distance, stiffness):
        return stiffness * jnp.maximum(distance - jnp.sqrt(jnp.minimum(squared, self.cutoff**2)), 0) ** 3


class LennardJones(Potential):
    """A = sum over pairs of 4 epsilon ((sigma/r)^12 - (sigma/r)^6) up to the cut-off.

    `truncated` stops there, `shifted` is raised to end at zero, and `switched` falls to zero over the last
    tenth with two derivatives. Constants stand for each pair of species, in the order of `splines.pair_names`.
    Pairs three bonds apart are scaled by `scale14`, of the topology or another, where the topology keeps them.
    """

    types: tuple[str, ...] = eqx.field(static=True)
    sigma: Float[Array, "pairs"]  # nm
    epsilon: Float[Array, "pairs"]  # kJ/mol
    cutoff: float = eqx.field(static=True)  # nm
    truncation: Truncation = eqx.field(static=True)
    scale14: float = eqx.field(static=True)

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        sigma: Float[ArrayLike, "pairs"],
        epsilon: Float[ArrayLike, "pairs"],
        cutoff: float,
        truncation: Truncation = "switched",
        scale14: float = 1.0,
    ):
        self.types, self.cutoff, self.truncation = tuple(types), float(cutoff), truncation
        self.sigma, self.epsilon, self.scale14 = jnp.asarray(sigma), jnp.asarray(epsilon), float(scale14)

    def __check_init__(self):
        _check(("sigma", "epsilon"), (self.sigma, self.epsilon), (len(pair_names(self.types)),))
        _check_cutoff(self.cutoff)
        if self.truncation not in ("truncated", "shifted", "switched"):
            raise ValueError(f"unknown truncation {self.truncation!r}; use truncated, shifted or switched")

    @staticmethod
    def mixed(
        types: tuple[str, ...],
        *,
        sigma: Sequence[float] | Float[ArrayLike, "types"],
        epsilon: Sequence[float] | Float[ArrayLike, "types"],
        cutoff: float,
        truncation: Truncation = "switched",
        scale14: float = 1.0,
    ) -> LennardJones:
        """Constants of each species, mixed by Lorentz (mean of sigma) and Berthelot (root of epsilon)."""
        sigma, epsilon = np.asarray(sigma, float), np.asarray(epsilon, float)
        _check(("sigma", "epsilon"), (sigma, epsilon), (len(types),))
        i, j = np.triu_indices(len(types))
        return LennardJones(
            types,
            sigma=(sigma[i] + sigma[j]) / 2,
            epsilon=np.sqrt(epsilon[i] * epsilon[j]),
            cutoff=cutoff,
            truncation=truncation,
            scale14=scale14,
        )

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (self.cutoff,)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        values = _pair_energies(graph, self.cutoff, self.types, self._function(), self._constants(graph))
        if self.scale14 == 1.0:
            return values
        return values + internal.shared(graph, graph.bonded.pairs14, self._extra14(graph))

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        values = _pair_energy(graph, self.cutoff, self.types, self._function(), self._constants(graph))
        if self.scale14 == 1.0:
            return values
        return values + internal.per_frame(graph, graph.bonded.pairs14, self._extra14(graph))

    def _extra14(self, graph: Graph) -> Float[Array, "pairs14"]:
        """What the scale takes from pairs that the neighbour lists count in full."""
        pairs = graph.bonded.pairs14
        squared = (internal.chain_vectors(graph, pairs)[:, 0] ** 2).sum(-1)
        kind = pair_kind(self.types, graph.species[pairs[:, 0]], graph.species[pairs[:, 1]])
        constants = self._constants(graph)
        return (self.scale14 - 1) * self._function()(squared, *(column[kind] for column in constants.T))

    def _constants(self, graph: Graph) -> Float[Array, "pairs 3"]:
        sixth = self.sigma**6
        end = sixth / self.cutoff**6
        shift = 4 * self.epsilon * end * (end - 1) if self.truncation == "shifted" else jnp.zeros_like(end)
        return jnp.stack([sixth, 4 * self.epsilon, shift], -1).astype(graph.positions.dtype)

    def _function(self):
        limit, switched = self.cutoff**2, self.truncation == "switched"

        def u(squared, sixth, height, shift):
            x = sixth / squared**3
            value = height * x * (x - 1) - shift
            if switched:
                t = jnp.clip((jnp.sqrt(squared) / self.cutoff - 0.9) / 0.1, 0, 1)
                value = value * (1 - t**3 * (10 - t * (15 - 6 * t)))
            return jnp.where(squared < limit, value, 0)

        return u


class StillingerWeber(Potential):
    """The Stillinger-Weber potential; the defaults are mW water (Molinero and Moore, 2009). All beads are alike.

    A = sum_pairs A e (B (s/r)^4 - 1) exp(s/(r - a s)) + sum_i sum_{j<k} lambda e (cos jik - cos0)^2 g(r_ij) g(r_ik)
    with g(r) = exp(gamma s / (r - a s)). The sum over triplets is done by moments of rank 0, 1 and 2.
    """

    sigma: Float[Array, ""]  # nm
    epsilon: Float[Array, ""]  # kJ/mol
    tetrahedrality: Float[Array, ""]  # lambda
    cosine: Float[Array, ""]  # cos0
    reach: float = eqx.field(static=True)  # a s in nm: the cut-off
    steepness: Float[Array, ""]  # gamma
    strength: Float[Array, ""]  # A
    ratio: Float[Array, ""]  # B

    def __init__(
        self,
        *,
        sigma: float = 0.23925,
        epsilon: float = 6.189 * KCAL,
        tetrahedrality: float = 23.15,
        cosine: float = -1 / 3,
        reach: float = 1.8 * 0.23925,
        steepness: float = 1.2,
        strength: float = 7.049556277,
        ratio: float = 0.6022245584,
    ):
        self.sigma, self.epsilon = jnp.asarray(sigma, float), jnp.asarray(epsilon, float)
        self.tetrahedrality, self.cosine = jnp.asarray(tetrahedrality, float), jnp.asarray(cosine, float)
        self.steepness, self.strength = jnp.asarray(steepness, float), jnp.asarray(strength, float)
        self.ratio, self.reach = jnp.asarray(ratio, float), float(reach)

    def __check_init__(self):
        _check_cutoff(self.reach)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (self.reach,)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        near = edges(graph, self.reach)
        dtype = near.squared.dtype
        put = lambda value: value.astype(dtype)
        sigma, cosine, steepness = put(self.sigma), put(self.cosine), put(self.steepness)
        distance = jnp.sqrt(near.squared)
        inside = distance < self.reach
        decay = sigma / jnp.where(inside, distance - self.reach, -1)
        pair = put(self.strength) * (put(self.ratio) * (sigma / distance) ** 4 - 1) * jnp.exp(decay)
        weight = jnp.where(inside, jnp.exp(steepness * decay), 0)
        unit = [near.x / distance, near.y / distance, near.z / distance]
        total = weight.sum(1)
        first = sum((weight * n).sum(1) ** 2 for n in unit)
        second = sum((weight * a * b).sum(1) ** 2 for a in unit for b in unit)
        itself = (weight**2).sum(1) * (1 - cosine) ** 2
        triplets = (second - 2 * cosine * first + (cosine * total) ** 2 - itself) / 2
        return put(self.epsilon) * (jnp.where(inside, pair, 0).sum(1) / 2 + put(self.tetrahedrality) * triplets)


def _pair_energies(graph: Graph, cutoff: float, types: tuple[str, ...], u, constants: Float[Array, "pairs n"]):
    near = edges(graph, cutoff)
    there = neighbour_species(graph, cutoff) if len(types) > 1 else 0
    kind = pair_kind(types, graph.species[:, None], there)
    return u(near.squared, *(column[kind] for column in constants.T)).sum(1) / 2


def _pair_energy(graph: Graph, cutoff: float, types: tuple[str, ...], u, constants: Float[Array, "pairs n"]):
    def of_pair(constants, squared, here, there):
        kind = pair_kind(types, here, there)
        return u(squared, *(column[kind] for column in constants.T))

    return pair_energy(graph, cutoff, of_pair, constants)


def _of_kind(constants: Float[Array, "kinds ..."], terms: internal.Terms) -> Float[Array, "terms ..."]:
    return constants.astype(terms.vectors.dtype)[terms.kind]


def _check(names: tuple[str, ...], values: tuple[Array | np.ndarray, ...], shape: tuple[int, ...]) -> None:
    for name, value in zip(names, values, strict=True):
        if value.shape != shape:
            raise ValueError(f"{name} has shape {value.shape}; {shape} is needed, one number for each kind")


def _check_cutoff(cutoff: float) -> None:
    if not cutoff > 0:
        raise ValueError(f"the cut-off must be positive, not {cutoff} nm")
