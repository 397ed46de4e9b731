"""Beads stand where their atoms are, in whatever images these are written."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanforce.data.dataset import Dataset
from meanforce.data.errors import IllegalForceMap, MappingError
from meanforce.data.mapping import Mapping
from meanforce.data.readers import Atoms
from meanforce.frames import Frames
from meanforce.topology import Topology

SHAPE = np.array([[0, 0, 0], [0.1, 0, 0], [-0.0333, 0.0943, 0]])
BOXES = {
    "orthorhombic": np.diag([2.0, 2.1, 2.2]),
    "triclinic": np.array([[2.0, 0, 0], [0.9, 1.9, 0], [-0.8, 0.7, 1.8]]),
}


def waters(n, bonded=True, seed=0, box=None, frames=3):
    """Waters with random positions, forces and orientations, whole."""
    rng = np.random.default_rng(seed)
    bonds = [(3 * w, 3 * w + k) for w in range(n) for k in (1, 2)] if bonded else []
    topology = Topology(
        ("O", "H", "H") * n, np.tile([15.999, 1.008, 1.008], n), names=("OW", "HW1", "HW2") * n,
        residues=("SOL",) * 3 * n, residue_ids=np.repeat(np.arange(n), 3),
        molecules=np.repeat(np.arange(n), 3), bonds=bonds,
    )  # fmt: skip
    turn, _ = np.linalg.qr(rng.normal(size=(frames, n, 3, 3)))
    r = rng.uniform(0, 2, (frames, n, 1, 3)) + SHAPE @ turn
    box = None if box is None else np.broadcast_to(box, (frames, 3, 3)).copy()
    forces = rng.normal(0, 500, (frames, 3 * n, 3))
    return topology, Frames(r.reshape(frames, -1, 3), box=box, forces=forces, energy=rng.normal(size=frames),
                            time=np.arange(frames, dtype=float), virial=np.ones(frames))  # fmt: skip


def peptide():
    """ACE-ALA-ALA-like chain: five heavy atoms a residue with hydrogens on N and CA; a ring of bonds it is not."""
    names = ["N", "H", "CA", "HA", "CB", "C", "O"]
    elements = ["N", "H", "C", "H", "C", "C", "O"]
    inside = [(0, 1), (0, 2), (2, 3), (2, 4), (2, 5), (5, 6)]
    residues, bonds = 4, []
    for k in range(residues):
        bonds += [(7 * k + i, 7 * k + j) for i, j in inside]
        bonds += [(7 * k - 2, 7 * k)] if k else []
    masses = {"N": 14.007, "H": 1.008, "C": 12.011, "O": 15.999}
    topology = Topology(
        tuple(elements * residues), np.array([masses[e] for e in elements * residues]), names=tuple(names * residues),
        residues=("ALA",) * 7 * residues, residue_ids=np.repeat(np.arange(1, 5), 7), bonds=bonds,
    )  # fmt: skip
    rng = np.random.default_rng(3)
    r = np.zeros((2, 28, 3))
    for i, j in sorted(bonds):
        r[:, j] = r[:, i] + 0.1 * rng.normal(size=(2, 3)) / np.sqrt(3)
    return topology, Frames(r, forces=rng.normal(0, 300, r.shape), energy=np.zeros(2))


def joined(mapped):
    return Frames.concatenate(list(mapped.batches(2)))


def apart(a, b, box):
    """The largest distance between two sets of points, up to lattice vectors."""
    if box is None:
        return np.abs(a - b).max()
    d = (a - b) @ np.linalg.inv(box)
    return np.abs((d - np.round(d)) @ box).max()


def test_centres_of_mass_and_summed_forces():
    topology, frames = waters(5)
    mapped = Mapping.by_residue(Atoms.from_frames(topology, frames), {"SOL": {"W": "all"}})(
        Atoms.from_frames(topology, frames, "h-bonds")
    )
    beads = joined(mapped)
    m = np.array([15.999, 1.008, 1.008])
    expected = np.einsum("a,fwax->fwx", m / m.sum(), frames.positions.reshape(3, 5, 3, 3))
    np.testing.assert_allclose(beads.positions, expected, atol=1e-12)
    np.testing.assert_allclose(beads.forces, frames.forces.reshape(3, 5, 3, 3).sum(axis=2), atol=1e-9)
    assert mapped.topology.species == ("W",) * 5
    np.testing.assert_allclose(mapped.topology.masses, 18.015)
    assert mapped.topology.molecules.tolist() == list(range(5))
    assert mapped.labels == ("forces", "energy", "virial", "time")
    np.testing.assert_array_equal(beads.energy, frames.energy)
    assert len(mapped) == 3


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("bonded", [True, False])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), position=st.sampled_from(["mass", "geometry", "HW2"]))
def test_random_periodic_images_map_to_the_same_beads(box, bonded, seed, position):
    matrix, rng = BOXES[box], np.random.default_rng(seed)
    topology, frames = waters(6, bonded, seed, matrix)
    shifted = frames.with_(positions=frames.positions + rng.integers(-3, 4, frames.positions.shape) @ matrix)
    mapping = Mapping.by_residue(Atoms.from_frames(topology, frames), {"SOL": {"W": "all"}}, position=position)
    assert apart(mapping.positions(frames), mapping.positions(shifted), matrix) < 1e-6
    weights = mapping.matrix.toarray()
    whole = np.einsum("ba,fax->fbx", weights, frames.positions)
    assert apart(mapping.positions(shifted), whole, matrix) < 1e-6
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_a_chain_longer_than_the_box_is_made_whole_along_its_bonds():
    n, box = 40, np.diag([1.0, 1.0, 1.0])
    topology = Topology.of(["C"] * n, {"C": 12.011}, bonds=[(i, i + 1) for i in range(n - 1)])
    straight = np.stack([0.15 * np.arange(n), np.zeros(n), np.zeros(n)], -1)[None]
    wrapped = Frames(straight - np.floor(straight), box=box[None])
    mapping = Mapping.by_selection(
        Atoms.from_frames(topology, wrapped), {"P": "all"}, per="system", position="geometry"
    )
    np.testing.assert_allclose(mapping.positions(wrapped)[0, 0], straight[0].mean(axis=0), atol=1e-9)


def test_a_bead_of_atoms_joined_outside_of_it_walks_there():
    topology, frames = peptide()
    mapping = Mapping.by_residue(Atoms.from_frames(topology, frames), {"ALA": {"X": ["N", "O"]}}, position="geometry")
    box = np.diag([0.9, 0.9, 0.9])
    wrapped = frames.with_(
        positions=frames.positions - np.floor(frames.positions / 0.9) * 0.9, box=np.array([box, box])
    )
    assert apart(mapping.positions(frames), mapping.positions(wrapped), box) < 1e-9
    assert mapping.matrix.nnz == 8
    assert len(mapping.topology.bonds) == 3


def test_an_image_that_cannot_be_told_is_refused():
    topology, frames = waters(4, box=BOXES["orthorhombic"])
    atoms = Atoms.from_frames(topology, frames)
    mapping = Mapping.by_selection(atoms, {"W4": ["all"]})
    spread = frames.positions.reshape(3, 4, 3, 3) + np.array([0, 1.1, 0, 0])[:, None, None]
    with pytest.raises(MappingError, match="more than half of the box"):
        mapping.positions(frames.with_(positions=0 * frames.positions + spread.reshape(3, -1, 3) * [0, 0, 1.0]))


def test_beads_over_residues_and_molecules():
    topology, frames = waters(8)
    atoms = Atoms.from_frames(topology, frames, "rigid-water")
    near = frames.with_(positions=frames.positions * 0.2)
    mapping = Mapping.by_selection(atoms, {"W4": ["index 0 to 11", "index 12 to 23"]})
    assert len(mapping) == 2
    mapped = mapping(Atoms.from_frames(topology, near, "rigid-water"))
    np.testing.assert_allclose(joined(mapped).forces[:, 0], frames.forces[:, :12].sum(axis=1), atol=1e-9)
    assert joined(mapped).virial is None
    topology, frames = peptide()
    atoms = Atoms.from_frames(topology, frames, "none")
    mapping = Mapping.by_selection(
        atoms, {"PEP": ["(resid 1 and name C O) or (resid 2 and name N H)"], "CA": "name CA"}
    )
    assert mapping.topology.species == ("CA", "PEP", "CA", "CA", "CA")
    assert mapping.topology.masses[1] == pytest.approx(12.011 + 15.999 + 14.007 + 1.008)


def test_bonds_angles_and_dihedrals_follow_the_atoms():
    topology, frames = peptide()
    atoms = Atoms.from_frames(topology, frames)
    alpha = Mapping.by_residue(atoms, {"ALA": {"CA": ["CA"]}}).topology  # bonded through atoms that have no bead
    assert alpha.bonds.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert alpha.angles.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert alpha.dihedrals.tolist() == [[0, 1, 2, 3]]
    assert alpha.residue_ids.tolist() == [1, 2, 3, 4]
    two = Mapping.by_residue(atoms, {"ALA": {"BB": ["N", "H", "CA", "HA", "C", "O"], "SC": ["CB"]}}).topology
    assert two.bonds.tolist() == [[0, 1], [0, 2], [2, 3], [2, 4], [4, 5], [4, 6], [6, 7]]
    assert len(two.angles) == 8
    assert len(two.dihedrals) == 8
    assert set(two.molecules.tolist()) == {0}
    stated = Mapping.by_residue(atoms, {"ALA": {"CA": ["CA"]}}, bonds=[(0, 3)]).topology
    assert stated.bonds.tolist() == [[0, 3]]


def test_energies_of_single_atoms_add_up_in_their_beads():
    atoms = propanol()
    shares = np.random.default_rng(1).normal(size=(1, 36))
    frames = next(iter(atoms.batches(1))).with_(energy=shares.sum(axis=1), local_energy=shares)
    mapping = Mapping.by_cgsmiles(atoms, "{[#A][#B]}.{#A=CC[$],#B=[$]CO}")
    mapped = next(mapping(Dataset.from_frames(atoms.topology, frames), constraints="none").batches(1))
    expected = [shares[0, mapping.bead_of == bead].sum() for bead in range(6)]
    np.testing.assert_allclose(mapped.local_energy, [expected], rtol=1e-12)
    np.testing.assert_allclose(mapped.local_energy.sum(axis=1), mapped.energy, rtol=1e-12)


CGSMILES = "{[#A][#B]}.{#A=CC[$],#B=[$]CO}"


def propanol(n=3):
    """n molecules HO-CH2-CH2-CH3 in an order of atoms that is not that of the string."""
    elements = ["O", "H", "C", "H", "H", "C", "H", "H", "C", "H", "H", "H"]
    inside = [(0, 1), (0, 2), (2, 3), (2, 4), (2, 5), (5, 6), (5, 7), (5, 8), (8, 9), (8, 10), (8, 11)]
    masses = {"H": 1.008, "C": 12.011, "O": 15.999}
    bonds = [(12 * k + i, 12 * k + j) for k in range(n) for i, j in inside]
    topology = Topology.of(elements * n, masses, bonds=bonds)
    rng = np.random.default_rng(0)
    return Atoms.from_frames(
        topology, Frames(rng.uniform(0, 0.1, (1, 12 * n, 3)), forces=rng.normal(size=(1, 12 * n, 3)))
    )


def test_cgsmiles_finds_the_atoms_by_their_bonds():
    atoms = propanol()
    mapping = Mapping.by_cgsmiles(atoms, "{[#A][#B]}.{#A=CC[$],#B=[$]CO}")
    assert mapping.topology.species == ("A", "B") * 3
    assert np.flatnonzero(mapping.bead_of == 1).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(mapping.bead_of == 0).tolist() == [5, 6, 7, 8, 9, 10, 11]
    assert mapping.topology.bonds.tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(MappingError, match=r"12 atoms .* is described by none of"):
        Mapping.by_cgsmiles(atoms, "{[#A][#B]}.{#A=CC[$],#B=[$]CCO}")
    with pytest.raises(MappingError, match="needs a string"):
        Mapping.by_cgsmiles(atoms)
    water, frames = waters(2)
    mapping = Mapping.by_cgsmiles(Atoms.from_frames(water, frames), CGSMILES, "{[#W]}.{#W=O}")
    assert mapping.topology.species == ("W", "W")


def test_names_that_do_not_exist_are_answered():
    atoms = Atoms.from_frames(*waters(2))
    with pytest.raises(MappingError, match=r"no residue is called 'SOLL'.*did you mean 'SOL'"):
        Mapping.by_residue(atoms, {"SOLL": {"W": "all"}})
    with pytest.raises(MappingError, match=r"no residue SOL has an atom 'HW3'.*did you mean 'HW"):
        Mapping.by_residue(atoms, {"SOL": {"W": ["OW", "HW3"]}})
    with pytest.raises(MappingError, match=r"nothing is said of the residues SOL: .* leave="):
        Mapping.by_residue(atoms, {})
    with pytest.raises(MappingError, match="the mapping has no beads"):
        Mapping.by_residue(atoms, {}, leave=["SOL"])
    with pytest.raises(MappingError, match="no selection of MDAnalysis"):
        Mapping.by_selection(atoms, {"W": "resnam SOL"})
    with pytest.raises(MappingError, match="positions change from frame to frame"):
        Mapping.by_selection(atoms, {"W": "around 5 name OW"})
    with pytest.raises(MappingError, match="no atom is selected"):
        Mapping.by_selection(atoms, {"W": "name CA"})
    with pytest.raises(MappingError, match=r"atom 1 \(SOL HW1\) is in bead 'B' and in 'A'"):
        Mapping.by_selection(atoms, {"A": "all", "B": "name HW1"})
    with pytest.raises(MappingError, match="has 0 atoms of this name"):
        Mapping.by_residue(atoms, {"SOL": {"W": "all"}}, position="CA")
    with pytest.raises(MappingError, match="for 6 atoms, and these are 9"):
        Mapping.by_residue(atoms, {"SOL": {"W": "all"}})(Atoms.from_frames(*waters(3)))


def test_constraints_that_leave_a_bead_are_refused_and_unknown_ones_warned_of():
    topology, frames = peptide()
    mapping = Mapping.by_residue(Atoms.from_frames(topology, frames), {"ALA": {"CA": ["CA"]}})
    with pytest.raises(IllegalForceMap, match=r"CA.*no bead.*fixed distance.*forces='optimal'"):
        mapping(Atoms.from_frames(topology, frames, "h-bonds"))
    with pytest.warns(UserWarning, match="not known which bonds"):
        mapping(Atoms.from_frames(topology, frames))
    mapping(Atoms.from_frames(topology, frames), constraints="none")
    atoms = Atoms.from_frames(topology, frames)
    dump = Atoms(topology, atoms.elements, atoms.runs, None, constraint_forces=True)
    with pytest.warns(UserWarning, match="fix shake"):
        mapping(dump)
    water, frames = waters(3)  # whole molecules: the constraint forces cancel
    atoms = Atoms.from_frames(water, frames)
    mapped = Mapping.by_residue(atoms, {"SOL": {"W": "all"}})(Atoms(water, atoms.elements, atoms.runs, None, True))
    assert mapped.forcemap is not None


def test_frames_without_forces_are_mapped_without():
    topology, frames = waters(3)
    atoms = Atoms.from_frames(topology, frames.with_(forces=None))
    assert joined(Mapping.by_residue(atoms, {"SOL": {"W": "all"}})(atoms)).forces is None


@pytest.mark.parametrize("make", [lambda: Mapping.by_residue(Atoms.from_frames(*waters(5)), {"SOL": {"W": "all"}}),
                                  lambda: Mapping.by_residue(Atoms.from_frames(*peptide()), {"ALA": {"X": ["N", "O"]}}),
                                  lambda: Mapping.by_cgsmiles(propanol(), CGSMILES)])  # fmt: skip
def test_json_round_trip(make):
    mapping = make()
    again = Mapping.from_json(mapping.to_json())
    assert again.topology == mapping.topology
    np.testing.assert_array_equal(again.matrix.toarray(), mapping.matrix.toarray())
    r = np.random.default_rng(0).uniform(0, 0.3, (2, mapping.atoms, 3))
    box = np.broadcast_to(2 * np.eye(3), (2, 3, 3))
    np.testing.assert_array_equal(again.positions(Frames(r, box=box)), mapping.positions(Frames(r, box=box)))
    newer = {**json.loads(mapping.to_json()), "format": 99}
    with pytest.raises(MappingError, match="newer"):
        Mapping.from_json(json.dumps(newer))


def test_mapped_frames_stream_into_a_data_set_and_a_data_set_of_atoms_maps_like_the_atoms(tmp_path):
    topology, frames = waters(5, box=BOXES["triclinic"], frames=7)
    atoms = Atoms.from_frames(topology, frames, "rigid-water")
    mapping = Mapping.by_residue(atoms, {"SOL": {"W": "all"}})
    beads = Dataset.create(tmp_path / "beads.h5", mapping(atoms), temperature=300.0, batch=2)
    np.testing.assert_array_equal(beads[:].positions, joined(mapping(atoms)).positions)
    assert beads.topology == mapping.topology
    stored = Dataset.create(tmp_path / "atoms.h5", frames, topology=topology, temperature=300.0)
    again = Mapping.by_residue(stored, {"SOL": {"W": ["OW", "HW1", "HW2"]}})
    np.testing.assert_array_equal(joined(again(stored)).forces, beads[:].forces)
    np.testing.assert_array_equal(joined(again(stored, forces="optimal", constraints="h-bonds")).box, frames.box)
