"""What inspect says of data whose truth is known, and of data that were spoilt in known ways."""

import json
import re

import numpy as np
import pytest

from meanforce.data import sumrules
from meanforce.data.dataset import Dataset
from meanforce.data.inspect import inspect
from meanforce.frames import Frames
from meanforce.reference.analytic import ExponentialBath, ModulatedBath
from meanforce.reference.liquids import DiatomicLiquid
from meanforce.topology import Topology
from meanforce.units import KB

LIQUID = DiatomicLiquid(molecules=40, edge=1.9)
KELVIN = 300.0


@pytest.fixture(scope="module")
def drawn():
    return LIQUID.draw(240, KELVIN, 5, sweeps=6)


@pytest.fixture(scope="module")
def beads(drawn):
    return LIQUID.beads(drawn)


def of(frames: Frames) -> Dataset:
    return Dataset.from_frames(LIQUID.topology, frames)


def test_a_clean_liquid_raises_no_suspicion(beads):
    found = inspect(of(beads))
    assert found.warnings == ()
    (check,) = found.temperature_checks
    assert check.consistent and check.error < 10
    assert abs(check.measured - KELVIN) < 4 * check.error
    assert found.particles == found.molecules == 40
    assert found.species == {"D": 40}
    assert found.edges == pytest.approx((1.9,) * 3)
    assert found.density == pytest.approx(40 * 28 * 1.66053907e-3 / 1.9**3)
    assert found.forces.net < 1e-10
    assert [r.name for r in found.ranges] == ["pair D-D"]
    distances = np.linalg.norm(beads.positions[:, :, None] - beads.positions[:, None], axis=-1)
    assert found.ranges[0].low < found.nearest < found.ranges[0].high
    assert found.ranges[0].low <= distances[distances > 0].min() + 0.1
    assert len(found.runs) == 4 and all(run.quantity == "energy" for run in found.runs)


def test_it_prints_and_travels_as_json(beads):
    found = inspect(of(beads))
    text = str(found)
    for word in ("noise floor", "240 at 300 K", "pair D-D", "agrees", "nothing suspicious"):
        assert word in text
    data = json.loads(found.to_json())
    assert data["temperature_checks"][0]["consistent"] is True
    assert data["floor"]["upper"] == pytest.approx(found.floor.upper)
    assert data["hash"] == of(beads).hash


@pytest.mark.parametrize(
    ("length", "force", "message"),
    [
        (10.0, 1.0, "angstrom read as nm"),
        (10.0, 0.1, "angstrom read as nm"),
        (1.0, 1 / 41.84, r"kcal/\(mol angstrom\)"),
        (1.0, 1 / 4.184, r"energies in kcal/mol were taken for kJ/mol"),
        (1.0, 0.1, r"kJ/\(mol angstrom\)"),
        (1.0, -1.0, "opposite sign"),
        (0.1, 1.0, "nm read as angstrom"),
    ],
)
def test_wrong_units_and_signs_are_named(beads, length, force, message):
    spoilt = beads.with_(positions=beads.positions * length, box=beads.box * length, forces=beads.forces * force)
    assert any(re.search(message, warning) for warning in inspect(of(spoilt)).warnings)


def test_a_wrong_temperature_is_measured(beads):
    found = inspect(of(beads.with_(temperature=np.full(len(beads), 360.0))))
    (check,) = found.temperature_checks
    assert not check.consistent
    assert abs(check.measured - KELVIN) < 4 * check.error
    assert any("not to the stated 360 K" in warning for warning in found.warnings)


def test_every_temperature_has_its_own_check(drawn, beads):
    hot = LIQUID.sample(240, 420.0, 6, sweeps=6)
    both = Frames.concatenate([beads, hot])
    checks = inspect(of(both)).temperature_checks
    assert [c.stated for c in checks] == [300.0, 420.0]
    for check in checks:
        assert abs(check.measured - check.stated) < 4 * check.error < 60


