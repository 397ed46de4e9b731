"""n frames as one disjoint graph: what every potential reads.

Layout, by measurement: coordinates are gathered one component at a time from flat arrays, (beads, capacity),
which is three times as fast as gathering rows of three. Periodic images are a small integer per neighbour
into a table of shift vectors, so that orthorhombic, triclinic, tiny and absent boxes are one code path.
Unused slots point at the bead itself with the image `FAR`, a vector far beyond every cut-off: a term that
vanishes at its cut-off needs no mask, and no distance is ever zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from meanforce.frames import Frames
from meanforce.numerics import neighbours as search
from meanforce.numerics.edges import difference, moment, shift, take
from meanforce.numerics.neighbours import FAR, IMAGE_RANGE, IMPOSSIBLE, Whole
from meanforce.topology import Topology

FAR_DISTANCE = 1e4  # nm
_SPARE = 1.05  # capacity over the longest row at the start: padding costs time, overflow costs a compilation


class Neighbours(eqx.Module):
    """Every neighbour of every bead within `cutoff` (a full list), in rows of fixed capacity.

    `slot[i, k]` is the place of the reverse pair in the row of `index[i, k]`: gradients are gathered through
    it where others scatter. `needed` is the longest row; above the capacity the list is not valid, and
    `IMPOSSIBLE` says that there is none (coordinates that are not finite, a box smaller than a third of the
    cut-off). The lists reach `cutoff` and the skin of the graph.
    """

    index: Int[Array, "beads capacity"]
    image: Int[Array, "beads capacity"]
    slot: Int[Array, "beads capacity"]
    needed: Int[Array, ""]
    cutoff: float = eqx.field(static=True)  # nm, without the skin

    @property
    def capacity(self) -> int:
        return self.index.shape[1]

    @property
    def overflow(self) -> Bool[Array, ""]:
        return self.needed > self.capacity


class Bonded(eqx.Module):
    """Bonded terms over all frames, each with the index of its kind in `Topology.kinds`."""

    bonds: Int[Array, "bonds 2"]
    bond_kind: Int[Array, "bonds"]
    angles: Int[Array, "angles 3"]
    angle_kind: Int[Array, "angles"]
    dihedrals: Int[Array, "dihedrals 4"]
    dihedral_kind: Int[Array, "dihedrals"]
    impropers: Int[Array, "impropers 4"]
    improper_kind: Int[Array, "impropers"]
    pairs14: Int[Array, "pairs14 2"]


class Graph(eqx.Module):
    """n frames, flattened: a simulation is the case n = 1 or n = replicas.

    Positions need not lie in the box: `home` is the lattice cell each bead was in when the lists were built,
    and images are relative to `positions - home @ box`.
    """

    positions: Float[Array, "beads 3"]
    species: Int[Array, "beads"]
    frame: Int[Array, "beads"]
    box: Float[Array, "frames 3 3"] | None
    home: Int[Array, "beads 3"]
    neighbours: tuple[Neighbours, ...]  # one for each cut-off asked for, ascending
    excluded: search.Exclusions
    bonded: Bonded
    temperature: Float[Array, "frames"] | None
    parameters: dict[str, Float[Array, "frames"]]
    frames: int = eqx.field(static=True)
    skin: float = eqx.field(static=True)  # nm

    def within(self, cutoff: float) -> Neighbours:
        """The shortest list that holds every neighbour within `cutoff`, of its kind: whole or not."""
        alike = not self.excluded.partner.shape[0]
        for neighbours in self.neighbours:
            same = alike or isinstance(neighbours.cutoff, Whole) == isinstance(cutoff, Whole)
            if same and neighbours.cutoff >= cutoff - 1e-12:
                return neighbours
        raise ValueError(f"no neighbour list reaches {cutoff} nm; build the graph with the cutoffs of the potential")

    @property
    def overflow(self) -> Bool[Array, ""]:
        """Whether some list is not valid; `build` with larger capacities repairs it."""
        return jnp.asarray([n.overflow for n in self.neighbours] or [False]).any()


class Edges(NamedTuple):
    """Vectors from each bead to its neighbours, component by component; unused slots are far away."""

    x: Float[Array, "beads capacity"]
    y: Float[Array, "beads capacity"]
    z: Float[Array, "beads capacity"]
    squared: Float[Array, "beads capacity"]


def build(
    frames: Frames,
    topology: Topology,
    cutoffs: Sequence[float],
    *,
    skin: float = 0.0,
    capacities: Sequence[int] | None = None,
    dtype=np.float64,
) -> Graph:
    """A graph of all frames on the host, with one list per cut-off (nm).

    Capacities are found automatically; those given are enlarged where a row needs more, so that batches of
    one shape can share a compiled function. Pairs in `topology.excluded` are left out, but of lists whose cut-off is
    `Whole`.
    """
    n, particles = len(frames), len(topology)
    if frames.particles != particles:
        raise ValueError(f"frames of {frames.particles} particles do not fit a topology of {particles}")
    keep = len(topology.excluded) > 0
    kinds = {c if keep and isinstance(c, Whole) else float(c) for c in cutoffs}
    cutoffs = sorted(kinds, key=lambda c: (float(c), isinstance(c, Whole)))
    if capacities is not None and len(capacities) != len(cutoffs):
        raise ValueError(f"{len(capacities)} capacities are given for {len(cutoffs)} different cut-offs {cutoffs}")
    positions = frames.positions.reshape(-1, 3).astype(dtype)
    box = None if frames.box is None else np.asarray(frames.box, dtype)
    species, frame, searched, excluded, bonded = _lasting(topology, n, jnp.zeros(()).device)
    rows, home = _search(positions, box, n, [type(c)(c + skin) for c in cutoffs], capacities, searched)
    lists = tuple(
        Neighbours(
            jnp.asarray(row.index), jnp.asarray(row.image), jnp.asarray(row.slot), jnp.asarray(row.needed, jnp.int32),
            cutoff=cutoff,
        )
        for row, cutoff in zip(rows, cutoffs, strict=True)
    )  # fmt: skip
    to_array = lambda value: None if value is None else jnp.asarray(value, dtype)
    return Graph(
        positions=jnp.asarray(positions),
        species=species,
        frame=frame,
        box=to_array(box),
        home=jnp.asarray(home),
        neighbours=lists,
        excluded=excluded,
        bonded=bonded,
        temperature=to_array(frames.temperature),
        parameters={name: jnp.asarray(value, dtype) for name, value in frames.parameters.items()},
        frames=n,
        skin=float(skin),
    )


def rebuild(graph: Graph) -> Graph:
    """New lists for the positions of the graph, at the same capacities; works inside jit and scan.

    Look at `overflow` afterwards: a list that is too long for its rows is not valid.
    """
    reach = [type(n.cutoff)(n.cutoff + graph.skin) for n in graph.neighbours]
    capacities = [n.capacity for n in graph.neighbours]
    beads = len(graph.positions)

    def host(positions, box, excluded):
        box = None if box is None else np.asarray(box)
        start = np.linspace(0, beads, graph.frames + 1).astype(np.int64)
        excluded = search.Exclusions(*(np.asarray(a) for a in excluded))
        rows, home = search.build(np.asarray(positions), box, start, reach, capacities, excluded)
        return tuple((*row[:3], np.int32(row.needed)) for row in rows), home

    whole = lambda *shape: jax.ShapeDtypeStruct(shape, np.int32)
    shapes = (tuple((*(whole(beads, c),) * 3, whole()) for c in capacities), whole(beads, 3))
    arguments = jax.lax.stop_gradient((graph.positions, graph.box, graph.excluded))
    rows, home = jax.pure_callback(host, shapes, *arguments, vmap_method="sequential")
    lists = tuple(
        Neighbours(index, image, slot, needed, n.cutoff)
        for (index, image, slot, needed), n in zip(rows, graph.neighbours, strict=True)
    )
    return eqx.tree_at(lambda g: (g.neighbours, g.home), graph, (lists, home))


def moved(graph: Graph, since: Float[Array, "beads 3"]) -> Bool[Array, ""]:
    """Whether some bead is further than half the skin from where it was when the lists were built."""
    return ((graph.positions - since) ** 2).sum(-1).max() > (graph.skin / 2) ** 2


def edges(graph: Graph, cutoff: float) -> Edges:
    """Vectors to every neighbour within `cutoff` (those in the skin are there too).

    Derivatives with respect to positions and box exist to every order, and gather through `slot`.
    """
    neighbours = graph.within(cutoff)
    index, image, slot = neighbours.index, neighbours.image, neighbours.slot
    # the barrier keeps the compiler from wrapping every bead anew for each of its neighbours
    x, y, z = (difference(q, index, slot) for q in jax.lax.optimization_barrier(tuple(_wrapped(graph).T)))
    if graph.box is not None:
        x, y, z = (d + shift(graph.box[:, :, a], image, frames=graph.frames) for a, d in enumerate((x, y, z)))
    x = jnp.where(image == FAR, jnp.asarray(FAR_DISTANCE, x.dtype), x)
    return Edges(x, y, z, x * x + y * y + z * z)


def neighbour_species(graph: Graph, cutoff: float) -> Int[Array, "beads capacity"]:
    """The species of every neighbour."""
    return take(graph.species, graph.within(cutoff).index)


def pair_energy(
    graph: Graph, cutoff: float, u: Callable, parameters: Any = None, slope: Callable | None = None
) -> Float[Array, "frames"]:
    """The sum over pairs of `u(parameters, squared, species_i, species_j)` in each frame, kJ/mol.

    `u` works elementwise on the squared distances (nm^2), is symmetric in the species and vanishes beyond
    `cutoff`. Forces are gathered, F_i = sum_j f(r_ij): half the cost of differentiating the sum. Derivatives
    of every order are right for positions, box and `parameters`; what `u` depends on goes into `parameters`.
    `slope`, with the same arguments, gives du/d(squared) where a closed form is at hand.
    """
    return _pair_energy(u, slope, cutoff, parameters, graph)


def strained(graph: Graph, strain: Float[Array, "frames"] | Float[Array, "frames 3 3"]) -> Graph:
    """Positions and boxes stretched by 1 + strain; the virial is -dA/d(strain) at zero."""
    strain = jnp.asarray(strain, graph.positions.dtype)
    if strain.ndim == 1:
        strain = strain[:, None, None] * jnp.eye(3, dtype=strain.dtype)[None]
    apply = lambda rows, matrix: rows + jnp.einsum("...j,...ij->...i", rows, matrix)
    positions = apply(graph.positions, _of_bead(graph, strain))
    if graph.box is None:
        return eqx.tree_at(lambda g: g.positions, graph, positions)
    return eqx.tree_at(lambda g: (g.positions, g.box), graph, (positions, apply(graph.box, strain[:, None])))


def minimum_image(vectors: Float[Array, "n 3"], box: Float[Array, "n 3 3"] | None) -> Float[Array, "n 3"]:
    """The nearest image of vectors shorter than half the smallest height of their boxes."""
    if box is None:
        return vectors
    fractional = jnp.einsum("na,nak->nk", vectors, jnp.linalg.inv(box))
    return vectors - jnp.einsum("nk,nka->na", jnp.round(jax.lax.stop_gradient(fractional)), box)


def bonded_vectors(graph: Graph, first: Int[Array, "terms"], second: Int[Array, "terms"]) -> Float[Array, "terms 3"]:
    """Vectors from the first to the second bead of bonded terms, in their nearest image."""
    vectors = graph.positions[second] - graph.positions[first]
    return minimum_image(vectors, None if graph.box is None else graph.box[graph.frame[first]])


def frame_sum(graph: Graph, values: Float[Array, "beads"]) -> Float[Array, "frames"]:
    """Sums per-bead values within each frame."""
    if graph.frames == 1:
        return values.sum(keepdims=True)
    return values.reshape(graph.frames, -1).sum(1)


def _tiled(terms: np.ndarray, frames: int, particles: int) -> np.ndarray:
    """Indices of particles, repeated for every frame."""
    offset = np.arange(frames, dtype=np.int32)[:, None, None] * particles
    return (terms[None] + offset).reshape(-1, terms.shape[1])


@lru_cache(maxsize=16)
def _lasting(topology: Topology, frames: int, device: Any):
    """What is the same in all graphs: species, frames, exclusions on the host and on the device, bonded terms."""
    del device  # the one that JAX makes arrays on
    excluded = search.exclusions(frames * len(topology), _tiled(topology.excluded, frames, len(topology)))
    return (
        jnp.asarray(np.tile(topology.species_index, frames)),
        jnp.asarray(np.repeat(np.arange(frames, dtype=np.int32), len(topology))),
        excluded,
        search.Exclusions(jnp.asarray(excluded.start), jnp.asarray(excluded.partner)),
        _bonded(topology, frames),
    )


def _bonded(topology: Topology, frames: int) -> Bonded:
    whole = lambda name: jnp.asarray(_tiled(getattr(topology, name), frames, len(topology)))
    kind = lambda name: jnp.asarray(np.tile(topology.kind_index(name), frames))
    return Bonded(
        whole("bonds"), kind("bonds"), whole("angles"), kind("angles"), whole("dihedrals"), kind("dihedrals"),
        whole("impropers"), kind("impropers"), whole("pairs14"),
    )  # fmt: skip


def _of_bead(graph: Graph, per_frame: Float[Array, "frames ..."]) -> Float[Array, "beads ..."]:
    return per_frame if graph.frames == 1 else per_frame[graph.frame]


def _wrapped(graph: Graph) -> Float[Array, "beads 3"]:
    if graph.box is None:
        return graph.positions
    return graph.positions - jnp.einsum(
        "...k,...ka->...a", graph.home.astype(graph.box.dtype), _of_bead(graph, graph.box)
    )


def _search(positions, box, frames, reach, capacities, excluded):
    """Lists with room for every row, or a refusal that says why there is none."""
    beads = len(positions)
    if not reach:
        return (), np.zeros((beads, 3), np.int32)
    if not np.isfinite(positions).all():
        frame = int(np.flatnonzero(~np.isfinite(positions).all(1))[0]) // (beads // frames)
        raise ValueError(f"frame {frame} holds coordinates that are not finite; remove it")
    if box is not None and reach[-1] > IMAGE_RANGE * search.smallest_height(box):
        raise ValueError(
            f"the smallest box is {search.smallest_height(box):.3g} nm across, less than a third of the cut-off with "
            f"skin, {reach[-1]:.3g} nm: shorten the cut-off or use a larger box"
        )
    start = np.linspace(0, beads, frames + 1).astype(np.int64)
    room = list(capacities or [48] * len(reach))
    rows, home = search.build(positions, box, start, reach, room, excluded)
    if any(row.needed == IMPOSSIBLE for row in rows):
        raise ValueError("no neighbour list can be built: a box is degenerate or a coordinate is absurdly large")
    best = [8 * int(np.ceil((row.needed * _SPARE + 1) / 8)) for row in rows]
    if box is None or 2 * reach[-1] < search.smallest_height(box):  # no more neighbours than other beads of the frame
        best = [min(b, max(1, beads // frames - 1)) for b in best]
    if capacities:
        best = [c if row.needed <= c else b for row, c, b in zip(rows, room, best, strict=True)]
    if best != room:
        rows, home = search.build(positions, box, start, reach, best, excluded)
    return rows, home


def _pair_sum(u, cutoff, parameters, graph):
    squared = edges(graph, cutoff).squared
    values = u(parameters, squared, *_species(graph, cutoff))
    return frame_sum(graph, values.sum(1)) / 2


def _species(graph, cutoff):
    return graph.species[:, None], neighbour_species(graph, cutoff)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _pair_energy(u, slope, cutoff, parameters, graph):
    return _pair_sum(u, cutoff, parameters, graph)


def _pair_energy_jvp(u, slope, cutoff, primals, tangents):
    parameters, graph = primals
    parameters_dot, graph_dot = tangents
    vectors, species = edges(graph, cutoff), _species(graph, cutoff)
    of_squared = lambda s: u(parameters, s, *species)
    if slope is None:
        values, derivative = jax.jvp(of_squared, (vectors.squared,), (jnp.ones_like(vectors.squared),))
    else:
        values, derivative = of_squared(vectors.squared), slope(parameters, vectors.squared, *species)
    energy = frame_sum(graph, values.sum(1)) / 2
    pull = [derivative * d for d in (vectors.x, vectors.y, vectors.z)]
    change = jnp.zeros_like(energy)
    displaced = _displacement(graph, graph_dot)
    if displaced is not None:
        gradient = -2 * jnp.stack([p.sum(1) for p in pull], -1)
        change += frame_sum(graph, (gradient * displaced).sum(-1))
    if not _is_zero(graph_dot.box):
        image = graph.within(cutoff).image
        stress = jnp.stack([moment(p, image) for p in pull], -1)
        change += frame_sum(graph, (stress * _of_bead(graph, graph_dot.box)).sum((1, 2)))
    if not all(_is_zero(t) for t in jax.tree.leaves(parameters_dot, is_leaf=_is_zero)):
        dots = jax.tree.map(_instantiate, parameters, parameters_dot)
        _, values_dot = jax.jvp(lambda p: u(p, vectors.squared, *species), (parameters,), (dots,))
        change += frame_sum(graph, values_dot.sum(1)) / 2
    return energy, change


_pair_energy.defjvp(_pair_energy_jvp, symbolic_zeros=True)


def _displacement(graph: Graph, graph_dot: Graph) -> Float[Array, "beads 3"] | None:
    """The tangent of the wrapped positions; None if nothing moves them."""
    moved_by = None if _is_zero(graph_dot.positions) else graph_dot.positions
    if graph.box is None or graph_dot.box is None or _is_zero(graph_dot.box):
        return moved_by
    boxes = jnp.einsum("...k,...ka->...a", graph.home.astype(graph.box.dtype), _of_bead(graph, graph_dot.box))
    return -boxes if moved_by is None else moved_by - boxes


def _is_zero(tangent) -> bool:
    return tangent is None or isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def _instantiate(primal, tangent):
    """A tangent for every parameter: zeros where nothing depends on it."""
    if not _is_zero(tangent):
        return tangent
    primal = jnp.asarray(primal)
    return (
        jnp.zeros_like(primal)
        if jnp.issubdtype(primal.dtype, jnp.inexact)
        else np.zeros(primal.shape, jax.dtypes.float0)
    )
