"""The demo learns and samples when it runs: change the embedded forces, and the reported structure changes."""

import json
import os
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

from meanforce import demo, workflow
from meanforce import recipe as recipes
from meanforce.data.dataset import Dataset
from meanforce.observables.structure import rdf
from meanforce.runfolder import RunFolder


@pytest.fixture(scope="module")
def home():
    with resources.as_file(resources.files("meanforce") / "resources") as folder:
        yield folder


class Quiet:
    """No bars."""

    class _Stage:
        def __enter__(self):
            return lambda fraction: None

        def __exit__(self, *_):
            return None

    def stage(self, title):
        return self._Stage()

    def note(self, text):
        return None


def test_the_embedded_atoms_are_what_the_demo_promises(home):
    data = Dataset.open(home / "water.h5")
    assert (home / "water.h5").stat().st_size <= 6e6
    assert len(data.topology) >= 3 * 200
    assert len(data) >= 200
    assert len(data.temperatures) >= 2
    assert {"forces", "energy"} <= set(data.labels())
    assert data.provenance["runs"]


def peak(home, folder, factor: float) -> float:
    """Height of the first peak after learning from a quarter of the atoms with their forces scaled."""
    data = Dataset.open(home / "water.h5").select(temperature=300.0)
    frames = data[::4]
    source = folder / f"forces-{factor:g}.h5"
    scaled = frames.with_(forces=factor * frames.forces)
    Dataset.create(source, scaled, topology=data.topology, provenance=data.provenance)
    text = (home / "demo.yaml").read_text().replace("dataset: water.h5", f"dataset: {source}")
    text = text.replace("pair_only: true", "pair_only: false").replace("time: 100 ", "time: 10 ")
    text = text.replace("curves: water-curves.json", f"curves: {home / 'water-curves.json'}")
    recipe = recipes.parse(text, where=home / "demo.yaml")
    run_folder = RunFolder.choose("demo", text, folder=folder / f"run-{factor:g}")
    workflow.carry_out(recipe, run_folder, last="simulate", bars=Quiet())
    curve = rdf(workflow.sampled(recipe, run_folder, run_folder.model))
    return float(np.max(curve.value))


@pytest.mark.long
def test_scaled_forces_change_the_reported_structure(home, tmp_path):
    plain, scaled = (peak(home, tmp_path, factor) for factor in (1.0, 1.1))
    assert scaled > plain + 0.1


@pytest.mark.long
def test_the_demo_judges_water_well(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "meanforce", "demo", "--folder", "demo"],
        cwd=tmp_path, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    verdicts = json.loads((tmp_path / "demo" / "verdicts.json").read_text())["verdicts"]
    ours = {v["observable"]: v["outcome"] for v in verdicts if v["model"] == "model"}
    pairs = {v["observable"]: v["outcome"] for v in verdicts if v["model"] == "pairs-only"}
    assert ours and all(outcome != "differs" for name, outcome in ours.items() if "first peak" in name)
    for name, outcome in pairs.items():
        if "mean-square error" in name:
            assert outcome == "differs"


def test_the_demo_recipe_reads(home):
    text = (home / "demo.yaml").read_text()
    assert recipes.parse(text, where=home / "demo.yaml").dataset == home / "water.h5"
    assert demo.run.__doc__
