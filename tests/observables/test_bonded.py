"""Internal coordinates: closed forms, periodic images, signs, and the distribution of a spring."""

import numpy as np
import pytest

from meanforce import observables
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.bonded import coordinates
from meanforce.topology import Topology
from meanforce.units import KB

CHAIN = Topology.of(["A", "B", "C", "D"], {"A": 1.0, "B": 1.0, "C": 1.0, "D": 1.0}, bonds=[(0, 1), (1, 2), (2, 3)],
                    angles=[(0, 1, 2), (1, 2, 3)], dihedrals=[(0, 1, 2, 3)])  # fmt: skip
TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.7, 1.9, 0.0], [-0.6, 0.5, 2.2]])


def chain(dihedral):
    """A chain with bonds of 0.3 nm, angles of 110 degrees and a given dihedral."""
    angle = np.radians(110)
    bend = 0.3 * np.array([-np.cos(angle), np.sin(angle)])
    first = np.array([bend[0] * -1, bend[1], 0.0])
    last = np.array([0.3 + bend[0], bend[1] * np.cos(dihedral), bend[1] * np.sin(dihedral)])
    return np.array([first, np.zeros(3), [0.3, 0, 0], last])


@pytest.mark.parametrize("dihedral", [-3.1, -1.2, 0.0, 0.4, 2.0, 3.1])
def test_lengths_angles_and_signs_across_the_box(dihedral):
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    x = chain(dihedral) @ turn.T + 5 * rng.random(3) + rng.integers(-3, 4, (4, 3)) @ TRICLINIC
    frames = Frames(x[None], TRICLINIC[None])
    np.testing.assert_allclose(coordinates(frames, "bonds", CHAIN.bonds), 0.3, rtol=1e-9)
    np.testing.assert_allclose(coordinates(frames, "angles", CHAIN.angles), np.radians(110), rtol=1e-9)
    np.testing.assert_allclose(coordinates(frames, "dihedrals", CHAIN.dihedrals), dihedral, atol=1e-9)


def test_dihedrals_follow_iupac():
    """Looking along the middle bond, the far end turned clockwise by 60 degrees is +60 degrees."""
    x = np.array([[0.0, 1.0, 0.0], [0, 0, 0], [0, 0, -1.0], [np.sin(np.pi / 3), np.cos(np.pi / 3), -1.0]])
    found = coordinates(Frames(x[None]), "dihedrals", np.array([[0, 1, 2, 3]]))
    assert found[0, 0] == pytest.approx(np.pi / 3)  # the eye is above: -z is away, +x is to the right of +y


def spring_samples(n, constant, temperature, rng, log_weights=None):
    bond = rng.standard_normal((n, 3)) * np.sqrt(KB * temperature / constant)
    x = np.stack([np.zeros((n, 3)), bond], axis=1)
    topology = Topology.of(["A", "B"], {"A": 1.0, "B": 1.0}, bonds=[(0, 1)])
    zero = np.zeros(n)
    return Ensemble(Frames(x), topology, State(temperature), zero, zero if log_weights is None else log_weights(bond),
                    np.zeros(n, int))  # fmt: skip


def spring_density(edges, constant, temperature):
    from scipy.stats import maxwell

    return np.diff(maxwell(scale=np.sqrt(KB * temperature / constant)).cdf(edges)) / np.diff(edges)


def test_two_beads_on_a_spring_and_reweighting():
    rng = np.random.default_rng(1)
    span, edges = (0.0, 0.5), np.linspace(0, 0.5, 41)
    stiffer = lambda bond: -(1200 - 1000) / 2 * (bond**2).sum(-1) / (KB * 300.0)
    direct = spring_samples(40000, 1000.0, 300.0, rng)
    moved = spring_samples(40000, 1000.0, 300.0, rng, stiffer)
    for source, constant in ((direct, 1000.0), (moved, 1200.0)):
        curve = observables.bond_distribution(source, span=span, bins=40)
        exact = spring_density(edges, constant, 300.0)
        filled = exact > 0.2
        z = (curve.value - exact)[filled] / curve.error[filled]
        assert np.abs(z).max() < 4.5 and abs(np.mean(z**2) - 1) < 1.0
        assert curve.name == "bond A–B" and curve.axis_label == "r / nm"


def test_free_angles_are_half_a_sine_and_integrals_are_one():
    rng = np.random.default_rng(2)
    steps = rng.standard_normal((5000, 3, 3))
    steps *= 0.3 / np.linalg.norm(steps, axis=-1, keepdims=True)
    x = np.concatenate([np.zeros((5000, 1, 3)), np.cumsum(steps, axis=1)], axis=1)
    data = Dataset.from_arrays(CHAIN, positions=x, temperature=300.0)
    angles = observables.angle_distribution(data, ("C", "B", "A"), bins=30)
    edges = np.linspace(0, np.pi, 31)
    exact = -np.diff(np.cos(edges)) / 2 / np.diff(edges)
    assert np.abs((angles.value - exact) / angles.error).max() < 4
    dihedrals = observables.dihedral_distribution(data, bins=30)
    assert np.abs((dihedrals.value - 1 / (2 * np.pi)) / dihedrals.error).max() < 4
    lengths = observables.bond_distribution(data, ("A", "B"))
    for curve in (angles, dihedrals, lengths):
        assert curve.value.sum() * (curve.axis[1] - curve.axis[0]) == pytest.approx(1.0, rel=1e-9)


def test_what_is_not_there_is_said():
    data = Dataset.from_arrays(CHAIN, positions=chain(1.0)[None], temperature=300.0)
    with pytest.raises(ValueError, match=r"several kinds of bonds .A–B, B–C, C–D.: say which"):
        observables.bond_distribution(data)
    with pytest.raises(ValueError, match="there are no bonds A–C; there are A–B, B–C, C–D"):
        observables.bond_distribution(data, ("A", "C"))
    with pytest.raises(ValueError, match="the topology has no angles"):
        observables.angle_distribution(
            Dataset.from_arrays(Topology.of(["A"], {"A": 1.0}), positions=np.zeros((1, 1, 3)))
        )
