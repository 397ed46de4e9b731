"""End-to-end distances: a chain longer than half the box, branched molecules, and the exact law of two free steps."""

import numpy as np
import pytest

from meanforce import observables
from meanforce.data.dataset import Dataset
from meanforce.observables.ends import chains
from meanforce.topology import Topology

MASS = {"A": 1.0, "B": 1.0}
TRIMER = Topology.of(["A", "B", "A"], MASS, bonds=[(1, 0), (1, 2)], angles=[(0, 1, 2)])


def test_two_free_steps_have_a_density_of_r_over_two_and_wrap_around_the_box():
    """Two steps of length a in any direction: p(r) = r / (2 a^2) up to 2 a, whatever the periodic images."""
    rng = np.random.default_rng(3)
    steps = rng.standard_normal((20000, 2, 3))
    steps *= 0.4 / np.linalg.norm(steps, axis=-1, keepdims=True)
    x = np.concatenate([-steps[:, :1], np.zeros((20000, 1, 3)), steps[:, 1:]], axis=1)
    x += rng.integers(-2, 3, x.shape)  # images in a box of 1 nm, half of which the ends exceed
    data = Dataset.from_arrays(TRIMER, positions=x, box=np.eye(3), temperature=300.0)
    curve = observables.end_to_end_distribution(data, span=(0.0, 0.8), bins=40)
    assert curve.name == "end-to-end A–A of 3" and curve.axis_label == "r / nm"
    z = (curve.value - curve.axis / (2 * 0.4**2)) / np.maximum(curve.error, 1e-3)
    assert np.abs(z).max() < 4.5 and abs(np.mean(z**2) - 1) < 1.0
    own = observables.end_to_end_distribution(data)
    assert own.value.sum() * (own.axis[1] - own.axis[0]) == pytest.approx(1.0, rel=1e-9)


def test_chains_are_linear_molecules_in_order_along_their_bonds():
    four = Topology.of(["B", "A", "B", "A"], MASS, bonds=[(0, 2), (2, 3), (3, 1)])
    branched = Topology.of(["A"] * 4, MASS, bonds=[(0, 1), (0, 2), (0, 3)])
    ring = Topology.of(["A"] * 3, MASS, bonds=[(0, 1), (1, 2), (2, 0)])
    pair = Topology.of(["A", "A"], MASS, bonds=[(0, 1)])
    tail = Topology.of(["A"] * 5, MASS, bonds=[(0, 1), (1, 2), (2, 3), (2, 4)])
    mixed = Topology.mixture([(branched, 1), (TRIMER, 2), (ring, 1), (four, 1), (pair, 1), (tail, 1)])
    found = chains(mixed)
    assert {kind: ways.tolist() for kind, ways in found.items()} == {
        ("A", "B", "A"): [[4, 5, 6], [7, 8, 9]], ("A", "A", "B", "B"): [[13, 15, 16, 14]],
    }  # fmt: skip


def test_what_is_not_there_is_said():
    data = Dataset.from_arrays(TRIMER, positions=np.eye(3)[None], temperature=300.0)
    with pytest.raises(ValueError, match="there are no chains A–A; there are A–B–A"):
        observables.end_to_end_distribution(data, ("A", "A"))
    pair = Topology.of(["A", "A"], MASS, bonds=[(0, 1)])
    with pytest.raises(ValueError, match="no molecule is a linear chain"):
        observables.end_to_end_distribution(Dataset.from_arrays(pair, positions=np.zeros((1, 2, 3)), temperature=1.0))
    two = Topology.mixture([(TRIMER, 1), (Topology.of(["A"] * 3, MASS, bonds=[(0, 1), (1, 2)]), 1)])
    data = Dataset.from_arrays(two, positions=np.zeros((1, 6, 3)), temperature=300.0)
    with pytest.raises(ValueError, match=r"several kinds of chains .A–A–A, A–B–A.: say which"):
        observables.end_to_end_distribution(data)
