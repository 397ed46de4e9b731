"""Virials from atoms to beads: against the derivative of the energy when beads and box are scaled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanforce.numerics.precision  # noqa: F401
from meanforce.data.beads import Bead
from meanforce.data.dataset import Dataset
from meanforce.data.mapping import Mapping
from meanforce.objectives.matching import PressureMatching
from meanforce.topology import Topology

EDGE, FRAMES = 2.5, 6
BOND = np.array([(4 * m + k, 4 * m + k + 1) for m in range(3) for k in range(3)])
ATOMS = Topology.of(["H", "O", "C", "S"] * 3, masses={"H": 1.0, "O": 16.0, "C": 12.0, "S": 32.0}, bonds=BOND)
WHOLE = np.repeat(np.arange(3), 4)
HALVES = np.repeat(np.arange(6), 2)


def energy(r, edge):
    """Springs along bonds, and a smooth periodic pair energy between all atoms of different molecules."""
    stretched = jnp.sqrt(((r[BOND[:, 0]] - r[BOND[:, 1]]) ** 2).sum(-1))
    i, j = np.nonzero(np.triu(WHOLE[:, None] != WHOLE))
    waves = jnp.cos(2 * jnp.pi * (r[i] - r[j]) / edge).sum(-1)
    return 500 * ((stretched - 0.15) ** 2).sum() + (jnp.exp(waves) * (1 + 0.1 * (i + j))).sum()


def virial(r, bodies):
    """-dU/d(ln L), exactly: centres of mass of the bodies and the box scaled, each body rigid."""
    share = ATOMS.masses / np.bincount(bodies, ATOMS.masses)[bodies]
    centre = np.stack([np.bincount(bodies, share * x) for x in r.T], 1)[bodies]
    return -float(jax.grad(lambda strain: energy(r + strain * centre, EDGE * (1 + strain)))(0.0))


@pytest.fixture(scope="module")
def atoms():
    """Chains of four atoms in a box that cuts some of them."""
    rng = np.random.default_rng(3)
    start = EDGE - 0.2 + rng.uniform(0, 0.4, (FRAMES, 3, 1, 3))
    r = (start + np.cumsum(0.12 * rng.normal(size=(FRAMES, 3, 4, 3)), 2)).reshape(FRAMES, 12, 3)
    forces = np.stack([-jax.grad(energy)(jnp.asarray(x), EDGE) for x in r])
    data = Dataset.from_arrays(
        ATOMS, positions=r % EDGE, forces=forces, box=np.eye(3) * EDGE, temperature=300.0,
        virial=np.array([virial(x, WHOLE) for x in r]),
    )  # fmt: skip
    return data, r


def mapped(data, groups, position="mass", bonds=None) -> Dataset:
    beads = [Bead("AB"[n % 2], np.array(group)) for n, group in enumerate(groups)]
    mapping = Mapping.of(data, beads, position=position, bonds=bonds)
    source = mapping(data, constraints="none")
    return Dataset.from_frames(source.topology, next(source.batches(FRAMES)))


def test_the_virial_of_beads_is_the_derivative_when_beads_are_scaled(atoms):
    data, r = atoms
    beads = mapped(data, np.arange(12).reshape(6, 2))
    expected = [virial(x, HALVES) for x in r]
    assert np.abs(np.subtract(expected, data[:].virial)).min() > 1.0  # what is inside the molecules counts
    assert PressureMatching(beads).labels(beads[:], beads.topology) == pytest.approx(expected, rel=1e-9)


def test_molecules_of_one_bead_keep_theirs(atoms):
    beads = mapped(atoms[0], np.arange(12).reshape(3, 4))
    assert np.array_equal(PressureMatching(beads).labels(beads[:], beads.topology), atoms[0][:].virial)


@pytest.mark.parametrize(
    ("groups", "options"),
    [
        ([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10,)], {}),  # an atom is left out
        ([(0, 1, 2, 3), (4, 5, 6, 7)], {}),  # a molecule is left out
        ([(0, 1), (2, 3, 4, 5), (6, 7), (8, 9), (10, 11)], {}),  # a bead spans molecules
        ([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)], {"bonds": [(0, 1), (1, 2), (2, 3), (4, 5)]}),
        ([(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)], {"position": "geometry"}),
        ([(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)], {"position": "O"}),
    ],
)
def test_it_is_left_out_where_beads_do_not_show_the_molecules(atoms, groups, options):
    beads = mapped(atoms[0], groups, **options)
    assert beads[:].virial is None
    with pytest.raises(ValueError, match="position='mass'"):
        PressureMatching(beads).check(None)
