"""Compiled loops of what is inside of a flexible molecule: its energy, and moves that change its shape."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np


class Inside(NamedTuple):
    """Bonds and angles of one molecule and what Ewald's sum over waves counts within it; no bonds if it is rigid."""

    weights: np.ndarray  # (sites,) of the sites in the point that is held
    pairs: np.ndarray  # (bonds, 2) sites
    lengths: np.ndarray  # (bonds,) nm
    stiffness: np.ndarray  # (bonds,) kJ/(mol nm^2)
    triples: np.ndarray  # (angles, 3) sites, the vertex in the middle
    angles: np.ndarray  # (angles,) rad
    bending: np.ndarray  # (angles,) kJ/(mol rad^2)
    excluded: np.ndarray  # (sites, sites): C q q', kJ nm/mol
    screening: float  # 1/nm
    widest: float  # nm from the held point, where no site may be
    widths: np.ndarray  # (2,): of bonds (nm) and angles (rad) at kT = 1 kJ/mol


def rigid(weights: np.ndarray) -> Inside:
    """Nothing inside."""
    none = np.zeros(0)
    return Inside(
        np.asarray(weights, float), np.zeros((0, 2), np.int64), none, none, np.zeros((0, 3), np.int64), none, none,
        np.zeros((len(weights),) * 2), 0.0, 0.0, np.zeros(2),
    )  # fmt: skip


@numba.njit(cache=True)
def _length(body, i, j):
    square = 0.0
    for axis in range(3):
        square += (body[i, axis] - body[j, axis]) ** 2
    return math.sqrt(square)


@numba.njit(cache=True)
def opening(body, triple):
    """Angle at the middle one of three sites, in rad."""
    a, b, c = triple
    along = 0.0
    for axis in range(3):
        along += (body[a, axis] - body[b, axis]) * (body[c, axis] - body[b, axis])
    cosine = along / (_length(body, a, b) * _length(body, c, b))
    return math.acos(min(1.0, max(-1.0, cosine)))


@numba.njit(cache=True)
def inner_energy(body, inside):
    """Of bonds and angles, less what the waves count between the sites of the molecule."""
    energy = 0.0
    for bond in range(inside.pairs.shape[0]):
        stretch = _length(body, inside.pairs[bond, 0], inside.pairs[bond, 1]) - inside.lengths[bond]
        energy += 0.5 * inside.stiffness[bond] * stretch * stretch
    for angle in range(inside.triples.shape[0]):
        bend = opening(body, inside.triples[angle]) - inside.angles[angle]
        energy += 0.5 * inside.bending[angle] * bend * bend
    for i in range(body.shape[0]):
        for j in range(i):
            if inside.excluded[i, j] != 0:
                r = _length(body, i, j)
                energy -= inside.excluded[i, j] * math.erf(inside.screening * r) / r
    return energy


@numba.njit(cache=True)
def reshape(body, inside, kt, strain, rng, out):
    """A new shape: each site is moved along its vector from the first one, and turned about it by a small angle.

    Steps reach up to `strain` thermal widths. Lengths change evenly in r where the volume is r^2 dr: the returned
    factor, the product of (r' / r)^2, belongs to the probability of taking the move. 0 refuses it.
    """
    stretch, bend = strain * inside.widths[0] * math.sqrt(kt), strain * inside.widths[1] * math.sqrt(kt)
    factor = 1.0
    out[0] = 0.0
    for site in range(1, body.shape[0]):
        old = _length(body, site, 0)
        new = old + stretch * (2 * rng.random() - 1)
        if new <= 0:
            return 0.0
        factor *= (new / old) ** 2
        up, turn = 2 * rng.random() - 1, 2 * np.pi * rng.random()
        across = math.sqrt(1 - up * up)
        x, y, z = across * math.cos(turn), across * math.sin(turn), up
        angle = bend * (2 * rng.random() - 1)
        c, s = math.cos(angle), math.sin(angle)
        p, q, r = body[site, 0] - body[0, 0], body[site, 1] - body[0, 1], body[site, 2] - body[0, 2]
        along = (1 - c) * (x * p + y * q + z * r)
        out[site, 0] = new / old * (c * p + s * (y * r - z * q) + along * x)
        out[site, 1] = new / old * (c * q + s * (z * p - x * r) + along * y)
        out[site, 2] = new / old * (c * r + s * (x * q - y * p) + along * z)
    for axis in range(3):
        centre = 0.0
        for site in range(body.shape[0]):
            centre += inside.weights[site] * out[site, axis]
        for site in range(body.shape[0]):
            out[site, axis] -= centre
    for site in range(body.shape[0]):
        if (out[site] ** 2).sum() > inside.widest**2:
            return 0.0
    return factor
