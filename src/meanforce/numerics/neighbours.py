"""Neighbour lists by cells, compiled: every periodic image, any box, several cut-offs in one pass.

Half of the stencil is visited and both rows of a pair are filled at once, so the place of the reverse pair is
known without a search. Beads need not lie in the box: images refer to `positions - home @ box`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Array, Float, Int

#: Lattice vectors have components from -IMAGE_RANGE to IMAGE_RANGE; the code FAR marks an unused slot.
IMAGE_RANGE = 3
SIDE = 2 * IMAGE_RANGE + 1
FAR = SIDE**3
#: What `needed` says when there is no list: coordinates that are not finite, or a box that is too small.
IMPOSSIBLE = 2**30

#: One cell per cut-off: fewer, longer runs are faster than fewer candidates (measured at liquid densities).
_CELLS_PER_CUTOFF = 1.0
#: Coordinates beyond this many cut-offs would overflow the integers that count boxes.
_FARTHEST = 1e8

_fast = numba.njit(cache=True, nogil=True, error_model="numpy")


class Rows(NamedTuple):
    """The neighbours of every bead within one cut-off; see `meanforce.graph.Neighbours`."""

    index: Int[np.ndarray, "beads capacity"]  # type: ignore[assignment]  # hides tuple.index, never used
    image: Int[np.ndarray, "beads capacity"]
    slot: Int[np.ndarray, "beads capacity"]
    needed: int


class Whole(float):
    """A cut-off whose list also holds the excluded pairs.

    Exclusions are for pair terms, which leave bonded pairs to bonded terms. A network sees whole molecules.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Whole) and float(self) == float(other)

    def __hash__(self) -> int:
        return hash(("whole", float(self)))


class Exclusions(NamedTuple):
    """Pairs to skip: the partners of bead i are `partner[start[i]:start[i + 1]]`."""

    start: Int[np.ndarray | Array, "beads+1"]
    partner: Int[np.ndarray | Array, "partners"]


def exclusions(beads: int, pairs: Int[np.ndarray, "pairs 2"] | None) -> Exclusions:
    """Sorts excluded pairs by bead."""
    if pairs is None or not len(pairs):
        return Exclusions(np.zeros(beads + 1, np.int32), np.zeros(0, np.int32))
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    start = np.concatenate([[0], np.cumsum(np.bincount(both[:, 0], minlength=beads))])
    return Exclusions(start.astype(np.int32), both[:, 1].astype(np.int32))


def build(
    positions: Float[np.ndarray, "beads 3"],
    box: Float[np.ndarray, "frames 3 3"] | None,
    start: Int[np.ndarray, "ends"],
    cutoffs: Sequence[float],
    capacities: Sequence[int],
    excluded: Exclusions | None = None,
) -> tuple[tuple[Rows, ...], Int[np.ndarray, "beads 3"]]:
    """One list per cut-off (ascending) for disjoint frames, and the cell of the lattice each bead is in.

    Frame f holds the beads start[f] to start[f + 1]. An excluded pair is left out in its nearest image
    only; its other images are neighbours like any others. Lists of `Whole` cut-offs hold it all the same. Pairs
    beyond the capacity of a row are dropped and counted: the list is valid if `needed` is at most the capacity.
    """
    beads = len(positions)
    reach = np.asarray(cutoffs, np.float64)
    room = np.asarray(capacities, np.int64)
    if (np.diff(reach) < 0).any() or not (reach > 0).all():
        raise ValueError(f"cut-offs must be positive and ascending, not {reach.tolist()}")
    excluded = excluded or exclusions(beads, None)
    offsets = np.concatenate([[0], np.cumsum(room)]) * beads
    out = np.empty((3, offsets[-1]), np.int32)
    counts = np.zeros((len(reach), beads), np.int32)
    home = np.zeros((beads, 3), np.int32)
    periodic = box is not None
    cells = _plain(box if periodic else np.zeros((len(start) - 1, 3, 3)), np.float64)
    full = np.array([isinstance(c, Whole) for c in cutoffs], np.bool_)
    lists = (reach, room, offsets, counts, out, full)
    barred = (_plain(excluded.start, np.int32), _plain(excluded.partner, np.int32))
    ok = _build(_plain(positions, np.float64), cells, periodic, _plain(start, np.int64), lists, barred, home)
    rows = []
    for k, capacity in enumerate(room):
        index, image, slot = out[:, offsets[k] : offsets[k + 1]].reshape(3, beads, capacity)
        needed = int(counts[k].max(initial=0)) if ok else IMPOSSIBLE
        rows.append(Rows(index, image, slot, needed))
    return tuple(rows), home


def smallest_height(box: Float[np.ndarray, "frames 3 3"]) -> float:
    """The smallest distance between opposite faces of the boxes."""
    return float((1 / np.linalg.norm(np.linalg.inv(box), axis=-2)).min())


def _plain(array, dtype):
    """Contiguous, writable and of one type, so that everything is compiled once."""
    return np.require(array, dtype, ["C", "W"])


