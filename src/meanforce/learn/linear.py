"""The closed form: normal equations streamed from the data, in blocks of frames, in double precision.

Memory is bounded by one batch of the design and the blocks' Gram matrices, whatever the length of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import pairwise

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import Graph
from meanforce.learn.gauge import Gauge
from meanforce.learn.normal import Normal
from meanforce.learn.rows import Along, along, asked, column_of, design_of
from meanforce.learn.weights import frame_weights
from meanforce.numerics import precision  # noqa: F401  (double precision is on)
from meanforce.objectives.base import Equations, Quadratic
from meanforce.potentials.base import Design, LinearPotential
from meanforce.thermodynamics import frames_per_batch, graphs

#: Bytes of one batch of the design of forces; a few times as much is alive at once.
DESIGN_BYTES = 64 * 2**20
#: Bytes of the Gram matrices of all blocks of one objective, and the fewest blocks whatever their size.
_GRAM_BYTES = 2**30
_LEAST_BLOCKS = 8

Progress = Callable[[float], None]


def normal_equations(
    potential: LinearPotential,
    objectives: Sequence[Quadratic],
    *,
    blocks: int = 32,
    progress: Progress | None = None,
    beads: int | None = None,
) -> tuple[list[Normal], Float[np.ndarray, "k k"]]:
    """The normal equations of every objective, in `blocks` contiguous blocks of frames, fewer where each is large.

    The second value is the covariance of the basis functions of A over the frames. Objectives on
    one data set share its design. Blocks follow the continuous runs of the data, in order.
    """
    found: dict[int, Normal] = {}
    energy = np.zeros((potential.coefficients.shape[0],) * 2)
    groups = by_data(objectives)
    for number, (data, members) in enumerate(groups):
        share = None if progress is None else lambda part, at=number: progress((at + part) / len(groups))
        normals, of_energy, edges = _accumulate(potential, data, members, (blocks, beads), share)
        for member, normal in zip(members, normals, strict=True):
            _refuse_not_finite(normal.blocks, member, edges)
            _refuse_constant(normal.blocks, member)
            _refuse_zero(normal.blocks, member, len(objectives))
            found[id(member)] = normal
        energy += _covariance(of_energy)
    return [found[id(objective)] for objective in objectives], energy


def by_data(objectives: Sequence[Quadratic]) -> list[tuple[Dataset, list[Quadratic]]]:
    groups: list[tuple[Dataset, list[Quadratic]]] = []
    for objective in objectives:
        for data, members in groups:
            if data is objective.data:
                members.append(objective)
                break
        else:
            groups.append((objective.data, [objective]))
    return groups


def _accumulate(
    potential: LinearPotential,
    data: Dataset,
    objectives: list[Quadratic],
    lengths: tuple[int, int | None],
    progress: Progress | None,
) -> tuple[list[Normal], Equations, Int[np.ndarray, "edges"]]:
    """The equations of the objectives by block, the sums of the energy's basis functions, and where blocks begin."""
    size = potential.coefficients.shape[0]
    edges, batch = _lengths(data, potential, *lengths)
    weights = frame_weights(data)
    order = np.concatenate(data.runs())
    wanted = tuple(objective.rows for objective in objectives)
    derived = asked(objectives)
    gauges = [Gauge.of(objective) for objective in objectives]
    sums = [_nothing(size + gauge.unknowns, len(edges) - 1) for gauge in gauges]
    of_energy: Equations | None = None
    inside: list[Equations] = []  # sums of the block under way: they stay on the device, and nothing waits for it
    block = done = 0
    for frames, graph, count in graphs(_batches(data, order, edges, batch), data.topology, potential.cutoffs):
        chosen = order[done : done + count]
        labels = _padded(tuple(gauge.labels(frames) for gauge in gauges), count, graph.frames)
        beside = _padded(tuple(gauge.columns(frames) for gauge in gauges), count, graph.frames)
        weighted = _fill(weights[chosen], graph.frames)
        displaced = None if (moved := along(frames)) is None else _padded((moved,), count, graph.frames)[0]
        *new, energy = _equations(potential, wanted, derived, graph, displaced, labels, beside, weighted)
        number = int(np.searchsorted(edges, done, side="right")) - 1
        if number != block:
            _enter(sums, inside, block)
            block, inside = number, []
        inside = list(map(_add, inside, new)) if inside else new
        of_energy = energy if of_energy is None else _add(of_energy, energy)
        done += count
        if progress is not None:
            progress(done / len(data))
    _enter(sums, inside, block)
    if of_energy is None:
        raise ValueError("the data hold no frames")
    normals = [Normal.of(s, size, o.weight) for s, o in zip(sums, objectives, strict=True)]
    return normals, of_energy, edges


def _nothing(size: int, blocks: int) -> Equations:
    return Equations(np.zeros((blocks, size, size)), np.zeros((blocks, size)), np.zeros(blocks), np.zeros(blocks))


