"""A learned model: one file with a potential, what it is for, and where it came from. It runs no code when read."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from meanforce.potentials.base import Potential
from meanforce.potentials.registry import from_header, to_header
from meanforce.topology import Topology

FORMAT = "meanforce-model"
FORMAT_VERSION = 1
UNITS = {"length": "nm", "time": "ps", "mass": "u", "energy": "kJ/mol", "temperature": "K"}
_WRITTEN_WITH = ("meanforce", "jax", "equinox", "numpy")


class ModelFileError(ValueError):
    """A model file that cannot be used; the message says why and what to do."""


class NewerModelFile(ModelFileError):
    """A model file in a format of a later meanforce."""


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _WRITTEN_WITH}


@dataclass(frozen=True, eq=False)
class Model:
    """A potential with its header.

    `temperature` is the range in K of the data it learned from, None where it is not known; `data` the hashes of
    the data sets; `mapping` how atoms became beads, as plain JSON; `versions` what it was made with.
    """

    potential: Potential
    topology: Topology
    mapping: Mapping[str, Any] | None = None
    temperature: tuple[float, float] | None = None
    data: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] | None = None

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)
        put("versions", dict(self.versions) if self.versions else _versions())
        put("data", tuple(self.data))
        put("notes", tuple(self.notes))
        if self.mapping is not None:
            put("mapping", _plain(self.mapping, "mapping"))
        if self.temperature is not None:
            low, high = (float(t) for t in self.temperature)
            if not 0 < low <= high < float("inf"):
                raise ValueError(f"temperature range ({low:g}, {high:g}) K: give the lowest and the highest, in K")
            put("temperature", (low, high))

    def with_(self, **changes) -> Model:
        """The same model with other parts: `model.with_(notes=(*model.notes, "checked"))`."""
        return replace(self, **changes)

    def save(self, path: str | Path) -> Path:
        """Writes the model as safetensors with a JSON header; the file appears whole or not at all."""
        path = Path(path)
        description, arrays = to_header(self.potential)
        arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
        header = {
            "potential": description,
            "topology": json.loads(self.topology.to_json()),
            "mapping": self.mapping,
            "temperature": self.temperature,
            "units": UNITS,
            "data": self.data,
            "notes": self.notes,
            "versions": self.versions,
        }
        text = json.dumps(header, sort_keys=True)
        # One entry: safetensors writes several in any order, and equal models should be equal files.
        envelope = {"format_version": FORMAT_VERSION, "checksum": _checksum(text, arrays), "header": text}
        _write_whole(path, save(arrays, metadata={FORMAT: json.dumps(envelope)}))
        return path

    @staticmethod
    def load(path: str | Path) -> Model:
        """Reads a model file, or says why it cannot be used."""
        header, arrays = _read(Path(path))
        temperature = header["temperature"]
        return Model(
            potential=from_header(header["potential"], arrays),
            topology=Topology.from_json(json.dumps(header["topology"])),
            mapping=header["mapping"],
            temperature=None if temperature is None else (temperature[0], temperature[1]),
            data=tuple(header["data"]),
            notes=tuple(header["notes"]),
            versions=header["versions"],
        )

    def to_json(self) -> str:
        """The header, for programs: everything but the numbers of the potential."""
        description, _ = to_header(self.potential)
        header = {
            "potential": description, "mapping": self.mapping, "temperature": self.temperature, "units": UNITS,
            "data": self.data, "notes": self.notes, "versions": self.versions, "beads": len(self.topology),
            "species": self.topology.types,
        }  # fmt: skip
        return json.dumps(header, sort_keys=True)

    def __str__(self) -> str:
        return self.summary()

    def summary(self) -> str:
        """What the model is, in lines for a person."""
        description, arrays = to_header(self.potential)
        numbers = sum(int(np.size(a)) for a in arrays.values())
        kelvin = (
            "not known"
            if self.temperature is None
            else " to ".join(f"{t:g}" for t in dict.fromkeys(self.temperature)) + " K"
        )
        counts = ", ".join(f"{self.topology.species.count(t)} {t}" for t in self.topology.types)
        bonded = ", ".join(f"{len(getattr(self.topology, n))} {n}" for n in ("bonds", "angles", "dihedrals"))
        cutoffs = ", ".join(f"{c:g}" for c in self.potential.cutoffs)
        lines = [
            f"potential    {_kind(description)}, {numbers} numbers" + (f", cut-offs {cutoffs} nm" if cutoffs else ""),
            f"beads        {counts}; {bonded}",
            f"mapping      {'not recorded' if self.mapping is None else json.dumps(self.mapping, sort_keys=True)}",
            f"learned at   {kelvin}",
            f"data         {', '.join(self.data) or 'not recorded'}",
            f"units        {', '.join(UNITS.values())}",
            f"written with {', '.join(f'{k} {v}' for k, v in (self.versions or {}).items())}",
        ]
        return "\n".join([*lines, *(f"note         {note}" for note in self.notes)])


def _kind(description: Mapping[str, Any]) -> str:
    return str(description.get("name", description.get("class", "potential")))


def _plain(value: Any, name: str) -> Any:
    try:
        return json.loads(json.dumps(value))
    except TypeError as error:
        raise ValueError(f"{name} must be plain JSON (dictionaries, lists, strings, numbers): {error}") from None


def _checksum(header: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the header and every array with its name, type and shape."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _write_whole(path: Path, content: bytes) -> None:
    """Writes beside the target and renames, so that a full disk leaves the old file as it was."""
    if not path.parent.is_dir():
        raise ModelFileError(f"{path}: there is no folder {path.parent}; make it first")
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise ModelFileError(
            f"{path} could not be written ({error.strerror}); free some space or choose another place"
        ) from error
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such model file")
    try:
        with safe_open(path, framework="numpy") as file:
            envelope = _envelope(path, file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is no whole model file ({error}): it was cut short or is of another kind; copy or save it again"
        ) from None
    text = str(envelope.get("header", ""))
    if _checksum(text, arrays) != envelope.get("checksum"):
        raise ModelFileError(
            f"{path} was changed after it was saved: its checksum does not match. Load the original and save the "
            "change from Python (model.with_(...).save(...))"
        )
    return json.loads(text), arrays


def _envelope(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The format version, the checksum and the text of the header."""
    if FORMAT not in metadata:
        raise ModelFileError(f"{path} is a safetensors file but no meanforce model; save models with model.save(path)")
    try:
        envelope = json.loads(metadata[FORMAT])
        version = int(envelope["format_version"])
    except (ValueError, KeyError, TypeError):
        raise ModelFileError(f"{path} was changed after it was saved: its header cannot be read") from None
    if version > FORMAT_VERSION:
        raise NewerModelFile(
            f"{path} is newer than this meanforce: it has format {version}, and this version reads up to "
            f"{FORMAT_VERSION}. Update meanforce (pip install -U meanforce)"
        )
    return envelope
