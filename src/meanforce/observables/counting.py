"""Counting pairs and triplets by distance and angle, compiled: cells where they pay, all pairs in small boxes."""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Float, Int

from meanforce.numerics import neighbours

_fast = numba.njit(cache=True, nogil=True)
#: Cells along an axis from which visiting 27 of them is cheaper than visiting all pairs.
_FEWEST_CELLS = 4
_FEWEST_BEADS = 300


def pair_counts(
    positions: Float[np.ndarray, "frames beads 3"],
    box: Float[np.ndarray, "frames 3 3"],
    group: tuple[Int[np.ndarray, "beads"], Int[np.ndarray, "beads"]],
    molecule: Int[np.ndarray, "beads"],
    bins: tuple[float, int],
) -> Int[np.ndarray, "frames bins"]:
    """Pairs of every frame by distance, in bins of the given width and number.

    `group` says with 0 and 1 which beads are the first and the second of a pair; a pair that can be read both
    ways counts once. Pairs within a molecule are left out. The range of the bins must not exceed half the
    smallest height of the box, so that only the nearest image counts.
    """
    first, second = (np.asarray(g, np.int8) for g in group)
    width, number = bins
    counts = np.zeros((len(positions), number), np.int64)
    for f in range(len(positions)):
        inverse = np.linalg.inv(box[f])
        scaled = np.asarray(positions[f], np.float64) @ inverse
        scaled -= np.floor(scaled)
        cells = _cells(inverse, width * number)
        who = (first, second, np.asarray(molecule, np.int64))
        cell = np.ascontiguousarray(np.asarray(box[f], np.float64))
        if cells.min() < _FEWEST_CELLS or len(scaled) < _FEWEST_BEADS:
            _all_pairs(scaled, cell, who, width, counts[f])
        else:
            order, begin = _by_cell(scaled, cells)
            moved = tuple(w[order] for w in who)
            _cell_pairs(scaled[order], cell, cells, begin, moved, width, counts[f])
    return counts


def angle_counts(
    positions: Float[np.ndarray, "frames beads 3"],
    box: Float[np.ndarray, "frames 3 3"] | None,
    group: tuple[Int[np.ndarray, "beads"], Int[np.ndarray, "beads"], Int[np.ndarray, "beads"]],
    cutoff: float,
    bins: int,
) -> Int[np.ndarray, "frames bins"]:
    """Angles end-centre-end of every frame, between neighbours of the centre within `cutoff`.

    `group` says with 0 and 1 which beads are the one end, the centre and the other end. Each pair of
    neighbours counts once; every periodic image within the cut-off is a neighbour.
    """
    ends = tuple(np.asarray(g, np.int8) for g in group)
    counts = np.zeros((len(positions), bins), np.int64)
    capacity = 32
    for f in range(len(positions)):
        here = np.ascontiguousarray(np.asarray(positions[f], np.float64))
        start = np.array([0, len(here)])
        cell = None if box is None else np.asarray(box[f : f + 1], np.float64)
        (rows,), home = neighbours.build(here, cell, start, [cutoff], [capacity])
        if rows.needed >= neighbours.IMPOSSIBLE:
            raise ValueError(f"frame {f}: no neighbours can be listed within {cutoff} nm; its positions are not finite "
                             "or its box is far too small")  # fmt: skip
        if rows.needed > capacity:
            capacity = rows.needed
            (rows,), home = neighbours.build(here, cell, start, [cutoff], [capacity])
        vectors = np.eye(3) if cell is None else cell[0]
        wrapped = here if cell is None else here - home @ vectors
        _angles(wrapped, vectors, rows.index, rows.image, ends, counts[f])
    return counts


def _cells(inverse: Float[np.ndarray, "3 3"], reach: float) -> Int[np.ndarray, "3"]:
    heights = 1 / np.linalg.norm(inverse, axis=0)
    return np.maximum(1, np.minimum(64, heights / reach)).astype(np.int64)


def _by_cell(scaled: Float[np.ndarray, "beads 3"], cells: Int[np.ndarray, "3"]):
    place = np.minimum((scaled * cells).astype(np.int64), cells - 1)
    flat = (place[:, 0] * cells[1] + place[:, 1]) * cells[2] + place[:, 2]
    order = np.argsort(flat, kind="stable")
    return order, np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=int(cells.prod())))])


