"""One trajectory file, read in pieces: MDAnalysis and ASE read, this module states the units.

MDAnalysis turns lengths into angstrom and forces into kJ/(mol angstrom) where a format fixes its units. It does
not for LAMMPS dumps, which fix none: positions, forces and time steps pass as they stand in the file, and the
unit style that the user states converts them here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.data.errors import BrokenFrame, ReadingError, TruncatedFile
from meanforce.data.formats import UNITLESS, Units, extxyz_starts, format_of, precheck, refuse_cut
from meanforce.frames import Frames
from meanforce.units import ENERGY, LAMMPS_STYLES, LENGTH, TIME, factor

_READ_FAULTS = (OSError, EOFError, ValueError, IndexError, KeyError, StopIteration, RuntimeError)


_MDANALYSIS = Units("angstrom", "ps", "kJ/mol")
_ASE = Units("angstrom", "fs", "eV")


def units_of(units: str | tuple[str, str, str] | None) -> Units | None:
    """Units from a LAMMPS style ('real', 'metal', 'electron') or from (length, time, energy)."""
    if units is None or isinstance(units, Units):
        return units
    if units == "lj":
        raise ReadingError(
            "units='lj' cannot be read: reduced numbers have no nm and kJ/mol. Multiply them by your sigma, "
            "epsilon and mass, and build the data set with Dataset.from_arrays"
        )
    if isinstance(units, str):
        if units not in LAMMPS_STYLES:
            raise ReadingError(
                f"unknown units {units!r}; give a LAMMPS style ({', '.join(LAMMPS_STYLES)}) or names of a length, "
                "a time and an energy, such as ('nm', 'ps', 'kJ/mol')"
            )
        units = LAMMPS_STYLES[units]
    if len(units) != 3:
        raise ReadingError(f"units={units!r}: give three names, of a length, a time and an energy")
    for table, unit in zip((LENGTH, TIME, ENERGY), units, strict=True):
        factor(table, unit)
    return Units(*units)


class Record(NamedTuple):
    """One frame as it leaves its file, in nm, ps and kJ/mol."""

    positions: Float[np.ndarray, "atoms 3"]
    box: Float[np.ndarray, "3 3"] | None
    forces: Float[np.ndarray, "atoms 3"] | None
    energy: float | None
    time: float | None

    def labels(self) -> tuple[str, ...]:
        return tuple(name for name in ("box", "forces", "energy", "time") if getattr(self, name) is not None)


@dataclass(frozen=True)
class Trajectory:
    """A trajectory file whose first and last frame have been read; `indices` are the frames asked for."""

    path: Path
    format: str
    units: Units | None
    timestep: float | None
    atoms: int
    indices: range
    first: Record
    last: Record

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, size: int) -> Iterator[Frames]:
        """Frames in pieces of at most `size`, with the labels of the first frame in every one."""
        held: list[Record] = []
        with _opened(self.path, self.format, self.units, self.timestep, self.atoms) as reader:
            for index in self.indices:
                record = _checked(reader, index, self.path, self.atoms)
                _same_labels(record, self.first, self.path, index)
                held.append(record)
                if len(held) == size:
                    yield _frames(held)
                    held = []
        if held:
            yield _frames(held)


def open_trajectory(
    path: Path, units: Units | None, timestep: float | None, atoms: int, frames: slice = slice(None)
) -> Trajectory:
    """Opens a trajectory, and reads its two ends so that what is wrong shows before long work begins."""
    if not path.is_file():
        raise ReadingError(f"there is no file {path}")
    format_ = format_of(path)
    if format_ in UNITLESS and units is None:
        raise ReadingError(
            f"{path}: LAMMPS writes numbers without units. State the unit style of the run: units='real' "
            "(angstrom, fs, kcal/mol), 'metal' (angstrom, ps, eV) or 'electron'"
        )
    with _opened(path, format_, units, timestep, atoms) as reader:
        indices = range(len(reader))[frames]
        if not len(indices):
            raise ReadingError(f"{path}: {len(reader)} frames, and none of them in {frames}")
        _checked(reader, len(reader) - 1, path, atoms)
        ends = (indices[0], indices[-1], indices[min(1, len(indices) - 1)])
        first, last, second = (_checked(reader, i, path, atoms) for i in ends)
        for index, record in zip(ends, (first, last, second), strict=True):
            _same_labels(record, first, path, index)
    return Trajectory(path, format_, units, timestep, atoms, indices, first, last)


def _same_labels(record: Record, first: Record, path: Path, index: int) -> None:
    if record.labels() != first.labels():
        raise ReadingError(
            f"{path}, frame {index}: it has {_words(record.labels())}, and the first one {_words(first.labels())}. "
            "Choose frames that carry the same, with frames=slice(start, stop, step)"
        )


@contextmanager
def _opened(path: Path, format_: str, units: Units | None, timestep: float | None, atoms: int):
    """A reader with a length, and `record(i)`."""
    try:
        reader = _AseReader(path, units) if format_ == "EXTXYZ" else _MdaReader(path, format_, units, timestep, atoms)
    except ReadingError:
        raise
    except _READ_FAULTS as error:
        raise TruncatedFile(
            f"{path} cannot be read as {format_}: {error}. It is cut short or damaged: copy it again, or leave it out"
        ) from error
    try:
        yield reader
    finally:
        reader.close()


def _checked(reader, index: int, path: Path, atoms: int) -> Record:
    try:
        record = reader.record(index)
    except ReadingError:
        raise
    except _READ_FAULTS as error:
        raise TruncatedFile(
            f"{path}, frame {index} of {len(reader)} cannot be read ({error}). The file is cut short or damaged: "
            f"copy it again, or read what is whole with frames=slice({index})"
        ) from error
    if len(record.positions) != atoms:
        raise ReadingError(
            f"{path}, frame {index}: {len(record.positions)} atoms, and the topology has {atoms}. Give the topology "
            "of the atoms that were written"
        )
    for name in ("positions", "forces", "box", "energy"):
        value = getattr(record, name)
        if value is not None and not np.isfinite(value).all():
            where = np.argwhere(~np.isfinite(np.atleast_1d(value)))[0]
            atom = f" of atom {where[0]}" if name in ("positions", "forces") else ""
            raise BrokenFrame(
                f"{path}, frame {index}: {name}{atom} is not a finite number. The simulation broke there: "
                f"keep the frames before it with frames=slice({index})"
            )
    return record


class _MdaReader:
    """Any single-file format of MDAnalysis."""

    def __init__(self, path: Path, format_: str, units: Units | None, timestep: float | None, atoms: int):
        from MDAnalysis.coordinates.core import get_reader_for

        native = precheck(path, format_, units)
        self._units = _MDANALYSIS if native or units is None else units
        self._steps = format_ == "LAMMPSDUMP"
        self._timestep = timestep
        options: dict = {"n_atoms": atoms, "convert_units": native}
        if self._steps:
            options["dt"] = 1.0  # MDAnalysis warns without; times are made from the steps below
        with _quiet():
            self._reader = get_reader_for(str(path), format=format_)(str(path), **options)
        refuse_cut(path, format_, self._reader.n_atoms, self._reader.n_frames)
        self._timed = self._reader.n_frames > 1 or format_ in ("TRR", "XTC", "NCDF", "H5MD")

    def __len__(self) -> int:
        return self._reader.n_frames

    def close(self) -> None:
        self._reader.close()

    def record(self, index: int) -> Record:
        with _quiet():
            ts = self._reader[index]
        length, units = factor(LENGTH, self._units.length), self._units
        if not ts.has_positions:
            raise ReadingError(
                f"{self._reader.filename}, frame {index}: no positions; leave it out with frames=slice()"
            )
        forces = np.array(ts.forces, float) * units.force if ts.has_forces else None
        return Record(np.array(ts.positions, float) * length, _box(ts.dimensions, length), forces, None, self._time(ts))

    def _time(self, ts) -> float | None:
        if self._steps:
            return None if self._timestep is None else float(ts.data["step"]) * self._timestep
        with _quiet():
            return float(ts.time) * factor(TIME, self._units.time) if self._timed else None


class _AseReader:
    """Extended XYZ: energies and forces beside the positions, in eV and angstrom unless stated otherwise."""

    def __init__(self, path: Path, units: Units | None):
        self._units, self._timed = units or _ASE, units is not None  # the format has no unit of time
        self._starts = extxyz_starts(path)
        self._stream = path.open("rb")

    def __len__(self) -> int:
        return len(self._starts)

    def close(self) -> None:
        self._stream.close()

    def record(self, index: int) -> Record:
        atoms = self.atoms(index)
        results = atoms.calc.results if atoms.calc is not None else {}
        length, energy = factor(LENGTH, self._units.length), results.get("energy")
        forces = results.get("forces")
        time = atoms.info.get("time") if self._timed else None
        return Record(
            atoms.positions * length,
            np.array(atoms.cell, float) * length if atoms.pbc.all() else None,
            None if forces is None else np.array(forces, float) * self._units.force,
            None if energy is None else float(energy) * factor(ENERGY, self._units.energy),
            None if time is None else float(time) * factor(TIME, self._units.time),
        )

    def atoms(self, index: int):
        from ase.io.extxyz import read_xyz

        start, stop = self._starts[index]
        self._stream.seek(start)
        with _quiet():
            return next(read_xyz(io.StringIO(self._stream.read(stop - start).decode()), index=0))


def extxyz_atoms(path: Path):
    """The first frame as ASE's Atoms, for the topology."""
    with _opened(path, "EXTXYZ", None, None, 0) as reader:
        return reader.atoms(0)


def _box(dimensions, length: float) -> np.ndarray | None:
    """Box vectors in rows from edge lengths and angles; the first along x, the second in the xy plane."""
    if dimensions is None or not np.any(dimensions[:3]):
        return None
    (a, b, c), angles = np.asarray(dimensions[:3], float) * length, np.asarray(dimensions[3:], float)
    # right angles exactly, which a cosine in floating point is not
    alpha, beta, gamma = (0.0 if x == 90.0 else np.cos(np.radians(x)) for x in angles)
    sine = np.sqrt(1 - gamma**2)
    y = (alpha - beta * gamma) / sine
    return np.array([[a, 0, 0], [b * gamma, b * sine, 0], [c * beta, c * y, c * np.sqrt(1 - beta**2 - y**2)]])


def _frames(records: list[Record]) -> Frames:
    stacked = {name: np.array([getattr(r, name) for r in records]) for name in ("positions", *records[0].labels())}
    return Frames(stacked.pop("positions"), **stacked)  # type: ignore[arg-type]


def _words(labels: tuple[str, ...]) -> str:
    return ", ".join(("positions", *labels))


@contextmanager
def _quiet():
    """MDAnalysis warns of guessed time steps and absent metadata, none of which is used here; ASE of NumPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
