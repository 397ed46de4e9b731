"""Labels of matching: what they are, and what is refused before the work."""

import numpy as np
import pytest

import meanforce.numerics.precision  # noqa: F401
from meanforce.data.dataset import Dataset
from meanforce.objectives.matching import ForceMatching, PressureMatching, inner_positions
from meanforce.topology import Topology

EDGE = 2.0


def molecules(bonds=((0, 1), (1, 2), (3, 4))):
    """A trimer, a dimer and a single bead."""
    return Topology.of(list("ABABBA"), masses={"A": 10.0, "B": 30.0}, bonds=bonds)


def frames_of(topology, n=4, seed=0, wrap=True, **labels):
    """Molecules of beads close together, wrapped bead by bead across the box."""
    random = np.random.default_rng(seed)
    centre = random.uniform(0, EDGE, (n, topology.molecules.max() + 1, 3))
    inner = 0.2 * random.standard_normal((n, len(topology), 3))
    positions = centre[:, topology.molecules] + inner
    whole = positions.copy()
    if wrap:
        positions = positions % EDGE
    data = Dataset.from_arrays(
        topology, positions=positions, forces=random.standard_normal(positions.shape), box=EDGE * np.eye(3),
        virial=random.standard_normal(n), temperature=300.0, **labels,
    )  # fmt: skip
    return data, whole


def inner_of(whole, topology):
    out = whole.copy()
    for molecule in range(topology.molecules.max() + 1):
        beads = np.flatnonzero(topology.molecules == molecule)
        mass = topology.masses[beads]
        out[:, beads] -= np.einsum("b,fbk->fk", mass, whole[:, beads])[:, None] / mass.sum()
    return out


def test_molecules_broken_across_the_box_are_made_whole():
    topology = molecules()
    data, whole = frames_of(topology)
    assert inner_positions(data[:], topology) == pytest.approx(inner_of(whole, topology), abs=1e-12)


def test_molecules_without_bonds_are_made_whole_too():
    """Residues of several beads that no bond connects: each bead hangs on the one before."""
    bonded = molecules()
    topology = Topology(bonded.species, bonded.masses, molecules=bonded.molecules)
    data, whole = frames_of(topology)
    assert inner_positions(data[:], topology) == pytest.approx(inner_of(whole, topology), abs=1e-12)


def test_triclinic_boxes():
    topology = molecules()
    box = np.array([[2.0, 0, 0], [0.7, 2.1, 0], [-0.6, 0.8, 1.9]])
    data, whole = frames_of(topology, wrap=False)
    steps = np.random.default_rng(1).integers(-1, 2, whole.shape)
    frames = data[:].with_(positions=whole + steps @ box, box=np.broadcast_to(box, (len(whole), 3, 3)))
    assert inner_positions(frames, topology) == pytest.approx(inner_of(whole, topology), abs=1e-12)


def test_the_virial_of_beads_is_that_of_molecules_and_what_is_inside():
    topology = molecules()
    data, whole = frames_of(topology)
    found = PressureMatching(data).labels(data[:], topology)
    expected = data[:].virial + (inner_of(whole, topology) * data[:].forces).sum((1, 2))
    assert found == pytest.approx(expected)


def test_one_bead_molecules_keep_their_virial():
    topology = Topology.of(["A"] * 6, masses={"A": 10.0})
    data, _ = frames_of(topology)
    assert np.array_equal(PressureMatching(data).labels(data[:], topology), data[:].virial)


def test_force_labels_are_the_forces():
    data, _ = frames_of(molecules())
    assert np.array_equal(ForceMatching(data).labels(data[:2], data.topology), data[:2].forces.reshape(-1))
    assert [s.temperature for s in ForceMatching(data).states] == [300.0]


def without(label):
    topology = molecules()
    data, _ = frames_of(topology)
    return Dataset.from_frames(topology, data[:].with_(**{label: None}))


@pytest.mark.parametrize(
    ("objective", "label", "message"),
    [
        (ForceMatching, "forces", "hold no forces"),
        (PressureMatching, "virial", "hold no virials"),
        (PressureMatching, "box", "no box"),
        (PressureMatching, "forces", "need forces beside their virials"),
    ],
)
def test_missing_labels_are_refused_by_name(objective, label, message):
    with pytest.raises(ValueError, match=message):
        objective(without(label)).check(None)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_weights_are_positive(weight):
    with pytest.raises(ValueError, match="weight"):
        ForceMatching(frames_of(molecules())[0], weight=weight)
