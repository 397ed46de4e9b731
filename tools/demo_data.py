"""Makes the data that ship with the demo from longer runs of atoms: chosen frames, rounded, and reference curves.

    python tools/demo_data.py atoms_300K.h5 atoms_350K.h5

Each file is what `meanforce reference` writes for 216 SPC/E molecules (see src/meanforce/resources/demo.yaml for
what is learned from them). Positions are rounded to 2^-17 nm and forces to 1/8 kJ/(mol nm), which is a thousandth
of the scatter of the labels; that halves the size of the file.
"""

import sys
from pathlib import Path

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.data.mapping import Mapping
from meanforce.frames import Frames
from meanforce.observables import curves
from meanforce.observables.structure import adf, rdf

RESOURCES = Path(__file__).parent.parent / "src/meanforce/resources"
FRAMES = {300.0: 420, 350.0: 200}
ADF_CUTOFF = 0.36  # nm


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    return (np.round(np.asarray(values, float) * 2**bits) / 2**bits).astype(np.float32)


def chosen(data: Dataset, count: int, trajectory: int) -> Frames:
    """Frames at equal distances in time, molecules whole and in the box."""
    frames = data[np.linspace(0, len(data) - 1, count).round().astype(int)]
    molecules = frames.positions.reshape(count, -1, 3, 3)
    edge = frames.box[:, 0, 0][:, None, None, None]
    molecules = molecules - np.floor(molecules[:, :, :1] / edge) * edge
    return frames.with_(
        positions=rounded(molecules.reshape(frames.positions.shape), 17),
        forces=rounded(frames.forces, 3),
        trajectory=np.full(count, trajectory),
    )


def main(paths: list[str]) -> None:
    parts, found, runs = [], [], []
    for number, path in enumerate(paths):
        data = Dataset.open(path)
        (temperature,) = data.temperatures
        runs.append(data.provenance)
        parts.append(chosen(data, FRAMES[temperature], number))
        if temperature == 300.0:
            mapping = Mapping.by_residue(data, {"HOH": {"W": "all"}})
            beads = Dataset.create(Path(path).with_suffix(".beads.h5"), mapping(data))
            found = [rdf(beads, ("W", "W")), adf(beads, ("W",) * 3, cutoff=ADF_CUTOFF)]
            note = f"SPC/E water at 300 K, {len(beads)} frames over {np.ptp(data.column('time')):g} ps"
    target = RESOURCES / "water.h5"
    target.unlink(missing_ok=True)
    provenance = {"runs": runs, "constraints": runs[0].pop("constraints"), "rounded_to": "2^-17 nm, 1/8 kJ/(mol nm)"}
    for run in runs[1:]:
        run.pop("constraints")  # the same molecules
    Dataset.create(target, Frames.concatenate(parts), topology=data.topology, provenance=provenance)
    (RESOURCES / "water-curves.json").write_text(curves.to_json(found, note), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
