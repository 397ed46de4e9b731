"""The file: HDF5 in the layout of H5MD, checksummed chunk by chunk.

Everything that readers of H5MD know stands where they look for it (positions, forces, box, masses, energies);
what only meanforce reads stands under /meanforce. Each chunk carries HDF5's Fletcher-32 checksum, metadata
carries those of the version-1.10 file format, and the whole content has one SHA-256 in /meanforce@hash.
A file is written beside its place and renamed into it: what bears the name is whole.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from meanforce.data.checks import arrays, frames_of
from meanforce.data.errors import DamagedDataset, DatasetError, NewerFormat
from meanforce.frames import Frames
from meanforce.topology import Topology

FORMAT = 1
_VERSION = version("meanforce")
_LIBVER = ("v110", "v110")  # the oldest format with checksummed metadata
_CHUNK_BYTES = 2**20
_CHUNK_FRAMES = 1024  # of labels with one number a frame
_SUFFIX_VALUE = "/value"

#: Where each array lives, and its unit as H5MD writes it.
PLACES = {
    "positions": ("particles/beads/position", "nm"),
    "box": ("particles/beads/box/edges", "nm"),
    "forces": ("particles/beads/force", "kJ mol-1 nm-1"),
    "energy": ("observables/potential_energy", "kJ mol-1"),
    "virial": ("observables/virial", "kJ mol-1"),
    "local_energy": ("particles/beads/local_energy", "kJ mol-1"),
    "variate": ("observables/variate", "kJ mol-1"),
    "variate_slope": ("particles/beads/variate_slope", "kJ mol-1 nm-1"),
    "displacement": ("particles/beads/displacement", "nm"),
    "covariance": ("particles/beads/covariance", "kJ+2 mol-2 nm-1"),
    "variance": ("observables/variance", "kJ+2 mol-2"),
    "third_cumulant": ("particles/beads/third_cumulant", "kJ+3 mol-3 nm-1"),
    "temperature": ("observables/temperature", "K"),
    "weights": ("observables/weights", ""),
    "trajectory": ("observables/trajectory", ""),
}
_OBSERVABLES, _PARAMETERS = "observables", "observables/parameters"
_TIME = "particles/beads/position/time"


@dataclass(frozen=True)
class Header:
    """What a data set says of itself beside the frames."""

    topology: Topology
    provenance: dict
    frames: int
    hash: str
    written_by: str


def write(
    path: Path,
    header: tuple[Topology, dict],
    batches: Iterable[Frames],
    count: int,
    *,
    state: bytes | None = None,
    compress: bool = True,
) -> str:
    """Writes one file whole and renames it to `path`; returns the hash of its content."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "w+b", buffering=0) as raw:
            sink = _Sink(raw)
            try:
                with h5py.File(sink, "w", libver=_LIBVER, rdcc_nbytes=4 * _CHUNK_BYTES) as file:
                    digest = _fill(file, *header, batches, count, state, compress)
            except (OSError, RuntimeError) as error:
                raise sink.error or error from None
            if sink.error:
                raise sink.error
            os.fsync(raw.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    os.replace(temporary, path)
    sync_folder(path.parent)
    return digest


def sync_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Store:
    """One finished file, opened when first read."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self._file = _open(self.path)
        self.header = _header(self._file, self.path)
        try:
            # Kept open: the cache of decompressed chunks lives as long as the handle.
            self._data = {name: self._file[place] for name, place in _present(self._file).items()}
        except (OSError, RuntimeError, KeyError) as error:
            raise DamagedDataset(f"{self.path}: an array cannot be found ({error}); copy the file again") from error

    def __len__(self) -> int:
        return self.header.frames

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._data)

    def column(self, name: str) -> np.ndarray:
        """A label with one number a frame, for all frames."""
        return self._read(name, slice(None))

    def read(self, rows: slice | np.ndarray) -> Frames:
        """Frames by a slice, or by their numbers in any order."""
        if isinstance(rows, slice):
            return frames_of({name: self._read(name, rows) for name in self._data})
        wanted, back = np.unique(rows, return_inverse=True)
        return frames_of({name: self._gather(name, wanted)[back] for name in self._data})

    def close(self) -> None:
        self._data = {}
        self._file.close()

    def _gather(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Reads each chunk that holds a wanted frame once; h5py's own selection by list is far slower."""
        data = self._data[name]
        out = np.empty((len(rows), *data.shape[1:]), data.dtype)
        chunk = rows // data.chunks[0]
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(chunk)) + 1):
            if len(part):
                first = rows[part[0]]
                out[part] = self._read(name, slice(first, rows[part[-1]] + 1))[rows[part] - first]
        return out

    def _read(self, name: str, rows: slice) -> np.ndarray:
        data = self._data[name]
        try:
            return data[rows]
        except (OSError, RuntimeError) as error:
            raise DamagedDataset(self._name_damage(name, data)) from error

    def _name_damage(self, name: str, data: h5py.Dataset) -> str:
        step = data.chunks[0]
        for first in range(0, len(data), step):
            last = min(first + step, len(data))
            try:
                data[first:last]
            except (OSError, RuntimeError):
                return (
                    f"{self.path}: {name} of frames {first} to {last - 1} do not match their checksum; "
                    "copy the file again or write it anew"
                )
        return f"{self.path}: {name} cannot be read; copy the file again or write it anew"