def test_molecules_of_atoms_are_shifted_whole(drawn):
    """Atoms of one molecule move together: the check needs no bonds, and constraint forces cannot spoil it."""
    atoms = LIQUID.atoms(drawn, wrapped=True)
    units = sumrules.of_molecules(atoms, LIQUID.atom_topology)
    np.testing.assert_allclose(units.forces, LIQUID.beads(drawn).forces, atol=1e-9)
    (check,) = inspect(Dataset.from_frames(LIQUID.atom_topology, atoms)).temperature_checks
    assert abs(check.measured - KELVIN) < 4 * check.error < 60


def test_a_confined_bead_has_a_temperature():
    bath = ExponentialBath()
    data = Dataset.from_frames(Topology.of(["B"], {"B": 1.0}), bath.sample(4000, KELVIN, 3))
    (check,) = inspect(data, frames=4000).temperature_checks
    assert abs(check.measured - KELVIN) < 4 * check.error < 60


def test_the_relation_is_exact_by_quadrature():
    """E[R F] = -kT for one bead: no sampling, so the temperature comes out to rounding of the quadrature."""
    bath = ModulatedBath()
    kt = KB * KELVIN
    r = np.linspace(-5, 5, 4001)
    weights = np.exp(-(bath.free_energy(r, KELVIN) - bath.free_energy(r, KELVIN).min()) / kt)
    force = bath.force(r, KELVIN)
    measured = -(weights * r * force).sum() / weights.sum() / KB
    assert measured == pytest.approx(KELVIN, rel=1e-9)


def test_missing_labels_are_said(beads):
    found = inspect(of(beads.with_(forces=None, energy=None, temperature=None)))
    assert found.forces is None and found.floor is None and found.temperature_checks == ()
    assert any("no forces" in w for w in found.warnings) and any("temperature" in w for w in found.warnings)
    assert "not stated" in str(found)


def test_an_outer_field_and_a_drift_are_seen(beads):
    pushed = beads.with_(forces=beads.forces + np.array([0.0, 0.0, 30.0]))
    assert any("net force" in w for w in inspect(of(pushed)).warnings)
    drifting = beads.with_(energy=beads.energy + np.linspace(0, 400, len(beads)), trajectory=None)
    assert any("drifts" in w for w in inspect(of(drifting)).warnings)


def test_bonded_ranges_of_a_chain():
    rng = np.random.default_rng(0)
    topology = Topology.of(["A", "B", "B", "A"], {"A": 1.0, "B": 1.0}, bonds=[(0, 1), (1, 2), (2, 3)],
                           angles=[(0, 1, 2), (1, 2, 3)], dihedrals=[(0, 1, 2, 3)])  # fmt: skip
    positions = np.array([[0.1, 0, 0], [0, 0, 0], [0, 0.2, 0], [0.1, 0.2, 0]]) + 1e-4 * rng.normal(size=(30, 4, 3))
    found = inspect(Dataset.from_arrays(topology, positions=positions, forces=rng.normal(size=(30, 4, 3))))
    by_name = {r.name: r for r in found.ranges}
    assert by_name["bond A-B"].mean == pytest.approx(0.1, abs=1e-3)
    assert by_name["bond B-B"].mean == pytest.approx(0.2, abs=1e-3)
    assert by_name["angle A-B-B"].mean == pytest.approx(90, abs=0.5)
    assert by_name["angle A-B-B"].count == 60
    assert "dihedral A-B-B-A" in by_name


def test_boxes_of_one_bead_and_tiny_data_are_inspected():
    single = Dataset.from_arrays(Topology.of(["A"], {"A": 1.0}), positions=np.zeros((1, 1, 3)), box=[1.0] * 3)
    assert inspect(single).frames == 1
    pair = Dataset.from_arrays(Topology.of(["A"] * 2, {"A": 1.0}), positions=np.eye(3)[None, :2], temperature=300.0)
    assert "data set" in str(inspect(pair))
