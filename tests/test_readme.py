"""What the README shows runs as written."""

import re
import subprocess
import sys
import warnings
from importlib import resources
from pathlib import Path

import MDAnalysis as mda
import numpy as np
import pytest

from meanforce.data.dataset import Dataset

README = Path(__file__).parent.parent / "README.md"


def write_users_files(folder: Path) -> None:
    """A user's own run as MDAnalysis writes it: topology, trajectory with forces, and an energy file."""
    with resources.as_file(resources.files("meanforce") / "resources") as home:
        data = Dataset.open(home / "water.h5").select(temperature=300.0)
    frames, topology = data[::20], data.topology
    molecules = len(topology) // 3
    atoms = mda.Universe.empty(
        len(topology), n_residues=molecules, atom_resindex=np.repeat(np.arange(molecules), 3), trajectory=True,
        forces=True,
    )  # fmt: skip
    atoms.add_TopologyAttr("names", list(topology.names))
    atoms.add_TopologyAttr("elements", list(topology.species))
    atoms.add_TopologyAttr("resnames", ["HOH"] * molecules)
    atoms.add_TopologyAttr("resids", np.arange(1, molecules + 1))
    with mda.Writer(str(folder / "traj.trr"), len(topology)) as writer:
        for number in range(len(frames)):
            atoms.atoms.positions = 10 * frames.positions[number]
            atoms.atoms.forces = frames.forces[number] / 10
            atoms.dimensions = [*10 * np.diag(frames.box[number]), 90, 90, 90]
            atoms.trajectory.ts.time = float(number)
            writer.write(atoms.atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a PDB file could hold besides
        atoms.atoms.write(str(folder / "topol.pdb"))
    rows = "\n".join(f"{number},{energy}" for number, energy in enumerate(frames.energy))
    (folder / "energies.csv").write_text(f"time (ps),potential energy (kJ/mol)\n{rows}\n")


@pytest.mark.filterwarnings("ignore:this model learned at 300 K and is used at 350 K")
def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_users_files(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) >= 2
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_commands_exist():
    shown = set(re.findall(r"^meanforce ([a-z]+)", README.read_text(), re.M))
    told = subprocess.run(
        [sys.executable, "-m", "meanforce", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert shown >= {"template", "run", "inspect"}
    for verb in shown:
        assert re.search(rf"\b{verb}\b", told), verb
