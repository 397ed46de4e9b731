"""DimeNet++: messages along edges that see the angles between them, without a list of triplets."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.graph import Edges, Graph, Whole, edges, neighbour_species
from meanforce.numerics.edges import reverse_rows
from meanforce.numerics.harmonics import degrees, harmonics
from meanforce.numerics.moments import Functions, collect, functions, spread
from meanforce.numerics.radial import sines, spherical_bessel
from meanforce.potentials.base import NetworkPotential
from meanforce.potentials.networks import Dense, Residual, dense, in_precision, residual, swish


class Sizes(NamedTuple):
    """How large the network is; as published for coarse-grained beads."""

    embedding: int = 32
    blocks: int = 4
    before_skip: int = 1  # residual pairs
    after_skip: int = 2
    output: int = 64
    output_layers: int = 3
    type: int = 16
    angle: int = 16
    basis: int = 8
    radial: int = 6
    spherical: int = 7
    envelope: int = 6  # p: how late the envelope falls


PUBLISHED = Sizes()


class Embedding(eqx.Module):
    """The first message of an edge, from the types of its ends and its length."""

    types: Float[Array, "types type"]
    radial: Dense
    ends: Dense  # of the types of sender and receiver, then of the radial part


class Interaction(eqx.Module):
    """What all interaction blocks are made of; the first axis of every weight counts them."""

    radial_down: Dense
    radial_up: Dense
    angular_down: Dense
    angular_up: Dense
    own: Dense
    others: Dense
    down: Dense
    up: Dense
    before: tuple[Residual, ...]
    skip: Dense
    after: tuple[Residual, ...]


class Readout(eqx.Module):
    """From messages to energies, once before and once after every block; the first axis counts them."""

    radial: Dense
    up: Dense
    layers: tuple[Dense, ...]
    last: Dense


class DimeNet(NetworkPotential):
    """DimeNet++ (Gasteiger et al., arXiv 2011.14115) in the size of Thaler and Zavadlav (arXiv 2106.01138).

    Messages m_kj along the edges within `cutoff` are updated by those that arrive at their beginning, each
    weighted by sum_ln W_ln j_ln(d_kj) P_l(cos kji), and are read out at the bead they reach. By the addition
    theorem the sum over k is one of moments, sum_m y_lm(r_ji) sum_k R_l(d_kj) m_kj y_lm(r_jk), without k = i: the
    cost grows with the number of neighbours, not with its square, and no triplets are stored.

    The published size has 121,414 weights and 16 for each type (121,574 for ten): the frequencies 6; the embedding
    2,304; four blocks of 11,296; five readouts of 14,784. The last layer starts at zero, so that an
    untrained network adds nothing. `scale` in kJ/mol multiplies what is read out.
    """

    frequencies: Float[Array, "radial"]
    embedding: Embedding
    interactions: Interaction
    readouts: Readout
    types: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)  # nm
    envelope: int = eqx.field(static=True)
    scale: float = eqx.field(static=True)  # kJ/mol

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        cutoff: float = 0.5,
        sizes: Sizes = PUBLISHED,
        scale: float = 2.5,
        seed: int = 0,
    ):
        if min(sizes) < 1:
            small = [name for name, size in zip(Sizes._fields, sizes, strict=True) if size < 1]
            raise ValueError(f"sizes of at least 1 are needed; {', '.join(small)} is less")
        rng = np.random.default_rng(seed)
        self.types, self.cutoff, self.scale = tuple(types), float(cutoff), float(scale)
        self.envelope = int(sizes.envelope)
        self.frequencies = np.pi * jnp.arange(1.0, sizes.radial + 1)
        self.embedding = _embedding(rng, len(self.types), sizes)
        self.interactions = _interactions(rng, sizes)
        self.readouts = _readouts(rng, sizes)

    def __check_init__(self):
        if not self.cutoff > 0 or self.envelope < 1:
            raise ValueError(
                "a cut-off above 0 and an envelope power of at least 1 are needed, "
                f"not {self.cutoff} nm and {self.envelope}"
            )
        if not self.types or len(self.embedding.types) != len(self.types):
            raise ValueError(
                f"{len(self.types)} types ({', '.join(self.types)}) do not fit {len(self.embedding.types)} rows"
                " of the embedding; give one type of bead for each"
            )

    @property
    def sizes(self) -> Sizes:
        block, readout = self.interactions, self.readouts
        angular, radial = block.angular_down.weight.shape[-2], len(self.frequencies)
        return Sizes(
            embedding=block.own.weight.shape[-1], blocks=len(block.own.weight), before_skip=len(block.before),
            after_skip=len(block.after), output=readout.up.weight.shape[-1], output_layers=len(readout.layers),
            type=self.embedding.types.shape[1], angle=block.down.weight.shape[-1],
            basis=block.radial_down.weight.shape[-1], radial=radial, spherical=angular // radial,
            envelope=self.envelope,
        )  # fmt: skip

    def reinitialised(self, seed: int) -> DimeNet:
        return DimeNet(self.types, cutoff=self.cutoff, sizes=self.sizes, scale=self.scale, seed=seed)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (Whole(self.cutoff),)

    @property
    def footprint(self) -> int:
        return 9 * self.sizes.blocks * self.sizes.embedding  # messages live on pairs

    @property
    def last_layer(self) -> tuple[Any, ...]:
        return (self.readouts.last.weight,)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        net = in_precision(self, graph.positions.dtype)
        near, neighbours = edges(graph, Whole(self.cutoff)), graph.within(Whole(self.cutoff))
        basis = net._basis(near)
        first = _embedded(net.embedding, graph, Whole(self.cutoff), basis.radial)

        def block(messages, weights):
            updated = _interact(weights, messages, basis, neighbours.index, neighbours.slot)
            return updated, collect(basis.moments, updated)

        # unrolled: a loop would stack what its backward pass needs, and compile no faster
        _, later = jax.lax.scan(block, first, net.interactions, unroll=True)
        received = jnp.concatenate([collect(basis.moments, first)[None], later])
        return self.scale * _read(net.readouts, received)

    def _basis(self, near: Edges) -> _Basis:
        """Functions of all edges that the blocks share, of distances in cut-offs and of directions."""
        distance = jnp.sqrt(near.squared)
        radial = sines(distance / self.cutoff, self.frequencies, self.envelope)
        degree = self.interactions.angular_down.weight.shape[-2] // len(self.frequencies) - 1
        bessel = spherical_bessel(distance / self.cutoff, degree, len(self.frequencies), self.envelope)
        unit = (near.x / distance, near.y / distance, near.z / distance)
        share = jnp.asarray(np.sqrt(_degree_weights(degree))[degrees(degree)], distance.dtype)
        angular = functions(harmonics(*unit, degree) * share[None, :, None])
        parts = tuple(slice(l**2, (l + 1) ** 2) for l in range(degree + 1))  # noqa: E741
        by_degree = tuple(Functions(angular.rows[:, part], angular.columns[:, :, part]) for part in parts)
        return _Basis(radial, functions(jnp.swapaxes(radial, 1, 2)), bessel, angular, by_degree)


class _Basis(NamedTuple):
    """What the blocks share, for every edge."""

    radial: Float[Array, "beads capacity radial"]
    moments: Functions  # the same, to sum over neighbours
    bessel: tuple[Float[Array, "beads capacity radial"], ...]  # for each degree
    angular: Functions  # y_lm times the root of the weight of its degree
    by_degree: tuple[Functions, ...]  # the same, degree by degree


def triplet_sum(
    weights: Float[Array, "degrees radial f"], arriving: Float[Array, "beads capacity f"], basis: _Basis
) -> Float[Array, "beads capacity f"]:
    """sum_{k != i} sum_ln W_ln j_ln(d_kj) Y_l(cos kji) x_kj: what meets at j, for each edge from j to i."""
    weighted = [(bessel @ w) * arriving for bessel, w in zip(basis.bessel, weights, strict=True)]
    moments = [collect(part, values) for part, values in zip(basis.by_degree, weighted, strict=True)]
    itself = [share * values for share, values in zip(_degree_weights(len(weighted) - 1), weighted, strict=True)]
    return spread(basis.angular, jnp.concatenate(moments, 1)) - sum(itself[1:], itself[0])


def _degree_weights(degree: int) -> list[float]:
    """Y_l0 of a sphere over P_l."""
    return [sqrt((2 * l + 1) / (4 * pi)) for l in range(degree + 1)]  # noqa: E741


def _embedded(layer: Embedding, graph: Graph, cutoff: float, radial) -> Float[Array, "beads capacity f"]:
    """The first messages: edge k of bead i brings that of the neighbour to the bead."""
    kinds, size = layer.types.shape
    kind = lambda species: jax.nn.one_hot(species, kinds, dtype=radial.dtype)
    of_sender, of_receiver, of_length = jnp.split(layer.ends.weight, (size, 2 * size))
    sender, receiver = layer.types @ of_sender, kind(graph.species) @ (layer.types @ of_receiver)
    if kinds > 1:
        sender = kind(neighbour_species(graph, cutoff)) @ sender
    length = Dense(of_length, layer.ends.bias)
    return swish(length(swish(layer.radial(radial))) + receiver[:, None] + sender)


def _interact(
    block: Interaction,
    messages: Float[Array, "beads capacity f"],
    basis: _Basis,
    index: Int[Array, "beads capacity"],
    slot: Int[Array, "beads capacity"],
) -> Float[Array, "beads capacity f"]:
    """One update of all messages."""
    gates = basis.radial @ (block.radial_down.weight @ block.radial_up.weight)
    arriving = swish(block.down(swish(block.others(messages)) * gates))
    weights = block.angular_down.weight @ block.angular_up.weight
    weights = weights.reshape(len(basis.bessel), -1, weights.shape[-1])
    turned = reverse_rows(triplet_sum(weights, arriving, basis), index, slot)
    updated = swish(block.own(messages)) + swish(block.up(turned))
    for layer in block.before:
        updated = layer(updated)
    updated = messages + swish(block.skip(updated))
    for layer in block.after:
        updated = layer(updated)
    return updated


def _read(readout: Readout, received: Float[Array, "layers beads radial f"]) -> Float[Array, "beads"]:
    """The sum of all readouts, for messages summed at each bead with every radial function."""
    x = readout.up((received * readout.radial.weight[:, None]).sum(2))
    for layer in readout.layers:
        x = swish(layer(x))
    return readout.last(x).sum((0, -1))


def _embedding(rng: np.random.Generator, types: int, sizes: Sizes) -> Embedding:
    size = sizes.embedding
    table = rng.uniform(-np.sqrt(3), np.sqrt(3), (types, sizes.type))  # of variance 1
    return Embedding(jnp.asarray(table), dense(rng, sizes.radial, size), dense(rng, 2 * sizes.type + size, size))


def _interactions(rng: np.random.Generator, sizes: Sizes) -> Interaction:
    size, layers = sizes.embedding, (sizes.blocks,)
    linear = lambda inputs, outputs: dense(rng, inputs, outputs, layers=layers, bias=False)
    affine = lambda: dense(rng, size, size, layers=layers)
    pairs = lambda count: tuple(residual(rng, size, layers=layers) for _ in range(count))
    return Interaction(
        radial_down=linear(sizes.radial, sizes.basis),
        radial_up=linear(sizes.basis, size),
        angular_down=linear(sizes.radial * sizes.spherical, sizes.basis),
        angular_up=linear(sizes.basis, sizes.angle),
        own=affine(),
        others=affine(),
        down=linear(size, sizes.angle),
        up=linear(sizes.angle, size),
        before=pairs(sizes.before_skip),
        skip=affine(),
        after=pairs(sizes.after_skip),
    )


def _readouts(rng: np.random.Generator, sizes: Sizes) -> Readout:
    layers = (sizes.blocks + 1,)
    return Readout(
        radial=dense(rng, sizes.radial, sizes.embedding, layers=layers, bias=False),
        up=dense(rng, sizes.embedding, sizes.output, layers=layers, bias=False),
        layers=tuple(dense(rng, sizes.output, sizes.output, layers=layers) for _ in range(sizes.output_layers)),
        last=Dense(jnp.zeros((*layers, sizes.output, 1)), None),
    )
