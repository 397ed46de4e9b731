"""What occurs in a data set: its closest contacts and the ranges of its bonds, angles and impropers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.data import pairs
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.numerics.neighbours import smallest_height
from meanforce.topology import Topology

#: Contacts are looked for to 1.6 nearest-neighbour distances and, for kinds of pairs that are never so near, to 6.
_REACH, _LONGEST_REACH = 1.6, 6.0
_AT_ONCE = 20_000  # beads
#: Contacts closer than the closest of the data by more than this part lie beyond them: a longer run sees rarer ones.
CLOSER = 0.08


class Ranges(NamedTuple):
    """The least and the greatest value of every kind of pair, bond, angle and improper, in this order.

    Pairs are those of `Topology.pairs`, excluded ones left out; they are looked at up to `reach`, which stands where
    none was nearer. Impropers are counted from `centres`, their means, so that no range is cut at 180 degrees.
    """

    topology: Topology
    reach: float  # nm
    centres: Float[np.ndarray, "impropers"]  # degrees
    low: Float[np.ndarray, "kinds"]  # nm, nm, degrees, degrees
    high: Float[np.ndarray, "kinds"]

    @staticmethod
    def of(data: Dataset) -> Ranges:
        topology = data.topology
        few = data[np.unique(np.linspace(0, len(data) - 1, 20).astype(int))]
        none = np.zeros(0)
        found = Ranges(topology, _reach(few, topology), _centres(few, topology), none, none)
        low, high = np.inf, -np.inf
        for frames in data.batches(max(1, _AT_ONCE // len(topology))):
            least, most = found.extremes(frames)
            low, high = np.minimum(low, least.min(0)), np.maximum(high, most.max(0))
        return found._replace(low=np.asarray(low), high=np.asarray(high))

    def extremes(self, frames: Frames) -> tuple[Float[np.ndarray, "frames kinds"], Float[np.ndarray, "frames kinds"]]:
        """The least and the greatest of every kind in each frame."""
        contacts = _contacts(frames, self.topology, self.reach)
        least, most = [contacts], [np.full_like(contacts, self.reach)]
        for name, measure in (("bonds", pairs.bond_lengths), ("angles", pairs.bond_angles), ("impropers", self._out)):
            values, kind = measure(frames, getattr(self.topology, name)), self.topology.kind_index(name)
            each = [values[:, kind == k] for k in range(len(self.topology.kinds(name)))]
            least.append(_columns([of_kind.min(1) for of_kind in each], len(frames)))
            most.append(_columns([of_kind.max(1) for of_kind in each], len(frames)))
        return np.concatenate(least, 1), np.concatenate(most, 1)

    def _out(self, frames: Frames, impropers: Int[np.ndarray, "terms 4"]) -> Float[np.ndarray, "frames terms"]:
        """Impropers from their centres, -180 to 180 degrees."""
        away = pairs.dihedral_angles(frames, impropers) - self.centres[self.topology.kind_index("impropers")]
        return (away + 180.0) % 360.0 - 180.0

    @property
    def contacts(self) -> Float[np.ndarray, "pairs"]:
        """The shortest distance of each kind of pair, nm."""
        return self.low[: len(self.topology.pairs)]


def _centres(frames: Frames, topology: Topology) -> Float[np.ndarray, "impropers"]:
    """The direction of the mean of each kind of improper, degrees."""
    values, kind = pairs.dihedral_angles(frames, topology.impropers), topology.kind_index("impropers")
    mean = [np.exp(1j * np.radians(values[:, kind == k])).mean() for k in range(len(topology.kinds("impropers")))]
    return np.degrees(np.angle(np.array(mean, complex)))


def _reach(frames: Frames, topology: Topology) -> float:
    """How far contacts are looked for: so far that every kind has one, if it has any, and no bead is met twice."""
    if not topology.pairs:
        return 1.0
    nearest = pairs.nearest_distance(frames)
    longest = _LONGEST_REACH * nearest
    if frames.box is not None:
        longest = min(longest, 0.5 * smallest_height(np.asarray(frames.box, float)))
    reach = min(_REACH * nearest, longest)
    while reach < longest and (_contacts(frames, topology, reach).min(0) >= reach).any():
        reach = min(1.4 * reach, longest)
    return float(reach)


def _contacts(frames: Frames, topology: Topology, reach: float) -> Float[np.ndarray, "frames kinds"]:
    """The shortest distance of each kind of pair that is not excluded, `reach` where there is none so near."""
    nearest = np.full((len(frames), len(topology.pairs)), reach)
    if not topology.pairs:
        return nearest
    found = pairs.find_pairs(frames, reach)
    beads, types = len(topology), len(topology.types)
    frame, first, second = found.first // beads, found.first % beads, found.second % beads
    apart = np.sort(topology.excluded, axis=1) @ (beads, 1)
    keep = ~np.isin(np.minimum(first, second) * beads + np.maximum(first, second), apart)
    number = np.full((types, types), -1)
    for k, (a, b) in enumerate(topology.pairs):
        i, j = topology.types.index(a), topology.types.index(b)
        number[i, j] = number[j, i] = k
    species = topology.species_index
    np.minimum.at(nearest, (frame[keep], number[species[first[keep]], species[second[keep]]]), found.distance[keep])
    return nearest


def _columns(rows: Sequence[np.ndarray], length: int) -> Float[np.ndarray, "frames kinds"]:
    return np.stack(rows, 1) if rows else np.zeros((length, 0))
