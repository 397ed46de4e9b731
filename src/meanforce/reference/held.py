"""Labels at fixed beads for the frames of a reference run of water, frame by frame and safe against a kill."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from meanforce.data.dataset import Dataset
from meanforce.data.mapping import Mapping
from meanforce.data.writer import Writer
from meanforce.frames import Frames
from meanforce.numerics.replicas import Scattered
from meanforce.reference.atoms import open_reference
from meanforce.reference.ewald import RigidWater
from meanforce.reference.fixed import FixedSampling, Labels, sample_fixed
from meanforce.reference.flexible import FlexibleWater
from meanforce.reference.water import Water

_LABELS = ("forces", "energy", "local_energy", "covariance", "variance", "third_cumulant")


def hold(
    source: str | Path,
    path: str | Path,
    rows: Sequence[int] | Int[np.ndarray, "frames"],
    sampling: FixedSampling | None = None,
    *,
    bead: str = "W",
    resume: bool = False,
    watcher: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Holds the molecules' centres of frames of a reference run, and writes what the atoms do there.

    source    a finished reference run of water, rigid or flexible
    path      the data set of beads to write: mean forces (kJ/(mol nm)), mean energies (kJ/mol), covariances,
              variances and third cumulants at fixed beads, one frame for each row and temperature
    rows      numbers of the frames in `source`; `evenly` chooses some
    watcher   told how many of how many rows are done

    Beside it lies `errors_path(path)` with the standard errors and more; see `read_errors`. Each row is put on the
    disk when it is done; with `resume=True` a stopped call goes on after the last one, and a finished one may be
    given more rows. A row's labels depend on its number and the seed alone.
    """
    sampling = sampling or FixedSampling()
    path, rows, data = Path(path), [int(row) for row in rows], Dataset.open(source)
    system = _water(data)
    atoms = open_reference(source)
    mapping = Mapping.by_residue(atoms, {atoms.topology.residues[0]: {bead: "all"}})
    water = (FlexibleWater if system.flexible else RigidWater).of(system.build(), sampling.accuracy)
    levels = max(len(sampling.temperatures), 1)
    provenance = _provenance(data, system, sampling)
    with Writer(path, mapping.topology, provenance=provenance, resume=resume) as writer:
        record = _Record.open(errors_path(path), writer.frames)
        done = writer.frames // levels
        if record.rows()[::levels] != rows[:done]:
            raise ValueError(f"{path} was begun with other rows; give {record.rows()[::levels]} first")
        for at, row in enumerate(rows[done:], done):
            frame = data[row]
            temperatures = sampling.temperatures or _temperature(frame, row)
            edges, molecules = _edges(frame, row), len(mapping.topology)
            labels = sample_fixed(water, _whole(frame, edges, molecules), edges, temperatures, sampling, number=row)
            double = Frames(frame.positions.astype(float), box=np.diag(edges)[None])
            beads = Frames(mapping.positions(double), box=double.box, time=frame.time)
            for temperature, found in zip(temperatures, labels, strict=True):
                record.append(row, temperature, found)
                writer.append(_frame(beads, temperature, found))
            record.save()  # first: every committed frame has its errors
            writer.commit()
            if watcher is not None:
                watcher(at + 1, len(rows))
    return Dataset.open(path)


