"""Exact relations that canonical forces obey, as checks of data: temperature, units, sign, net force.

For every smooth field g(R) that is periodic or decays, E[div g + g.F / kT] = 0 (Yvon, Born, Green). The force on the
beads may be the instantaneous label: given R its mean is F. With a pair field, g_i = sum_j phi(r_ij) e_ij, the
relation measures the temperature at which the configurations and the forces belong together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.data.pairs import Pairs, find_pairs
from meanforce.frames import Frames
from meanforce.topology import Topology
from meanforce.units import KB

_BEADS_AT_ONCE = 20_000


class FieldSums(NamedTuple):
    """The two sides of the relation, frame by frame."""

    work: Float[np.ndarray, "frames"]  # g.f, kJ/mol
    divergence: Float[np.ndarray, "frames"]


def of_molecules(frames: Frames, topology: Topology) -> Frames:
    """Whole molecules as units, at the place of their first particle, with the sum of their forces.

    A field that shifts a molecule as a whole, by an amount that depends on the first particles only, has the same
    divergence as that of the first particles alone. It leaves bonds as they are, so the relation also holds where
    constraints hold them, whose forces are in no label. A single molecule stays as it is.
    """
    molecules = np.unique(topology.molecules, return_inverse=True)[1]
    first = np.unique(molecules, return_index=True)[1]
    if len(first) in (1, len(topology)):
        return frames
    forces = None
    if frames.forces is not None:
        order = np.argsort(molecules, kind="stable")
        starts = np.searchsorted(molecules[order], np.arange(len(first)))
        forces = np.add.reduceat(np.asarray(frames.forces, float)[:, order], starts, axis=1)
    return Frames(frames.positions[:, first], frames.box, forces=forces)


def pair_field(frames: Frames, cutoff: float) -> FieldSums:
    """Sums for phi(r) = (1 - r^2/cutoff^2)^3, a field that pushes neighbours apart."""
    parts = []
    step = max(1, _BEADS_AT_ONCE // frames.particles)
    for first in range(0, len(frames), step):
        batch = frames[first : first + step]
        parts.append(_pair_sums(find_pairs(batch, cutoff), batch, cutoff))
    return FieldSums(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def confined_field(frames: Frames) -> FieldSums:
    """Sums for g = R - <R>: for beads held by an external potential, where no pairs are."""
    positions = np.asarray(frames.positions, float)
    field = positions - positions.mean(axis=0)
    moving = np.count_nonzero(positions.std(axis=0) > 0)
    return FieldSums((field * np.asarray(frames.forces, float)).sum(axis=(1, 2)), np.full(len(frames), float(moving)))


def temperature_of(sums: FieldSums) -> Float[np.ndarray, "frames"]:
    """Values whose mean is the configurational temperature -E[g.f] / (k E[div g]), in K.

    The ratio is linearised about its value, so that averages over blocks carry its error.
    """
    divergence = sums.divergence.mean()
    ratio = -sums.work.mean() / divergence
    return (ratio - (sums.work + ratio * sums.divergence) / divergence) / KB


def suspicion(ratio: float) -> str:
    """What a wrong temperature looks like: unit factors and signs that are often met."""
    for factor, cause in _CAUSES.items():
        if abs(ratio / factor - 1) < 0.15:
            return cause
    return "the thermostat is not canonical, the run is not equilibrated, or constraint forces are in the labels"


_CAUSES = {
    -1.0: "the forces have the opposite sign: gradients were given for forces",
    1 / 4.184: "the forces look like kcal/(mol nm), or energies in kcal/mol were taken for kJ/mol",
    4.184: "the forces were multiplied by 4.184 once too often",
    0.1: "the forces look like kJ/(mol angstrom), or positions are too short by ten",
    10.0: "positions in angstrom were taken for nm, or forces were multiplied by ten once too often",
    1 / 41.84: "the forces look like kcal/(mol angstrom)",
    41.84: "the forces were converted from kcal/(mol angstrom) twice",
    1 / 96.485: "the forces look like eV/nm",
    1 / 964.85: "the forces look like eV/angstrom",
}


def _pair_sums(pairs: Pairs, frames: Frames, cutoff: float) -> FieldSums:
    square = (pairs.distance / cutoff) ** 2
    field = (1 - square) ** 3
    slope = -6 * pairs.distance / cutoff**2 * (1 - square) ** 2
    divergence = np.where(pairs.first == pairs.second, 0.0, slope + 2 * field / np.maximum(pairs.distance, 1e-12))
    forces = np.asarray(frames.forces, float).reshape(-1, 3)[pairs.first]
    work = -field * (pairs.direction * forces).sum(axis=1)
    frame = pairs.first // frames.particles
    count = len(frames)
    return FieldSums(np.bincount(frame, work, count), np.bincount(frame, divergence, count))