@_fast
def _build(positions, box, periodic, start, lists, excluded, home):
    """All frames; False if some frame cannot have a list, and its rows (with all others) are empty."""
    ok = True
    for f in range(len(start) - 1):
        first, last = start[f], start[f + 1]
        if last == first:
            continue
        grid = make_grid(positions[first:last], box[f], periodic, lists[0][-1])
        if not grid[0]:
            ok = False
            continue
        sorted_beads = sort_cells(positions[first:last], box[f], periodic, grid, home[first:last])
        _fill(sorted_beads, box[f], periodic, grid, first, lists, excluded)
    if not ok:
        lists[3][:] = 0
    _pad(lists)
    return ok


@_fast
def make_grid(positions, box, periodic, cutoff):
    """Whether a list is possible, the number of cells, their widths, the origin, the inverse box."""
    origin, width, inverse = np.zeros(3), np.zeros(3), np.zeros((3, 3))
    number = np.ones(3, np.int64)
    bad = (False, number, width, origin, inverse)
    for i in range(len(positions)):
        for k in range(3):
            if not abs(positions[i, k]) < _FARTHEST * cutoff:
                return bad
    if periodic:
        if not abs(np.linalg.det(box)) > 0.0:
            return bad
        inverse = np.linalg.inv(box)
        for k in range(3):
            width[k] = 1.0 / np.sqrt((inverse[:, k] ** 2).sum())
            if not cutoff <= IMAGE_RANGE * width[k]:
                return bad
    else:
        for k in range(3):
            origin[k] = positions[:, k].min()
            width[k] = positions[:, k].max() - origin[k] + 1e-6 * cutoff
            inverse[k, k] = 1.0 / width[k]
    most = 4.0 * len(positions) + 8.0
    for k in range(3):
        number[k] = max(1, int(min(_CELLS_PER_CUTOFF * width[k] / cutoff, most)))
    while number[0] * number[1] * number[2] > most:
        k = int(np.argmax(number))
        number[k] = (number[k] + 1) // 2
    return True, number, width / number, origin, inverse


@_fast
def sort_cells(positions, box, periodic, grid, home):
    """Beads wrapped and ordered by cell: their order, coordinates, and where each cell starts."""
    _, number, _, origin, inverse = grid
    n = len(positions)
    cell = np.empty(n, np.int64)
    wrapped = np.empty((3, n))
    begin = np.zeros(number[0] * number[1] * number[2] + 1, np.int64)
    for i in range(n):
        c = 0
        for k in range(3):
            s = 0.0
            for m in range(3):
                s += (positions[i, m] - origin[m]) * inverse[m, k]
            if periodic:
                h = np.floor(s)
                home[i, k] = int(h)
                s -= h
            c = c * number[k] + min(max(int(s * number[k]), 0), number[k] - 1)
        for m in range(3):
            wrapped[m, i] = positions[i, m]
            for k in range(3):
                wrapped[m, i] -= home[i, k] * box[k, m]
        cell[i] = c
        begin[c + 1] += 1
    begin = np.cumsum(begin)
    order, place = np.empty(n, np.int64), begin[:-1].copy()
    coordinates = np.empty((3, n))
    for i in range(n):
        p = place[cell[i]]
        place[cell[i]] += 1
        order[p] = i
        coordinates[:, p] = wrapped[:, i]
    return order, coordinates, begin


