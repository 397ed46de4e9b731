"""From atoms at two temperatures to a model A(R; T), simulated at a third and judged, by one command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from meanforce import recipe as recipes
from meanforce import thermodynamics, workflow
from meanforce.data.dataset import Dataset
from meanforce.model import Model
from meanforce.potentials.thermal import LinearThermal
from meanforce.reference.exact_run import ExactRun
from meanforce.runfolder import RunFolder
from meanforce.terminal import Bars

RECIPE = """
name: thermal
exact: {molecules: 64, frames: 240, temperatures: [300, 350, 400]}
mapping: {residues: {DIA: {M: all}}}
potential: {kind: spline, cutoff: 0.9, many_body: false, thermal: {reference: 350}}
train: {temperatures: [300, 400], energy: 1.0}
simulate: {temperatures: [300, 350], time: 8, equilibration: 2, save_every: 0.1, trajectories: []}
"""
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("thermal")
    (home / "thermal.yaml").write_text(RECIPE)
    words = [sys.executable, "-m", "meanforce", "run", "thermal.yaml", "--folder", "run"]
    done = subprocess.run(words, cwd=home, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home / "run"


def verdicts(folder: Path) -> dict[str, dict]:
    return {v["observable"]: v for v in json.loads((folder / "verdicts.json").read_text())["verdicts"]}


def test_the_model_knows_temperatures_that_it_has_not_seen(finished):
    model, liquid = Model.load(finished / "model.mf"), ExactRun(molecules=64).liquid
    assert isinstance(model.potential, LinearThermal) and model.temperature == (300.0, 400.0)
    centres, box = liquid.draw(20, 350.0, 99).centres, np.eye(3) * liquid.edge
    found = thermodynamics.force(model, centres, box, temperature=350.0)
    exact = liquid.force(centres, 350.0)
    assert np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)) < 0.1
    response = thermodynamics.response_force(model, centres, box, temperature=350.0)
    exact = liquid.response_force(centres, 350.0)
    assert np.sqrt(np.mean((response - exact) ** 2) / np.mean(exact**2)) < 0.4


def test_each_temperature_has_a_simulation_of_its_own(finished):
    found = {path.name: Dataset.open(path).temperatures for path in finished.glob("simulation*.h5")}
    assert found == {"simulation-300K.h5": (300.0,), "simulation-350K.h5": (350.0,)}
    words = [sys.executable, "-m", "meanforce", "simulate", "thermal.yaml", "--folder", "run", "--resume"]
    told = subprocess.run(words, cwd=finished.parent, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert [Path(line).name for line in told.stdout.split()] == sorted(found)


def test_the_report_judges_every_temperature(finished):
    page = (finished / "report.html").read_text()
    assert '<section id="thermodynamics">' in page and "350 K" in page and "U per molecule" in page
    found = verdicts(finished)
    assert {"RDF M–M at 300 K: mean-square error", "RDF M–M at 350 K: mean-square error (not learned from)"} <= set(
        found
    )
    assert {"mean energy of the atoms over temperatures", "configurational heat capacity over temperatures",
            "forces against configurations", "response of forces against configurations",
            "frames with negative heat capacity", "energies against their scatter",
            "forces of another legal map"} <= set(found)  # fmt: skip
    assert not [name for name, v in found.items() if v["outcome"] == "differs"]
    assert found["Maxwell's relation, dF/dT against grad S"]["outcome"] == "agrees"


def test_responses_are_cross_fitted_once_and_kept(finished, tmp_path):
    text = RECIPE.replace("energy: 1.0", "joint: 1.0, response: 1.0, cross_fit: {folds: 3}")
    exact, mapping, *rest = text.splitlines()[2:]
    assert exact.startswith("exact") and mapping.startswith("mapping")
    text = "\n".join(["name: thermal", f"dataset: {finished / 'beads.h5'}", *rest])
    recipe = recipes.parse(text)
    folder = RunFolder.choose("thermal", text, folder=tmp_path / "run")
    workflow.learn(recipe, folder, Bars(Console(quiet=True)))
    labelled = Dataset.open(folder.responses)
    assert labelled.column("displacement") is not None and labelled.column("covariance") is not None
    assert labelled.temperatures == (300.0, 400.0)
    assert len(labelled) == len(workflow.split(recipe, folder)[0])
    assert {"ResponseMatching", "EnergyGivenForces"} <= set(re.findall(r"\w+", Model.load(folder.model).summary()))
    written, model = folder.responses.stat().st_mtime_ns, folder.model.read_bytes()
    folder.training.unlink()
    workflow.learn(recipe, folder, Bars(Console(quiet=True)))
    assert folder.responses.stat().st_mtime_ns == written and folder.model.read_bytes() == model
