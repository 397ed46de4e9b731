"""Trajectories of atoms, read lazily: `read` opens, checks and converts; nothing is held in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from meanforce.data.atomtopology import AtomTable, atom_table, elements_of
from meanforce.data.constraints import constrained_pairs, tpr_constraints
from meanforce.data.energies import Energies, read_energies
from meanforce.data.errors import MissingLabel, ReadingError, SuspectUnits, UnmatchedEnergies
from meanforce.data.formats import Units, format_of
from meanforce.data.trajectories import Trajectory, open_trajectory, units_of
from meanforce.frames import LABELS, Frames
from meanforce.topology import Topology

_PATH = str | Path


@runtime_checkable
class Source(Protocol):
    """What can be mapped: atoms read from files, a data set of atoms, or anything else of this shape."""

    @property
    def topology(self) -> Topology: ...
    def __len__(self) -> int: ...
    def batches(self, size: int) -> Iterator[Frames]: ...


@runtime_checkable
class Run(Protocol):
    """One continuous trajectory."""

    def __len__(self) -> int: ...
    def labels(self) -> tuple[str, ...]: ...
    def batches(self, size: int) -> Iterator[Frames]: ...


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms and their frames, in nm, ps and kJ/mol; iterate with `batches(size)`.

    `constraints` are pairs of atoms held at fixed distances; None where nobody has said, an empty array where
    there are none. `constraint_forces` tells that the forces may contain those of the constraints, as in the dump
    of a LAMMPS run with fix shake.
    """

    topology: Topology
    elements: tuple[str, ...]
    runs: tuple[Run, ...]
    constraints: Int[np.ndarray, "m 2"] | None = None
    constraint_forces: bool = False

    @staticmethod
    def from_frames(topology: Topology, frames: Frames, constraints: str | np.ndarray | None = None) -> Atoms:
        """Atoms whose frames are already in memory."""
        if frames.particles != len(topology):
            raise ReadingError(f"the frames hold {frames.particles} atoms and the topology {len(topology)}")
        elements = elements_of(topology)
        return Atoms(topology, elements, (_Held(frames),), constrained_pairs(topology, elements, constraints))

    def __len__(self) -> int:
        return sum(len(run) for run in self.runs)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that every frame carries."""
        return self.runs[0].labels()

    def batches(self, size: int = 100) -> Iterator[Frames]:
        """Frames in pieces of at most `size`; a piece never crosses from one trajectory into the next."""
        for run in self.runs:
            yield from run.batches(size)


def read(
    topology: _PATH,
    *trajectories: _PATH,
    energies: _PATH | Energies | Sequence[_PATH | Energies] | None = None,
    units: str | tuple[str, str, str] | None = None,
    timestep: float | None = None,
    constraints: str | np.ndarray | None = None,
    temperature: float | Sequence[float] | None = None,
    masses: Mapping[str, float] | None = None,
    frames: slice = slice(None),
    require: Sequence[str] = (),
) -> Atoms:
    """Opens trajectories of one system; what is wrong with them is said before any long work.

    topology      TPR, PSF, GRO, PDB, LAMMPS data, PRMTOP, extended XYZ ...: whatever MDAnalysis or ASE reads
    trajectories  TRR, NetCDF, H5MD, LAMMPS dump, XTC, DCD, extended XYZ ...; none: the frames of `topology`
    energies      potential energies of the same run: .edr, csv or log, matched by time; one for all, or one each
    units         of LAMMPS files ('real', 'metal', 'electron') and others that fix none: (length, time, energy)
    timestep      ps; turns the steps of a LAMMPS dump into times
    constraints   'none', 'h-bonds', 'all-bonds', 'rigid-water' or pairs of atoms; a TPR tells by itself
    temperature   K, of the ensemble: one for all, or one for each trajectory
    masses        u, by atom name (or LAMMPS type), where the topology has none or others are wanted
    frames        which frames of each trajectory, such as slice(100, None, 10)
    require       labels without which to refuse, such as ("forces", "energy")
    """
    path, stated = Path(topology), units_of(units)
    paths = [Path(t) for t in trajectories] or [path]
    if stated and energies is None and not any(_units_for(p, stated) for p in (path, *paths)):
        raise ReadingError(f"units={units!r}: these files all fix their own units; leave units= out")
    table = atom_table(path, stated, masses)
    opened = [open_trajectory(p, _units_for(p, stated), timestep, table.atoms_in_file, frames) for p in paths]
    tables = _energies_for(energies, opened, stated, timestep)
    temperatures = _one_each(temperature, len(opened), "temperature", "trajectories")
    runs = tuple(_FileRun(run, table, tables[k], temperatures[k], k) for k, run in enumerate(opened))
    for run in runs:
        run.check()
        _check_labels(run, runs[0], require)
        _check_distances(run.trajectory, table)
    dump = any(run.format == "LAMMPSDUMP" for run in opened)
    return Atoms(table.topology, table.elements, runs, _constraints(path, table, constraints), dump)


@dataclass(frozen=True)
class _Held:
    """Frames in memory."""

    frames: Frames

    def __len__(self) -> int:
        return len(self.frames)

    def labels(self) -> tuple[str, ...]:
        return self.frames.labels()

    def batches(self, size: int) -> Iterator[Frames]:
        return (self.frames[i : i + size] for i in range(0, len(self.frames), size))


@dataclass(frozen=True)
class _FileRun:
    """A trajectory file with the labels that come from elsewhere."""

    trajectory: Trajectory
    table: AtomTable
    energies: Energies | None
    temperature: float | None
    number: int

    def __len__(self) -> int:
        return len(self.trajectory)

    def labels(self) -> tuple[str, ...]:
        here = set(self.trajectory.first.labels()) | {"trajectory"}
        here |= {"energy"} if self.energies is not None else set()
        here |= {"temperature"} if self.temperature is not None else set()
        return tuple(name for name in LABELS if name in here)

    def check(self) -> None:
        """The ends of the trajectory have their energies."""
        if self.energies is not None:
            ends = np.array([record.time for record in (self.trajectory.first, self.trajectory.last)], float)
            self.energies.at(ends, str(self.trajectory.path))

    def batches(self, size: int) -> Iterator[Frames]:
        for frames in self.trajectory.batches(size):
            labelled = frames.with_(trajectory=np.full(len(frames), self.number))
            if self.energies is not None and frames.time is not None:
                labelled = labelled.with_(energy=self.energies.at(frames.time, str(self.trajectory.path)))
            if self.temperature is not None:
                labelled = labelled.with_(temperature=np.full(len(frames), self.temperature))
            yield self._without_sites(labelled)

    def _without_sites(self, frames: Frames) -> Frames:
        """Leaves virtual sites out: they have no mass and no freedom, and their forces belong to their atoms."""
        kept = self.table.kept
        if len(kept) == self.table.atoms_in_file:
            return frames
        forces = frames.forces
        if forces is not None:
            on_sites = np.abs(np.delete(forces, kept, axis=1)).max()
            if on_sites > 1e-4 * np.abs(forces).max():
                raise ReadingError(
                    f"{self.trajectory.path}: massless virtual sites carry forces up to {on_sites:.3g} kJ/(mol nm); "
                    "write forces after they are spread to the atoms that define the sites"
                )
            forces = forces[:, kept]
        return frames.with_(positions=frames.positions[:, kept], forces=forces)


def _units_for(path: Path, stated: Units | None) -> Units | None:
    """Stated units concern the files that fix none; beside a LAMMPS data file, a TRR still has its own."""
    return stated if path.is_file() and format_of(path) in ("LAMMPSDUMP", "DATA", "H5MD", "EXTXYZ") else None


def _energies_for(
    energies, opened: list[Trajectory], units: Units | None, timestep: float | None
) -> list[Energies | None]:
    tables = [
        None if e is None else read_energies(e, units, timestep)
        for e in _one_each(energies, len(opened), "energies", "trajectories")
    ]
    if energies is None:
        return tables
    for run in opened:
        if run.first.time is None:
            raise UnmatchedEnergies(
                f"{run.path} has no times, and energies are matched by time: for a LAMMPS dump state timestep= in ps"
            )
    if isinstance(energies, str | Path | Energies) and len(opened) > 1:
        ends = [(run.first.time or 0.0, run.last.time or 0.0) for run in opened]
        for (_, last), (first, _), run in zip(ends, ends[1:], opened[1:], strict=False):
            if first < last:
                raise UnmatchedEnergies(
                    f"{run.path} begins at {first:g} ps, before the trajectory in front of it ends ({last:g} ps): "
                    "give one file of energies for each trajectory, energies=[...]"
                )
    return tables


def _one_each(value, count: int, name: str, of: str) -> list:
    if value is None or isinstance(value, str | Path | Energies | float | int):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise ReadingError(f"{name}: {len(values)} given for {count} {of}; give one for all, or one for each")
    return values


def _check_labels(run: _FileRun, first: _FileRun, require: Sequence[str]) -> None:
    path, labels = run.trajectory.path, run.labels()
    for name in require:
        if name not in (*LABELS, "box"):
            raise ReadingError(f"require={name!r}: no such label; there are {', '.join(LABELS)}")
        if name not in (*labels, *run.trajectory.first.labels()):
            other = " (XTC and DCD files never do)" if name == "forces" else ""
            advice = {
                "forces": "write forces to a TRR (nstfout), NetCDF, H5MD or LAMMPS dump (fx fy fz)",
                "energy": "give the energies of the run, energies=",
                "temperature": "state temperature= in K",
            }.get(name, "add it")
            if run.trajectory.format == "EXTXYZ":
                advice = f"{name} is read from the key {name!r} of extended XYZ, and from no other: rename yours"
            raise MissingLabel(f"{path} has no {name}{other}; it has {', '.join(labels)}: {advice}")
    if labels != first.labels():
        raise ReadingError(
            f"{path} has the labels {', '.join(labels)}, and {first.trajectory.path} has {', '.join(first.labels())}: "
            "read them apart"
        )


def _check_distances(trajectory: Trajectory, table: AtomTable) -> None:
    """Refuses distances that atoms cannot have: angstrom read as nm, or nm as angstrom."""
    positions, box = trajectory.first.positions[table.kept], trajectory.first.box
    pairs, what = table.topology.bonds, "bonded atoms"
    if not len(pairs):
        blocks = table.blocks
        same = np.flatnonzero(blocks[1:] == blocks[:-1])
        pairs, what = np.stack([same, same + 1], -1), "neighbours in a residue"
    low, high = 0.05, 0.6
    if len(pairs):
        vectors = positions[pairs[:, 1]] - positions[pairs[:, 0]]
        if box is not None:
            vectors = vectors - np.round(vectors @ np.linalg.inv(box)) @ box
        typical = float(np.median(np.linalg.norm(vectors, axis=1)))
    elif len(positions) > 1:
        from scipy.spatial import cKDTree

        typical = float(np.median(cKDTree(positions).query(positions[:2000], k=2)[0][:, 1]))
        what, low, high = "nearest atoms", 0.1, np.inf
        if typical > 1.0:
            warnings.warn(
                f"{trajectory.path}: nearest atoms are {typical:.2g} nm apart. If this is no gas, angstrom were read "
                "as nm",
                stacklevel=3,
            )
    else:
        return
    if not low < typical < high:
        guess = "angstrom were read as nm" if typical >= high else "nm were read as angstrom"
        raise SuspectUnits(
            f"{trajectory.path}, frame {trajectory.indices[0]}: {what} are typically {typical:.3g} nm apart, and atoms "
            f"{low} to 0.6 nm. It looks as if {guess}: state the units of the file, such as "
            "units=('angstrom', 'ps', 'kJ/mol'), or correct the file"
        )


def _constraints(path: Path, table: AtomTable, stated) -> np.ndarray | None:
    if stated is not None or format_of(path) != "TPR":
        return constrained_pairs(table.topology, table.elements, stated)
    place = np.full(table.atoms_in_file, -1)
    place[table.kept] = np.arange(len(table.kept))
    pairs = place[tpr_constraints(path)]
    return pairs[(pairs >= 0).all(axis=1)]
