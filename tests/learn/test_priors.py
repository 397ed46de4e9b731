"""Constants of priors from samples whose constants are known."""

import numpy as np
import pytest

import meanforce.numerics.precision  # noqa: F401
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.learn.priors import harmonic_angles, harmonic_bonds, periodic_dihedrals, priors, repulsion, wall
from meanforce.model import Model
from meanforce.topology import Topology
from meanforce.units import KB

KELVIN = 300.0
KT = KB * KELVIN
CHAIN = Topology.of(
    list("ABBA"), masses={"A": 1.0, "B": 1.0}, bonds=[(0, 1), (1, 2), (2, 3)],
    angles=[(0, 1, 2), (1, 2, 3)], dihedrals=[(0, 1, 2, 3)],
)  # fmt: skip


def draw(density, low, high, n, random):
    grid = np.linspace(low, high, 20001)
    total = np.cumsum(density(grid))
    return np.interp(random.uniform(0, total[-1], n), total, grid)


def chains(n=4000, seed=0):
    """Chains with bonds 0.3 (AB, 5000) and 0.4 nm (BB, 2000), angles 1.9 (80), a dihedral 3 (1 + cos(phi - 0.6))."""
    random = np.random.default_rng(seed)
    bond = lambda r0, k: draw(lambda r: r**2 * np.exp(-k * (r - r0) ** 2 / (2 * KT)), 0.05, 0.8, n, random)
    angle = lambda: draw(lambda a: np.sin(a) * np.exp(-80 * (a - 1.9) ** 2 / (2 * KT)), 0, np.pi, n, random)
    phi = draw(lambda p: np.exp(-3 * (1 + np.cos(p - 0.6)) / KT), -np.pi, np.pi, n, random)
    R = np.zeros((n, 4, 3))
    R[:, 1, 0] = 1.0
    a, b = angle(), angle()
    R[:, 2] = R[:, 1]
    R[:, 2, 0] += bond(0.4, 2000)
    first, last = bond(0.3, 5000), bond(0.3, 5000)
    R[:, 0] = R[:, 1] + first[:, None] * np.stack([np.cos(a), np.sin(a), 0 * a], 1)
    R[:, 3] = R[:, 2] + last[:, None] * np.stack([-np.cos(b), np.sin(b) * np.cos(phi), np.sin(b) * np.sin(phi)], 1)
    return Dataset.from_arrays(CHAIN, positions=R, temperature=KELVIN)


@pytest.fixture(scope="module")
def data():
    return chains()


def test_bonds(data):
    found = harmonic_bonds(data)
    assert found.kinds == (("A", "B"), ("B", "B"))
    # 1000 frames are read: 2000 and 1000 bonds
    assert np.abs(found.length - np.array([0.3, 0.4])) == pytest.approx(0, abs=4 * np.sqrt(KT / 2000 / 1000))
    assert np.asarray(found.stiffness) == pytest.approx([5000, 2000], rel=4 * np.sqrt(2 / 1000))


def test_angles(data):
    found = harmonic_angles(data)
    assert np.asarray(found.angle) == pytest.approx([1.9], abs=4 * np.sqrt(KT / 80 / 2000))
    assert np.asarray(found.stiffness) == pytest.approx([80], rel=4 * np.sqrt(2 / 2000))


def test_dihedrals(data):
    found = periodic_dihedrals(data)
    assert np.asarray(found.barrier)[0] == pytest.approx([3.0, 0, 0], abs=0.4)
    assert np.asarray(found.phase)[0, 0] == pytest.approx(0.6, abs=0.1)


def lattice(n=200, seed=3):
    """Beads on a lattice of 0.4 nm, shaken: no two nearer than about 0.3 nm."""
    random = np.random.default_rng(seed)
    grid = 0.4 * np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    topology = Topology.of(["W"] * 125, masses={"W": 18.0})
    positions = grid + 0.02 * random.standard_normal((n, 125, 3))
    return Dataset.from_arrays(topology, positions=positions, box=2.0 * np.eye(3), temperature=KELVIN)


def test_repulsion_follows_the_flank():
    """A hundredth of the peak costs kT ln 100, half of it kT ln 2; nearer than anything sampled it costs more."""
    liquid = lattice()
    wall = repulsion(liquid, cutoff=0.9)
    two = Topology.of(["W"] * 2, masses={"W": 18.0})
    energy = lambda r: thermo.free_energy(Model(wall, two), [[0.0, 0, 0], [r, 0, 0]], temperature=KELVIN)
    inner = float(wall.distance[0])
    assert 0.3 < inner < 0.36
    assert energy(inner) == pytest.approx(KT * np.log(100), rel=1e-6)
    assert energy(inner - 0.05) > 2 * energy(inner)
    assert abs(energy(wall.cutoff)) < 1e-12
    assert energy(0.4) < KT


def test_a_wall_stands_behind_the_closest_contacts():
    """Nothing at the closest contact of each pair, 30 kT where it is 8 % closer; B-B never meet, and get A-A's."""
    topology = Topology.of(["A", "A", "B", "B"], masses=[1.0] * 4)
    R = np.array([[0, 0, 0], [0.4, 0, 0], [0, 0.5, 0], [9.0, 9.0, 9.0]])
    further = R + np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.05, 0], [0, 0, 0]])
    found = wall(Dataset.from_arrays(topology, positions=np.stack([R, further]), temperature=KELVIN))
    assert found.distance == pytest.approx([0.4, 0.5, 0.4])
    spots = 50.0 * np.arange(4)[:, None] * np.array([0, 0, 1.0])
    for (first, second), closest in (((0, 1), 0.4), ((0, 2), 0.5), ((2, 3), 0.4)):

        def energy(r, first=first, second=second):
            near = spots.copy()
            near[second] = near[first] + [r, 0, 0]
            return thermo.free_energy(Model(found, topology), near, temperature=KELVIN)

        assert energy(closest) == 0
        assert energy(0.92 * closest) == pytest.approx(30 * KT, rel=1e-9)


def test_all_priors_together(data):
    assert [type(t).__name__ for t in priors(data).terms] == ["HarmonicBond", "HarmonicAngle", "PeriodicDihedral"]
    assert [type(t).__name__ for t in priors(lattice(5)).terms] == ["Repulsion"]


def test_refusals():
    topology = Topology.of(["A", "A"], masses=[1.0, 1.0], bonds=[(0, 1)])
    R = np.zeros((4, 2, 3))
    R[:, 1, 0] = 0.3
    kelvin = np.array([280.0, 280.0, 320.0, 320.0])
    with pytest.raises(ValueError, match="one temperature, not 2"):
        harmonic_bonds(Dataset.from_arrays(topology, positions=R, temperature=kelvin))
    frozen = Dataset.from_arrays(topology, positions=R, temperature=KELVIN)
    with pytest.raises(ValueError, match="never change"):
        harmonic_bonds(frozen)
    with pytest.raises(ValueError, match="no angles"):
        harmonic_angles(frozen)
    apart = Dataset.from_arrays(Topology.of(["A", "A"], masses=[1.0, 1.0]), positions=10 * R, temperature=KELVIN)
    with pytest.raises(ValueError, match="no pair comes within"):
        repulsion(apart)
