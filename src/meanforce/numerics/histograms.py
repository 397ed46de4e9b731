"""Histograms of distances and angles straight from the cells: no pair is stored."""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Float, Int

from meanforce.numerics import neighbours
from meanforce.numerics.neighbours import close, distances, is_excluded, make_grid, sort_cells, walk

_fast = numba.njit(cache=True, nogil=True, error_model="numpy")


def pair_distances(
    positions: Float[np.ndarray, "frames n 3"],
    box: Float[np.ndarray, "frames 3 3"] | None,
    edges: Float[np.ndarray, "edges"],
    *,
    species: Int[np.ndarray, "n"] | None = None,
    excluded: Int[np.ndarray, "pairs 2"] | None = None,
) -> Int[np.ndarray, "frames kinds kinds bins"]:
    """How many pairs fall in each bin of equal width, frame by frame and by the species of both.

    Every pair counts once, in every image that is within reach; with several species the table is
    symmetric, and a pair of unlike species stands in both places. Excluded pairs count in no image.
    """
    edges = np.asarray(edges, float)
    if len(edges) < 2 or not np.allclose(np.diff(edges), edges[1] - edges[0]) or edges[0] < 0:
        raise ValueError("edges must be equally spaced, ascending and not negative")
    frames, n, _ = positions.shape
    species, kinds = _species(species, n)
    barred = neighbours.exclusions(n, excluded)
    out = np.zeros((frames, kinds, kinds, len(edges) - 1), np.int64)
    for f in range(frames):
        cell = np.zeros((3, 3)) if box is None else np.require(box[f], np.float64, ["C", "W"])
        place = np.require(positions[f], np.float64, ["C", "W"])
        ends = (edges[0], edges[-1])
        if not _pair_distances(place, cell, box is not None, ends, species, (barred.start, barred.partner), out[f]):
            raise ValueError(_refusal(f, edges[-1]))
    like = np.einsum("fkkb->fkb", out).copy()
    out = out + out.transpose(0, 2, 1, 3)
    np.einsum("fkkb->fkb", out)[:] = like
    return out


def triplet_angles(
    positions: Float[np.ndarray, "frames n 3"],
    box: Float[np.ndarray, "frames 3 3"] | None,
    cutoff: float,
    bins: int,
    *,
    species: Int[np.ndarray, "n"] | None = None,
    excluded: Int[np.ndarray, "pairs 2"] | None = None,
) -> Int[np.ndarray, "frames kinds kinds kinds bins"]:
    """How many angles at each bead, between two neighbours within the cut-off, fall in each bin from 0 to pi.

    Frame by frame and by the species of the bead at the apex and of the two at the ends. Every pair of
    neighbours counts once; the table is symmetric in the ends, and unlike ends stand in both places.
    """
    frames, n, _ = positions.shape
    species, kinds = _species(species, n)
    barred = neighbours.exclusions(n, excluded)
    out = np.zeros((frames, kinds, kinds, kinds, bins), np.int64)
    capacity = 24
    for f in range(frames):
        cell = None if box is None else np.asarray(box[f : f + 1], float)
        place = np.asarray(positions[f], float)
        for _ in range(2):
            (rows,), home = neighbours.build(place, cell, np.array([0, n]), [cutoff], [capacity], barred)
            if rows.needed <= capacity:
                break
            if rows.needed == neighbours.IMPOSSIBLE:
                raise ValueError(_refusal(f, cutoff))
            capacity = rows.needed
        vectors = np.zeros((3, 3)) if cell is None else cell[0]
        _triplet_angles(np.ascontiguousarray(place - home @ vectors), vectors, rows[:3], species, out[f])
    like = np.einsum("fakkb->fakb", out).copy()
    out = out + out.transpose(0, 1, 3, 2, 4)
    np.einsum("fakkb->fakb", out)[:] = like
    return out


def _species(species, n):
    species = np.zeros(n, np.int64) if species is None else np.asarray(species, np.int64)
    if species.shape != (n,):
        raise ValueError(f"{n} beads need {n} species, not an array of shape {species.shape}")
    return species, int(species.max(initial=0)) + 1


def _refusal(frame: int, cutoff: float) -> str:
    return (
        f"frame {frame}: no neighbours within {cutoff:.3g} nm can be found; its box is smaller than a third of "
        "that, or a coordinate is not finite"
    )


@_fast
def _pair_distances(positions, box, periodic, ends, species, excluded, out):
    """One frame; False if it cannot be done."""
    low_end, cutoff = ends
    grid = make_grid(positions, box, periodic, cutoff)
    if not grid[0]:
        return False
    home = np.zeros((len(positions), 3), np.int32)
    order, coordinates, begin = sort_cells(positions, box, periodic, grid, home)
    squared, hits = np.empty(len(order)), np.empty(len(order), np.int32)
    shift = np.zeros(3)
    bins = out.shape[2]
    scale = bins / (cutoff - low_end)
    barred = len(excluded[1]) > 0
    kind = species[order]
    for a, b, p, q, own, sx, sy, sz in walk(begin, box, periodic, grid, cutoff):
        for k in range(3):
            shift[k] = sx * box[0, k] + sy * box[1, k] + sz * box[2, k]
        for i in range(a, b):
            low = i + 1 if own else p
            distances(coordinates, i, low, q, shift, squared)
            for h in range(close(squared, q - low, cutoff**2, hits)):
                j = low + hits[h]
                place = (np.sqrt(squared[hits[h]]) - low_end) * scale
                if place < 0 or place >= bins or (barred and is_excluded(excluded, order[i], order[j])):
                    continue
                out[kind[i], kind[j], int(place)] += 1
    return True


@_fast
def _triplet_angles(positions, box, rows, species, out):
    """Angles between all pairs of neighbours of every bead of one frame."""
    index, image, _ = rows
    bins = out.shape[3]
    units = np.empty((index.shape[1], 3))
    for i in range(len(positions)):
        count = 0
        for k in range(index.shape[1]):
            code = image[i, k]
            if code == neighbours.FAR:
                break
            side, reach = neighbours.SIDE, neighbours.IMAGE_RANGE
            a, b, c = code // side**2 - reach, code // side % side - reach, code % side - reach
            length = 0.0
            for m in range(3):
                d = positions[index[i, k], m] - positions[i, m] + a * box[0, m] + b * box[1, m] + c * box[2, m]
                units[k, m] = d
                length += d * d
            for m in range(3):
                units[k, m] /= np.sqrt(length)
            count += 1
        for j in range(count):
            for k in range(j + 1, count):
                cosine = units[j, 0] * units[k, 0] + units[j, 1] * units[k, 1] + units[j, 2] * units[k, 2]
                angle = np.arccos(min(max(cosine, -1.0), 1.0))
                ends = species[index[i, j]], species[index[i, k]]
                out[species[i], ends[0], ends[1], min(int(angle / np.pi * bins), bins - 1)] += 1
