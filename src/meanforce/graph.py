"""n frames as one disjoint graph: what every potential reads.

Layout, by measurement: coordinates are gathered one component at a time from flat arrays, (beads, capacity),
which is three times as fast as gathering rows of three. Periodic images are a small integer per neighbour
into a table of shift vectors, so that orthorhombic, triclinic, tiny and absent boxes are one code path.
Unused slots point at the bead itself with the image `FAR`, a vector far beyond every cut-off: a term that
vanishes at its cut-off needs no mask, and no distance is ever zero.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

#: Lattice vectors with integer components from -3 to 3, then the one for unused slots.
IMAGE_RANGE = 3
IMAGES = np.stack(np.meshgrid(*[np.arange(-IMAGE_RANGE, IMAGE_RANGE + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
FAR = len(IMAGES)
FAR_DISTANCE = 1e4  # nm


class Neighbours(eqx.Module):
    """Every neighbour of every bead within `cutoff` (a full list), in rows of fixed capacity.

    `slot[i, k]` is the place of the reverse pair in the row of `index[i, k]`: gradients are gathered through
    it where others scatter. `needed` is the longest row; above the capacity the list is not valid.
    """

    index: Int[Array, "beads capacity"]
    image: Int[Array, "beads capacity"]
    slot: Int[Array, "beads capacity"]
    needed: Int[Array, ""]
    cutoff: float = eqx.field(static=True)  # nm, the skin included

    @property
    def capacity(self) -> int:
        return self.index.shape[1]


class Bonded(eqx.Module):
    """Bonded terms over all frames, each with the index of its kind in `Topology.kinds`."""

    bonds: Int[Array, "bonds 2"]
    bond_kind: Int[Array, "bonds"]
    angles: Int[Array, "angles 3"]
    angle_kind: Int[Array, "angles"]
    dihedrals: Int[Array, "dihedrals 4"]
    dihedral_kind: Int[Array, "dihedrals"]
    pairs14: Int[Array, "pairs14 2"]


class Graph(eqx.Module):
    """n frames, flattened: a simulation is the case n = 1 or n = replicas."""

    positions: Float[Array, "beads 3"]
    species: Int[Array, "beads"]
    frame: Int[Array, "beads"]
    box: Float[Array, "frames 3 3"] | None
    neighbours: tuple[Neighbours, ...]  # one for each cut-off asked for, ascending
    bonded: Bonded
    temperature: Float[Array, "frames"] | None
    parameters: dict[str, Float[Array, "frames"]]
    frames: int = eqx.field(static=True)

    def within(self, cutoff: float) -> Neighbours:
        """The shortest list that holds every neighbour within `cutoff`."""
        for neighbours in self.neighbours:
            if neighbours.cutoff >= cutoff - 1e-12:
                return neighbours
        raise ValueError(f"no neighbour list reaches {cutoff} nm; build the graph with this cut-off")


class Edges(NamedTuple):
    """Vectors from each bead to its neighbours, component by component; unused slots are far away."""

    x: Float[Array, "beads capacity"]
    y: Float[Array, "beads capacity"]
    z: Float[Array, "beads capacity"]
    squared: Float[Array, "beads capacity"]


def frame_sum(graph: Graph, values: Float[Array, "beads"]) -> Float[Array, "frames"]:
    """Sums per-bead values within each frame."""
    if graph.frames == 1:
        return values.sum(keepdims=True)
    return jax.ops.segment_sum(values, graph.frame, graph.frames, indices_are_sorted=True)
