"""Kernels by recipe, on the liquid of two states: beads that nothing maps, a model of many bodies, a verdict."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from meanforce import recipe as recipes
from meanforce import thermodynamics, workflow
from meanforce.data.dataset import Dataset
from meanforce.model import Model
from meanforce.potentials.base import holds
from meanforce.potentials.kernels import KernelPotential
from meanforce.potentials.thermal import LinearThermal
from meanforce.reference.exact_run import ExactRun
from meanforce.runfolder import RunFolder
from meanforce.terminal import Bars

KERNEL = "kind: kernel, cutoff: 0.9, start: 0, radial: 1, degree: 0, points: 20, spacing: 0.05"
RECIPE = f"""
name: kernel
exact: {{system: two-state, molecules: 64, frames: 100}}
potential: {{{KERNEL}}}
simulate: {{time: 2, equilibration: 0.5, timestep: 0.01, save_every: 0.05, trajectories: []}}
"""
LIQUID = ExactRun(system="two-state").liquid
CENTRES, BOX = LIQUID.draw(20, 300.0, seed=9).centres, np.eye(3) * LIQUID.edge


def carried_out(text: str, path: Path, last: str) -> RunFolder:
    folder = RunFolder.choose("kernel", text, folder=path)
    workflow.carry_out(recipes.parse(text), folder, last=last, bars=Bars(Console(quiet=True)))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunFolder:
    return carried_out(RECIPE, tmp_path_factory.mktemp("kernel") / "run", "validate")


def error(path: Path) -> float:
    """Of the force, relative to the exact one; of pairs alone it is 0.29."""
    truth = LIQUID.force(CENTRES, 300.0)
    found = thermodynamics.force(Model.load(path), CENTRES, BOX, temperature=300.0)
    return float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)))


def test_beads_come_without_atoms_and_with_energies_of_single_molecules(finished):
    assert not finished.atoms.exists()
    data = Dataset.open(finished.beads)
    assert len(data) == 100 and "local_energy" in data.labels()
    assert workflow.made(recipes.parse(RECIPE), finished) == finished.beads


def test_the_kernel_learns_what_pairs_cannot(finished):
    assert holds(Model.load(finished.model).potential, KernelPotential)
    assert error(finished.model) < 0.05


def test_the_model_is_judged(finished):
    found = json.loads(finished.verdicts.read_text())["verdicts"]
    (rdf,) = [v for v in found if v["observable"].startswith("RDF S–S: ")]
    assert rdf["outcome"] != "differs"
    assert json.loads(finished.training.read_text())["model"]["determined"][1] == len(
        Model.load(finished.model).potential.coefficients
    )


def test_its_responses_are_centred_by_the_kernel_from_energies_nearby(finished, tmp_path, monkeypatch):
    """The potential that makes labels is the one that learns from them."""
    seen = []

    class Enough(Exception):
        pass

    def cross_fit(potential, data, **said):
        seen.append((potential, said["local"]))
        raise Enough

    monkeypatch.setattr(workflow, "cross_fit", cross_fit)
    text = f"""
name: kernel
dataset: {finished.beads}
potential: {{{KERNEL}, thermal: {{reference: 300}}}}
train: {{response: 1.0, cross_fit: {{folds: 2, local: 0.9}}}}
"""
    with pytest.raises(Enough):
        carried_out(text, tmp_path / "run", "train")
    ((centres, local),) = seen
    assert isinstance(centres, LinearThermal) and holds(centres, KernelPotential) and local == 0.9
