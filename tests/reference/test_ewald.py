"""Energies and forces of rigid water: against OpenMM, against differences, and as sums of their shares."""

import dataclasses

import numpy as np
import pytest

from meanforce.reference.ewald import RigidWater
from meanforce.reference.water import Water

openmm = pytest.importorskip("openmm")


@pytest.fixture(scope="module", params=["spce", "tip4p-2005"])
def box_of_water(request):
    return Water(model=request.param, molecules=64, density=1.0, cutoff=0.6).build()


@pytest.fixture(scope="module")
def spce():
    return Water(model="spce", molecules=64, density=1.0, cutoff=0.6).build()


def molecules(system):
    """Atoms of the start configuration, and the edges of the box."""
    return system.positions[system.atoms].reshape(64, 3, 3), np.diagonal(system.box)


def context_of(system, screening=None):
    """OpenMM's, with particle-mesh Ewald of its own choice, or with this screening on a mesh that is fine enough."""
    engine = openmm.XmlSerializer.clone(system.system)
    force = next(f for f in engine.getForces() if isinstance(f, openmm.NonbondedForce))
    if screening is not None:
        force.setPMEParameters(screening, 64, 64, 64)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(engine, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(system.positions)
    context.computeVirtualSites()
    return context, force


def test_energy_and_forces_are_openmms(box_of_water):
    water = RigidWater.of(box_of_water, accuracy=1e-9)
    state = context_of(box_of_water, water.screening)[0].getState(energy=True, forces=True)
    energy = state.getPotentialEnergy()._value
    forces = state.getForces(asNumpy=True)._value[box_of_water.atoms].reshape(64, 3, 3)
    found = water.interaction(*molecules(box_of_water))
    assert found.energy == pytest.approx(energy, rel=1e-5)
    on_atoms = np.einsum("sa,msd->mad", water.sites, found.forces)
    np.testing.assert_allclose(on_atoms, forces, atol=1e-5 * abs(forces).max())


def test_the_screening_is_that_of_openmms_tolerance(spce):
    context, force = context_of(spce)
    assert RigidWater.of(spce).screening == pytest.approx(force.getPMEParametersInContext(context)[0])


def test_shares_sum_to_the_energy_and_are_local(spce):
    """A molecule that turns far away changes its own share, and those near it, more than the others."""
    water = RigidWater.of(spce)
    atoms, box = molecules(spce)
    found = water.interaction(atoms, box)
    assert found.shares.sum() == pytest.approx(found.energy, rel=1e-14)
    turned = atoms.copy()
    centre = water.centres(atoms)[0]
    turned[0] = 2 * centre - turned[0]
    change = abs(water.interaction(turned, box).shares - found.shares)
    apart = water.centres(atoms) - centre
    distance = np.linalg.norm(apart - box * np.round(apart / box), axis=1)
    assert change[0] > 0 and change[distance > 0.8].max() < 0.5 * change[(distance > 0) & (distance < 0.5)].max()


def test_forces_are_the_slope_of_the_energy(spce):
    water = RigidWater.of(spce)
    atoms, box = molecules(spce)
    rng = np.random.default_rng(3)
    step = 1e-6
    for _ in range(3):
        along = rng.normal(size=atoms.shape)
        rise = water.interaction(atoms + step * along, box).energy - water.interaction(atoms - step * along, box).energy
        forces = water.interaction(atoms, box).forces
        assert -(forces * along).sum() == pytest.approx(rise / (2 * step), rel=1e-6)


def test_whole_turns_of_the_box_change_nothing(spce):
    water = RigidWater.of(spce)
    atoms, box = molecules(spce)
    moved = atoms + box * np.random.default_rng(0).integers(-2, 3, (64, 1, 3))
    one, two = water.interaction(atoms, box), water.interaction(moved, box)
    assert two.energy == pytest.approx(one.energy, rel=1e-10)
    np.testing.assert_allclose(two.forces, one.forces, atol=1e-7)


def test_what_cannot_be_done_is_refused(spce):
    flexible = Water(model="spc-fw", molecules=64, density=1.0, cutoff=0.6).build()
    with pytest.raises(ValueError, match="flexible"):
        RigidWater.of(flexible)
    water = RigidWater.of(spce)
    atoms, box = molecules(spce)
    with pytest.raises(ValueError, match="neutral"):
        dataclasses.replace(water, charges=np.array([-0.8, 0.42, 0.42])).interaction(atoms, box)
    with pytest.raises(ValueError, match="polynomial"):
        dataclasses.replace(water, screening=20.0).interaction(atoms, box)
