"""Recipes are strict, and answer a mistake with what was meant."""

import json

import pytest

from meanforce import recipe as recipes

WATER = "name: w\ndataset: beads.h5\n"
LIQUID = "name: w\nexact: {}\nmapping: {residues: {A: {A: all}}}\n"
RUNS = """name: w
trajectory:
  - {topology: a.tpr, trajectories: a.trr, temperature: 300}
  - {topology: a.tpr, trajectories: [b.trr, c.trr], temperature: 400}
mapping: {residues: {A: {A: all}}}
potential: {kind: spline, thermal: {}}
"""


@pytest.mark.parametrize("name", recipes.templates())
def test_every_template_is_a_recipe(name):
    assert recipes.parse(recipes.template(name)).name == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: w\nreferense: {}\n", ["referense", "did you mean 'reference'"]),
        (WATER + "simulate: {timestp: 0.1}\n", ["simulate.timestp", "did you mean 'timestep'"]),
        (WATER + "potential: splin\n", ["did you mean 'spline'"]),
        (WATER + "potential: {kind: spline, cutof: 1}\n", ["did you mean 'cutoff'"]),
        ("name: w\nmapping: {residues: {A: {A: all}}}\nreference: {system: {name: watr}}\n", ["did you mean 'water'"]),
        (
            "name: w\nmapping: {residues: {A: {A: all}}}\n"
            "reference: {system: {name: water, modl: spce}, temperatures: [300], time: 1}\n",
            ["modl", "did you mean 'model'"],
        ),
        ("name: w\n", ["exactly one of reference, exact, trajectory, dataset"]),
        ("name: w\nreference: {system: {name: argon}, temperatures: [90], time: 1}\n", ["mapping is missing"]),
        (WATER + "mapping: {position: mass}\n", ["exactly one of residues, selections, cgsmiles"]),
        ("name: w\nexact: {system: diatomic}\n", ["mapping is missing: say which atoms make a bead"]),
        (
            LIQUID.replace("exact: {}", "exact: {system: two-state}"),
            ["two-state are beads already", "leave mapping out"],
        ),
        ("name: w\nexact: {system: two-stat}\n", ["exact.system", "did you mean 'two-state'"]),
        (WATER + "simulate: {time: -1}\n", ["simulate.time", "greater than 0"]),
        (WATER + "potential: dimnet\n", ["did you mean 'dimenet'"]),
        (WATER + "potential: equivarant\n", ["did you mean 'equivariant'"]),
        (WATER + "potential: {kind: local, cutof: 1}\n", ["did you mean 'cutoff'"]),
        (WATER + "potential: kernels\n", ["did you mean 'kernel'"]),
        (WATER + "potential: {kind: kernel, point: 9}\n", ["potential.kernel.point", "did you mean 'points'"]),
        (WATER + "potential: {kind: kernel, length: 0}\n", ["potential.kernel.length", "greater than 0"]),
        (
            WATER + "potential: {kind: kernel, cutoff: 0.1}\n",
            ["potential.kernel", "start 0.15", "below the cutoff 0.1"],
        ),
        (WATER + "potential: kernel\ntrain: {gradient: {epochs: 3}}\n", ["train.gradient is for networks"]),
        (
            WATER + "potential: {kind: kernel, thermal: {heat_capacity: [300, 400]}}\n",
            ["one fixed form", "kind: local"],
        ),
        (WATER + "potential: spline\ntrain: {gradient: {epochs: 3}}\n", ["train.gradient is for networks"]),
        (WATER + "potential: local\ntrain: {gradient: {bootstrap: 20}}\n", ["train.gradient", "members="]),
        (
            WATER + "potential: local\ntrain: {regularisation: evidence}\n",
            ["train.regularisation is for splines and kernels"],
        ),
        (WATER + "potential: local\ntrain: {gradient: {epoch: 3}}\n", ["did you mean 'epochs'"]),
        (WATER + "validate: {surface: [[1, 2, 3], [2, 3, 4, 5]]}\n", ["validate.surface"]),
        (WATER + "train: {energy: 1}\n", ["train.energy", "does not change", "thermal: {reference: 300}"]),
        (WATER + "train: {temperatures: [300, 400]}\n", ["train.temperatures", "thermal"]),
        (
            WATER + "potential: {kind: spline, thermal: {heat_capacity: [300, 400]}}\n",
            ["one fixed form", "kind: local"],
        ),
        (LIQUID + "potential: {kind: spline, thermal: {}}\ntrain: {energy: 1, joint: 1}\n", ["give one of them"]),
        (WATER + "train: {temperature: 300, temperatures: [300, 400]}\n", ["temperature or temperatures, not both"]),
        (WATER + "simulate: {temperatures: [300, 300]}\n", ["stands twice in 300, 300"]),
        (WATER + "potential: {kind: spline, thermal: {referense: 300}}\n", ["did you mean 'reference'"]),
        (LIQUID + "potential: {kind: spline, thermal: {}}\n", ["forces at one temperature", "train: {energy: 1.0}"]),
        (
            LIQUID + "potential: {kind: spline, thermal: {heat_capacity: true}}\ntrain: {energy: 1}\n",
            ["heat capacities", "several temperatures", "variance"],
        ),
        (
            LIQUID + "potential: {kind: spline, thermal: {}}\ntrain: {energy: 1, temperatures: [300, 320]}\n",
            ["no atoms at 320 K; there are some at 300 K"],
        ),
        (
            RUNS.replace("temperature: 400", "temperatur: 400"),
            ["trajectory.1.temperatur", "did you mean 'temperature'"],
        ),
        ("- 1\n- 2\n", ["holds no recipe"]),
        ("name: [\n", ["is not YAML"]),
    ],
)
def test_a_mistake_is_answered(text, words):
    with pytest.raises(recipes.RecipeError) as error:
        recipes.parse(text)
    for word in words:
        assert word in str(error.value)