@numba.njit(nogil=True, error_model="numpy")  # a cached generator cannot be compiled into a second caller
def walk(begin, box, periodic, grid, cutoff):
    """Half of the stencil of every cell, as runs of beads along the third axis under one lattice shift.

    Yields (a, b, p, q, own, sx, sy, sz): each of the sorted beads a to b may be near each of the beads p to q
    moved by the lattice vector; `own` marks pairs of one cell, of which those with j > i count.
    """
    _, number, width, _, _ = grid
    reach = np.ceil(cutoff / width - 1e-12).astype(np.int64)
    if not periodic:
        reach = np.minimum(reach, number - 1)
    diagonal = (not periodic) or (np.abs(box).sum() == np.abs(np.diag(box)).sum())
    cells = number[2]
    for dx in range(reach[0] + 1):
        for dy in range(-reach[1] if dx > 0 else 0, reach[1] + 1):
            far = _reach_of_column(dx, dy, reach[2], width, cutoff, diagonal)
            near = 0 if dx == 0 and dy == 0 else -far
            for column in range(number[0] * number[1] if far >= 0 else 0):
                x, y = column // number[1] + dx, column % number[1] + dy
                sx, sy = x // number[0], y // number[1]
                if not periodic and (sx != 0 or sy != 0):
                    continue
                here = column * cells
                there = ((x - sx * number[0]) * number[1] + y - sy * number[1]) * cells
                if begin[there] == begin[there + cells]:
                    continue
                for c in range(cells):
                    a, b = begin[here + c], begin[here + c + 1]
                    low, high = c + near, c + far
                    if not periodic:
                        low, high = max(low, 0), min(high, cells - 1)
                    for sz in range(low // cells, high // cells + 1 if b > a else low // cells):
                        p = begin[there + max(low - sz * cells, 0)]
                        q = begin[there + min(high - sz * cells, cells - 1) + 1]
                        if q > p:
                            yield a, b, p, q, here == there and sx == 0 and sy == 0 and sz == 0, sx, sy, sz


@_fast
def _reach_of_column(dx, dy, reach, width, cutoff, diagonal):
    """How many cells up and down a column can hold neighbours; -1: none."""
    if not diagonal:
        return reach
    gap = (max(dx - 1, 0) * width[0]) ** 2 + (max(abs(dy) - 1, 0) * width[1]) ** 2
    if gap > cutoff**2:
        return -1
    return min(reach, int(np.ceil(np.sqrt(cutoff**2 - gap) / width[2])))


@_fast
def distances(coordinates, i, low, high, shift, squared):
    """Squared distances from bead i to the beads low to high moved by the shift."""
    xi, yi, zi = coordinates[0, i] - shift[0], coordinates[1, i] - shift[1], coordinates[2, i] - shift[2]
    x, y, z = coordinates[0, low:high], coordinates[1, low:high], coordinates[2, low:high]
    for j in range(high - low):  # from zero and without a branch, or the compiler does not vectorise
        squared[j] = (x[j] - xi) ** 2 + (y[j] - yi) ** 2 + (z[j] - zi) ** 2


@_fast
def close(squared, count, limit, hits):
    """The places of squared distances within the limit, and their number."""
    found = np.uint64(0)
    for j in range(count):
        hits[found] = j
        found += np.uint64(squared[j] <= limit)
    return found


@_fast
def _fill(sorted_beads, box, periodic, grid, first, lists, excluded):
    """Enters every pair of a frame in the lists."""
    order, coordinates, begin = sorted_beads
    cutoff = lists[0][-1]
    squared, hits = np.empty(len(order)), np.empty(len(order), np.int32)
    barred = len(excluded[1]) > 0
    single = (not periodic) or (grid[2] * grid[1]).min() > 2 * cutoff
    shift = np.zeros(3)
    for a, b, p, q, own, sx, sy, sz in walk(begin, box, periodic, grid, cutoff):
        code = ((sx + IMAGE_RANGE) * SIDE + sy + IMAGE_RANGE) * SIDE + sz + IMAGE_RANGE
        for k in range(3):
            shift[k] = sx * box[0, k] + sy * box[1, k] + sz * box[2, k]
        for i in range(a, b):
            low = i + 1 if own else p
            distances(coordinates, i, low, q, shift, squared)
            for h in range(close(squared, q - low, cutoff**2, hits)):
                j = low + hits[h]
                one, two = first + order[i], first + order[j]
                apart = False
                if barred and is_excluded(excluded, one, two):
                    apart = single or _is_nearest(coordinates[:, j] + shift - coordinates[:, i], box)
                _append(lists, one, two, code, squared[j - low], apart)


@_fast
def _append(lists, one, two, code, squared, apart):
    """Enters a pair in both rows of every list that reaches it; a pair that does not fit is only counted.

    A pair that is kept `apart` is entered in whole lists alone.
    """
    cutoffs, capacities, offsets, counts, out, whole = lists
    for k in range(len(cutoffs) - 1, -1, -1):
        if squared > cutoffs[k] ** 2:
            return
        if apart and not whole[k]:
            continue
        capacity = capacities[k]
        i = counts[k, one]
        counts[k, one] += 1
        j = counts[k, two]
        counts[k, two] += 1
        here, there = offsets[k] + one * capacity + i, offsets[k] + two * capacity + j
        fits = i < capacity and j < capacity
        if i < capacity:
            out[0, here] = two if fits else one
            out[1, here] = code if fits else FAR
            out[2, here] = j if fits else i
        if j < capacity:
            out[0, there] = one if fits else two
            out[1, there] = FAR - 1 - code if fits else FAR
            out[2, there] = i if fits else j


@_fast
def _pad(lists):
    """Unused slots point at the bead itself, far away."""
    _, capacities, offsets, counts, out, _ = lists
    for k in range(len(capacities)):
        for i in range(counts.shape[1]):
            for s in range(counts[k, i], capacities[k]):
                at = offsets[k] + i * capacities[k] + s
                out[0, at], out[1, at], out[2, at] = i, FAR, s


@_fast
def is_excluded(excluded, one, two):
    start, partner = excluded
    for k in range(start[one], start[one + 1]):  # noqa: SIM110
        if partner[k] == two:
            return True
    return False


@_fast
def _is_nearest(displacement, box):
    """Whether no lattice vector makes the displacement shorter."""
    x, y, z = displacement
    squared = (x * x + y * y + z * z) * (1 - 1e-12)
    for a in range(-IMAGE_RANGE, IMAGE_RANGE + 1):
        for b in range(-IMAGE_RANGE, IMAGE_RANGE + 1):
            for c in range(-IMAGE_RANGE, IMAGE_RANGE + 1):
                u = x + a * box[0, 0] + b * box[1, 0] + c * box[2, 0]
                v = y + a * box[0, 1] + b * box[1, 1] + c * box[2, 1]
                w = z + a * box[0, 2] + b * box[1, 2] + c * box[2, 2]
                if u * u + v * v + w * w < squared:
                    return False
    return True
