"""What kind of file it is, whether it states its units, and whether it is whole."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from meanforce.data.errors import ReadingError, TruncatedFile
from meanforce.units import force_factor

#: Formats in which the numbers mean what the simulation meant: the user states the units.
UNITLESS = ("LAMMPSDUMP", "DATA")
_EXTENSIONS = {"h5": "H5MD", "nc": "NCDF", "lammpstrj": "LAMMPSDUMP", "dump": "LAMMPSDUMP", "extxyz": "EXTXYZ"}
_BINARY = ("trr", "xtc", "dcd", "nc", "ncdf", "h5", "h5md", "tpr", "tng")


class Units(NamedTuple):
    """The units of the numbers in a file, by their names in `meanforce.units`."""

    length: str
    time: str
    energy: str

    @property
    def force(self) -> float:
        return force_factor(self.energy, self.length)


def format_of(path: Path) -> str:
    """MDAnalysis's name of the format, 'EXTXYZ' for ASE's; LAMMPS and extended XYZ files are known by content."""
    from MDAnalysis.lib.util import anyopen

    suffixes = [s[1:].lower() for s in path.suffixes if s not in (".gz", ".bz2")]
    extension = suffixes[-1] if suffixes else ""
    if extension in _BINARY:
        return _EXTENSIONS.get(extension, extension.upper())
    with anyopen(str(path), "rt") as stream:
        try:
            head = [stream.readline() for _ in range(2)]
        except UnicodeDecodeError:
            return extension.upper()
    if head[0].startswith("ITEM:"):
        return "LAMMPSDUMP"
    if extension in ("xyz", "extxyz") and ("Lattice=" in head[1] or "Properties=" in head[1]):
        return "EXTXYZ"
    return {"lmp": "DATA", "lammps": "DATA"}.get(extension, _EXTENSIONS.get(extension, extension.upper()))


def precheck(path: Path, format_: str, units: Units | None) -> bool:
    """Whether the format fixes its units. Broken files are found here: MDAnalysis's readers fail half-built."""
    if format_ == "NCDF":
        from scipy.io import netcdf_file

        netcdf_file(str(path), "r").close()
    if format_ == "LAMMPSDUMP":
        _dump_header(path)
    native = format_ not in UNITLESS
    if format_ == "H5MD":
        import h5py

        with h5py.File(path, "r") as file:
            native = any("unit" in file[name].attrs for name in _datasets(file))
        if not native and units is None:
            raise ReadingError(f"{path} states no units; give them, such as units=('nm', 'ps', 'kJ/mol')")
    if native and units is not None and format_ != "DCD":
        raise ReadingError(f"{path}: {format_} files fix their own units; leave out units={tuple(units)}")
    return native


def _datasets(file) -> list[str]:
    import h5py

    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


def _dump_header(path: Path) -> None:
    from MDAnalysis.lib.util import anyopen

    items = []
    with anyopen(str(path), "rt") as stream:
        for line in stream:
            items += [line.split()[1:]] if line.startswith("ITEM:") else []
            if line.startswith("ITEM: ATOMS"):
                break
    words = [item[0] for item in items]
    if words != ["TIMESTEP", "NUMBER", "BOX", "ATOMS"]:
        raise ReadingError(f"{path}: the dump has sections {words}; write it without dump_modify units or time")
    if "abc" in items[2]:
        raise ReadingError(
            f"{path}: general triclinic boxes cannot be read; write it with dump_modify triclinic/general no"
        )
    if "id" not in items[3]:
        raise ReadingError(f"{path}: the dump has no column 'id', and LAMMPS writes atoms in any order; add id to it")


def refuse_cut(path: Path, format_: str, atoms: int, frames: int) -> None:
    """Refuses files whose last frame is not whole, where MDAnalysis would leave it out without a word."""
    if format_ == "LAMMPSDUMP":
        _dump_is_whole(path, atoms)
    if format_ == "DCD":
        _dcd_is_whole(path, frames)


def _dump_is_whole(path: Path, atoms: int) -> None:
    from MDAnalysis.lib.util import anyopen

    line, count = "", 0
    with anyopen(str(path), "rt") as stream:
        for line in stream:  # noqa: B007
            count += 1
    frame, over = divmod(count, atoms + 9)
    if over or not line.endswith("\n"):
        frame -= not over
        raise TruncatedFile(
            f"{path}, frame {frame}: the file ends in the middle of it. Copy it again, or cut that frame off"
        )


def _dcd_is_whole(path: Path, frames: int) -> None:
    # MDAnalysis counts frames by the size of the file; the header says how many were written
    with path.open("rb") as stream:
        head = stream.read(12)
    stated = struct.unpack("<i" if head[:4] == struct.pack("<i", 84) else ">i", head[8:12])[0]
    if stated > frames:
        raise TruncatedFile(
            f"{path}, frame {frames}: the header promises {stated} frames and the file ends in the middle of this one. "
            "Copy the file again"
        )


def extxyz_starts(path: Path) -> list[tuple[int, int]]:
    starts: list[tuple[int, int]] = []
    line = b"\n"
    with path.open("rb") as stream:
        while True:
            start = stream.tell()
            head = stream.readline()
            if not head.strip():
                return starts
            for _ in range(int(head) + 1):
                line = stream.readline()
            if not line.endswith(b"\n"):
                raise TruncatedFile(
                    f"{path}, frame {len(starts)}: the file ends in the middle of it. Copy the file again, or cut the "
                    "broken frame off"
                )
            starts.append((start, stream.tell()))
