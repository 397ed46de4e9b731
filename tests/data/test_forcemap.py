"""The map of least noise on a Gaussian network (V1), where it is known: B* = K^-1 M^T K_e leaves no noise at all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanforce.data.errors import IllegalForceMap, MappingError, MissingLabel
from meanforce.data.forcemap import least_noise
from meanforce.data.mapping import Mapping
from meanforce.data.readers import Atoms
from meanforce.frames import Frames
from meanforce.topology import Topology
from meanforce.units import KB

T = 300.0
BONDS = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
MASSES = np.array([12.0, 1.0, 14.0, 16.0, 12.0, 1.0])
BEADS = {"A": "index 0 to 2", "B": "index 3 to 4"}  # atom 5 is in no bead
KT = KB * T


def stiffness(seed=0):
    """Springs along the bonds and to the origin, all different: K > 0."""
    rng = np.random.default_rng(seed)
    k = np.diag(rng.uniform(50, 150, 6))
    for i, j in BONDS:
        s = rng.uniform(1000, 5000)
        k[[i, j, i, j], [i, j, j, i]] += [s, s, -s, -s]
    return k


def network(frames=2000, seed=1, copies=1, constraints="none"):
    """Equilibrium samples of U = r K r / 2, with their forces."""
    k = stiffness()
    rng = np.random.default_rng(seed)
    shape = np.linalg.cholesky(np.linalg.inv(k) * KT)
    r = shape @ rng.normal(size=(frames, copies, 6, 3))
    bonds = [(6 * c + i, 6 * c + j) for c in range(copies) for i, j in BONDS]
    topology = Topology(("C",) * 6 * copies, np.tile(MASSES, copies), bonds=bonds)
    atoms = Frames(r.reshape(frames, -1, 3), forces=(-k @ r).reshape(frames, -1, 3))
    return Atoms.from_frames(topology, atoms, constraints)


def closed_form(mapping):
    m, k = mapping.matrix.toarray()[:2, :6], stiffness()
    effective = np.linalg.inv(m @ np.linalg.inv(k) @ m.T)
    return np.linalg.inv(k) @ m.T @ effective, effective


def joined(mapped):
    return Frames.concatenate(list(mapped.batches(500)))


def mapping_of(atoms):
    copies = len(atoms.topology) // 6
    beads = {
        s: [f"index {6 * c + lo} to {6 * c + hi}" for c in range(copies)] for s, lo, hi in (("A", 0, 2), ("B", 3, 4))
    }
    return Mapping.by_selection(atoms, beads)


def test_the_closed_form_is_found_and_free_of_noise():
    mapping = mapping_of(network(2))
    exact, effective = closed_form(mapping)
    found = least_noise(stiffness() * KT, mapping.matrix.toarray())
    np.testing.assert_allclose(found, exact, atol=1e-7)
    atoms = network(200)
    r, f = atoms.runs[0].frames.positions, atoms.runs[0].frames.forces
    mean_force = -effective @ (mapping.matrix.toarray() @ r)
    np.testing.assert_allclose(found.T @ f, mean_force, atol=1e-5 * np.abs(mean_force).max())


def test_samples_find_it_within_their_error():
    """The error of sampled coefficients falls as one over the root of the number of frames."""
    errors = []
    for frames in (500, 8000):
        each = []
        for seed in range(6):
            atoms = network(frames, seed)
            mapping = mapping_of(atoms)
            exact, _ = closed_form(mapping)
            found = mapping(atoms, forces="optimal").forcemap.matrix.toarray().T
            each.append(np.sqrt(np.mean((found - exact) ** 2)))
        errors.append(np.sqrt(np.mean(np.square(each))))
    assert errors[1] < 0.05
    assert 2.5 < errors[0] / errors[1] < 6.5  # 4 is expected


def test_noise_is_reported_and_both_maps_have_one_mean():
    atoms = network(4000, copies=3)
    mapping = mapping_of(atoms)
    summed, optimal = mapping(atoms), mapping(atoms, forces="optimal")
    _, effective = closed_form(mapping)
    f, g, r = (
        x.reshape(4000, 3, 2, 3) for x in (joined(summed).forces, joined(optimal).forces, joined(summed).positions)
    )
    truth = -effective @ r
    assert np.mean((g - truth) ** 2) < 1e-3 * np.mean((f - truth) ** 2)
    slope = np.linalg.lstsq(r.swapaxes(-1, -2).reshape(-1, 2), f.swapaxes(-1, -2).reshape(-1, 2), rcond=None)[0]
    error = np.sqrt(np.var(f - truth) / len(r) / 9 / np.var(r))
    assert np.abs(slope + effective).max() < 6 * error
    noise = optimal.forcemap.noise
    assert [n.molecules for n in noise] == [3]  # the three copies are one kind, and solved once
    assert noise[0].beads == ("A", "B")
    expected = 1 - KT * np.trace(effective) / (
        KT * np.trace(mapping_sum(mapping).T @ stiffness() @ mapping_sum(mapping))
    )
    assert optimal.forcemap.reduction == pytest.approx(expected, abs=0.02)
    assert summed.forcemap.noise == ()


def mapping_sum(mapping):
    return (mapping.matrix.toarray()[:2, :6] > 0).T.astype(float)


@pytest.mark.parametrize("forces", ["sum", "optimal"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_map_is_legal(forces, seed):
    atoms = network(60, seed, copies=2)
    mapping = mapping_of(atoms)
    b = mapping(atoms, forces=forces).forcemap.matrix.toarray()
    np.testing.assert_allclose(mapping.matrix.toarray() @ b.T, np.eye(4), atol=1e-9)


def test_constrained_atoms_share_a_coefficient():
    held = np.array([[1, 2], [4, 5]])  # the second joins an atom of bead B to one in no bead
    atoms = network(500, constraints=held)
    mapping = mapping_of(atoms)
    with pytest.raises(IllegalForceMap, match=r"atoms 4 \(in bead 'B'\) and 5 \(in no bead\)"):
        mapping(atoms)
    b = mapping(atoms, forces="optimal").forcemap.matrix.toarray()
    np.testing.assert_allclose(b[:, held[:, 0]], b[:, held[:, 1]], atol=1e-12)
    np.testing.assert_allclose(mapping.matrix.toarray() @ b.T, np.eye(2), atol=1e-9)
    assert not np.allclose(b[:, 0], b[:, 1])
    rigid = network(500, constraints=np.array(BONDS))
    with pytest.raises(IllegalForceMap, match="held rigid against each other"):
        mapping(rigid, forces="optimal")


def test_rigid_water_leaves_only_the_sum():
    """SPC/E has one rigid group a molecule: nothing is free, and the optimal map is the sum."""
    rng = np.random.default_rng(0)
    topology = Topology(
        ("O", "H", "H") * 4, np.tile([16.0, 1.0, 1.0], 4), bonds=[(3 * w, 3 * w + k) for w in range(4) for k in (1, 2)]
    )
    frames = Frames(rng.normal(size=(50, 12, 3)), forces=rng.normal(size=(50, 12, 3)))
    atoms = Atoms.from_frames(topology, frames, "h-bonds")
    mapping = Mapping.by_selection(atoms, {"W": "all"}, per="molecule")
    optimal = mapping(atoms, forces="optimal")
    np.testing.assert_allclose(optimal.forcemap.matrix.toarray(), mapping(atoms).forcemap.matrix.toarray(), atol=1e-12)
    assert optimal.forcemap.reduction == pytest.approx(0.0, abs=1e-9)


def test_too_few_frames_and_missing_forces_are_refused():
    atoms = network(2)
    with pytest.raises(MappingError, match="2 frames cannot determine 6 coefficients"):
        mapping_of(atoms)(atoms, forces="optimal")
    with pytest.raises(MappingError, match="give 'sum', 'optimal', 'response' or 'comoving'"):
        mapping_of(atoms)(atoms, forces="best")
    bare = Atoms.from_frames(atoms.topology, atoms.runs[0].frames.with_(forces=None), "none")
    with pytest.raises(MissingLabel, match="forces='optimal' needs forces"):
        mapping_of(bare)(bare, forces="optimal")