def read_state(path: Path) -> bytes | None:
    """The resume state that was committed with this file."""
    with _open(path) as file:
        _header(file, path)
        return file["meanforce/resume"][:].tobytes() if "meanforce/resume" in file else None


class ContentHash:
    """SHA-256 over the content, whatever the chunks and batches: one digest an array, then all together."""

    def __init__(self, topology: Topology):
        self._topology = topology
        self._digests: dict[str, tuple[str, tuple[int, ...], hashlib._Hash]] = {}

    def update(self, frames: Frames) -> None:
        for name, value in arrays(frames).items():
            entry = self._digests.setdefault(name, (value.dtype.name, value.shape[1:], hashlib.sha256()))
            entry[2].update(np.ascontiguousarray(value).data)

    def hexdigest(self) -> str:
        parts = [[name, *entry[:2], entry[2].hexdigest()] for name, entry in sorted(self._digests.items())]
        return hashlib.sha256(json.dumps([self._topology.to_json(), parts]).encode()).hexdigest()


def rebatched(batches: Iterable[Frames], size: int) -> Iterator[Frames]:
    """The same frames in batches of `size`, the last one shorter."""
    held: list[Frames] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch)
        if count >= size:
            joined = Frames.concatenate(held)
            whole = count - count % size
            yield from (joined[i : i + size] for i in range(0, whole, size))
            held, count = ([joined[whole:]], count - whole) if count > whole else ([], 0)
    if held:
        yield Frames.concatenate(held)


