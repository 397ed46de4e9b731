"""The closed form: normal equations streamed from the data, in blocks of frames, in double precision.

Memory is bounded by one batch of the design and the blocks' Gram matrices, whatever the length of the data. These are
of the coefficients that some label depends on, found as the data go by: of a molecule's, the smaller part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

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
#: Lengths that the equations are compiled for, at most.
_LENGTHS = 16

Progress = Callable[[float], None]


def normal_equations(
    potential: LinearPotential,
    objectives: Sequence[Quadratic],
    *,
    blocks: int = 32,
    progress: Progress | None = None,
    beads: int | None = None,
) -> tuple[list[Normal], Float[np.ndarray, "n n"], Int[np.ndarray, "n"]]:
    """The normal equations of every objective, in `blocks` contiguous blocks of frames, fewer where each is large.

    They are those of the coefficients that some label depends on: the third value says which these are, and the second
    is the covariance of their basis functions of A over the frames. Objectives on one data set share its design. Blocks
    follow the continuous runs of the data, in order.
    """
    found: dict[int, Normal] = {}
    groups, passes = by_data(objectives), []
    for number, (data, members) in enumerate(groups):
        share = None if progress is None else lambda part, at=number: progress((at + part) / len(groups))
        passes.append(_accumulate(potential, data, members, (blocks, beads), share))
    sampled = np.unique(np.concatenate([part.columns for parts, _ in passes for part in parts]))
    energy = np.zeros((len(sampled),) * 2)
    for (_, members), (parts, edges) in zip(groups, passes, strict=True):
        *sums, of_energy = _put_together(parts, sampled, len(edges) - 1)
        for member, blockwise in zip(members, sums, strict=True):
            normal = Normal.of(blockwise, len(sampled), member.weight)
            _refuse_not_finite(normal.blocks, member, edges)
            _refuse_constant(normal.blocks, member)
            _refuse_zero(normal.blocks, member, len(objectives))
            found[id(member)] = normal
        energy += _covariance(of_energy)
    return [found[id(objective)] for objective in objectives], energy, sampled


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


class Part(NamedTuple):
    """Sums over frames of one block, for the basis functions that the labels had touched by then."""

    block: int
    columns: Int[np.ndarray, "n"]
    sums: list[Equations]  # of each objective, unknowns beside last, and of the functions of A


def _accumulate(
    potential: LinearPotential,
    data: Dataset,
    objectives: list[Quadratic],
    lengths: tuple[int, int | None],
    progress: Progress | None,
) -> tuple[list[Part], Int[np.ndarray, "edges"]]:
    """The equations of the objectives in parts, block by block, and where the blocks begin."""
    edges, batch = _lengths(data, potential, *lengths)
    weights = frame_weights(data)
    order = np.concatenate(data.runs())
    wanted = tuple(objective.rows for objective in objectives)
    derived = asked(objectives)
    gauges = [Gauge.of(objective) for objective in objectives]
    parts: list[Part] = []
    columns = np.zeros(0, int)
    inside: list[Equations] = []  # sums of the part under way: they stay on the device
    block = done = 0
    for frames, graph, count in graphs(_batches(data, order, edges, batch), data.topology, potential.cutoffs):
        chosen = order[done : done + count]
        labels = _padded(tuple(gauge.labels(frames) for gauge in gauges), count, graph.frames)
        beside = _padded(tuple(gauge.columns(frames) for gauge in gauges), count, graph.frames)
        weighted = _fill(weights[chosen], graph.frames)
        displaced = None if (moved := along(frames)) is None else _padded((moved,), count, graph.frames)[0]
        rows, functions, touched = _rows(potential, wanted, derived, graph, displaced, labels, weighted)
        number = int(np.searchsorted(edges, done, side="right")) - 1
        known = np.union1d(columns, np.flatnonzero(touched))
        if inside and (number != block or len(known) > len(columns)):
            parts.append(_part(block, columns, inside))
            inside = []
        block, columns = number, known
        new = _equations(rows, beside, functions, weighted, _with_room(columns, len(potential.coefficients)))
        inside = list(map(_add, inside, new)) if inside else list(new)
        done += count
        if progress is not None:
            progress(done / len(data))
    if not done:
        raise ValueError("the data hold no frames")
    return [*parts, _part(block, columns, inside)], edges


def _with_room(columns: Int[np.ndarray, "n"], size: int) -> Int[np.ndarray, "m"]:
    """Columns and some that do not exist, so that few lengths are compiled for."""
    step = -(-size // _LENGTHS)
    return np.concatenate([columns, np.full(min(-(-len(columns) // step) * step, size) - len(columns), size)])


def _part(block: int, columns: Int[np.ndarray, "n"], sums: list[Equations]) -> Part:
    """The sums of the columns there are."""
    room = sums[-1].moment.shape[-1]
    cut = []
    for equations in sums:
        gram, moment, square, count = map(np.asarray, equations)
        kept = np.r_[: len(columns), room : moment.shape[-1]]
        cut.append(Equations(gram[np.ix_(kept, kept)], moment[..., kept], square, count))
    return Part(block, columns, cut)


def _put_together(parts: list[Part], sampled: Int[np.ndarray, "n"], blocks: int) -> list[Equations]:
    """The sums of every objective with a leading axis of blocks, and those of the functions of A; empties `parts`."""
    beyond = [sums.moment.shape[-1] - len(parts[0].columns) for sums in parts[0].sums[:-1]]
    totals = [_nothing((blocks,), (), len(sampled) + unknowns) for unknowns in beyond]
    of_energy = _nothing((), parts[0].sums[-1].moment.shape[:-1], len(sampled))
    while parts:
        block, columns, sums = parts.pop()
        places = np.searchsorted(sampled, columns)
        for total, part, unknowns in zip([*totals, of_energy], sums, [*beyond, 0], strict=True):
            at = np.concatenate([places, len(sampled) + np.arange(unknowns)])
            into = total if total is of_energy else Equations(*(field[block, ...] for field in total))
            into.gram[np.ix_(at, at)] += part.gram
            into.moment[..., at] += part.moment
            into.square[...] += part.square
            into.count[...] += part.count
    return [*totals, of_energy]


def _nothing(blocks: tuple[int, ...], heads: tuple[int, ...], size: int) -> Equations:
    shapes = ((size, size), (*heads, size), (), ())
    return Equations(*(np.zeros((*blocks, *shape)) for shape in shapes))


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


class Rows(NamedTuple):
    """The labels of one objective in a batch, with the derivative of each by every coefficient."""

    matrix: Float[Array, "labels k"]
    labels: Float[Array | np.ndarray, "labels"]
    weights: Float[Array, "labels"]


@eqx.filter_jit
def _rows(
    potential: LinearPotential,
    wanted: tuple[Callable[[Design], Array], ...],
    derived: tuple[int, tuple[str, ...]],
    graph: Graph,
    displaced: Along,
    labels: tuple[Float[Array | np.ndarray, "_"], ...],
    weights: Float[Array | np.ndarray, "frames"],
) -> tuple[tuple[Rows, ...], Float[Array, "heads frames k"], Bool[Array, "k"]]:
    """The rows of every objective, the functions of A, and which coefficients the labels depend on."""
    design = design_of(potential, graph, *derived, displaced)
    fixed = None if potential.fixed is None else column_of(potential.fixed, graph, *derived, displaced)
    found = []
    touched = jnp.zeros(potential.coefficients.shape, bool)
    for read, values in zip(wanted, labels, strict=True):
        matrix = read(design)
        left = values if fixed is None else values - read(fixed)[:, 0]
        seen = jnp.any(matrix != 0, axis=1)  # what no coefficient can touch tells nothing, not even noise
        each = jnp.repeat(weights, len(left) // graph.frames) * seen
        touched |= jnp.any((matrix != 0) & (each > 0)[:, None], axis=0)
        found.append(Rows(matrix, left, each))
    return tuple(found), potential.functions(design), touched


@jax.jit
def _equations(
    rows: tuple[Rows, ...],
    beside: tuple[Float[Array | np.ndarray, "frames _"], ...],
    functions: Float[Array, "heads frames k"],
    weights: Float[Array | np.ndarray, "frames"],
    columns: Int[Array | np.ndarray, "n"],
) -> tuple[Equations, ...]:
    """The equations of these columns and the unknowns beside them, and those of the functions of A."""
    chosen = lambda values: jnp.take(values, columns, axis=-1, mode="fill", fill_value=0)
    found = []
    for (every, left, each), unknowns in zip(rows, beside, strict=True):
        matrix = chosen(every)
        if unknowns.shape[1]:
            matrix = jnp.concatenate([matrix, unknowns], axis=1)
        heavy = matrix * each[:, None]
        found.append(Equations(matrix.T @ heavy, heavy.T @ left, jnp.sum(each * left**2), jnp.sum(each)))
    functions = chosen(functions)
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
