"""Coarse-grained configurations with their labels, on disk or in memory, read in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Shaped

from meanforce.data import splits, storage, writer
from meanforce.data.checks import arrays, box_array, check, check_same_labels, normalised, per_frame
from meanforce.data.errors import DamagedDataset, DatasetError, UnfinishedDataset
from meanforce.frames import LABELS, SHAPES, TABLES, Frames
from meanforce.topology import Topology

_COMMIT_SECONDS = 5.0
_COMMIT_BYTES = 2**26


@runtime_checkable
class Source(Protocol):
    """Frames that come in batches, such as a mapped trajectory."""

    @property
    def topology(self) -> Topology: ...

    def batches(self, size: int) -> Iterator[Frames]: ...


@runtime_checkable
class _Reader(Protocol):
    """Where the frames of a data set are: a file (`storage.Store`) or memory."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def column(self, name: str) -> np.ndarray: ...

    def read(self, rows: slice | np.ndarray) -> Frames: ...


@dataclass(frozen=True)
class _Memory:
    frames: Frames

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(arrays(self.frames))

    def __len__(self) -> int:
        return len(self.frames)

    def column(self, name: str) -> np.ndarray:
        return arrays(self.frames)[name]

    def read(self, rows: slice | np.ndarray) -> Frames:
        return self.frames[rows]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Frames of one system, at one or several temperatures, boxes and parameters.

    Made by `Dataset.create` (a file), `Dataset.from_arrays` (memory) or `Dataset.open`. Nothing is read before it
    is asked for: `data[10:20]` and `data.batches(64)` read just those frames, and verify their checksums.
    Selections and splits are data sets that share the same file.
    """

    topology: Topology
    provenance: dict
    reader: _Reader
    rows: Int[np.ndarray, "frames"] | None = None  # the chosen frames; None: all

    @staticmethod
    def open(path: str | Path) -> Dataset:
        """A finished data set file."""
        path = Path(path)
        if not path.exists() and writer.committed_frames(path):
            raise UnfinishedDataset(
                f"{path} was not finished: {writer.committed_frames(path)} frames are safe in "
                f"{writer.part_folder(path)}; continue with resume=True, or keep them with Dataset.recover"
            )
        store = storage.Store(path)
        return Dataset(store.header.topology, store.header.provenance, store)

    @staticmethod
    def create(
        path: str | Path,
        source: Source | Frames,
        *,
        topology: Topology | None = None,
        temperature: float | None = None,
        provenance: dict | None = None,
        resume: bool = False,
        batch: int = 64,
    ) -> Dataset:
        """Streams a source into a file, whatever its length, and opens it.

        `temperature` in K is for frames that do not carry their own. With `resume=True` a stopped call is
        continued after the last committed frame, and a finished file is opened.
        """
        if isinstance(source, Frames):
            if topology is None:
                raise DatasetError("frames alone do not say what the particles are: give topology=")
            source = Dataset(topology, {}, _Memory(source))
        path = Path(path)
        if resume and path.exists() and not writer.part_folder(path).exists():
            return _same(Dataset.open(path), source.topology, provenance)
        output = writer.Writer(path, source.topology, provenance=provenance, resume=resume)
        with output:
            _stream(source, output, temperature, batch)
        return Dataset.open(path)

    @staticmethod
    def recover(path: str | Path) -> Dataset:
        """Finishes a stopped data set with the frames that were committed."""
        writer.recover(path)
        return Dataset.open(path)

    @staticmethod
    def from_arrays(
        topology: Topology,
        *,
        positions: Float[np.ndarray, "frames particles 3"],
        forces: Float[np.ndarray, "frames particles 3"] | None = None,
        energies: Float[np.ndarray, "frames"] | None = None,
        box: np.ndarray | Sequence[float] | None = None,
        temperature: float | Sequence[float] | Float[np.ndarray, "frames"] | None = None,
        path: str | Path | None = None,
        **labels,
    ) -> Dataset:
        """A data set from arrays in nm, kJ/(mol nm), kJ/mol and K, in memory or (with `path`) in a file.

        `box` is (3,) lengths, (3, 3) vectors or (frames, 3, 3); further labels are those of `Frames`, such as virial,
        weights, time and trajectory, and dictionaries of parameters and slopes.
        """
        positions = np.asarray(positions)
        if positions.ndim != 3 or positions.shape[2] != 3:
            raise DatasetError(f"positions have shape {positions.shape}; (frames, particles, 3) is needed")
        known = [*(name for name in LABELS if name not in ("forces", "energy", "temperature")), *TABLES]
        unknown = sorted(set(labels) - set(known))
        if unknown:
            raise DatasetError(f"no label {unknown[0]!r}; there are {', '.join(known)}")
        n = len(positions)
        more: dict[str, Any] = {
            table: {k: per_frame(v, n, k) for k, v in (labels.pop(table, None) or {}).items()} for table in TABLES
        }
        more |= {k: np.asarray(v) if SHAPES[k] else per_frame(v, n, k) for k, v in labels.items() if v is not None}
        frames = Frames(
            positions,
            box=box_array(box, n),
            forces=None if forces is None else np.asarray(forces),
            energy=per_frame(energies, n, "energies"),
            temperature=per_frame(temperature, n, "temperature"),
            **more,
        )
        return Dataset.from_frames(topology, frames, path=path)

    @staticmethod
    def from_frames(topology: Topology, frames: Frames, *, path: str | Path | None = None) -> Dataset:
        """A data set from frames, in memory or (with `path`) in a file."""
        if not len(frames):
            raise DatasetError("a data set needs at least one frame")
        frames = normalised(frames)
        check(frames, topology)
        if path is not None:
            return Dataset.create(path, frames, topology=topology)
        return Dataset(topology, {}, _Memory(frames))

    def __len__(self) -> int:
        return len(self.reader) if self.rows is None else len(self.rows)

    def __getitem__(self, selection: int | slice | np.ndarray) -> Frames:
        """`data[0]` is one frame, `data[10:20]` ten; the frame axis stays."""
        if isinstance(selection, int | np.integer):
            if not -len(self) <= selection < len(self):
                raise IndexError(f"frame {selection} of a data set of {len(self)}")
            selection = slice(selection, selection + 1 or None)
        if isinstance(selection, slice) and self.rows is None and (selection.step or 1) > 0:
            return self.reader.read(selection)
        return self.reader.read(self._rows[selection])

    def __iter__(self) -> Iterator[Frames]:
        return (frame for batch in self.batches(self._at_once) for frame in batch)

    def __repr__(self) -> str:
        kelvin = ", ".join(f"{t:g} K" for t in self.temperatures)
        return (
            f"Dataset of {len(self)} frames x {len(self.topology)} particles{' at ' + kelvin if kelvin else ''}: "
            f"{', '.join(self.labels())}"
        )

    def batches(self, size: int, order: Int[np.ndarray, "n"] | None = None) -> Iterator[Frames]:
        """Frames in batches of `size`, the last one shorter, in the file's order or in `order`, frame numbers."""
        if size < 1:
            raise DatasetError(f"a batch of {size} frames; at least 1 is needed")
        if order is not None:
            order = np.asarray(order)
            if order.size and not (order.min() >= 0 and order.max() < len(self)):
                raise DatasetError(f"order asks for a frame outside the {len(self)} of this data set")
        count = len(self) if order is None else len(order)
        for first in range(0, count, size):
            yield self[first : first + size] if order is None else self[order[first : first + size]]

    def column(self, name: str) -> Shaped[np.ndarray, "frames ..."] | None:
        """One label of all frames, or None where it is missing; of a table, 'parameters/<name>' or 'slopes/<name>'."""
        if name not in self.reader.names:
            return None
        values = self.reader.column(name)
        return values if self.rows is None else values[self.rows]

    def labels(self) -> tuple[str, ...]:
        """The names of the labels that are present."""
        return tuple(name for name in LABELS if name in self.reader.names)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of further parameters of the state."""
        return tuple(name.partition("/")[2] for name in self.reader.names if name.startswith("parameters/"))

    @cached_property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures in the data, in K, ascending; empty when they are not known."""
        values = self.column("temperature")
        return () if values is None else tuple(float(t) for t in np.unique(values))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the topology and every label of every frame, the same in a file and in memory."""
        if isinstance(self.reader, storage.Store) and self.rows is None:
            return self.reader.header.hash
        return self._content_hash()

    def verify(self) -> None:
        """Reads everything and compares it with the checksums; says which frames are damaged."""
        if self._content_hash() != self.hash:
            raise DamagedDataset("the content does not match the hash in the file: it was changed after writing")

    def select(
        self,
        *,
        temperature: float | None = None,
        trajectory: int | None = None,
        parameters: dict[str, float] | None = None,
    ) -> Dataset:
        """The frames at one temperature (K), of one trajectory, or at given parameters."""
        keep = np.ones(len(self), bool)
        wanted = {"temperature": temperature, "trajectory": trajectory}
        wanted.update({f"parameters/{name}": value for name, value in (parameters or {}).items()})
        for name, value in wanted.items():
            if value is None:
                continue
            there = self.column(name)
            if there is None:
                raise DatasetError(f"the frames carry no {name}; they carry {', '.join(self.labels())}")
            keep &= np.isclose(there, value, rtol=1e-9, atol=1e-9)
            if not keep.any():
                values = ", ".join(f"{v:g}" for v in np.unique(there)[:20])
                raise DatasetError(f"no frame has {name} {value:g}; there are {values}")
        return self.at(np.flatnonzero(keep))

    def at(self, rows: Int[np.ndarray, "n"] | slice) -> Dataset:
        """The data set of these frames, by their numbers."""
        return replace(self, rows=self._rows[rows])

    def runs(self) -> list[Int[np.ndarray, "_"]]:
        """Frame numbers of each continuous run: one trajectory at one state point."""
        names = ["temperature", *(f"parameters/{name}" for name in self.parameters)]
        columns = [values for values in map(self.column, names) if values is not None]
        state = np.zeros(len(self), np.int64)
        if columns:
            state = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)[1].reshape(-1)
        return splits.runs(state, self.column("trajectory"))

    def split(
        self, fractions: float | Sequence[float] = 0.8, *, by: str = "block", gap: int = 0
    ) -> tuple[Dataset, ...]:
        """Parts for training and testing: `train, test = data.split(0.8)`, or one part for each fraction.

        `by="block"` cuts every run at the same fractions of its length and leaves out `gap` frames at each cut;
        `by="trajectory"` gives whole runs to the parts. Frames are never chosen at random.
        """
        shares = (fractions, 1 - fractions) if isinstance(fractions, float | int) else fractions
        _refuse_unless_known(by)
        parts = (
            splits.by_block(self.runs(), shares, gap) if by == "block" else splits.by_trajectory(self.runs(), shares)
        )
        return tuple(self.at(part) for part in parts)

    def folds(self, count: int = 5, *, by: str = "block", gap: int = 0) -> tuple[tuple[Dataset, Dataset], ...]:
        """(train, test) pairs for cross-validation, by contiguous block or by whole run."""
        if count < 2:
            raise DatasetError(f"{count} folds; at least 2 are needed")
        _refuse_unless_known(by)
        if by == "block":
            folds = splits.block_folds(self.runs(), count, gap)
        else:
            folds = splits.trajectory_folds(self.runs(), count)
        return tuple((self.at(train), self.at(test)) for train, test in folds)

    @property
    def _rows(self) -> Int[np.ndarray, "frames"]:
        return np.arange(len(self.reader)) if self.rows is None else self.rows

    @property
    def _at_once(self) -> int:
        return storage.frames_at_once(len(self.topology))

    def _content_hash(self) -> str:
        digest = storage.ContentHash(self.topology)
        for batch in self.batches(self._at_once):
            digest.update(batch)
        return digest.hexdigest()


def _stream(source: Source, output: writer.Writer, temperature: float | None, size: int) -> None:
    """Appends what is not yet committed, and commits every few seconds."""
    done, at = output.frames, 0
    held, since = 0, time.monotonic()
    for batch in source.batches(size):
        first, at = at, at + len(batch)
        if output.last is not None and first < done <= at:
            _refuse_other_frames(_with_temperature(batch[done - first - 1], temperature), output.last, output)
        if at <= done:
            continue
        new = _with_temperature(batch[max(0, done - first) :], temperature)
        output.append(new)
        held += sum(value.nbytes for value in arrays(new).values())
        if held > _COMMIT_BYTES or time.monotonic() - since > _COMMIT_SECONDS:
            output.commit()
            held, since = 0, time.monotonic()
    if at < done:
        raise DatasetError(
            f"{output.path} already holds {done} frames and the source has only {at}: it is another source"
        )


def _refuse_other_frames(frame: Frames, last: Frames, output: writer.Writer) -> None:
    """A resumed source must be the one that was begun: its frame at the seam is the last committed one."""
    frame = normalised(frame)
    check_same_labels(frame, last)
    for name, value in arrays(frame).items():
        if not np.array_equal(value, arrays(last)[name]):
            raise DatasetError(
                f"{name} of frame {output.frames - 1} differ from what {output.path} holds: the source has changed "
                "since it was begun; choose another name or delete the unfinished one"
            )


def _with_temperature(frames: Frames, temperature: float | None) -> Frames:
    if temperature is None:
        return frames
    if frames.temperature is not None:
        if not np.allclose(frames.temperature, temperature):
            raise DatasetError(
                f"the frames say they are at {frames.temperature[0]:g} K and temperature={temperature:g} was given; "
                "leave one out"
            )
        return frames
    return frames.with_(temperature=np.full(len(frames), float(temperature)))


def _same(data: Dataset, topology: Topology, provenance: dict | None) -> Dataset:
    if data.topology != topology or (provenance is not None and data.provenance != provenance):
        raise DatasetError("the finished file holds another topology or other settings; choose another name")
    return data


def _refuse_unless_known(by: str) -> None:
    if by not in ("block", "trajectory"):
        raise DatasetError(f"split by {by!r}; use 'block' or 'trajectory'")
