"""The potential energies of the user's own run, matched to frames by time.

Energies are rarely in the trajectory: GROMACS keeps them in an .edr, OpenMM in the table of a StateDataReporter,
LAMMPS in its log, AMBER in mdout. Which unit a column is in is read from the file where it is stated there.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from meanforce.data.errors import MissingLabel, ReadingError, TruncatedFile, UnmatchedEnergies
from meanforce.data.formats import Units
from meanforce.units import ENERGY, KCAL, TIME, factor

_UNIT_WORDS = {"kj/mole": "kJ/mol", "kj/mol": "kJ/mol", "kcal/mole": "kcal/mol", "kcal/mol": "kcal/mol", "ev": "eV",
               "hartree": "hartree", "ps": "ps", "fs": "fs", "ns": "ns", "us": "us"}  # fmt: skip
_ENERGY_NAMES = ("potential energy", "potential", "energy", "epot", "pe", "poteng", "u")
_EDR_MAGIC = (-55555).to_bytes(4, "big", signed=True)
_TIME_NAMES = ("time", "t")


@dataclass(frozen=True, eq=False)
class Energies:
    """Potential energies (kJ/mol) at ascending times (ps); `source` names them in messages."""

    time: Float[np.ndarray, "n"]
    energy: Float[np.ndarray, "n"]
    source: str = "energies"

    def __post_init__(self):
        time, energy = np.asarray(self.time, float), np.asarray(self.energy, float)
        if time.shape != energy.shape or time.ndim != 1 or not len(time):
            raise ReadingError(f"{self.source}: {time.shape} times and {energy.shape} energies; give one for each")
        if not np.isfinite(time).all():
            raise ReadingError(f"{self.source}: a time is not a finite number")
        _, first = np.unique(time, return_index=True)  # restarts repeat the frame they begin from
        object.__setattr__(self, "time", time[first])
        object.__setattr__(self, "energy", energy[first])

    def at(self, times: Float[np.ndarray, "frames"], frames_of: str) -> Float[np.ndarray, "frames"]:
        """The energy at each time; a frame without one is refused. `frames_of` names the trajectory.

        Times agree when they differ by less than 1e-3 ps, or by the rounding of the single precision in which
        most trajectories store them.
        """
        after = np.clip(np.searchsorted(self.time, times), 1, max(len(self.time) - 1, 1))
        before = after - 1
        after = np.minimum(after, len(self.time) - 1)
        nearest = np.where(np.abs(self.time[before] - times) <= np.abs(self.time[after] - times), before, after)
        apart = np.abs(self.time[nearest] - times)
        bad = apart > np.maximum(1e-3, 2.5e-7 * np.abs(times))
        if bad.any():
            raise UnmatchedEnergies(
                f"{self.source} has no energy at {times[np.argmax(bad)]:g} ps, the time of a frame of {frames_of}. "
                f"The energies reach from {self.time[0]:g} to {self.time[-1]:g} ps, these frames from {times.min():g} "
                f"to {times.max():g} ps. Give the energies of the same run, or choose frames that have one with "
                "frames=slice(start, stop, step)"
            )
        energy = self.energy[nearest]
        if not np.isfinite(energy).all():
            raise ReadingError(f"{self.source}: the energy at {times[~np.isfinite(energy)][0]:g} ps is not finite")
        return energy


def read_energies(source: str | Path | Energies, units: Units | None = None, timestep: float | None = None) -> Energies:
    """Energies from an .edr, a table with a header (OpenMM or your own), a LAMMPS log or an AMBER mdout.

    A column of a table names its unit: "Time (ps)", "Potential Energy (kJ/mole)". A LAMMPS log takes `units`, and
    `timestep` (ps) where it has no column Time.
    """
    if isinstance(source, Energies):
        return source
    path = Path(source)
    if not path.is_file():
        raise ReadingError(f"there is no file {path} of energies")
    if path.suffix.lower() == ".edr":
        return _edr(path)
    text = path.read_text(errors="replace")
    if re.search(r"^\s*NSTEP\s*=", text, re.M):
        return _amber(path, text)
    if re.search(r"^\s*Step\s+\S", text, re.M) and not text.lstrip().startswith(("#", '"')):
        return _lammps(path, text, units, timestep)
    return _table(path, text, timestep)


def _edr(path: Path) -> Energies:
    with path.open("rb") as stream:
        if stream.read(4) != _EDR_MAGIC:  # pyedr would take the first number for a count, however large
            raise ReadingError(f"{path} is not a GROMACS energy file")
    try:
        from MDAnalysis.auxiliary.EDR import EDRReader

        reader = EDRReader(str(path), convert_units=False)
    except ImportError as error:
        raise ReadingError(
            f"{path}: reading .edr files needs pyedr: pip install 'meanforce[edr]'. Or write a table with "
            "gmx energy and give that, with the header: time (ps), potential energy (kJ/mol)"
        ) from error
    except (EOFError, ValueError, OSError, RuntimeError) as error:
        raise TruncatedFile(f"{path} cannot be read as an .edr ({error}): copy it again") from error
    if "Potential" not in reader.data_dict:
        raise MissingLabel(f"{path} has no term 'Potential'; it has {', '.join(sorted(reader.data_dict))}")
    unit = _unit(reader.unit_dict["Potential"], path)
    return Energies(reader.data_dict["Time"], reader.data_dict["Potential"] * factor(ENERGY, unit), str(path))


def _amber(path: Path, text: str) -> Energies:
    # the averages and fluctuations at the end of an mdout repeat the layout of a step
    text = text.split("A V E R A G E S", maxsplit=1)[0]
    steps = re.findall(r"TIME\(PS\)\s*=\s*(\S+).*?EPtot\s*=\s*(\S+)", text, re.S)
    if not steps:
        raise MissingLabel(f"{path} looks like an AMBER mdout, and has no TIME(PS) with EPtot")
    time, energy = _numbers(steps, path).T
    return Energies(time, energy * KCAL, str(path))


def _lammps(path: Path, text: str, units: Units | None, timestep: float | None) -> Energies:
    if units is None:
        raise ReadingError(f"{path}: a LAMMPS log has no units. State the style of the run, such as units='real'")
    times, energies, header = [], [], None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            header = words
        elif header and words[:1] == ["Loop"]:
            header = None
        elif header and len(words) == len(header) and _is_number(words[0]):
            row = dict(zip(header, words, strict=True))
            energies.append(float(row[_one_of(header, ("PotEng", "pe", "c_thermo_pe"), path)]))
            if "Time" in row:
                times.append(float(row["Time"]) * factor(TIME, units.time))
            elif timestep is not None:
                times.append(float(row["Step"]) * timestep)
            else:
                raise ReadingError(f"{path} has steps and no times: state timestep= in ps, or thermo_style with time")
    if not times:
        raise MissingLabel(f"{path} holds no thermodynamic output")
    # thermo_modify norm yes, which is the default of units lj only, divides by the number of atoms
    return Energies(np.array(times), np.array(energies) * factor(ENERGY, units.energy), str(path))


def _table(path: Path, text: str, timestep: float | None) -> Energies:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        raise ReadingError(f"{path} holds no table of energies")
    separator = next((s for s in (",", "\t", ";") if s in lines[0]), None)
    if separator is None:
        raise ReadingError(
            f"{path}: not an .edr, a LAMMPS log or an AMBER mdout, and its first line is no header of a table. "
            "Give columns with commas between them and the header: time (ps), potential energy (kJ/mol)"
        )
    header = [_column(name) for name in next(csv.reader([lines[0].lstrip("# ")], delimiter=separator))]
    names = [name for name, _ in header]
    energy = names.index(_one_of(names, _ENERGY_NAMES, path))
    rows = list(csv.reader(lines[1:], delimiter=separator))
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise TruncatedFile(f"{path}, line {number}: {len(row)} columns, and the header has {len(header)}")
    energies = _numbers([[row[energy]] for row in rows], path)[:, 0] * factor(ENERGY, _unit(header[energy][1], path))
    stamped = [n for n in names if n in _TIME_NAMES]
    if stamped:
        column = names.index(stamped[0])
        times = _numbers([[row[column]] for row in rows], path)[:, 0] * factor(TIME, _unit(header[column][1], path))
    elif "step" in names and timestep is not None:
        times = _numbers([[row[names.index("step")]] for row in rows], path)[:, 0] * timestep
    else:
        raise ReadingError(
            f"{path} has no column of times: add one, 'time (ps)', or state timestep= for its column step"
        )
    return Energies(times, energies, str(path))


def _column(title: str) -> tuple[str, str | None]:
    """Name and unit of "Potential Energy (kJ/mole)", in small letters."""
    match = re.fullmatch(r"\s*(.*?)\s*(?:[(\[](.*)[)\]])?\s*", title.replace('"', ""))
    assert match is not None
    return match[1].lower(), match[2]


def _unit(word: str | None, path: Path) -> str:
    if word is None or word.strip().lower() not in _UNIT_WORDS:
        raise ReadingError(
            f"{path}: a column in {word!r} has no known unit; write it in the header, such as "
            "time (ps), potential energy (kJ/mol). Known are " + ", ".join(sorted(set(_UNIT_WORDS.values())))
        )
    return _UNIT_WORDS[word.strip().lower()]


def _one_of(names: list[str], wanted: tuple[str, ...], path: Path) -> str:
    found = [name for name in wanted if name in names]
    if not found:
        raise MissingLabel(
            f"{path} has no column of the potential energy ({', '.join(wanted)}); it has {', '.join(names)}"
        )
    return found[0]


def _numbers(rows, path: Path) -> np.ndarray:
    try:
        return np.array(rows, float)
    except ValueError as error:
        raise ReadingError(f"{path}: {error}; every row of a table of energies holds numbers") from error


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?\d+", word) is not None
