"""Recipes whose temperature changes in the simulation: exchange between temperatures, and ramps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from meanforce import recipe as recipes
from meanforce import workflow
from meanforce.data.dataset import Dataset
from meanforce.heating import heating, passing
from meanforce.model import Model
from meanforce.report import thermodynamics as section
from meanforce.runfolder import RunFolder
from meanforce.terminal import Bars

ATOMS = """
name: changing
exact: {molecules: 64, frames: 60, temperatures: [300, 400]}
mapping: {residues: {DIA: {M: all}}}
potential: {kind: spline, cutoff: 0.9, spacing: 0.05, many_body: false, thermal: {reference: 350}}
train: {energy: 1.0}
"""
LATER = "\n".join(["dataset: BEADS", *(x for x in ATOMS.splitlines() if not x.startswith(("exact", "mapping"))), ""])
EXCHANGE = """simulate: {temperatures: [400, 300], exchange: {every: 0.05}, time: 6, equilibration: 1, save_every: 0.05,
  trajectories: []}"""
RAMP = "simulate: {temperature: 300, ramp: [300, 400], time: 4, equilibration: 1, save_every: 0.05, trajectories: []}"
QUIET = Bars(Console(quiet=True))


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory) -> RunFolder:
    text = f"{ATOMS}{EXCHANGE}\n"
    folder = RunFolder.choose("changing", text, folder=tmp_path_factory.mktemp("exchange") / "run")
    workflow.carry_out(recipes.parse(text), folder, last="validate", bars=QUIET)
    return folder


def begun(text: str, like: RunFolder, path: Path) -> tuple[recipes.Recipe, RunFolder]:
    """A folder with the beads and the model of another run, and simulations of its own."""
    text = text.replace("BEADS", str(like.beads))
    folder = RunFolder.choose("changing", text, folder=path)
    for name in ("model", "training"):
        getattr(folder, name).write_bytes(getattr(like, name).read_bytes())
    return recipes.parse(text), folder


def test_an_exchange_is_one_run_with_an_ensemble_for_each_temperature(exchanged):
    kept = Dataset.open(exchanged.simulation)
    assert kept.temperatures == (300.0, 400.0) and len(kept) == 2 * 140
    assert not list(exchanged.path.glob("simulation-*.h5"))
    recipe = recipes.parse(exchanged.recipe.read_text())
    for kelvin in (300.0, 400.0):
        found = workflow.sampled(recipe, exchanged, exchanged.model, kelvin=kelvin)
        assert found.state.temperature == kelvin and set(found.frames.temperature) == {kelvin}
        assert len(found.frames) == 120 and found.frames.time.min() > 1.0
        assert set(found.chain) == {0, 1}, "both replicas have been at this temperature"


def test_the_report_shows_each_temperature_and_the_exchanges(exchanged):
    page = exchanged.report.read_text()
    assert "RDF M–M over temperatures" in page and "300 – 400" in page and "round trips" in page
    judged = [v["observable"] for v in json.loads(exchanged.verdicts.read_text())["verdicts"]]
    assert {f"RDF M–M at {k} K: mean-square error" for k in (300, 400)} <= set(judged)


def test_a_ramp_is_a_run_of_its_own_and_is_compared_with_beads_at_rest(exchanged, tmp_path):
    recipe, folder = begun(f"{LATER}{RAMP}\n", exchanged, tmp_path / "run")
    workflow.sample(recipe, folder, QUIET)
    assert sorted(p.name for p in folder.path.glob("simulation*.h5")) == [
        "simulation-ramp-start.h5", "simulation-ramp.h5", "simulation.h5",
    ]  # fmt: skip
    ramp = Dataset.open(folder.path / "simulation-ramp.h5")[:]
    np.testing.assert_allclose(ramp.temperature, 300.0 + 100.0 * ramp.time / 4.0, rtol=1e-9)
    model, over = Model.load(folder.model), workflow.heated(recipe, folder, folder.model)
    rest = workflow.sampled(recipe, folder, folder.model)
    found = heating(model, over, (300.0, 400.0), [(300.0, rest)])
    ((kelvin, passing, still),) = found.compared
    assert kelvin == 300.0 and found.ramp[1] == 400.0
    assert abs(passing.value - still.value) < 4 * np.hypot(passing.error, still.error) < 2.0
    drawn = section.thermodynamics(section.Report("model", (300.0,), (), (), (), heating=found))
    (figure,), (verdict,) = drawn.figures, drawn.verdicts
    assert figure.title == "Energy per molecule over the ramp" and "to 400 K" in figure.svg
    assert verdict.observable == "energy over the ramp against that at rest" and verdict.outcome != "differs"


def test_a_line_through_a_ramp_is_read_where_it_passes():
    """Energies that rise by 0.02 a kelvin, exactly, from frames that are not centred."""
    kelvin = np.linspace(300.0, 330.0, 40)
    found = passing(kelvin, 0.02 * kelvin - 5.0, np.zeros(40, int), 310.0)
    assert found.value == pytest.approx(1.2) and found.error == pytest.approx(0.0, abs=1e-9)


def test_a_killed_run_goes_on_to_the_same_frames(exchanged, tmp_path):
    longer = f"{LATER}{EXCHANGE}\n".replace("time: 6", "time: 60")
    recipe, whole = begun(longer, exchanged, tmp_path / "whole")
    (tmp_path / "r.yaml").write_text(longer.replace("BEADS", str(exchanged.beads)))
    _, folder = begun(longer, exchanged, tmp_path / "run")
    name = "simulation.h5"
    words = [sys.executable, "-m", "meanforce", "simulate", "r.yaml", "--folder", "run", "--resume"]
    running = subprocess.Popen(words, cwd=tmp_path, env={**os.environ, "JAX_PLATFORMS": "cpu"},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    until = time.monotonic() + 240
    while not list(folder.path.glob(f"{name}*part*/*")) and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
    time.sleep(2.5)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert not (folder.path / name).exists(), "it was killed in the middle"
    for each in (folder, whole):
        workflow.sample(recipe, each, QUIET)
    one, other = (Dataset.open(each.path / name)[:] for each in (folder, whole))
    np.testing.assert_array_equal(one.positions, other.positions)
    np.testing.assert_array_equal(one.temperature, other.temperature)


@pytest.mark.parametrize(
    ("simulate", "message"),
    [
        ("{temperatures: [300, 400], exchange: {every: 0.05}, ramp: [300, 400]}", "take one of the two"),
        ("{temperatures: [300], exchange: {every: 0.05}}", "give two or more"),
        ("{exchange: {every: 0.05}}", "give two or more"),
        ("{temperatures: [300, 400], exchange: {every: 0.05}, replicas: 2}", "leave replicas out"),
        ("{temperatures: [300, 400], exchange: {every: 0.007}}", "not a whole number of steps"),
        ("{temperatures: [300, 400], exchange: {evry: 0.05}}", "did you mean 'every'"),
        ("{ramp: [300, 300]}", "begins and ends at the same temperature"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_work(simulate, message):
    with pytest.raises(recipes.RecipeError, match=message):
        recipes.parse(f"{ATOMS}simulate: {simulate}\n")


def test_the_schema_says_units():
    known = recipes.schema()["$defs"]
    assert known["Exchange"]["properties"]["every"]["description"].startswith("ps ")
    assert known["Simulate"]["properties"]["ramp"]["description"].startswith("K, ")
