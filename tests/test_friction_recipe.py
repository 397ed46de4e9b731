"""Friction in recipes: matched to atoms whose friction is known, used at every temperature, and judged."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import meanforce as mf
from meanforce import motion, workflow
from meanforce import recipe as recipes
from meanforce.dynamics.activated import Activated
from meanforce.potentials.base import Potential
from meanforce.potentials.priors import LennardJones
from meanforce.runfolder import RunFolder
from meanforce.terminal import Bars

KELVINS, KNOWN = (150.0, 250.0), Activated((150.0, 250.0), (8.0, 3.0))
EDGE, SIDE = 1.3, 3
RECIPE = """
name: friction
dataset: BEADS
potential: {kind: spline, cutoff: 0.6, spacing: 0.03, many_body: false}
train: {temperature: 150}
simulate: {temperatures: [150, 250], friction: {match: 150}, time: 20, equilibration: 1, timestep: 0.01,
  save_every: 0.1, replicas: 4, trajectories: [], guard: 'off'}
"""
QUIET = Bars(Console(quiet=True))


class Holder(NamedTuple):
    potential: Potential
    topology: mf.Topology


def made(path: Path, **changes) -> Path:
    """Beads that stand for atoms: argon with a friction that falls with temperature."""
    argon = LennardJones(("A",), sigma=jnp.array([0.34]), epsilon=jnp.array([0.996]), cutoff=0.6)
    model = Holder(argon, mf.Topology.of(["A"] * SIDE**3, masses={"A": 39.948}))
    sites = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1).reshape(-1, 3)
    start = mf.Frames(((sites + 0.5) / SIDE * EDGE)[None], EDGE * np.eye(3)[None])
    parts = []
    for number, kelvin in enumerate(KELVINS):
        run = mf.simulate(
            model, start, kelvin, 70.0, 0.01, number, thermostat=mf.Langevin(KNOWN),
            settings=mf.Settings(save_every=0.1, replicas=2),
        ).frames  # fmt: skip
        run = run[np.flatnonzero(run.time > 10.0)]
        run = run[np.argsort(run.trajectory, kind="stable")]
        forces = mf.thermodynamics.force(model, run.positions, run.box, temperature=kelvin)
        parts.append(run.with_(forces=forces, virial=None, trajectory=run.trajectory + 2 * number))
    mf.Dataset.from_frames(model.topology, mf.Frames.concatenate(parts).with_(**changes), path=path)
    return path


@pytest.fixture(scope="module")
def atoms(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("atoms") / "beads.h5")


@pytest.fixture(scope="module")
def finished(atoms, tmp_path_factory) -> RunFolder:
    text = RECIPE.replace("BEADS", str(atoms))
    folder = RunFolder.choose("friction", text, folder=tmp_path_factory.mktemp("friction") / "run")
    workflow.carry_out(recipes.parse(text), folder, last="validate", bars=QUIET)
    return folder


def test_the_friction_of_the_atoms_is_found(finished):
    (match,) = motion.read(finished).matches
    assert match.kelvin == 150.0 and abs(match.value.value - 8.0) < 3 * match.value.error < 8.0
    assert len(list(finished.path.glob("friction-150K-*.h5"))) == 5


def test_every_temperature_is_simulated_with_it(finished):
    value = motion.read(finished).at(150.0).value
    for kelvin in KELVINS:
        said = mf.Dataset.open(finished.path / f"simulation-{kelvin:g}K.h5").provenance["thermostat"]
        assert said == repr(mf.Langevin(value))


@pytest.mark.filterwarnings("ignore::meanforce.potentials.validity.ExtrapolationWarning")
def test_the_report_shows_motion_at_each_temperature(finished):
    page = finished.report.read_text()
    assert "Diffusion over temperature" in page and "friction matched" in page and "Friction / (1/ps)" in page
    judged = {v["observable"]: v for v in json.loads(finished.verdicts.read_text())["verdicts"]}
    found = judged["diffusion coefficient, predicted"]
    assert found["outcome"] != "agrees", "atoms of 250 K are held back less than those of 150 K"
    recipe = recipes.parse(finished.recipe.read_text())
    states = [(kelvin, workflow.sampled(recipe, finished, finished.model, kelvin=kelvin)) for kelvin in KELVINS]
    cold, hot = motion.motion(recipe, finished, states, QUIET.note)
    assert cold.matched and not hot.matched and cold.friction == hot.friction
    assert abs(cold.model.value - cold.atoms.value) < 3 * np.hypot(cold.model.error, 1.5 * cold.atoms.error)
    assert hot.model.value < hot.atoms.value
    notes: list[str] = []
    ensemble = states[1][1]
    short = ensemble._replace(**{name: getattr(ensemble, name)[:40] for name in ("frames", "log_weights", "chain")})
    assert motion.motion(recipe, finished, [(250.0, short)], notes.append) == ()
    assert len(notes) == 1 and "at 250 K is not in the report: 10 frames in a chain are too few" in notes[0]


def test_a_killed_match_goes_on_to_the_same_friction(finished, atoms, tmp_path):
    text = RECIPE.replace("BEADS", str(atoms))
    (tmp_path / "r.yaml").write_text(text)
    folder = RunFolder.choose("friction", text, folder=tmp_path / "run")
    for name in ("model", "training"):
        getattr(folder, name).write_bytes(getattr(finished, name).read_bytes())
    words = [sys.executable, "-m", "meanforce", "simulate", "r.yaml", "--folder", "run", "--resume"]
    running = subprocess.Popen(words, cwd=tmp_path, env={**os.environ, "JAX_PLATFORMS": "cpu"},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    first, until = folder.path / "friction-150K-0.h5", time.monotonic() + 120
    while not first.exists() and time.monotonic() < until and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert first.exists() and not folder.friction.exists(), "it was killed between the runs of a match"
    written, recipe = first.stat().st_mtime_ns, recipes.parse(text)
    workflow._match(recipe, folder, QUIET)
    assert folder.friction.read_text() == finished.friction.read_text()
    assert first.stat().st_mtime_ns == written
    workflow._match(recipe, folder, Bars(Console(quiet=True)))
    assert first.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("friction", "message"),
    [
        ("{match: 200}", r"no atoms at 200 K to match; there are some at 150, 250 K"),
        ("{match: 150, window: [1.0, 9.0]}", r"the window ends at 9 ps, and chains of the model have lags up to"),
        ("{match: 150, time: 1}", r"lags up to 0 ps .* give a longer time"),
    ],
)
def test_atoms_that_cannot_be_matched_are_refused(friction, message, atoms, tmp_path):
    recipe, folder = asked(atoms, friction, tmp_path)
    with pytest.raises(recipes.RecipeError, match=message):
        workflow.learn(recipe, folder, QUIET)
    assert not folder.model.exists(), "before the fit"


def asked(data: Path, friction: str, path: Path) -> tuple[recipes.Recipe, RunFolder]:
    text = RECIPE.replace("BEADS", str(data)).replace("{match: 150}", friction)
    return recipes.parse(text), RunFolder.choose("friction", text, folder=path / "run")


def test_atoms_without_times_and_frames_that_are_too_rare_are_refused(atoms, tmp_path):
    data = mf.Dataset.open(atoms)
    for name, frames, message in (
        ("timeless", data[:].with_(time=None), "carry no times"),
        ("rare", data[::100], "too few to follow motion"),
        ("far", far_apart(data[:]), "write frames more often"),
    ):
        mf.Dataset.from_frames(data.topology, frames, path=tmp_path / f"{name}.h5")
        recipe, folder = asked(tmp_path / f"{name}.h5", "{match: 150}", tmp_path / name)
        with pytest.raises(recipes.RecipeError, match=rf"the motion at 150 K cannot be followed: .*{message}"):
            motion.check_motion(recipe, folder)


def far_apart(frames: mf.Frames) -> mf.Frames:
    """Beads anywhere in the box in each frame."""
    return frames.with_(positions=np.random.default_rng(1).uniform(0, EDGE, frames.positions.shape))


@pytest.mark.parametrize(
    ("simulate", "message"),
    [
        ("{temperatures: [300, 350], exchange: {every: 0.05}, friction: {match: 300}}", "give a number in 1/ps"),
        ("{friction: {match: 300}, pressure: 1.0}", "matched at constant volume"),
        ("{friction: {match: [300, 300]}}", "a temperature stands twice"),
        ("{friction: {match: 300, window: [4.0, 2.0]}}", "it begins before it ends"),
        ("{friction: {match: 300, time: 0.3}}", "not a whole number of steps"),
        ("{friction: {match: 300, widow: [2.0, 4.0]}}", "did you mean 'window'"),
        ("{friction: {match: 310}}", "no atoms at 310 K to match; there are some at 300, 350 K"),
        ("{friction: -1}", "greater than 0"),
        ("{friction: fast}", "valid number"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_work(simulate, message):
    text = f"""
name: friction
reference: {{system: {{name: argon}}, temperatures: [300, 350], time: 1, interval: 0.1}}
mapping: {{selections: {{A: all}}}}
simulate: {simulate}
"""
    with pytest.raises(recipes.RecipeError, match=message):
        recipes.parse(text)


def test_atoms_that_are_drawn_have_no_motion():
    text = "name: f\nexact: {}\nmapping: {residues: {DIA: {M: all}}}\nsimulate: {friction: {match: 300}}\n"
    with pytest.raises(recipes.RecipeError, match="drawn and have no motion"):
        recipes.parse(text)
    assert recipes.parse(text.replace("{match: 300}", "5")).simulate.friction == 5.0
