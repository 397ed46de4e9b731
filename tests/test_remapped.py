"""A second legal map of the atoms of a recipe: there is one where molecules are flexible, none where they are rigid."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from meanforce import recipe as recipes
from meanforce import workflow
from meanforce.data.dataset import Dataset
from meanforce.observables import consistency
from meanforce.reference import exact_run
from meanforce.reference.exact_run import ExactRun
from meanforce.remapped import two_maps
from meanforce.runfolder import RunFolder
from meanforce.terminal import Bars

MOLECULES, KELVINS = 64, (300.0, 400.0)
RECIPE = "name: maps\ndataset: ATOMS\nmapping: {residues: {DIA: {M: all}}, forces: KIND}\n"


@pytest.fixture(scope="module")
def atoms(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("atoms") / "atoms.h5"
    return exact_run.run(ExactRun(molecules=MOLECULES, frames=120, temperatures=KELVINS), path)


def mapped(atoms: Path, kind: str, path: Path) -> tuple[recipes.Recipe, RunFolder]:
    text = RECIPE.replace("ATOMS", str(atoms)).replace("KIND", kind)
    recipe, folder = recipes.parse(text), RunFolder.choose("maps", text, folder=path / "run")
    workflow.make_beads(recipe, folder, Bars(Console(quiet=True)))
    return recipe, folder


@pytest.mark.parametrize("kind", ["sum", "optimal"])
def test_held_out_frames_are_mapped_otherwise(kind, atoms, tmp_path):
    recipe, folder = mapped(atoms, kind, tmp_path)
    _, kept = Dataset.open(folder.beads).split(0.7)
    held = kept.select(temperature=400.0)
    first, second = two_maps(recipe, folder, held)
    np.testing.assert_array_equal(first.rows, held.rows)
    np.testing.assert_allclose(first[:].positions, second[:].positions, atol=1e-5)
    assert np.std(second[:].forces - first[:].forces) > 1e-3 * np.std(first[:].forces), "the maps differ"
    check = consistency.map_invariance(first, second)
    assert check.kelvin == 400.0 and abs(check.value - 1) < 3 * check.error < 0.6


def test_rigid_molecules_in_one_bead_have_one_map(atoms, tmp_path):
    flexible = Dataset.open(atoms)
    bonds = np.arange(2 * MOLECULES).reshape(-1, 2).tolist()
    Dataset.create(tmp_path / "rigid.h5", flexible, provenance={**flexible.provenance, "constraints": bonds})
    for kind in ("sum", "optimal"):
        recipe, folder = mapped(tmp_path / "rigid.h5", kind, tmp_path / kind)
        _, kept = Dataset.open(folder.beads).split(0.7)
        assert two_maps(recipe, folder, kept.select(temperature=300.0)) is None


def test_beads_without_atoms_have_no_other_map(atoms, tmp_path):
    _, folder = mapped(atoms, "sum", tmp_path)
    recipe = recipes.parse(f"name: maps\ndataset: {folder.beads}\n")
    assert two_maps(recipe, folder, Dataset.open(folder.beads)) is None
