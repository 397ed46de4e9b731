"""Pairs against every image counted by hand, and bonded coordinates of known shapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanforce.data import pairs
from meanforce.frames import Frames


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(2, 12))
def test_pairs_are_those_of_every_image(seed, periodic, particles):
    rng = np.random.default_rng(seed)
    box = None
    if periodic:
        box = np.diag(rng.uniform(1.0, 2.0, 3)) + np.tril(rng.uniform(-0.3, 0.3, (3, 3)), -1)
    positions = rng.uniform(-3, 3, (2, particles, 3))
    frames = Frames(positions, None if box is None else np.stack([box, 1.1 * box]))
    found = pairs.find_pairs(frames, 0.8)
    images = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    expected = []
    for f in range(2):
        shifts = images @ frames.box[f] if periodic else np.zeros((1, 3))
        wrapped = positions[f]
        if periodic:
            wrapped = positions[f] - np.floor(positions[f] @ np.linalg.inv(frames.box[f])) @ frames.box[f]
        for i in range(particles):
            vectors = wrapped[None] + shifts[:, None] - wrapped[i]
            lengths = np.linalg.norm(vectors, axis=-1)
            for k, j in np.argwhere((lengths < 0.8) & (lengths > 1e-9)):
                expected.append((f * particles + i, f * particles + j, *vectors[k, j]))
    got = np.column_stack([found.first, found.second, found.direction * found.distance[:, None]])
    order = lambda rows: rows[np.lexsort(np.round(rows, 9).T)] if len(rows) else rows.reshape(0, 5)
    np.testing.assert_allclose(order(got), order(np.array(expected).reshape(-1, 5)), atol=1e-9)


def test_nearest_distance_of_a_lattice():
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(1, -1, 3) * 0.37
    assert pairs.nearest_distance(Frames(grid)) == pytest.approx(0.37)
    assert pairs.nearest_distance(Frames(grid, np.eye(3)[None] * 4 * 0.37)) == pytest.approx(0.37)
    assert pairs.nearest_distance(Frames(np.zeros((3, 1, 3)))) == np.inf


@pytest.mark.parametrize("shift", [0.0, 0.55])
def test_bonded_coordinates_of_a_known_shape_across_the_box(shift):
    phi = np.radians(70.0)
    shape = np.array([[0.1, 0, 0], [0, 0, 0], [0, 0.15, 0], [0.1 * np.cos(phi), 0.15, 0.1 * np.sin(phi)]])
    box = np.diag([1.0, 1.1, 1.2])[None]
    positions = (shape[None] + shift) % np.array([1.0, 1.1, 1.2])
    frames = Frames(positions, box)
    assert pairs.bond_lengths(frames, np.array([[0, 1], [1, 2]]))[0] == pytest.approx([0.1, 0.15])
    assert pairs.bond_angles(frames, np.array([[0, 1, 2]]))[0] == pytest.approx([90.0])
    assert abs(pairs.dihedral_angles(frames, np.array([[0, 1, 2, 3]]))[0, 0]) == pytest.approx(70.0)
    turned = pairs.dihedral_angles(frames, np.array([[3, 2, 1, 0]]))[0, 0]
    assert turned == pytest.approx(pairs.dihedral_angles(frames, np.array([[0, 1, 2, 3]]))[0, 0])
