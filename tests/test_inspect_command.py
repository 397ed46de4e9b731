"""`meanforce inspect`: JSON for programs, and one message on what is neither a data set nor a model."""

import json
import sys

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from meanforce import cli
from meanforce.data.dataset import Dataset
from meanforce.model import Model
from meanforce.potentials.splines import PairSpline
from meanforce.topology import Topology

WATER = Topology.of(["W"] * 8, masses={"W": 18.015})


@pytest.fixture
def folder(tmp_path):
    """A data set, a model, and what is neither."""
    rng = np.random.default_rng(5)
    data = Dataset.from_arrays(
        WATER, positions=rng.random((40, 8, 3)) * 1.2, forces=rng.normal(size=(40, 8, 3)) * 300, box=np.eye(3) * 1.2,
        temperature=300.0, path=tmp_path / "beads.h5",
    )  # fmt: skip
    term = PairSpline(("W",), cutoff=0.5, spacing=0.1)
    coefficients = jnp.arange(float(len(term.coefficients)))
    Model(term.with_coefficients(coefficients), WATER, temperature=(300.0, 320.0)).save(tmp_path / "model.mf")
    (tmp_path / "data").write_bytes((tmp_path / "beads.h5").read_bytes())
    (tmp_path / "notes.txt").write_text("nothing to inspect")
    (tmp_path / "cut.mf").write_bytes((tmp_path / "model.mf").read_bytes()[:100])
    (tmp_path / "cut.h5").write_bytes((tmp_path / "beads.h5").read_bytes()[:100])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    return tmp_path, data


def said(monkeypatch, capsys, *words) -> tuple[int, str, str]:
    """Exit code, output and messages of a command."""
    monkeypatch.setattr(sys, "argv", ["meanforce", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0, *capsys.readouterr()


def strict(text: str) -> dict:
    """JSON as every program reads it: without NaN and Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("name", ["beads.h5", "data"])
def test_a_data_set_as_json(folder, monkeypatch, capsys, name):
    home, data = folder
    code, text, messages = said(monkeypatch, capsys, "inspect", home / name, "--json")
    found = strict(text)
    assert (code, messages) == (0, "")
    assert (found["frames"], found["particles"], found["molecules"], found["species"]) == (40, 8, 8, {"W": 8})
    assert found["temperatures"] == [300.0] and found["edges"] == pytest.approx([1.2] * 3)
    assert found["forces"]["rms"] == pytest.approx(np.sqrt(np.mean(data[:].forces ** 2)))
    assert found["hash"] == data.hash
    assert [(r["name"], r["unit"]) for r in found["ranges"]] == [("pair W-W", "nm")]
    assert isinstance(found["warnings"], list)


def test_a_model_as_json(folder, monkeypatch, capsys):
    code, text, messages = said(monkeypatch, capsys, "inspect", folder[0] / "model.mf", "--json")
    found = strict(text)
    assert (code, messages) == (0, "")
    assert (found["beads"], found["species"], found["temperature"]) == (8, ["W"], [300.0, 320.0])
    assert "PairSpline" in json.dumps(found["potential"])
    assert found["units"]["length"] == "nm" and "jax" in found["versions"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.h5", "no such file"),
        (".", "no such file"),
        ("notes.txt", "neither a data set"),
        ("other.h5", "no data set of meanforce"),
        ("cut.h5", "not a whole HDF5 file"),
        ("cut.mf", "no whole model file"),
    ],
)
def test_what_is_neither_is_refused_in_one_message(folder, monkeypatch, capsys, name, says):
    code, text, messages = said(monkeypatch, capsys, "inspect", folder[0] / name, "--json")
    assert (code, text) == (1, "")
    assert says in messages and messages.count("meanforce:") == 1 and "Traceback" not in messages