def _enter(sums: list[Equations], found: list[Equations], block: int) -> None:
    """Puts the equations of one block among those of all."""
    for total, part in zip(sums, found, strict=True):
        for field, value in zip(total, part, strict=True):
            field[block] = value


def _add(left: Equations, right: Equations) -> Equations:
    return Equations(*(a + b for a, b in zip(left, right, strict=True)))


def _covariance(sums: Equations) -> Float[np.ndarray, "k k"]:
    frames = np.asarray(sums.count)
    mean = np.asarray(sums.moment) / frames  # of each head
    return np.asarray(sums.gram) / frames - mean.T @ mean


def _lengths(
    data: Dataset, potential: LinearPotential, blocks: int, beads: int | None
) -> tuple[Int[np.ndarray, "edges"], int]:
    """Where the blocks begin and end, and the frames in the equal batches that make them up."""
    size = len(potential.coefficients)
    blocks = min(blocks, len(data), max(_LEAST_BLOCKS, _GRAM_BYTES // (8 * max(size, 1) ** 2)))
    edges = len(data) * np.arange(blocks + 1) // blocks
    block = -(-len(data) // blocks)
    bytes_per_frame = 24 * len(data.topology) * max(size, 1)
    most = max(1, min(frames_per_batch(data.topology, len(data), potential), DESIGN_BYTES // bytes_per_frame))
    if beads is not None:
        most = min(most, max(1, beads // len(data.topology)))
    return edges, -(-block // -(-block // most))


def _batches(data: Dataset, order: np.ndarray, edges: np.ndarray, batch: int) -> Iterator[Frames]:
    for first, last in pairwise(edges):
        yield from data.batches(batch, order[first:last])


def _padded(arrays: tuple[np.ndarray, ...], count: int, frames: int) -> tuple[np.ndarray, ...]:
    """Zeros for the frames that only fill up the batch."""
    return tuple(np.concatenate([y, np.zeros((len(y) // count * (frames - count), *y.shape[1:]))]) for y in arrays)


def _fill(weights: np.ndarray, frames: int) -> np.ndarray:
    return np.concatenate([weights, np.zeros(frames - len(weights))])


@eqx.filter_jit
def _equations(
    potential: LinearPotential,
    wanted: tuple[Callable[[Design], Array], ...],
    derived: tuple[int, tuple[str, ...]],
    graph: Graph,
    displaced: Along,
    labels: tuple[Float[Array | np.ndarray, "_"], ...],
    beside: tuple[Float[Array | np.ndarray, "frames _"], ...],
    weights: Float[Array | np.ndarray, "frames"],
) -> tuple[Equations, ...]:
    design = design_of(potential, graph, *derived, displaced)
    fixed = None if potential.fixed is None else column_of(potential.fixed, graph, *derived, displaced)
    found = []
    for read, values, unknowns in zip(wanted, labels, beside, strict=True):
        matrix = read(design)
        left = values if fixed is None else values - read(fixed)[:, 0]
        seen = jnp.any(matrix != 0, axis=1)  # what no coefficient can touch tells nothing, not even noise
        each = jnp.repeat(weights, len(left) // graph.frames) * seen
        if unknowns.shape[1]:
            matrix = jnp.concatenate([matrix, unknowns], axis=1)
        heavy = matrix * each[:, None]
        found.append(Equations(matrix.T @ heavy, heavy.T @ left, jnp.sum(each * left**2), jnp.sum(each)))
    functions = potential.functions(design)
    heavy = functions * weights[:, None]
    gram = jnp.einsum("hfk,hfl->kl", functions, heavy)
    found.append(Equations(gram, heavy.sum(axis=1), jnp.zeros(()), weights.sum()))
    return tuple(found)


def _refuse_not_finite(equations: Equations, objective: Quadratic, edges: np.ndarray) -> None:
    bad = ~reduce(np.logical_and, (np.isfinite(f).reshape(len(f), -1).all(axis=1) for f in equations))
    if bad.any():
        first, last = edges[int(np.argmax(bad)) :][:2]
        raise ValueError(
            f"the equations of the {objective.name} labels are not finite in frames {first} to {last - 1}: "
            "two beads may lie on one another there; look at the data with mf.inspect"
        )


def _refuse_constant(equations: Equations, objective: Quadratic) -> None:
    if not np.any(equations.count > 0):
        raise ValueError(
            f"{type(objective).__name__}: no coefficient of this potential changes what the {objective.name} labels "
            "say; use one that does (heat_capacity=True for variances, mf.LinearCoupled for parameters)"
        )
    if objective.centred and not np.any(equations.square > 0):
        raise ValueError(
            f"{type(objective).__name__}: the {objective.name} labels are the same in all frames of a state, and count "
            "up to a constant: there is nothing to learn from them; leave this objective out"
        )


def _refuse_zero(equations: Equations, objective: Quadratic, objectives: int) -> None:
    if objectives > 1 and not objective.centred and not np.any(equations.square > 0):
        raise ValueError(
            f"{type(objective).__name__}: the {objective.name} labels are zero in all frames; without a size they have "
            "no noise, and would outweigh all other objectives: leave this objective out"
        )
