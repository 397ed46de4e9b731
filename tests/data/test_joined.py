"""Runs at several temperatures become one data set."""

import numpy as np
import pytest

from meanforce.data.dataset import Dataset
from meanforce.data.errors import DatasetError
from meanforce.data.joined import Joined
from meanforce.topology import Topology

TOPOLOGY = Topology.of(["A", "A"], masses={"A": 1.0})


def run(seed: int, frames: int, trajectory=None) -> Dataset:
    positions = np.random.default_rng(seed).normal(size=(frames, 2, 3))
    more = {} if trajectory is None else {"trajectory": trajectory}
    return Dataset.from_arrays(TOPOLOGY, positions=positions, forces=positions, **more)


def test_frames_follow_each_other_with_temperatures_and_trajectories_of_their_own(tmp_path):
    parts = run(1, 7, [0] * 4 + [1] * 3), run(2, 5), run(3, 2)
    joined = Joined(tuple(zip(parts, (300.0, 400.0, 300.0), strict=True)))
    data = Dataset.create(tmp_path / "joined.h5", joined, batch=3)
    np.testing.assert_array_equal(data.column("temperature"), [300.0] * 7 + [400.0] * 5 + [300.0] * 2)
    np.testing.assert_array_equal(data.column("trajectory"), [0] * 4 + [1] * 3 + [2] * 5 + [3] * 2)
    np.testing.assert_array_equal(data[7:12].positions, parts[1][:].positions)
    assert [len(rows) for rows in data.runs()] == [4, 3, 5, 2]


def test_runs_of_another_system_are_refused():
    other = Dataset.from_arrays(Topology.of(["B"], masses={"B": 1.0}), positions=np.zeros((2, 1, 3)))
    with pytest.raises(DatasetError, match="run 2 has other beads than the first"):
        Joined(((run(1, 3), 300.0), (other, 400.0)))