def test_a_missing_library_is_named_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(recipes, "find_spec", lambda name: None)
    with pytest.raises(recipes.RecipeError, match=r"pip install 'meanforce\[equivariant\]'"):
        recipes.parse(WATER + "potential: equivariant\n")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("potential: hipnn\n", 0.01),
        ("potential: equivariant\n", 0.005),
        ("potential: local\ntrain: {gradient: {epochs: 3}}\n", 0.02),
        ("potential: dimenet\n", 0.001),
        ("potential: hipnn\ntrain: {gradient: {learning_rate: 0.5}}\n", 0.5),
    ],
)
def test_a_network_is_trained_at_its_own_learning_rate_where_none_is_said(text, rate):
    assert recipes.parse(WATER + text).gradient.learning_rate == rate


def test_kernels_are_regularised_as_splines_are():
    found = recipes.parse(WATER + "potential: kernel\ntrain: {regularisation: cross-validation}\n")
    assert found.train.regularisation == "cross-validation" and found.gradient.learning_rate is None


def test_paths_are_relative_to_the_recipe(tmp_path):
    (tmp_path / "r.yaml").write_text(WATER)
    assert recipes.load(tmp_path / "r.yaml").dataset == tmp_path / "beads.h5"


def test_several_runs_each_have_a_temperature(tmp_path):
    (tmp_path / "r.yaml").write_text(RUNS)
    found = recipes.load(tmp_path / "r.yaml")
    assert found.temperatures == (300.0, 400.0)
    assert [run.trajectories for run in found.trajectory] == [
        (tmp_path / "a.trr",), (tmp_path / "b.trr", tmp_path / "c.trr"),
    ]  # fmt: skip


def test_variances_at_one_temperature_teach_heat_capacities():
    thermal = "potential: {kind: spline, thermal: {heat_capacity: true}}\ntrain: {energy: 1, variance: 1}\n"
    assert recipes.parse(LIQUID + thermal).train.asked == ("energy", "variance")


def test_a_missing_recipe_names_the_next_action(tmp_path):
    with pytest.raises(recipes.RecipeError, match="meanforce template water"):
        recipes.load(tmp_path / "none.yaml")


def test_an_unknown_template_names_the_nearest():
    with pytest.raises(recipes.RecipeError, match="did you mean 'water'"):
        recipes.template("watre")


def test_every_key_of_the_schema_is_described():
    schema = recipes.schema()
    assert json.loads(json.dumps(schema)) == schema
    for name in (
        "Trajectory",
        "Mapping",
        "Spline",
        "Kernel",
        "ExactRun",
        "Train",
        "Simulate",
        "Validate",
        "Thermal",
        "CrossFit",
        "ReferenceRun",
        "Water",
    ):
        for key, field in schema["$defs"][name]["properties"].items():
            assert "description" in field or "const" in field, f"{name}.{key}"