@_fast
def _all_pairs(scaled, box, who, width, counts):
    n = len(scaled)
    x, y, z = scaled[:, 0].copy(), scaled[:, 1].copy(), scaled[:, 2].copy()
    squared, bins = np.empty(n), np.empty(n, np.int32)
    for i in range(n - 1):
        u, v, w, out = x[i + 1 :], y[i + 1 :], z[i + 1 :], squared[: n - i - 1]
        for j in range(n - i - 1):  # from zero and without a branch, or the compiler does not vectorise
            a, b, c = u[j] - x[i], v[j] - y[i], w[j] - z[i]
            a -= (1.0 if a > 0.5 else 0.0) - (1.0 if a < -0.5 else 0.0)
            b -= (1.0 if b > 0.5 else 0.0) - (1.0 if b < -0.5 else 0.0)
            c -= (1.0 if c > 0.5 else 0.0) - (1.0 if c < -0.5 else 0.0)
            p = a * box[0, 0] + b * box[1, 0] + c * box[2, 0]
            q = a * box[0, 1] + b * box[1, 1] + c * box[2, 1]
            r = a * box[0, 2] + b * box[1, 2] + c * box[2, 2]
            out[j] = p * p + q * q + r * r
        _enter(out, i, i + 1, who, width, counts, bins)


@_fast
def _cell_pairs(scaled, box, cells, begin, who, width, counts):
    """Pairs of each cell with itself and with thirteen neighbours: half of the 26, as each pair counts once."""
    positions = scaled @ box
    x, y, z = positions[:, 0].copy(), positions[:, 1].copy(), positions[:, 2].copy()
    squared, bins = np.empty(len(scaled)), np.empty(len(scaled), np.int32)
    for cell in range(cells[0] * cells[1] * cells[2]):
        cx, cy, cz = cell // (cells[1] * cells[2]), cell // cells[2] % cells[1], cell % cells[2]
        for step in range(13, 27):
            nx, ny, nz = cx + step // 9 - 1, cy + step // 3 % 3 - 1, cz + step % 3 - 1
            sx, sy, sz = nx // cells[0], ny // cells[1], nz // cells[2]
            there = ((nx - sx * cells[0]) * cells[1] + ny - sy * cells[1]) * cells[2] + nz - sz * cells[2]
            shift = sx * box[0] + sy * box[1] + sz * box[2]
            for i in range(begin[cell], begin[cell + 1]):
                low, high = i + 1 if step == 13 else begin[there], begin[there + 1]
                a, b, c = x[i] - shift[0], y[i] - shift[1], z[i] - shift[2]
                u, v, w, out = x[low:high], y[low:high], z[low:high], squared[: max(0, high - low)]
                for j in range(high - low):
                    out[j] = (u[j] - a) ** 2 + (v[j] - b) ** 2 + (w[j] - c) ** 2
                _enter(out, i, low, who, width, counts, bins)


@_fast
def _enter(squared, one, low, who, width, counts, bins):
    """Counts the pairs of a bead with those from `low` on, once for each pair that can be read either way."""
    first, second, molecule = who
    inverse, most = 1.0 / width, len(counts)
    for j in range(len(squared)):
        bins[j] = np.int32(min(np.sqrt(squared[j]) * inverse, 1e9))
    for j in range(len(squared)):
        two = low + j
        if bins[j] < most and molecule[one] != molecule[two]:
            counts[bins[j]] += (first[one] & second[two]) | (first[two] & second[one])


@_fast
def _angles(wrapped, box, index, image, ends, counts):
    one_end, centre, other_end = ends
    beads, capacity = index.shape
    arm = np.empty((capacity, 3))
    kind = np.empty((capacity, 2), np.int8)
    scale = len(counts) / np.pi
    side, reach = neighbours.SIDE, neighbours.IMAGE_RANGE
    for i in range(beads):
        if not centre[i]:
            continue
        found = 0
        for s in range(capacity):
            if image[i, s] == neighbours.FAR:
                continue
            j, code = index[i, s], image[i, s]
            shift = (code // (side * side) - reach, code // side % side - reach, code % side - reach)
            for k in range(3):
                arm[found, k] = wrapped[j, k] - wrapped[i, k]
                for m in range(3):
                    arm[found, k] += shift[m] * box[m, k]
            arm[found] /= np.sqrt((arm[found] ** 2).sum())
            kind[found, 0], kind[found, 1] = one_end[j], other_end[j]
            found += 1
        for p in range(found):
            for q in range(p):
                if (kind[p, 0] and kind[q, 1]) or (kind[q, 0] and kind[p, 1]):
                    cosine = arm[p, 0] * arm[q, 0] + arm[p, 1] * arm[q, 1] + arm[p, 2] * arm[q, 2]
                    angle = np.arccos(min(1.0, max(-1.0, cosine)))
                    counts[min(int(angle * scale), len(counts) - 1)] += 1
