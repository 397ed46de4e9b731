"""Forces along motions in which the atoms of a bead turn with it: no noise of stiff angles, and the same mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.errors import IllegalForceMap
from meanforce.data.mapping import Mapping
from meanforce.data.readers import Atoms
from meanforce.frames import Frames
from meanforce.model import Model
from meanforce.potentials.priors import HarmonicAngle, HarmonicBond
from meanforce.potentials.sums import Sum
from meanforce.topology import Topology

RNG = np.random.default_rng(4)

# Three beads in a row: A = (C, 2 H), B = (C, H), A = (C, 2 H).
BONDS = [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (5, 6), (5, 7)]
ATOMS = Topology(
    tuple("CHHCHCHH"), np.array([12.0, 4.0, 4.0, 12.0, 4.0, 12.0, 4.0, 4.0]), bonds=BONDS,
    angles=[(1, 0, 2), (1, 0, 3), (2, 0, 3), (0, 3, 4), (0, 3, 5), (4, 3, 5), (3, 5, 6), (3, 5, 7), (6, 5, 7)],
)  # fmt: skip
BEADS = {"A": ["index 0 to 2", "index 5 to 7"], "B": ["index 3 to 4"]}
SHAPE = np.array([[0, 0, 0], [0, 0.1, 0], [-0.05, -0.05, 0.08], [0.15, 0, 0], [0.2, 0.1, 0.02],
                  [0.22, -0.13, 0], [0.2, -0.2, 0.08], [0.33, -0.12, 0.02]])  # fmt: skip


def mapped(frames, forces, position="mass", topology=ATOMS, constraints="none", beads=None):
    atoms = Atoms.from_frames(topology, frames, constraints)
    return Frames.concatenate(
        list(Mapping.by_selection(atoms, beads or BEADS, position=position)(atoms, forces=forces).batches(100))
    )


def scattered(frames=20):
    r = SHAPE + 0.02 * RNG.normal(size=(frames, 8, 3))
    return Frames(r, forces=RNG.normal(size=(frames, 8, 3)))


@pytest.mark.parametrize("position", ["mass", "geometry", {"A": "C", "B": "C"}])
def test_nothing_is_left_of_angles_that_turn_with_the_beads(position):
    """U = u(|R_1 - R_2|) + v(arms along the bond, arms against each other): no noise, whatever v is."""
    masses = ATOMS.masses[[0, 1, 2, 0, 1, 2]]
    topology = Topology(
        tuple("CHHCHH"), masses, names=tuple("CHHCHH"), molecules=np.zeros(6, int), bonds=[*BONDS[:3], (3, 4), (3, 5)]
    )
    beads = {"A": ["index 0 to 2"], "B": ["index 3 to 5"]}
    weights = {"mass": masses, "geometry": np.ones(6)}.get(str(position), np.array([1.0, 0, 0, 1, 0, 0])).reshape(2, 3)
    share = weights / weights.sum(axis=1, keepdims=True)

    def of_beads(r):
        return jnp.einsum("bi,bic->bc", share, r.reshape(2, 3, 3))

    def energy(r):
        R = of_beads(r)
        d = R[1] - R[0]
        arms = r.reshape(2, 3, 3) - R[:, None]
        along = arms @ d / jnp.linalg.norm(d)
        return 500 * (jnp.linalg.norm(d) - 0.2) ** 2 + 9e3 * jnp.sum(along**2) + 7e3 * jnp.sum(arms[:, 0] * arms[:, 1])

    r = np.concatenate([SHAPE[:3], SHAPE[:3] + np.array([0.2, 0.05, 0.03])]) + 0.02 * RNG.normal(size=(10, 6, 3))
    frames = Frames(r, forces=-np.array(jax.vmap(jax.grad(energy))(r)))
    d = np.diff(np.array(jax.vmap(of_beads)(r)), axis=1)
    length = np.linalg.norm(d, axis=2, keepdims=True)
    pull = 1000 * (length - 0.2) * d / length
    found = mapped(frames, "comoving", position, topology, beads=beads)
    np.testing.assert_allclose(found.forces, np.concatenate([pull, -pull], axis=1), atol=1e-5)
    assert np.abs(mapped(frames, "sum", position, topology, beads=beads).forces - found.forces).max() > 50


def test_force_and_torque_of_all_atoms_are_kept():
    frames = scattered()
    found = mapped(frames, "comoving")
    r, f = frames.positions, frames.forces
    np.testing.assert_allclose(found.forces.sum(1), f.sum(1), atol=1e-9)
    np.testing.assert_allclose(np.cross(found.positions, found.forces).sum(1), np.cross(r, f).sum(1), atol=1e-5)


def test_images_do_not_matter():
    frames = scattered()
    box = np.tile(np.diag([1.0, 1.2, 0.9]), (20, 1, 1))
    wrapped = frames.positions + RNG.integers(-1, 2, (20, 8, 1)) @ np.ones((1, 3)) * np.diagonal(box, 0, 1, 2)[:, None]
    np.testing.assert_allclose(
        mapped(Frames(wrapped, box=box, forces=frames.forces), "comoving").forces, mapped(frames, "comoving").forces,
        atol=1e-9,
    )  # fmt: skip


def test_lone_beads_have_the_sum():
    frames = scattered()
    whole = {"A": ["index 0 to 7"]}
    np.testing.assert_array_equal(
        mapped(frames, "comoving", beads=whole).forces, mapped(frames, "sum", beads=whole).forces
    )


def test_constraints_stay_within_beads():
    with pytest.raises(IllegalForceMap, match="held at a fixed distance"):
        mapped(scattered(), "comoving", constraints=np.array([[0, 3]]))
    mapped(scattered(), "comoving", constraints=np.array([[0, 1], [3, 4]]))


def test_the_mean_is_that_of_the_sum_and_the_noise_is_less():
    """In equilibrium the two differ by nothing on average, whatever the beads do: weighted by R, d / |d| and cos."""
    bonds, angles = (sorted(set(ATOMS.kinds(name))) for name in ("bonds", "angles"))
    potential = Sum((
        HarmonicBond(bonds, length=[0.16] * len(bonds), stiffness=[2e4] * len(bonds)),
        HarmonicAngle(angles, angle=[1.9] * len(angles), stiffness=[400.0] * len(angles)),
    ))  # fmt: skip
    model = Model(potential, ATOMS)
    run = mf.simulate(
        model, Frames(SHAPE[None]), 300.0, time=60.0, timestep=0.002, thermostat=mf.Langevin(5.0), seed=1,
        settings=mf.Settings(replicas=64, save_every=0.5),
    )  # fmt: skip
    kept = run.frames[run.frames.time > 5]
    kept = kept.with_(forces=np.asarray(thermo.force(model, kept.positions, temperature=300.0)), energy=None)
    mean, less = mapped(kept, "sum"), mapped(kept, "comoving")
    d = np.diff(mean.positions, axis=1)
    u = d / np.linalg.norm(d, axis=2, keepdims=True)
    cos = np.sum(u[:, 0] * u[:, 1], axis=1)[:, None, None]
    centred = mean.positions - mean.positions.mean(axis=1, keepdims=True)
    for weight in (centred, u[:, [0, 0, 1]], u[:, [1, 1, 0]], cos * u[:, [0, 0, 1]], cos * u[:, [1, 1, 0]]):
        products = np.sum((less.forces - mean.forces) * weight, axis=(1, 2))
        blocks = np.array([np.mean(part) for part in np.array_split(products, 64)])
        assert abs(blocks.mean()) < 4 * blocks.std() / 8
        assert blocks.std() / 8 < 0.05 * np.sqrt(np.mean(mean.forces**2) * np.mean(weight**2))
    assert np.mean(less.forces**2) < 0.7 * np.mean(mean.forces**2)