def evenly(rows: Sequence[int] | Int[np.ndarray, "n"], count: int) -> list[int]:
    """`count` of the rows in an order of which every beginning is evenly spread."""
    if not 0 < count <= len(rows):
        raise ValueError(f"{count} of {len(rows)} rows; ask for 1 to {len(rows)}")
    bits = (len(rows) - 1).bit_length()
    turned = (int(format(i, f"0{bits}b")[::-1], 2) if bits else 0 for i in range(2**bits))
    chosen = dict.fromkeys(at * len(rows) // 2**bits for at in turned)
    return [int(rows[at]) for at in list(chosen)[:count]]


def errors_path(path: str | Path) -> Path:
    """Where the errors of the labels in `path` lie."""
    return Path(path).with_suffix(".errors.npz")


def read_errors(path: str | Path) -> dict[str, np.ndarray]:
    """What lies beside the labels in `path`, one entry a frame.

    The standard errors by the names of the labels; `row` in the source and `temperature` (K); `effective`
    independent samples of U; `near_covariance` (frames, ranges, beads, 3) with `near_covariance_error`, the part of
    the covariance that is owed to the energies of the molecules within each range; `noise` (frames, ranges + 1),
    the mean square of one sample's (f - <f>)(u - <u>) for these energies and last for U; `force_variance`;
    `replica_energy`, `replica_forces` and `acceptance`.
    """
    with np.load(errors_path(path)) as file:
        return dict(file)


class _Record:
    """What `read_errors` reads, rewritten whole whenever it grows."""

    def __init__(self, path: Path, kept: dict[str, np.ndarray]):
        self._path = path
        self._columns = {name: list(values) for name, values in kept.items()}

    @staticmethod
    def open(path: Path, frames: int) -> _Record:
        """The first `frames` entries of the file: it may be ahead of the data set by the frame under way."""
        if not frames:
            return _Record(path, {})
        if not path.exists():
            raise ValueError(f"{path} is missing; put it back beside the data set, or begin another")
        with np.load(path) as file:
            return _Record(path, {name: file[name][:frames] for name in file.files})

    def rows(self) -> list[int]:
        return [int(row) for row in self._columns.get("row", [])]

    def append(self, row: int, temperature: float, labels: Labels) -> None:
        entry: dict[str, Any] = {"row": row, "temperature": temperature}
        for name, value in labels._asdict().items():
            if name in _LABELS:
                entry[name] = value.error
            elif isinstance(value, Scattered):
                entry[name], entry[f"{name}_error"] = value
            else:
                entry[name] = value
        for name, value in entry.items():
            self._columns.setdefault(name, []).append(np.asarray(value))

    def save(self) -> None:
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: np.stack(values) for name, values in self._columns.items()}
        np.savez_compressed(buffer, **arrays)
        temporary = self._path.with_name(self._path.name + ".tmp")
        with open(temporary, "wb") as file:
            file.write(buffer.getvalue())
            os.fsync(file.fileno())
        os.replace(temporary, self._path)


def _frame(beads: Frames, temperature: float, labels: Labels) -> Frames:
    values = {name: np.asarray(getattr(labels, name).value)[None] for name in _LABELS}
    return beads.with_(temperature=np.array([float(temperature)]), **values)


def _edges(frame: Frames, row: int) -> Float[np.ndarray, "3"]:
    if frame.box is None or np.count_nonzero(frame.box) != 3:
        raise ValueError(f"frame {row} has no rectangular box; water is held in rectangular boxes only")
    return np.diagonal(frame.box[0]).astype(float)


def _whole(frame: Frames, edges: np.ndarray, molecules: int) -> Float[np.ndarray, "molecules atoms 3"]:
    """The molecules of a frame, each put together around its first atom."""
    atoms = frame.positions[0].astype(float).reshape(molecules, -1, 3)
    return atoms - edges * np.round((atoms - atoms[:, :1]) / edges)


def _temperature(frame: Frames, row: int) -> tuple[float]:
    if frame.temperature is None:
        raise ValueError(f"frame {row} carries no temperature; give temperatures= to the sampling")
    return (float(frame.temperature[0]),)


def _water(data: Dataset) -> Water:
    system = data.provenance.get("system", {})
    if system.get("name") != "water":
        raise ValueError("molecules are held in reference runs of water; this data set was made of something else")
    return Water(**system)


def _provenance(data: Dataset, system: Water, sampling: FixedSampling) -> dict[str, Any]:
    return {
        "made_by": f"meanforce {version('meanforce')}",
        "ensemble": f"orientations{' and shapes' if system.flexible else ''} at fixed centres of mass, Metropolis",
        "source": data.hash,
        "system": system.model_dump(),
        "sampling": sampling.model_dump(mode="json"),
        "labels": "means and cumulants at fixed beads, products of means taken between replicas",
    }
