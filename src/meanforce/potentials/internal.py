"""Bond lengths, angles and dihedrals of a graph, and what acts along them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from meanforce.graph import Graph, minimum_image

Kind = Literal["bonds", "angles", "dihedrals", "impropers"]


class Terms(NamedTuple):
    """All terms of one kind: their beads, which kind each is, and the vectors from bead to bead."""

    beads: Int[Array, "terms width"]
    kind: Int[Array, "terms"]
    vectors: Float[Array, "terms steps 3"]


def terms(graph: Graph, name: Kind) -> Terms:
    """The bonded terms of a graph."""
    bonded = graph.bonded
    beads, kind = {
        "bonds": (bonded.bonds, bonded.bond_kind),
        "angles": (bonded.angles, bonded.angle_kind),
        "dihedrals": (bonded.dihedrals, bonded.dihedral_kind),
        "impropers": (bonded.impropers, bonded.improper_kind),
    }[name]
    return Terms(beads, kind, chain_vectors(graph, beads))


def chain_vectors(graph: Graph, beads: Int[Array, "terms width"]) -> Float[Array, "terms width-1 3"]:
    """Vectors from each bead of a chain to the next, by the nearest image."""
    vectors = graph.positions[beads[:, 1:]] - graph.positions[beads[:, :-1]]
    steps = beads.shape[1] - 1
    box = None if graph.box is None else graph.box[jnp.repeat(graph.frame[beads[:, 0]], steps)]
    return minimum_image(vectors.reshape(-1, 3), box).reshape(vectors.shape)


def coordinate(vectors: Float[Array, "terms steps 3"]) -> Float[Array, "terms"]:
    """The length (nm) of one vector, the angle between two, or the dihedral of three (radians, in (-pi, pi])."""
    if vectors.shape[1] == 1:
        return jnp.sqrt((vectors[:, 0] ** 2).sum(-1))
    a, b = vectors[:, 0], vectors[:, 1]
    if vectors.shape[1] == 2:
        cosine = -(a * b).sum(-1) / jnp.sqrt((a * a).sum(-1) * (b * b).sum(-1))
        # a straight angle has no direction to bend in: its gradient is zero, not infinite
        edge = 1 - 8 * jnp.finfo(vectors.dtype).eps
        return jnp.arccos(jnp.clip(cosine, -edge, edge))
    c = vectors[:, 2]
    first, second = jnp.cross(a, b), jnp.cross(b, c)
    sine = (a * second).sum(-1) * jnp.sqrt((b * b).sum(-1))
    return jnp.arctan2(sine, (first * second).sum(-1))


def gradients(vectors: Float[Array, "terms steps 3"]) -> Float[Array, "terms steps+1 3"]:
    """d coordinate / d position of each bead of each term."""
    slope = jax.grad(lambda v: coordinate(v).sum())(vectors)
    nothing = jnp.zeros_like(slope[:, :1])
    return jnp.concatenate([nothing, slope], 1) - jnp.concatenate([slope, nothing], 1)


def shared(graph: Graph, beads: Int[Array, "terms width"], energies: Float[Array, "terms"]) -> Float[Array, "beads"]:
    """Divides the energy of each term evenly among its beads."""
    width = beads.shape[1]
    nothing = jnp.zeros(graph.positions.shape[0], energies.dtype)
    return nothing.at[beads.reshape(-1)].add(jnp.repeat(energies / width, width))


def per_frame(graph: Graph, beads: Int[Array, "terms width"], values: Float[Array, "terms ..."]):
    """Sums what belongs to the terms by frame."""
    return jax.ops.segment_sum(values, graph.frame[beads[:, 0]], graph.frames)
