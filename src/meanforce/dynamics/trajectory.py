"""Trajectories for other programs: XTC, DCD or H5MD with a topology beside them, for VMD, OVITO and MDAnalysis."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float

from meanforce.frames import Frames
from meanforce.topology import Topology

_ANGSTROM = 10.0  # in a nanometre
KINDS = ("xtc", "dcd", "trr", "h5md", "pdb", "gro")


def write_trajectory(path: str | Path, frames: Frames, topology: Topology, *, wrap: bool = False) -> tuple[Path, ...]:
    """Writes frames for viewers, and `<name>.pdb` with names, residues and bonds beside them.

    Each replica (`frames.trajectory`) has its own file, `<name>-0.xtc` and so on if there are several. Beads
    are where they went, not wrapped into the box, unless `wrap`. A box in a general orientation is turned,
    with the beads, so that its first vector lies along x. Returns the paths written.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    if kind not in KINDS:
        raise ValueError(f"trajectories are written as {', '.join(KINDS)}, not as {path.suffix!r}")
    if not len(frames):
        raise ValueError(f"{path}: there is no frame to write")
    written = [_write_pdb(path.with_name(f"{path.stem}-topology.pdb"), frames[0], topology, wrap)]
    for chain, target in targets(path, frames).items():
        own = frames if frames.trajectory is None else frames[frames.trajectory == chain]
        written.append(_write_frames(target, kind, own, topology, wrap))
    return tuple(written)


def targets(path: Path, frames: Frames) -> dict[int, Path]:
    """The file of each replica."""
    chains = [0] if frames.trajectory is None else np.unique(frames.trajectory).tolist()
    if len(chains) == 1:
        return {chains[0]: path}
    return {chain: path.with_name(f"{path.stem}-{chain}{path.suffix}") for chain in chains}


def oriented(
    positions: Float[np.ndarray, "particles 3"], box: Float[np.ndarray, "3 3"] | None
) -> tuple[Float[np.ndarray, "particles 3"], Float[np.ndarray, "3 3"] | None]:
    """Positions and box turned together so that the box is lower triangular, as the formats want it."""
    if box is None or (np.allclose(box, np.tril(box), atol=1e-12) and (np.diag(box) > 0).all()):
        return positions, box
    turn, upper = np.linalg.qr(box.T)
    sign = np.sign(np.diag(upper))
    return positions @ (turn * sign), (upper * sign[:, None]).T


def _write_frames(path: Path, kind: str, frames: Frames, topology: Topology, wrap: bool) -> Path:
    import MDAnalysis as mda

    universe = _universe(topology)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.{kind}")
    options = {"lengthunit": "nm", "timeunit": "ps"} if kind == "h5md" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about times and units that the formats do not hold
        with mda.Writer(
            str(temporary), n_atoms=len(topology), multiframe=True, **_times(kind, frames), **options
        ) as out:
            for number, frame in enumerate(frames):
                _place(universe, frame, wrap)
                universe.trajectory.ts.frame = number
                universe.trajectory.ts.time = number if frame.time is None else float(frame.time[0])
                out.write(universe.atoms)
    os.replace(temporary, path)
    return path


def _times(kind: str, frames: Frames) -> dict:
    """DCD holds a step between frames instead of times."""
    if kind != "dcd" or frames.time is None or len(frames) < 2:
        return {}
    return {"dt": float(frames.time[1] - frames.time[0])}


def _write_pdb(path: Path, frame: Frames, topology: Topology, wrap: bool) -> Path:
    universe = _universe(topology)
    _place(universe, frame, wrap)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.pdb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe.atoms.write(str(temporary), bonds="all")
    os.replace(temporary, path)
    return path


def _place(universe, frame: Frames, wrap: bool) -> None:
    from MDAnalysis.lib.mdamath import triclinic_box

    positions = np.asarray(frame.positions[0], float)
    box = None if frame.box is None else np.asarray(frame.box[0], float)
    positions, box = oriented(positions, box)
    if wrap and box is not None:
        positions = positions - np.floor(positions @ np.linalg.inv(box)) @ box
    universe.atoms.positions = _ANGSTROM * positions
    universe.dimensions = None if box is None else triclinic_box(*(_ANGSTROM * box))


def _universe(topology: Topology):
    """An MDAnalysis universe with all that the writers ask for."""
    import MDAnalysis as mda

    n = len(topology)
    ids = np.asarray(topology.residue_ids)
    _, first, residue = np.unique(ids, return_index=True, return_inverse=True)
    universe = mda.Universe.empty(
        n, n_residues=len(first), atom_resindex=residue, residue_segindex=np.zeros(len(first), int), trajectory=True
    )
    beads = {
        "names": topology.names, "types": topology.species, "masses": topology.masses, "elements": [""] * n,
        "record_types": ["ATOM"] * n, "altLocs": [""] * n, "occupancies": np.ones(n), "tempfactors": np.zeros(n),
        "formalcharges": np.zeros(n, int), "chainIDs": ["A"] * n,
    }  # fmt: skip
    residues = {"resnames": [topology.residues[i] for i in first], "resids": ids[first], "icodes": [""] * len(first)}
    for name, values in {**beads, **residues, "segids": ["SYSTEM"]}.items():
        universe.add_TopologyAttr(name, values)
    universe.add_TopologyAttr("bonds", [tuple(bond) for bond in topology.bonds.tolist()])
    return universe
