"""Writers that die: by SIGKILL at any instant, or on a full disk, nothing committed is lost."""

import subprocess
import sys
from subprocess import PIPE

import numpy as np
import pytest

from meanforce.data.dataset import Dataset
from meanforce.data.errors import DatasetError
from meanforce.data.writer import Writer, part_folder
from meanforce.topology import Topology

# Runs without jax, so that a process starts quickly: packages are bare names, modules are the real ones.
LIGHT = """
import sys, types
import numpy as np
for name in ("meanforce", "meanforce.data"):
    package = types.ModuleType(name)
    package.__path__ = [p + "/" + name.replace(".", "/") for p in sys.path]
    sys.modules[name] = package
from meanforce.data.writer import Writer
from meanforce.frames import Frames
from meanforce.topology import Topology

def frames(first, count):
    number = np.arange(first, first + count)
    positions = np.stack([np.random.default_rng(n).normal(size=(40, 3)) for n in number])
    return Frames(positions, forces=-positions, energy=number * 1.0)

topology = Topology.of(["A"] * 40, {"A": 1.0})
"""

# For each line "commits delay" on stdin, a process that appends for ever (three commits, then the file is finished,
# then it is opened again and extended) and is killed so long after so many commits. It is forked: starting Python
# anew takes longer than writing.
GROW = (
    LIGHT
    + """
import os, signal, time

def grow(path, pipe):
    while True:
        writer = Writer(path, topology, provenance={"seed": 7}, resume=True)
        for _ in range(3):
            if writer.state is not None and int(writer.state) != writer.frames:
                print("state and frames differ", flush=True)
            writer.append(frames(writer.frames, 5))
            writer.commit(str(writer.frames + 5).encode())
            os.write(pipe, f"{writer.frames:8d}".encode())
        writer.close()

for line in sys.stdin:
    commits, delay = line.split()
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        grow(sys.argv[1], send)
    os.close(send)
    for _ in range(int(commits)):
        print(int(os.read(receive, 8)), flush=True)
    time.sleep(float(delay))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while late := os.read(receive, 8):
        print(int(late), flush=True)
    print("killed", flush=True)
"""
)

# The same for a stream of mapped frames: each process goes on where the last one was killed.
STREAM = (
    LIGHT
    + """
import os, signal, time
from meanforce.data import dataset
dataset._COMMIT_SECONDS = 0.0  # every batch

class Source:
    topology = topology
    def batches(self, size):
        for first in range(0, 120, size):
            yield frames(first, min(size, 120 - first))

for delay in sys.stdin:
    child = os.fork()
    if child == 0:
        dataset.Dataset.create(sys.argv[1], Source(), temperature=300.0, resume=True, batch=7)
        os._exit(0)
    time.sleep(float(delay))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""
)

FULL = (
    LIGHT
    + """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
with Writer(sys.argv[1], topology, resume=True) as writer:
    for count in map(int, sys.argv[3:]):
        writer.append(frames(writer.frames, count))
        writer.commit()
"""
)


def run(script: str, *arguments) -> subprocess.Popen:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_twenty_kills_lose_no_committed_frame(tmp_path):
    path = tmp_path / "grown.h5"
    rng = np.random.default_rng(20)
    acknowledged = 0
    harness = run(GROW, path)
    for _ in range(20):
        harness.stdin.write(f"{rng.integers(0, 7)} {rng.uniform(0.0, 0.06)}\n")
        harness.stdin.flush()
        while (line := harness.stdout.readline()) != "killed\n":
            acknowledged = int(line)
        if path.exists():  # whatever bears the name is whole
            data = Dataset.open(path)
            data.verify()
            assert len(data) % 5 == 0
    _, errors = harness.communicate()
    assert errors == ""
    writer = Writer(path, Topology.of(["A"] * 40, {"A": 1.0}), provenance={"seed": 7}, resume=True)
    assert writer.frames >= acknowledged > 20
    assert int(writer.state) == writer.frames
    writer.close()
    data = Dataset.open(path)
    data.verify()
    np.testing.assert_array_equal(data.column("energy"), np.arange(len(data)))
    for i in (0, len(data) // 2, len(data) - 1):
        np.testing.assert_array_equal(data[i].positions[0], np.random.default_rng(i).normal(size=(40, 3)))
    assert not part_folder(path).exists()
    assert [p.name for p in tmp_path.iterdir()] == ["grown.h5"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_stream_killed_twenty_times_gives_the_same_content(tmp_path):
    path = tmp_path / "mapped.h5"
    rng = np.random.default_rng(21)
    harness = run(STREAM, path)
    for _ in range(20):
        harness.stdin.write(f"{rng.uniform(0.0, 0.15)}\n")
        harness.stdin.flush()
        assert harness.stdout.readline() == "killed\n"
        if path.exists():
            Dataset.open(path).verify()
    _, errors = harness.communicate()
    assert errors == ""
    positions = np.stack([np.random.default_rng(n).normal(size=(40, 3)) for n in range(120)])
    topology = Topology.of(["A"] * 40, {"A": 1.0})
    whole = Dataset.from_arrays(
        topology, positions=positions, forces=-positions, energies=np.arange(120.0), temperature=300.0
    )
    data = Dataset.create(path, whole, temperature=300.0, resume=True)
    assert data.hash == whole.hash


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize(
    ("counts", "committed"),
    [([50], 0), ([5, 10, 50], 15), ([20] * 2, 40)],
    ids=["at the first commit", "at a later commit", "when the segments are joined"],
)
def test_a_full_disk_gives_one_message_and_keeps_what_was_committed(tmp_path, counts, committed):
    path = tmp_path / "full.h5"
    child = run(FULL, path, 60_000, *counts)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("meanforce.data.errors.DatasetError: cannot write")
    assert "resume=True" in last and "larger than is allowed" in last
    assert f" {committed} frames are safe" in last
    assert not path.exists()
    if committed:
        data = Dataset.recover(path)
        np.testing.assert_array_equal(data.column("energy"), np.arange(committed))
    assert [p.name for p in tmp_path.iterdir()] == (["full.h5"] if committed else [])


def test_an_exception_keeps_what_was_committed(tmp_path):
    path = tmp_path / "d.h5"
    topology = Topology.of(["A"], {"A": 1.0})
    with pytest.raises(DatasetError, match="nan"), Writer(path, topology) as writer:
        writer.append(Dataset.from_arrays(topology, positions=np.ones((3, 1, 3)))[:])
        writer.commit()
        writer.append(Dataset.from_arrays(topology, positions=np.ones((1, 1, 3)))[:].with_(energy=np.array([np.nan])))
    assert len(Dataset.recover(path)) == 3


def test_states_alone_can_be_committed(tmp_path):
    path = tmp_path / "d.h5"
    topology = Topology.of(["A"], {"A": 1.0})
    writer = Writer(path, topology)
    writer.commit(b"equilibrated")
    writer.abandon()
    writer = Writer(path, topology, resume=True)
    assert (writer.frames, writer.state, writer.last) == (0, b"equilibrated", None)
    writer.append(Dataset.from_arrays(topology, positions=np.ones((3, 1, 3)))[:])
    writer.commit(b"")
    writer.abandon()
    writer = Writer(path, topology, resume=True)
    assert (writer.frames, writer.state) == (3, b"")
    writer.close()
