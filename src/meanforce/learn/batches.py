"""Batches for training: frames as graphs, built ahead by a thread, in an order that the seed fixes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from meanforce.data.dataset import Dataset
from meanforce.data.errors import DatasetError
from meanforce.frames import Frames
from meanforce.graph import Graph, build
from meanforce.learn.gauge import Gauge
from meanforce.learn.linear import by_data
from meanforce.learn.rows import along
from meanforce.learn.training import Training
from meanforce.learn.weights import frame_weights
from meanforce.objectives.base import Quadratic

T = TypeVar("T")
Rooms = tuple[tuple[int, ...], ...]  # slots of each neighbour list, for each group

AXIS = "devices"
_AHEAD = 3  # batches that wait for the device
_WINDOW_BYTES = 32 * 2**20  # read at once, so that a chunk of the file is unpacked for many batches
_PART_BEADS = 256  # of the frames that a CPU works on at once
_OF_STATE = 8  # frames of each state that a first look takes at least, where labels have constants
_SAMPLE = 128  # frames that settle the length of neighbour rows and the scale of the labels


class Group(NamedTuple):
    """The objectives on one data set, by number, and its two parts."""

    objectives: tuple[Quadratic, ...]
    numbers: tuple[int, ...]
    gauges: tuple[Gauge, ...]
    scales: tuple[Float[np.ndarray, "unknowns"], ...]  # of the unknowns of each gauge
    training: Dataset
    held_out: Dataset
    training_weights: Float[np.ndarray, "frames"]  # mean one
    held_out_weights: Float[np.ndarray, "frames"]


class Batch(NamedTuple):
    """Frames as one graph for each part; every array has a leading axis of parts, those of a device together."""

    graph: Graph
    labels: tuple[Any, ...]  # parts, frames, labels of a frame: of each objective of the group
    weights: Any  # parts, frames, and members where each has its own; zero for frames that only fill up
    beside: tuple[Any, ...]  # parts, frames, unknowns: what multiplies those of each objective's gauge
    displaced: Any  # parts, beads, 3, or None


class Layout(NamedTuple):
    """How frames become batches."""

    frames: int
    cutoffs: tuple[float, ...]
    dtype: np.dtype
    mesh: Mesh
    parts: int  # into which the frames are divided: a device works on its own one after the other


class Drawn(NamedTuple):
    """A batch on its way: of which group, which of its frames, and the room of its lists."""

    group: int
    rows: Int[np.ndarray, "frames"]
    batch: Batch
    rooms: Rooms


class Sample(NamedTuple):
    """What a first look at some frames settles."""

    rooms: Rooms
    labels: Int[np.ndarray, "objectives"]  # of one frame
    square: Float[np.ndarray, "objectives"]  # mean square of the labels
    variance: Float[np.ndarray, "objectives"]


def mesh_of(devices: int) -> Mesh:
    """The first devices there are."""
    there = jax.devices()
    if devices > len(there):
        raise ValueError(
            f"Training: devices={devices}, and JAX sees {len(there)} ({there[0].platform}); ask for as many at most"
        )
    return Mesh(np.array(there[:devices]), (AXIS,))


def parts_of(training: Training, beads: int, mesh: Mesh) -> int:
    """One part for each device; on CPUs more, so that what a part needs stays in memory that is at hand.

    The memory of a whole batch of networks is asked for anew in every step, and filling its pages takes as long as
    the work on them.
    """
    share = training.batch // training.devices
    if mesh.devices.flat[0].platform != "cpu":
        return training.devices
    most = max(1, _PART_BEADS // beads)
    return training.devices * (share // max(k for k in range(1, share + 1) if share % k == 0 and k <= most))


def groups_of(objectives: Sequence[Quadratic], training: Training) -> tuple[Group, ...]:
    """Data sets cut into frames to learn from and frames to judge by."""
    groups = []
    for data, members in by_data(objectives):
        try:
            taught, held_out = data.split((1 - training.validation, training.validation))
        except DatasetError:
            raise ValueError(
                f"Training: validation={training.validation:g} of {len(data)} frames leaves none to judge by or none "
                "to learn from; choose another share, or give more frames"
            ) from None
        numbers = tuple(k for k, objective in enumerate(objectives) if any(objective is m for m in members))
        gauges = tuple(Gauge.of(member) for member in members)
        scales = tuple(gauge.scales(_spread(gauge)) for gauge in gauges)
        weights = (frame_weights(taught), frame_weights(held_out))
        groups.append(Group(tuple(members), numbers, gauges, scales, taught, held_out, *weights))
    return tuple(groups)


def look(groups: Sequence[Group], layout: Layout) -> Sample:
    """Room for the neighbours, and the scale of the labels, from frames spread evenly over each data set."""
    rooms, size = [], 1 + max(number for group in groups for number in group.numbers)
    labels, square, variance = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
    for group in groups:
        data = group.objectives[0].data
        rows = np.linspace(0, len(data) - 1, _SAMPLE).astype(int)
        rows = np.unique(
            np.concatenate([rows, *(gauge.some(_OF_STATE)[0] for gauge in group.gauges if gauge.states.size)])
        )
        seen = data[rows]
        for number, gauge in zip(group.numbers, group.gauges, strict=True):
            values = _centred(gauge, seen)
            free = len(values) / max(len(values) - len(gauge.states), 1)  # each state has lost its mean
            labels[number], square[number], variance[number] = (
                len(values) // len(seen),
                free * np.mean(values**2),
                free * np.var(values),
            )
            _refuse_labels(gauge.objective, values)
        room: tuple[int, ...] | None = None
        share = layout.frames // layout.parts
        for first in range(0, len(seen), share):
            part = seen[first : first + share]
            graph = build(part, data.topology, layout.cutoffs, capacities=room, dtype=layout.dtype)
            room = tuple(n.capacity for n in graph.neighbours)
        rooms.append(room or ())
    return Sample(tuple(rooms), labels, square, np.where(variance > 0, variance, square))


def order_of(groups: Sequence[Group], batch: int, seed: int, epoch: int) -> list[tuple[int, np.ndarray]]:
    """The steps of one epoch: every training frame once. The last batch of a data set may be short."""
    random = np.random.default_rng([seed, epoch])
    steps = []
    for number, group in enumerate(groups):
        order = random.permutation(len(group.training))
        steps += [(number, order[k : k + batch]) for k in range(0, len(order), batch)]
    return [steps[k] for k in random.permutation(len(steps))] if len(groups) > 1 else steps


def _weights(group: Group, number: int, training: Training) -> Float[np.ndarray, "frames *members"]:
    """Weights of the frames that are learned from; with a bootstrap, of blocks drawn with replacement for each member.

    Frames of one block are drawn together: neighbours in time tell much the same, and drawn one by one they would
    seem to be worth more than they are.
    """
    if not training.bootstrap:
        return group.training_weights
    order = np.concatenate(group.training.runs())
    blocks = np.array_split(order, min(training.bootstrap, len(order)))
    random = np.random.default_rng([training.seed, number, training.bootstrap, len(order)])
    counts = random.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), training.members)
    drawn = np.zeros((len(order), training.members))
    drawn[order] = np.repeat(counts.T, [len(block) for block in blocks], axis=0)
    drawn *= group.training_weights[:, None]
    return drawn / drawn.mean(axis=0)


def training_batches(
    groups: Sequence[Group], layout: Layout, rooms: Rooms, training: Training, done: int
) -> Iterator[Drawn]:
    """Batches from step `done` to the end of the last epoch."""
    data = [group.training for group in groups]
    weights = [_weights(group, number, training) for number, group in enumerate(groups)]
    each = len(order_of(groups, layout.frames, training.seed, 0))
    for epoch in range(done // each, training.epochs):
        steps = order_of(groups, layout.frames, training.seed, epoch)
        for drawn in _batches(groups, data, weights, layout, rooms, steps[max(0, done - epoch * each) :]):
            rooms = drawn.rooms
            yield drawn


def ordered_batches(
    groups: Sequence[Group], layout: Layout, rooms: Rooms, rows: Sequence[np.ndarray], *, held_out: bool
) -> Iterator[Drawn]:
    """Batches of the given frames of each group, in order."""
    data = [group.held_out if held_out else group.training for group in groups]
    weights = [group.held_out_weights if held_out else group.training_weights for group in groups]
    steps = [
        (number, chosen[k : k + layout.frames])
        for number, chosen in enumerate(rows)
        for k in range(0, len(chosen), layout.frames)
    ]
    return _batches(groups, data, weights, layout, rooms, steps)


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, made by a thread while the last ones are worked on."""
    ready: queue.Queue = queue.Queue(_AHEAD)
    stop, end = threading.Event(), object()

    def offer(item) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                offer((item, None))
                if stop.is_set():
                    return
            offer((end, None))
        except BaseException as error:  # it is raised where the items are taken
            offer((end, error))

    thread = threading.Thread(target=work, name="meanforce-batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
        thread.join()


def _batches(
    groups: Sequence[Group],
    data: Sequence[Dataset],
    weights: Sequence[np.ndarray],
    layout: Layout,
    rooms: Rooms,
    steps: Sequence[tuple[int, np.ndarray]],
) -> Iterator[Drawn]:
    window = max(1, _WINDOW_BYTES // (layout.frames * max(len(d.topology) for d in data) * 72))
    for first in range(0, len(steps), window):
        now = steps[first : first + window]
        together = [[rows for group, rows in now if group == number] for number in range(len(groups))]
        read = [d[np.concatenate(rows)] if rows else None for d, rows in zip(data, together, strict=True)]
        at = [0] * len(groups)
        for number, rows in now:
            held = read[number]
            assert held is not None
            frames = held[at[number] : at[number] + len(rows)]
            at[number] += len(rows)
            batch, room = _batch(groups[number], frames, weights[number][rows], layout, rooms[number])
            rooms = (*rooms[:number], room, *rooms[number + 1 :])
            yield Drawn(number, rows, batch, rooms)


def _batch(
    group: Group, frames: Frames, weights: np.ndarray, layout: Layout, room: tuple[int, ...]
) -> tuple[Batch, tuple[int, ...]]:
    """Frames divided into parts. Short batches repeat their last frame, with no weight."""
    topology, count, parts = group.training.topology, len(frames), layout.parts
    filled = frames[np.minimum(np.arange(layout.frames), count - 1)]
    share = layout.frames // parts
    with _on_host():
        make = lambda p, r: build(
            filled[p * share : (p + 1) * share], topology, layout.cutoffs, capacities=r, dtype=layout.dtype
        )
        graphs = [make(p, room) for p in range(parts)]
        longest = tuple(map(max, zip(*(_room(graph) for graph in graphs), strict=True)))
        graphs = [graph if _room(graph) == longest else make(p, longest) for p, graph in enumerate(graphs)]
        graph = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *graphs)
    labels = tuple(np.asarray(gauge.labels(filled), layout.dtype).reshape(parts, share, -1) for gauge in group.gauges)
    beside = tuple(
        np.asarray(gauge.columns(filled) * scales, layout.dtype).reshape(parts, share, -1)
        for gauge, scales in zip(group.gauges, group.scales, strict=True)
    )
    used = np.concatenate([weights, np.zeros((layout.frames - count, *weights.shape[1:]))])
    moved = along(filled)
    displaced = None if moved is None else moved.astype(layout.dtype).reshape(parts, -1, 3)
    batch = Batch(graph, labels, used.reshape(parts, share, *weights.shape[1:]), beside, displaced)
    return jax.device_put(batch, NamedSharding(layout.mesh, PartitionSpec(AXIS))), longest


def _spread(gauge: Gauge) -> float:
    """Of the labels about the means of their states."""
    if not len(gauge.states):
        return 1.0
    values = _centred(gauge, gauge.objective.data[gauge.some(_OF_STATE)[0]])
    return float(np.sqrt(np.sum(values**2) / max(len(values) - len(gauge.states), 1)))


def _centred(gauge: Gauge, frames: Frames) -> Float[np.ndarray, "labels"]:
    """Labels less the means of their states in these frames, where they count up to such constants."""
    labels, columns = gauge.labels(frames), gauge.columns(frames)[:, : len(gauge.states)]
    if not columns.shape[1]:
        return labels
    return labels - columns @ (columns.T @ labels / np.maximum(columns.sum(axis=0), 1))


def _room(graph: Graph) -> tuple[int, ...]:
    return tuple(n.capacity for n in graph.neighbours)


def _on_host():
    """Graphs are made in the memory of the host, wherever they are used."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX was told to know no CPU
        return nullcontext()


def _refuse_labels(objective: Quadratic, values: Float[Array | np.ndarray, "labels"]) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"{type(objective).__name__}: some labels are not finite; look at the data with mf.inspect")
    if not np.any(values):
        raise ValueError(f"{type(objective).__name__}: every label looked at is zero; there is nothing to learn from")