def frames_at_once(particles: int) -> int:
    """Frames whose positions and forces fill about 64 mebibytes."""
    return max(1, min(1024, 2**26 // (48 * particles)))


def chunk_frames(particles: int, itemsize: int) -> int:
    """Frames in a chunk of positions: a power of two near one mebibyte."""
    fit = max(1, _CHUNK_BYTES // (3 * particles * itemsize))
    return min(_CHUNK_FRAMES, 2 ** (fit.bit_length() - 1))


def _fill(file, topology: Topology, provenance: dict, batches, count: int, state, compress: bool) -> str:
    digest = ContentHash(topology)
    at = 0
    data: dict[str, h5py.Dataset] = {}
    stream = iter(batches)
    first = next(stream, None)
    if first is not None:
        data = _allocate(file, first, topology, count, compress)
        step = chunk_frames(first.particles, first.positions.itemsize)
        for part in rebatched(itertools.chain([first], stream), step):
            digest.update(part)
            for name, value in arrays(part).items():
                data[name][at : at + len(part)] = value
            at += len(part)
    if at != count:
        raise DatasetError(f"{count} frames were announced and {at} came")
    group = file.create_group("meanforce")
    _write_text(group, "topology", topology.to_json())
    _write_text(group, "provenance", json.dumps(provenance, sort_keys=True))
    if state is not None:
        options = {"chunks": (len(state),), **_CHECKED} if state else {}
        group.create_dataset("resume", data=np.frombuffer(state, np.uint8), **options)
    group.attrs.update(format=FORMAT, frames=count, hash=digest.hexdigest(), version=_VERSION)
    group.attrs["arrays"] = json.dumps(sorted(data))
    return group.attrs["hash"]


_CHECKED = {"fletcher32": True}
_SMALL = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def _allocate(file, first: Frames, topology: Topology, count: int, compress: bool) -> dict[str, h5py.Dataset]:
    """The H5MD groups, with every array at its full length."""
    root = file.create_group("h5md")
    root.attrs["version"] = np.array([1, 1], np.int32)
    root.create_group("author").attrs["name"] = "meanforce"
    root.create_group("creator").attrs.update(name="meanforce", version=_VERSION)
    beads = file.create_group("particles/beads")
    box = beads.create_group("box")
    box.attrs.update(dimension=3, boundary=["none" if first.box is None else "periodic"] * 3)
    kinds = h5py.enum_dtype({name: i for i, name in enumerate(topology.types)}, np.int32)
    beads.create_dataset("species", data=topology.species_index, dtype=kinds)
    beads.create_dataset("mass", data=topology.masses).attrs["unit"] = "u"

    data = {}
    packing = _SMALL if compress else {}
    step = beads.create_dataset("position/step", data=np.arange(count), chunks=(_rows(count),), **_CHECKED, **_SMALL)
    for name, value in arrays(first).items():
        rows = chunk_frames(first.particles, value.itemsize) if value.shape[1:2] == (first.particles,) else count
        place, unit = (_TIME, "ps") if name == "time" else _place(name)
        data[name] = file.create_dataset(
            place, (count, *value.shape[1:]), value.dtype, chunks=(_rows(min(rows, count)), *value.shape[1:]),
            **_CHECKED, **packing,
        )  # fmt: skip
        if unit:
            data[name].attrs["unit"] = unit
    for name, array in data.items():
        if name not in ("positions", "time"):
            array.parent["step"] = step
            if "time" in data:
                array.parent["time"] = data["time"]
    return data


def _place(name: str) -> tuple[str, str]:
    place, unit = PLACES.get(name, (f"{_OBSERVABLES}/{name}", ""))  # tables: parameters/<name>, slopes/<name>
    return place + _SUFFIX_VALUE, unit


def _rows(count: int) -> int:
    return max(1, min(count, _CHUNK_FRAMES))


def _write_text(group, name: str, text: str) -> None:
    raw = text.encode()
    group.create_dataset(name, data=np.array([raw], f"S{len(raw)}"), chunks=(1,), **_CHECKED, **_SMALL)


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise DatasetError(f"there is no data set {path}")
    try:
        return h5py.File(path, "r", rdcc_nbytes=64 * _CHUNK_BYTES)
    except OSError as error:
        raise DamagedDataset(f"{path} is not a whole HDF5 file ({error}); copy it again or write it anew") from error


def _header(file: h5py.File, path: Path) -> Header:
    try:
        attributes = dict(file["meanforce"].attrs) if "meanforce" in file else {}
        if "format" not in attributes:
            raise DatasetError(f"{path} is no data set of meanforce; read it with meanforce.read and map it")
        if int(attributes["format"]) > FORMAT:
            raise NewerFormat(
                f"{path} has format {attributes['format']}, written by meanforce {attributes.get('version', '?')}: "
                f"this file is newer than this meanforce ({version('meanforce')}, format {FORMAT}); update meanforce"
            )
        text = {name: file["meanforce"][name][0].decode() for name in ("topology", "provenance")}
        return Header(
            Topology.from_json(text["topology"]), json.loads(text["provenance"]),
            int(attributes["frames"]), str(attributes["hash"]), str(attributes["version"]),
        )  # fmt: skip
    except (OSError, RuntimeError, KeyError) as error:
        raise DamagedDataset(f"{path}: its header cannot be read ({error}); copy it again") from error


def _present(file: h5py.File) -> dict[str, str]:
    """Where the arrays are; the list of their names keeps a damaged link from looking like a missing label."""
    names = file["meanforce"].attrs.get("arrays")
    if names is None:  # the first files of format 1
        places = {name: _place(name)[0] for name in PLACES} | {"time": _TIME}
        places |= {f"parameters/{name}": _place(f"parameters/{name}")[0] for name in file.get(_PARAMETERS, ())}
        return {name: place for name, place in places.items() if place in file}
    return {name: _TIME if name == "time" else _place(name)[0] for name in json.loads(names)}


class _Sink(io.RawIOBase):
    """A file that keeps the first error and then swallows what is written.

    HDF5 that cannot write its caches back never closes (it may abort or hang at exit); so the disk's error is
    remembered, the library closes in peace, and the half-written temporary file never gets its name.
    """

    def __init__(self, raw: io.RawIOBase):
        self.raw = raw
        self.error: OSError | None = None

    def write(self, data) -> int:
        if self.error is None:
            try:
                view = memoryview(data).cast("B")
                done = 0
                while done < len(view):
                    done += self.raw.write(view[done:]) or 0
            except OSError as error:
                self.error = error
        return len(data)

    def readinto(self, buffer) -> int:
        return self.raw.readinto(buffer) or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self.raw.seek(offset, whence)

    def tell(self) -> int:
        return self.raw.tell()

    def truncate(self, size: int | None = None) -> int:
        return self.raw.truncate(size) if self.error is None else (size or 0)

    def flush(self) -> None:
        pass

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
