"""Distances in configurations: neighbouring pairs through every periodic image, and bonded coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.data.errors import DatasetError
from meanforce.frames import Frames
from meanforce.numerics import neighbours

_LATTICE = np.stack(np.unravel_index(np.arange(neighbours.FAR), (neighbours.SIDE,) * 3), -1) - neighbours.IMAGE_RANGE


class Pairs(NamedTuple):
    """Every neighbour of every particle of every frame; each pair stands twice, once from either side.

    Particles are numbered through all frames: particle i of frame f is `f * particles + i`.
    """

    first: Int[np.ndarray, "pairs"]
    second: Int[np.ndarray, "pairs"]
    distance: Float[np.ndarray, "pairs"]
    direction: Float[np.ndarray, "pairs 3"]  # unit vector from the first to the second


def find_pairs(frames: Frames, cutoff: float) -> Pairs:
    """All pairs closer than `cutoff` (nm), excluded ones too."""
    n, particles = frames.positions.shape[:2]
    positions = np.asarray(frames.positions, float).reshape(-1, 3)
    start = np.arange(n + 1) * particles
    capacity = 32
    while True:
        (rows,), home = neighbours.build(positions, frames.box, start, [cutoff], [capacity])
        if rows.needed == neighbours.IMPOSSIBLE:
            raise DatasetError(f"a box is too small for a neighbour search to {cutoff:g} nm, or a box is degenerate")
        if rows.needed <= capacity:
            break
        capacity = rows.needed
    first, column = np.nonzero(rows.image != neighbours.FAR)
    second = rows.index[first, column]
    vectors = positions[second] - positions[first]
    if frames.box is not None:
        lattice = _LATTICE[rows.image[first, column]] - home[second] + home[first]
        vectors += np.einsum("pk,pkc->pc", lattice, np.asarray(frames.box, float)[first // particles])
    distance = np.sqrt((vectors**2).sum(axis=1))
    return Pairs(first, second, distance, vectors / np.maximum(distance, 1e-12)[:, None])


def nearest_distance(frames: Frames) -> float:
    """Median distance (nm) from a particle to its nearest neighbour; infinite where there is none."""
    particles = frames.particles
    if particles < 2 and frames.box is None:
        return np.inf
    if frames.box is None:
        reach = float(np.ptp(frames.positions, axis=1).max()) * np.sqrt(3) + 1e-9
        cutoff = reach / 4
    else:
        reach = float(np.cbrt(np.linalg.det(frames.box).max())) * 2
        cutoff = reach / 2 / np.cbrt(particles)
    while cutoff <= 2 * reach:
        pairs = find_pairs(frames, cutoff)
        nearest = np.full(len(frames) * particles, np.inf)
        np.minimum.at(nearest, pairs.first, pairs.distance)
        if np.isfinite(nearest).mean() > 0.6:
            return float(np.median(nearest))
        cutoff *= 1.5
    return np.inf


def term_vectors(frames: Frames, pairs: Int[np.ndarray, "terms 2"]) -> Float[np.ndarray, "frames terms 3"]:
    """Vectors from the first to the second particle of bonded pairs, in the nearest image."""
    vectors = np.asarray(frames.positions[:, pairs[:, 1]] - frames.positions[:, pairs[:, 0]], float)
    if frames.box is None:
        return vectors
    for axis in (2, 1, 0):
        turns = np.round(vectors[..., axis] / frames.box[:, None, axis, axis])
        vectors -= turns[..., None] * frames.box[:, None, axis]
    return vectors


def bond_lengths(frames: Frames, bonds: Int[np.ndarray, "terms 2"]) -> Float[np.ndarray, "frames terms"]:
    return np.linalg.norm(term_vectors(frames, bonds), axis=-1)


def bond_angles(frames: Frames, angles: Int[np.ndarray, "terms 3"]) -> Float[np.ndarray, "frames terms"]:
    """In degrees."""
    one, two = term_vectors(frames, angles[:, [1, 0]]), term_vectors(frames, angles[:, [1, 2]])
    cosine = (one * two).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def dihedral_angles(frames: Frames, dihedrals: Int[np.ndarray, "terms 4"]) -> Float[np.ndarray, "frames terms"]:
    """In degrees, 180 for trans."""
    one, two, three = (term_vectors(frames, dihedrals[:, [k, k + 1]]) for k in range(3))
    left, right = np.cross(one, two), np.cross(two, three)
    sine = (np.cross(left, right) * two).sum(-1) / np.linalg.norm(two, axis=-1)
    return np.degrees(np.arctan2(sine, (left * right).sum(-1)))
