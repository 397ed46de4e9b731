"""Data sets: what goes in comes out, in memory and on disk, and what is wrong is refused by name."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from meanforce.data import storage
from meanforce.data.dataset import Dataset
from meanforce.data.errors import DamagedDataset, DatasetError, NewerFormat, UnfinishedDataset
from meanforce.data.writer import Writer, part_folder
from meanforce.frames import Frames
from meanforce.topology import Topology

BEADS = 7
TOPOLOGY = Topology.of(["A", "B", "B", "A", "B", "C", "C"], {"A": 12.0, "B": 1.5, "C": 30.0}, bonds=[(0, 1), (1, 2)])


def some_frames(n=50, seed=0, dtype=float, **changes) -> Frames:
    rng = np.random.default_rng(seed)
    frames = Frames(
        positions=rng.normal(size=(n, BEADS, 3)).astype(dtype),
        box=np.tile(np.diag([2.0, 2.5, 3.0]), (n, 1, 1)) + np.tril(0.1 * rng.random((n, 3, 3)), -1),
        forces=rng.normal(size=(n, BEADS, 3)).astype(dtype),
        energy=rng.normal(size=n),
        virial=rng.normal(size=n),
        local_energy=rng.normal(size=(n, BEADS)),
        variate=rng.normal(size=n),
        variate_slope=rng.normal(size=(n, BEADS, 3)),
        displacement=rng.normal(size=(n, BEADS, 3)),
        covariance=rng.normal(size=(n, BEADS, 3)),
        variance=rng.normal(size=n),
        third_cumulant=rng.normal(size=(n, BEADS, 3)),
        temperature=np.where(np.arange(n) < n // 2, 300.0, 350.0),
        weights=rng.random(n),
        time=0.5 * np.arange(n),
        trajectory=np.arange(n) // (n // 2),
        parameters={"field": rng.normal(size=n)},
        slopes={"field": rng.normal(size=n), "charge": rng.normal(size=n)},
    )
    return frames.with_(**changes)


class Streamed:
    """A source whose batches never lie in memory together."""

    topology = TOPOLOGY

    def __init__(self, frames: Frames, stop_after: int | None = None):
        self.frames, self.stop_after = frames, stop_after

    def batches(self, size):
        for first in range(0, len(self.frames), size):
            if self.stop_after is not None and first >= self.stop_after:
                raise InterruptedError("stopped")
            yield self.frames[first : first + size]


def assert_same(a: Frames, b: Frames) -> None:
    assert a.labels() == b.labels()
    assert set(a.parameters) == set(b.parameters) and set(a.slopes) == set(b.slopes)
    for name in ("positions", "box", *a.labels()):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
    for name, value in a.parameters.items():
        np.testing.assert_array_equal(value, b.parameters[name])
    for name, value in a.slopes.items():
        np.testing.assert_array_equal(value, b.slopes[name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_is_read(tmp_path, dtype):
    frames = some_frames(dtype=dtype)
    data = Dataset.create(tmp_path / "d.h5", Streamed(frames), provenance={"mapping": "none"}, batch=11)
    assert len(data) == 50
    assert_same(data[:], frames)
    assert_same(data[3], frames[3])
    assert_same(data[10:20], frames[10:20])
    assert_same(data[-1], frames[-1])
    assert_same(data[np.array([40, 2, 2, 17])], frames[np.array([40, 2, 2, 17])])
    assert_same(Frames.concatenate(list(data)), frames)
    assert data.topology == TOPOLOGY
    assert data.provenance == {"mapping": "none"}
    assert data.temperatures == (300.0, 350.0)
    assert data.labels() == frames.labels()
    data.verify()


def test_a_missing_label_stays_missing(tmp_path):
    frames = Frames(np.zeros((4, BEADS, 3)) + np.arange(BEADS)[:, None])
    data = Dataset.create(tmp_path / "d.h5", frames, topology=TOPOLOGY)
    assert data.labels() == ()
    assert data[0].forces is None and data[0].box is None and data[0].energy is None
    assert data.column("energy") is None and data.temperatures == ()


def test_many_chunks_and_any_batches_give_the_same_content(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_CHUNK_BYTES", 2000)  # 8 frames of positions
    monkeypatch.setattr(storage, "_CHUNK_FRAMES", 16)
    frames = some_frames(101)
    one = Dataset.create(tmp_path / "one.h5", Streamed(frames), batch=13)
    two = Dataset.create(tmp_path / "two.h5", Streamed(frames), batch=101)
    memory = Dataset.from_frames(TOPOLOGY, frames)
    with h5py.File(tmp_path / "one.h5") as file:
        assert file["particles/beads/position/value"].chunks[0] == 8
    assert one.hash == two.hash == memory.hash
    rows = np.random.default_rng(1).permutation(101)
    assert_same(Frames.concatenate(list(one.batches(9, order=rows))), frames[rows])
    assert one.at(rows).hash == memory.at(rows).hash != memory.hash
    assert one.hash != Dataset.from_frames(TOPOLOGY, some_frames(101, seed=1)).hash


def test_readable_by_others(tmp_path):
    frames = some_frames(5)
    Dataset.create(tmp_path / "d.h5", frames, topology=TOPOLOGY)
    with h5py.File(tmp_path / "d.h5") as file:
        assert tuple(file["h5md"].attrs["version"]) == (1, 1)
        assert file["particles/beads/position/value"].attrs["unit"] == "nm"
        np.testing.assert_array_equal(file["particles/beads/position/time"][:], frames.time)
        np.testing.assert_array_equal(file["observables/potential_energy/value"][:], frames.energy)


def test_mdanalysis_reads_it(tmp_path):
    MDAnalysis = pytest.importorskip("MDAnalysis")
    frames = some_frames(5)
    Dataset.create(tmp_path / "d.h5", frames, topology=TOPOLOGY)
    universe = MDAnalysis.Universe.empty(BEADS, trajectory=False)
    universe.load_new(str(tmp_path / "d.h5"), format="H5MD")
    step = universe.trajectory[3]
    np.testing.assert_allclose(step.positions / 10, frames.positions[3], rtol=1e-6)
    np.testing.assert_allclose(step.forces * 10, frames.forces[3], rtol=1e-6)
    np.testing.assert_allclose(step.triclinic_dimensions[0, 0], 20.0, rtol=1e-6)
    assert step.time == 1.5


def test_from_arrays_takes_boxes_of_every_form(tmp_path):
    positions = np.zeros((4, BEADS, 3)) + np.arange(BEADS)[:, None]
    matrix = np.diag([2.0, 2.5, 3.0])
    for box in ([2.0, 2.5, 3.0], matrix, np.tile(matrix, (4, 1, 1))):
        data = Dataset.from_arrays(TOPOLOGY, positions=positions, box=box, temperature=300.0)
        np.testing.assert_array_equal(data[:].box, np.tile(matrix, (4, 1, 1)))
        assert data.temperatures == (300.0,)
    with pytest.raises(DatasetError, match=r"box has shape \(2, 2\)"):
        Dataset.from_arrays(TOPOLOGY, positions=positions, box=np.eye(2))
    on_disk = Dataset.from_arrays(TOPOLOGY, positions=positions, temperature=[1.0, 2, 3, 4], path=tmp_path / "d.h5")
    assert on_disk.temperatures == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize("name", ["positions", "box", "forces", "energy", "virial", "time"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named(name, value):
    frames = some_frames(20)
    getattr(frames, name).reshape(20, -1)[13, -1] = value
    with pytest.raises(DatasetError, match=f"{name} of frame 13.* is {value}"):
        Dataset.from_frames(TOPOLOGY, frames)


def test_the_frame_is_counted_through_the_whole_file(tmp_path):
    frames = some_frames(30)
    frames.forces[25, 2, 1] = np.nan
    with pytest.raises(DatasetError, match="forces of frame 25, particle 2 is nan"):
        Dataset.create(tmp_path / "d.h5", Streamed(frames), batch=10)
    assert not (tmp_path / "d.h5").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": np.zeros(50)}, "temperature of frame 0 is 0"),
        ({"weights": -np.ones(50)}, "weights of frame 0 is -1"),
        ({"box": np.zeros((50, 3, 3))}, "box volume of frame 0"),
    ],
)
def test_senseless_values_are_refused(changes, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_frames(TOPOLOGY, some_frames(**changes))


def test_wrong_particles_labels_and_temperatures_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="7 particles and the topology 1"):
        Dataset.from_frames(Topology.of(["A"], {"A": 1.0}), some_frames())
    with pytest.raises(DatasetError, match="no label 'energie'"):
        Dataset.from_arrays(TOPOLOGY, positions=some_frames().positions, energie=np.zeros(50))
    with Writer(tmp_path / "d.h5", TOPOLOGY) as writer:
        writer.append(some_frames())
        with pytest.raises(DatasetError, match=r"begun with .*forces"):
            writer.append(some_frames(forces=None))
        with pytest.raises(DatasetError, match="float32"):
            writer.append(some_frames(dtype=np.float32))
    with pytest.raises(DatasetError, match="at 300 K and temperature=280"):
        Dataset.create(tmp_path / "e.h5", some_frames(), topology=TOPOLOGY, temperature=280.0)


def test_selection():
    data = Dataset.from_frames(TOPOLOGY, some_frames())
    hot = data.select(temperature=350.0)
    assert len(hot) == 25 and hot.temperatures == (350.0,)
    assert_same(hot[2], data[27])
    assert len(data.select(trajectory=0)) == 25
    value = float(data.column("parameters/field")[7])
    assert_same(data.select(parameters={"field": value})[0], data[7])
    with pytest.raises(DatasetError, match="no frame has temperature 310; there are 300, 350"):
        data.select(temperature=310.0)


def test_splits_are_contiguous_in_every_run_and_leave_a_gap():
    data = Dataset.from_frames(TOPOLOGY, some_frames(100))
    train, test = data.split(0.8)
    assert (len(train), len(test)) == (80, 20)
    np.testing.assert_array_equal(test.rows, [*range(40, 50), *range(90, 100)])
    assert train.temperatures == test.temperatures == (300.0, 350.0)
    train, test = data.split((0.6, 0.4), gap=4)
    np.testing.assert_array_equal(
        np.setdiff1d(np.arange(100), [*train.rows, *test.rows]), [28, 29, 30, 31, 78, 79, 80, 81]
    )
    train, test = data.split(0.5, by="trajectory")
    assert train.temperatures == (300.0,) and test.temperatures == (350.0,)
    with pytest.raises(DatasetError, match="2 trajectories cannot fill 3 parts"):
        data.split((0.3, 0.3, 0.4), by="trajectory")
    with pytest.raises(DatasetError, match="no frame"):
        data.split(0.8, gap=60)
    with pytest.raises(DatasetError, match="random"):
        data.split(0.8, by="random")
    with pytest.raises(DatasetError, match="at most 1"):
        data.split(1.2)


def test_folds_cover_every_frame_once():
    data = Dataset.from_frames(TOPOLOGY, some_frames(100))
    for by in ("block", "trajectory"):
        folds = data.folds(2, by=by)
        np.testing.assert_array_equal(np.sort(np.concatenate([test.rows for _, test in folds])), np.arange(100))
        assert all(not set(train.rows) & set(test.rows) for train, test in folds)
    for train, test in data.folds(5, gap=3):
        for row in test.rows:
            same_run = train.rows[train.rows // 50 == row // 50]
            assert np.abs(same_run - row).min() > 3


def test_replica_exchange_is_cut_by_trajectory():
    temperature = np.tile([300.0, 350.0], 50)
    data = Dataset.from_frames(TOPOLOGY, some_frames(100, temperature=temperature, trajectory=np.zeros(100, int)))
    _, test = data.split(0.75)
    np.testing.assert_array_equal(test.rows, np.arange(75, 100))


def test_every_flipped_byte_is_found_or_harmless(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_CHUNK_BYTES", 2000)
    path = tmp_path / "d.h5"
    whole = Dataset.create(path, some_frames(64), topology=TOPOLOGY)
    good = path.read_bytes()
    rng = np.random.default_rng(3)
    found = 0
    for number, at in enumerate(rng.integers(0, len(good), 150)):
        path = tmp_path / f"damaged{number}.h5"  # a new file: HDF5 shares what it has read of an open one
        path.write_bytes(good[:at] + bytes([good[at] ^ int(rng.integers(1, 256))]) + good[at + 1 :])
        try:
            data = Dataset.open(path)
            content = data[:]
        except (DamagedDataset, DatasetError) as error:
            assert path.name in str(error)
            found += 1
        else:
            assert_same(content, whole[:])
            assert data.topology == TOPOLOGY
    assert found > 100


def test_damage_is_named_by_label_and_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_CHUNK_BYTES", 2000)
    path = tmp_path / "d.h5"
    Dataset.create(path, some_frames(64), topology=TOPOLOGY)
    with h5py.File(path) as file:
        chunk = file["particles/beads/force/value"].id.get_chunk_info_by_coord((24, 0, 0))
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset + chunk.size // 2] ^= 0x10
    path = tmp_path / "damaged.h5"
    path.write_bytes(raw)
    data = Dataset.open(path)
    data[0:24]
    with pytest.raises(DamagedDataset, match=r"damaged\.h5: forces of frames 24 to 31"):
        data[20:40]
    half = tmp_path / "half.h5"
    half.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DamagedDataset, match="not a whole HDF5 file"):
        Dataset.open(half)


def test_newer_and_foreign_files_have_their_own_errors(tmp_path):
    path = tmp_path / "d.h5"
    Dataset.create(path, some_frames(3), topology=TOPOLOGY)
    with h5py.File(path, "a") as file:
        file["meanforce"].attrs["format"] = storage.FORMAT + 1
    with pytest.raises(NewerFormat, match="newer than this meanforce"):
        Dataset.open(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DatasetError, match="no data set of meanforce"):
        Dataset.open(tmp_path / "other.h5")
    with pytest.raises(DatasetError, match="there is no data set"):
        Dataset.open(tmp_path / "none.h5")


def test_files_of_format_1_are_read_for_ever():
    data = Dataset.open(Path(__file__).parent / "format1.h5")
    data.verify()
    n = np.arange(6.0)
    positions = np.arange(54.0).reshape(6, 3, 3) / 10
    frames = data[:]
    np.testing.assert_array_equal(frames.positions, positions)
    np.testing.assert_array_equal(frames.forces, -positions)
    np.testing.assert_array_equal(frames.box, np.tile(np.diag([7.0, 8.0, 9.0]), (6, 1, 1)))
    for name, expected in {"energy": n, "virial": 2 * n, "time": n, "weights": n + 1, "trajectory": n // 3}.items():
        np.testing.assert_array_equal(getattr(frames, name), expected)
    np.testing.assert_array_equal(frames.parameters["field"], n / 2)
    assert data.temperatures == (300.0, 350.0)
    assert data.topology.angles.tolist() == [[0, 1, 2]]
    assert data.provenance == {"made by": "format 1"}


def test_changed_content_fails_verification(tmp_path):
    path = tmp_path / "d.h5"
    Dataset.create(path, some_frames(3), topology=TOPOLOGY)
    with h5py.File(path, "a") as file:
        file["observables/potential_energy/value"][1] += 1.0
    with pytest.raises(DamagedDataset, match="changed after writing"):
        Dataset.open(path).verify()


def test_a_stopped_source_resumes_to_the_same_content(tmp_path):
    path, frames = tmp_path / "d.h5", some_frames(60)
    writer = Writer(path, TOPOLOGY)  # what a stopped call left behind
    writer.append(frames[:23])
    writer.commit()
    writer.abandon()
    with pytest.raises(UnfinishedDataset, match="23 frames are safe"):
        Dataset.open(path)
    with pytest.raises(UnfinishedDataset, match="resume=True"):
        Dataset.create(path, Streamed(frames))
    with pytest.raises(DatasetError, match="the source has changed"):
        Dataset.create(path, Streamed(some_frames(60, seed=5)), resume=True)
    data = Dataset.create(path, Streamed(frames), resume=True, batch=10)
    assert_same(data[:], frames)
    assert not part_folder(path).exists()
    assert Dataset.create(path, Streamed(frames), resume=True).hash == data.hash
    with pytest.raises(DatasetError, match="exists"):
        Dataset.create(path, Streamed(frames))


def test_recovery_keeps_what_was_committed(tmp_path):
    path, frames = tmp_path / "d.h5", some_frames(30)
    writer = Writer(path, TOPOLOGY, provenance={"a": 1})
    writer.append(frames[:20])
    writer.commit(b"state")
    writer.append(frames[20:])
    writer.abandon()
    data = Dataset.recover(path)
    assert_same(data[:], frames[:20])
    assert data.provenance == {"a": 1}


def test_a_finished_file_is_extended_and_stays_readable_meanwhile(tmp_path):
    path, frames = tmp_path / "d.h5", some_frames(30)
    with Writer(path, TOPOLOGY, provenance={"seed": 1}) as writer:
        writer.append(frames[:20])
        writer.commit(b"checkpoint")
    with pytest.raises(DatasetError, match=r"seed \(1 then, 2 now\)"):
        Writer(path, TOPOLOGY, provenance={"seed": 2}, resume=True)
    with Writer(path, TOPOLOGY, provenance={"seed": 1}, resume=True) as writer:
        assert (writer.frames, writer.state) == (20, b"checkpoint")
        with pytest.raises(DatasetError, match="another process is writing"):
            Writer(path, TOPOLOGY, resume=True)
        writer.append(frames[20:])
        writer.commit(b"later")
        assert len(Dataset.open(path)) == 20
    assert_same(Dataset.open(path)[:], frames)
    with pytest.raises(DatasetError, match="no frame was written"), Writer(tmp_path / "empty.h5", TOPOLOGY):
        pass


def test_reading_data_needs_no_jax():
    """Light processes (writers of simulations, workers) read and write data sets."""
    stub = (
        "import sys, types\n"
        "for name in ('meanforce', 'meanforce.data'):\n"
        "    module = types.ModuleType(name); module.__path__ = [p + '/' + name.replace('.', '/') for p in sys.path]\n"
        "    sys.modules[name] = module\n"
        "import meanforce.data.dataset\n"
        "assert not {'jax', 'MDAnalysis', 'numba', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", stub], check=True)
