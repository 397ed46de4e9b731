"""What is written for viewers is read back by MDAnalysis as it was."""

import MDAnalysis as mda
import numpy as np
import pytest

from meanforce.dynamics.trajectory import oriented, write_trajectory
from meanforce.frames import Frames
from meanforce.topology import Topology

# MDAnalysis warns of masses it cannot guess from the names of beads, and of offsets of files in /tmp.
pytestmark = pytest.mark.filterwarnings("ignore::Warning:MDAnalysis")

TOPOLOGY = Topology.of(["A", "B", "A", "B"], masses={"A": 20.0, "B": 30.0}, bonds=[(0, 1), (2, 3)])


def some_frames(box, replicas=1):
    rng = np.random.default_rng(2)
    n = 3 * replicas
    return Frames(
        rng.normal(0, 2.0, (n, 4, 3)), None if box is None else np.repeat(np.array(box)[None], n, 0),
        time=np.repeat([0.5, 1.0, 1.5], replicas), trajectory=np.tile(np.arange(replicas), 3),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["xtc", "dcd", "trr", "h5md"])
@pytest.mark.parametrize("box", [None, np.diag([3.0, 4.0, 5.0]), [[3.0, 0, 0], [1.0, 4.0, 0], [-0.5, 1.0, 5.0]]])
def test_files_come_back_as_they_were(tmp_path, kind, box):
    frames = some_frames(box)
    topology, path = write_trajectory(tmp_path / f"run.{kind}", frames, TOPOLOGY)
    universe = mda.Universe(topology, path)
    assert universe.trajectory.n_frames == 3
    assert [tuple(sorted(bond)) for bond in universe.bonds.indices.tolist()] == [(0, 1), (2, 3)]
    assert list(universe.atoms.names) == ["A", "B", "A", "B"]
    for step, frame in zip(universe.trajectory, frames, strict=True):
        assert np.abs(universe.atoms.positions / 10 - frame.positions[0]).max() < 6e-4  # the grid of XTC
        if box is not None:
            assert universe.trajectory.ts.triclinic_dimensions / 10 == pytest.approx(np.array(box), abs=1e-4)
        if kind in ("xtc", "trr", "h5md"):
            assert step.time == pytest.approx(frame.time[0], abs=1e-5)


def test_each_replica_has_its_file(tmp_path):
    written = write_trajectory(tmp_path / "run.xtc", some_frames(np.eye(3), replicas=2), TOPOLOGY)
    assert [path.name for path in written] == ["run-topology.pdb", "run-0.xtc", "run-1.xtc"]
    assert sorted(path.name for path in tmp_path.glob("*.*") if "offset" not in path.name) == sorted(
        path.name for path in written
    )


def test_wrapped_beads_lie_in_the_box(tmp_path):
    box = np.diag([3.0, 4.0, 5.0])
    topology, path = write_trajectory(tmp_path / "run.trr", some_frames(box), TOPOLOGY, wrap=True)
    universe = mda.Universe(topology, path)
    for _ in universe.trajectory:
        inside = universe.atoms.positions / 10
        assert (inside > -1e-5).all()
        assert (inside < np.diag(box) + 1e-5).all()


def test_a_turned_box_is_turned_back_with_its_beads():
    rng = np.random.default_rng(3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    box = np.array([[3.0, 0, 0], [1.0, 4.0, 0], [-0.5, 1.0, 5.0]])
    positions = rng.random((5, 3))
    back, straight = oriented(positions @ turn, box @ turn)
    assert straight == pytest.approx(box, abs=1e-12)
    assert back == pytest.approx(positions, abs=1e-12)


def test_an_unknown_kind_is_refused_with_those_known(tmp_path):
    with pytest.raises(ValueError, match="xtc, dcd"):
        write_trajectory(tmp_path / "run.mov", some_frames(None), TOPOLOGY)
