"""Writing a data set so that a kill at any instant loses nothing that was committed.

While it grows, `water.h5` is a folder `water.h5.part` of segments, each a small data set in itself, written to a
temporary name, synchronised and renamed: a segment is there whole or not at all, and the resume state of the
program that writes (a simulation's checkpoint) travels inside it. `close` joins the segments in one file, again
by a rename; only then does `water.h5` exist. To extend a finished file it becomes the first segment by a link, and
keeps its name until the longer one replaces it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from meanforce.data import storage
from meanforce.data.checks import check, check_same_labels, normalised
from meanforce.data.errors import DatasetError, UnfinishedDataset
from meanforce.frames import Frames
from meanforce.topology import Topology


class Writer:
    """Appends frames to a data set: `append`, `commit` as often as you like, `close` at the end.

    `frames` counts what is committed, `state` is the resume state of the last commit. As a context manager it
    closes at the end of the block; an exception leaves the folder of segments as it was last committed.
    """

    def __init__(self, path: str | Path, topology: Topology, *, provenance: dict | None = None, resume: bool = False):
        self.path = Path(path)
        self.topology = topology
        self.provenance: dict = {}
        self._folder = part_folder(self.path)
        if not resume:
            refuse_existing(self.path)
        self._lock = _prepare(self.path, self._folder)
        self._pending: list[Frames] = []
        self._segments = sorted(self._folder.glob("segment-*.h5"))
        try:
            self._read_back(None if provenance is None else json.loads(json.dumps(provenance)))
        except BaseException:
            self._lock.close()
            raise

    def _read_back(self, provenance: dict | None) -> None:
        """Finds the last committed state, and refuses to continue another data set."""
        self.frames = 0
        self.state: bytes | None = None
        self._begun: Frames | None = None
        self._last: Frames | None = None
        for segment in self._segments:
            store = storage.Store(segment)
            if provenance is None:  # not told: go on with what was begun
                provenance = store.header.provenance
            self._refuse_other(store.header, provenance)
            self.frames += len(store)
            if len(store):
                self._begun = self._begun or store.read(slice(0, 1))
                self._last = store.read(slice(len(store) - 1, None))
            store.close()
        self.provenance = provenance or {}
        if self._segments:
            self.state = storage.read_state(self._segments[-1])

    def _refuse_other(self, header: storage.Header, provenance: dict) -> None:
        if header.topology != self.topology:
            raise DatasetError(f"{self.path} was begun with another topology; choose another name")
        if header.provenance != provenance:
            raise DatasetError(
                f"{self.path} was begun with other settings: {_differences(header.provenance, provenance)}; "
                "resume with the same ones or choose another name"
            )

    @property
    def last(self) -> Frames | None:
        """The last committed frame."""
        return self._last

    def append(self, frames: Frames) -> None:
        """Checks frames and holds them until the next `commit`."""
        if not len(frames):
            return
        frames = normalised(frames)
        check(frames, self.topology, self.frames + sum(map(len, self._pending)))
        if self._begun is None:
            self._begun = frames[0]
        check_same_labels(frames, self._begun)
        self._pending.append(frames)

    def commit(self, state: bytes | None = None) -> None:
        """Puts what was appended on the disk, with `state`, in one indivisible step."""
        if not self._pending and state is None:
            return
        count = sum(map(len, self._pending))
        path = self._folder / f"segment-{len(self._segments):06d}.h5"
        with _disk_errors(self.path, self.frames):
            storage.write(path, (self.topology, self.provenance), self._pending, count, state=state, compress=False)
        self._last = self._pending[-1][-1:] if self._pending else self._last
        self._segments.append(path)
        self._pending, self.state = [], state
        self.frames += count

    def close(self) -> None:
        """Commits, and joins the segments in the finished file."""
        try:
            self.commit(self.state if self._pending else None)
            if not self.frames:
                raise DatasetError(f"{self.path}: no frame was written; append some before closing")
            self._join()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leaves the folder of segments as it was last committed, for a later resume."""
        self._pending = []
        if not self._segments and not self._lock.closed:
            _discard(self._folder)
        self._lock.close()

    def _join(self) -> None:
        joined = self._folder / "joined.h5"
        with _disk_errors(self.path, self.frames):
            storage.write(joined, (self.topology, self.provenance), self._stream(), self.frames, state=self.state)
            os.replace(joined, self.path)
            storage.sync_folder(self.path.parent)
        self._segments = []

    def _stream(self) -> Iterator[Frames]:
        step = storage.frames_at_once(len(self.topology))
        for segment in self._segments:
            store = storage.Store(segment)
            for first in range(0, len(store), step):
                yield store.read(slice(first, first + step))
            store.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def part_folder(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def recover(path: str | Path) -> None:
    """Finishes a data set whose writer will not come back, with the frames that were committed."""
    folder = part_folder(Path(path))
    segments = sorted(folder.glob("segment-*.h5"))
    if not segments:
        raise DatasetError(f"there is nothing to recover in {folder}")
    header = storage.Store(segments[0]).header
    Writer(path, header.topology, provenance=header.provenance, resume=True).close()


def committed_frames(path: Path) -> int:
    """Frames in the segments of an unfinished data set."""
    return sum(len(storage.Store(segment)) for segment in sorted(part_folder(path).glob("segment-*.h5")))


def refuse_existing(path: Path) -> None:
    if committed_frames(path):
        raise UnfinishedDataset(
            f"{path} was begun before and not finished ({committed_frames(path)} frames are safe in "
            f"{part_folder(path)}); continue with resume=True, keep them with Dataset.recover, or delete that folder"
        )
    if path.exists():
        raise DatasetError(f"{path} exists; choose another name, delete it, or extend it with resume=True")


def _prepare(path: Path, folder: Path):
    """The folder of segments, locked against a second writer, with half-written files swept out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    if not folder.exists():
        # Filled under another name first: a folder without its first segment would hide a finished file.
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        fresh.mkdir()
        if path.exists():
            _link(path, fresh / "segment-000000.h5")
        storage.sync_folder(fresh)
        try:
            os.rename(fresh, folder)
        except OSError:  # another process was first: its lock decides
            shutil.rmtree(fresh)
        storage.sync_folder(path.parent)
    lock = _lock(folder)
    for leftover in folder.glob("*.tmp"):
        leftover.unlink()
    return lock


def _lock(folder: Path):
    """A lock that the system releases however the process ends."""
    lock = open(folder / "lock", "w")  # noqa: SIM115
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise DatasetError(f"another process is writing {folder}; wait for it or choose another name") from None
    return lock


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # file systems without hard links
        shutil.copyfile(source, target)


def _discard(folder: Path) -> None:
    """Takes the folder away by one rename: half a folder of segments would look like fewer frames."""
    rubbish = folder.with_name(f"{folder.name}.{os.getpid()}.old")
    os.rename(folder, rubbish)
    storage.sync_folder(folder.parent)
    shutil.rmtree(rubbish, ignore_errors=True)


def _sweep(path: Path) -> None:
    """What a killed process left on its way to or from the folder of segments."""
    for pattern in (f"{path.name}.*.new", f"{path.name}.part.*.old"):
        for rubbish in path.parent.glob(pattern):
            if not _alive(int(rubbish.name.split(".")[-2])):
                shutil.rmtree(rubbish, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


@contextlib.contextmanager
def _disk_errors(path: Path, frames: int):
    try:
        yield
    except OSError as error:
        reasons = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up",
                   errno.EFBIG: "the file would be larger than is allowed here"}  # fmt: skip
        reason = reasons.get(error.errno or 0, str(error))
        raise DatasetError(
            f"cannot write {path}: {reason}. {frames} frames are safe in {part_folder(path)}: "
            "make room and continue with resume=True"
        ) from error


def _differences(old: dict, new: dict) -> str:
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} ({old.get(key)!r} then, {new.get(key)!r} now)" for key in changed)
