"""Water learned from means and covariances at held beads, by one command, and judged at a temperature not seen."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meanforce import recipe as recipes
from meanforce.data.dataset import Dataset
from meanforce.material import to_hold
from meanforce.model import Model
from meanforce.reference.held import read_errors
from meanforce.runfolder import RunFolder

pytest.importorskip("openmm")

RECIPE = """
name: held
reference:
  system: {name: water, molecules: 32, density: 1.0, cutoff: 0.45}
  temperatures: [300, 360]
  time: 4
  interval: 0.1
  equilibration: 0.5
mapping: {residues: {HOH: {W: all}}}
hold: {frames: 8, replicas: 3, burn_in: 20, samples: 60, stride: 1}
potential: {kind: spline, cutoff: 0.45, many_body: false, thermal: {reference: 300}}
train: {temperatures: [300], energy: 1.0, response: 1.0}
simulate: {temperatures: [300, 360], time: 4, equilibration: 1, save_every: 0.1, trajectories: []}
"""
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu"}


def command(home: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "meanforce", *words], cwd=home, env=ENVIRONMENT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Killed while beads were held, and gone on with."""
    home = tmp_path_factory.mktemp("held")
    (home / "held.yaml").write_text(RECIPE)
    begun = command(home, "hold", "held.yaml", "--folder", "run")
    until = time.monotonic() + 120
    while not (home / "run" / "held.errors.npz").exists() and begun.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    begun.send_signal(signal.SIGKILL)
    begun.communicate()
    assert begun.returncode == -signal.SIGKILL and not (home / "run" / "model.mf").exists()
    done = command(home, "run", "held.yaml", "--folder", "run", "--resume")
    _, told = done.communicate()
    assert done.returncode == 0, told
    return home / "run"


def test_held_frames_are_those_of_the_training_alone(finished):
    held, beads = Dataset.open(finished / "held.h5"), Dataset.open(finished / "beads.h5")
    assert held.temperatures == (300.0,) and len(held) == 8
    rows = read_errors(finished / "held.h5")["row"]
    assert len(set(rows)) == 8 and max(rows) < 32  # a fifth of the forty at 300 K is kept to judge by
    assert abs(held[:].positions - beads[:][rows].positions).max() < 1e-5


def test_the_model_learns_from_the_labels_at_held_beads(finished):
    model = Model.load(finished / "model.mf")
    assert model.temperature == (300.0, 300.0)
    assert "ResponseMatching" in model.summary() and not (finished / "responses.h5").exists()
    page = (finished / "report.html").read_text()
    assert "360 K" in page and "frames learned from" in page


@pytest.mark.parametrize(("change", "told"), [
    (("name: water, molecules: 32, density: 1.0, cutoff: 0.45", "name: argon"), "a reference run of water"),
    (("W: all", "W: [O], H: [H1, H2]"), "by their centres of mass"),
    (("{residues: {HOH: {W: all}}}", "{residues: {HOH: {W: all}}, position: O}"), "by their centres of mass"),
    (("energy: 1.0, response", "joint: 1.0, response"), "give energy"),
])  # fmt: skip
def test_what_cannot_be_held_is_refused_before_the_work(change, told):
    assert change[0] in RECIPE
    with pytest.raises(recipes.RecipeError, match=told):
        recipes.parse(RECIPE.replace(*change))


def test_more_frames_than_there_are_to_learn_from_are_refused(finished):
    with pytest.raises(recipes.RecipeError, match="at 300 K there are 32 frames to learn from"):
        to_hold(recipes.parse(RECIPE), RunFolder(finished), 33)


def test_a_recipe_that_holds_no_beads_has_nothing_to_hold(tmp_path):
    (tmp_path / "none.yaml").write_text(RECIPE.replace("hold: {frames: 8", "# hold: {frames: 8"))
    done = command(tmp_path, "hold", "none.yaml")
    _, told = done.communicate()
    assert done.returncode == 1 and "holds no beads" in told and not (tmp_path / "runs").exists()
