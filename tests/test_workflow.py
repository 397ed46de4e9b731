"""The whole way at a small size: atoms with a known answer to a judged model, with kills and mistakes."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from meanforce import thermodynamics, workflow
from meanforce.data.dataset import Dataset
from meanforce.data.errors import MappingError
from meanforce.frames import Frames
from meanforce.model import Model
from meanforce.recipe import Mapping as MappingOptions
from meanforce.reference.exact_run import ExactRun
from meanforce.topology import Topology

RECIPE = """
name: small
exact: {molecules: 64, frames: 200}
mapping: {residues: {DIA: {M: all}}}
potential: {kind: spline, cutoff: 0.9, many_body: false}
simulate: {time: 4, equilibration: 1, save_every: 0.05, trajectories: [xtc]}
"""
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu"}


def command(*words) -> list[str]:
    return [sys.executable, "-m", "meanforce", *map(str, words)]


def meanforce(*words, cwd: Path, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*words), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, **kwargs
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """One run, carried out by the command line."""
    home = tmp_path_factory.mktemp("run")
    (home / "small.yaml").write_text(RECIPE)
    done = meanforce("run", "small.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    (folder,) = (home / "runs").iterdir()
    assert "verdict" in done.stdout and "report.html" in done.stdout
    return folder


def test_a_run_leaves_everything_in_one_dated_folder(finished):
    names = {path.name for path in finished.iterdir()}
    assert {
        "recipe.yaml",
        "atoms.h5",
        "beads.h5",
        "model.mf",
        "simulation.h5",
        "report.html",
        "verdicts.json",
        "run.log",
    } <= names
    assert finished.name.startswith("20") and finished.name.endswith("_small")


def logged(folder) -> list[str]:
    return (folder / "run.log").read_text().splitlines()


def test_the_log_tells_what_was_done(finished):
    """Command and versions first, then every stage with its seconds, each line with its time."""
    first = logged(finished)[: next(n for n, line in enumerate(logged(finished)) if " finished in " in line) + 1]
    told = [re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} (.*)", line)[1] for line in first]
    assert re.fullmatch(r"command: .*meanforce\S* run small\.yaml", told[0])
    assert re.match(r"versions: python 3\.\d+.*, jax \d", told[1])
    stages = ["Simulating the atoms", "Mapping atoms to beads", "Fitting the model", "Sampling the model",
              "Judging the model"]  # fmt: skip
    assert [line.removeprefix("begin: ") for line in told if line.startswith("begin: ")] == stages
    ends = [re.fullmatch(r"end: (.*), \d+\.\d s", line) for line in told if line.startswith("end: ")]
    assert [end[1] for end in ends] == stages
    assert any(line.startswith("note: model: ") for line in told)


def test_a_failure_is_one_message_on_the_terminal_and_a_traceback_in_the_log(finished, tmp_path):
    unknown = f"name: wrong\ndataset: {finished / 'atoms.h5'}\nmapping: {{residues: {{NONE: {{M: all}}}}}}\n"
    (tmp_path / "wrong.yaml").write_text(unknown)
    done = meanforce("map", "wrong.yaml", "--folder", "wrong", cwd=tmp_path)
    assert done.returncode == 1
    assert "NONE" in done.stderr and "Traceback" not in done.stderr
    told = logged(tmp_path / "wrong")
    (failed,) = [n for n, line in enumerate(told) if " failed after " in line]
    assert told[failed + 1].startswith("Traceback") and "NONE" in "\n".join(told[failed:])
    assert not any("end: Mapping" in line for line in told)


def test_a_killed_run_keeps_its_lines_and_a_resumed_one_adds_to_them(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(RECIPE)
    words = ["train", "small.yaml", "--folder", "killed"]
    log = tmp_path / "killed" / "run.log"
    process = subprocess.Popen(
        command(*words), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (log.exists() and "begin: Simulating" in log.read_text()):
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = log.read_text()
    assert "begin: Simulating" in before and "finished" not in before
    assert meanforce(*words, "--resume", cwd=tmp_path).returncode == 0
    after = log.read_text()
    assert after.startswith(before) and after.count("command: ") == 2
    assert " finished in " in after.splitlines()[-1]


def test_the_model_is_the_exact_one_within_its_errors(finished):
    """The force on configurations at the same temperature, against the closed form."""
    liquid = ExactRun(molecules=64).liquid
    centres = liquid.draw(20, 300.0, 99).centres
    exact = liquid.force(centres, 300.0)
    box = np.eye(3) * liquid.edge
    ours = thermodynamics.force(Model.load(finished / "model.mf"), centres, box, temperature=300.0)
    assert np.sqrt(np.mean((ours - exact) ** 2) / np.mean(exact**2)) < 0.1


def test_verdicts_are_for_programs_too(finished):
    again = meanforce("validate", "small.yaml", "--folder", finished, "--resume", "--json", cwd=finished.parent.parent)
    found = json.loads(again.stdout)
    assert {v["outcome"] for v in found["verdicts"]} <= {"agrees", "differs", "not resolved"}
    assert any("mean-square error" in v["observable"] for v in found["verdicts"])


def test_strict_turns_a_verdict_into_an_exit_code(finished):
    outcomes = {v["outcome"] for v in json.loads((finished / "verdicts.json").read_text())["verdicts"]}
    again = meanforce(
        "validate", "small.yaml", "--folder", finished, "--resume", "--strict", cwd=finished.parent.parent
    )
    assert again.returncode == (0 if outcomes == {"agrees"} else 3)


def test_inspect_speaks_of_data_and_models(finished):
    data = meanforce("inspect", finished / "beads.h5", "--json", cwd=finished)
    assert json.loads(data.stdout)["frames"] == 200
    model = meanforce("inspect", finished / "model.mf", cwd=finished)
    assert "SplinePotential" in model.stdout and "M" in model.stdout


def test_other_settings_are_not_mixed_into_a_begun_folder(finished):
    home = finished.parent.parent
    (home / "other.yaml").write_text(RECIPE.replace("time: 4", "time: 5"))
    refused = meanforce("run", "other.yaml", "--folder", finished, "--resume", cwd=home)
    assert refused.returncode == 1 and "another recipe" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "none.yaml"], 1, "no such file"),
        (["inspect", "none.h5"], 1, "no such file"),
        (["template", "watr"], 1, "did you mean 'water'"),
        (["ruN", "small.yaml"], 2, "No such command"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, words, code, says):
    done = meanforce(*words, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_training_survives_kills(finished, tmp_path):
    """SIGKILL at 20 random instants of mapping and training: what was finished stays, and the model is the same."""
    home = tmp_path
    (home / "small.yaml").write_text(RECIPE)
    words = command("train", "small.yaml", "--folder", "kills", "--resume")
    chance, quiet = random.Random(7), subprocess.DEVNULL
    started = time.monotonic()
    undisturbed = subprocess.run(words, cwd=home, env=ENVIRONMENT, capture_output=True, check=True)
    assert undisturbed.returncode == 0
    length = time.monotonic() - started
    want = (home / "kills" / "model.mf").read_bytes()
    atoms = Dataset.open(home / "kills" / "atoms.h5").hash
    for attempt in range(20):
        for name in ("beads.h5", "model.mf", "training.json"):
            if attempt % 5 == 0:
                (home / "kills" / name).unlink(missing_ok=True)
        process = subprocess.Popen(words, cwd=home, env=ENVIRONMENT, stdout=quiet, stderr=quiet)
        try:
            process.wait(timeout=chance.uniform(0.0, length))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert Dataset.open(home / "kills" / "atoms.h5").hash == atoms
    subprocess.run(words, cwd=home, env=ENVIRONMENT, capture_output=True, check=True)
    assert (home / "kills" / "model.mf").read_bytes() == want


NETWORK = """
name: network
dataset: BEADS
potential: {kind: local, cutoff: 0.6}
train: {gradient: {epochs: 2, batch: 8, learning_rate: 0.01}}
"""


def test_a_network_is_chosen_by_its_name_and_goes_on_from_its_checkpoint(finished, tmp_path):
    """The splines under it are solved again after a stop, to the same bits: the checkpoint knows them."""
    (tmp_path / "network.yaml").write_text(NETWORK.replace("BEADS", str(finished / "beads.h5")))
    words = ["train", "network.yaml", "--folder", "run"]
    assert meanforce(*words, cwd=tmp_path).returncode == 0
    run = tmp_path / "run"
    model, curve = (run / "model.mf").read_bytes(), (run / "training.csv").read_text()
    assert curve.count("\n") == 4  # a heading, the start, two epochs
    assert b"LocalNetwork" in model and b"PairSpline" in model and b"Wall" in model
    for left in ("model.mf", "training.json", "training.csv"):
        (run / left).unlink()
    done = meanforce(*words, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run / "training.csv").read_text() == curve
    potential = Model.load(run / "model.mf").potential
    (tmp_path / "first.mf").write_bytes(model)
    for ours, theirs in zip(
        *map(jax.tree.leaves, (potential, Model.load(tmp_path / "first.mf").potential)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_data_set_that_is_not_there_is_named(tmp_path):
    (tmp_path / "r.yaml").write_text("name: r\ndataset: nowhere.h5\n")
    done = meanforce("train", "r.yaml", "--folder", "run", cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere.h5" in done.stderr and "Traceback" not in done.stderr


def test_a_solvent_may_be_left_without_beads():
    """One solute of two atoms among three waters, as residues and by CGsmiles."""
    elements = ("C", "C") + ("O", "H", "H") * 3
    molecules = np.repeat([0, 1, 2, 3], [2, 3, 3, 3])
    topology = Topology(
        elements, np.ones(11), names=("C1", "C2") + ("OW", "HW1", "HW2") * 3, residues=("ETH",) * 2 + ("HOH",) * 9,
        residue_ids=molecules, molecules=molecules, bonds=[(0, 1), *((2 + 3 * w, 2 + 3 * w + k) for w in range(3)
        for k in (1, 2))],
    )  # fmt: skip
    atoms = Dataset.from_frames(topology, Frames(np.zeros((1, 11, 3))))
    solute = MappingOptions(residues={"ETH": {"E": "all"}}, leave=["HOH"])
    assert workflow._mapping(solute, atoms).topology.species == ("E",)
    with pytest.raises(MappingError, match="nothing is said of the residues HOH"):
        workflow._mapping(MappingOptions(residues={"ETH": {"E": "all"}}), atoms)
    with pytest.raises(ValueError, match="selections name what has beads"):
        MappingOptions(selections={"E": "resname ETH"}, leave=["HOH"])
