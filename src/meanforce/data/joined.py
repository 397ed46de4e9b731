"""Several sources of frames as one: runs at several temperatures become one data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from meanforce.data.dataset import Source
from meanforce.data.errors import DatasetError
from meanforce.frames import Frames
from meanforce.topology import Topology


@dataclass(frozen=True)
class Joined:
    """Sources one after another, each with its temperature in K; no two share the number of a trajectory."""

    parts: tuple[tuple[Source, float], ...]

    def __post_init__(self):
        first, *others = (source.topology for source, _ in self.parts)
        for number, topology in enumerate(others, start=2):
            if topology.to_json() != first.to_json():
                raise DatasetError(
                    f"run {number} has other beads than the first ({len(topology)} and {len(first)}): one data set is "
                    "of one system; map runs of other systems in recipes of their own"
                )

    @property
    def topology(self) -> Topology:
        return self.parts[0][0].topology

    def batches(self, size: int) -> Iterator[Frames]:
        first = 0
        for source, kelvin in self.parts:
            last = first
            for frames in source.batches(size):
                own = np.zeros(len(frames), int) if frames.trajectory is None else np.asarray(frames.trajectory)
                last = max(last, first + int(own.max()) + 1)
                yield frames.with_(trajectory=first + own, temperature=np.full(len(frames), kelvin))
            first = last
