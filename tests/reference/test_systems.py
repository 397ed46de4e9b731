"""The atomistic systems that ship: energies by direct sums, geometry, and forces on whole molecules."""

import subprocess
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

import meanforce as mf
from meanforce.reference.alkane import Alkane
from meanforce.reference.argon import Argon
from meanforce.reference.atomistic import require_openmm
from meanforce.reference.openmm import run as openmm_run
from meanforce.reference.peptide import AlanineDipeptide
from meanforce.reference.recipe import ReferenceRun
from meanforce.reference.systems import SYSTEMS, System
from meanforce.reference.water import Water
from meanforce.units import KB

openmm = pytest.importorskip("openmm")

COULOMB = 138.935457644  # kJ nm/(mol e^2), 2018 CODATA

# model -> (charge of H, sigma nm, epsilon kJ/mol, distance of the negative charge from O nm), from the papers
PUBLISHED = {
    "spce": (0.4238, 0.3166, 0.6502, 0.0),
    "tip3p": (0.417, 0.315061, 0.6364, 0.0),
    "tip4p-2005": (0.5564, 0.31589, 93.2 * KB, 0.01546),
    "spc-fw": (0.41, 0.3165492, 0.6501700, 0.0),
}


def context(system, *, periodic=True):
    """An exact evaluator: double precision, and without a box also without any cut-off."""
    copy = openmm.XmlSerializer.clone(system.system)
    if not periodic:
        for force in copy.getForces():
            if isinstance(force, openmm.NonbondedForce):
                force.setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
    return openmm.Context(copy, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def energy_and_forces(where, positions):
    where.setPositions(positions)
    where.computeVirtualSites()
    state = where.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def turned(positions, seed, shift):
    """Molecules of a dimer turned at random and set apart."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    return positions[: len(positions) // 2] @ turn.T + shift


@pytest.mark.parametrize("model", PUBLISHED)
def test_water_dimer_by_a_direct_sum(model):
    """Coulomb and Lennard-Jones energy of two molecules from the published parameters."""
    charge, sigma, epsilon, offset = PUBLISHED[model]
    system = Water(model=model, molecules=2, edge=4.0).build()
    one = system.positions[: len(system.positions) // 2] - system.positions[0]
    dimer = np.concatenate([one, turned(np.concatenate([one, one]), 3, [0.21, 0.16, 0.12])])
    where = context(system, periodic=False)
    apart = np.concatenate([one, dimer[len(one) :] + 1e6])
    measured = energy_and_forces(where, dimer)[0] - energy_and_forces(where, apart)[0]
    atoms = dimer[system.atoms].reshape(2, 3, 3)
    bisector = atoms[:, 1] + atoms[:, 2] - 2 * atoms[:, 0]
    negative = atoms[:, 0] + offset * bisector / np.linalg.norm(bisector, axis=1)[:, None]
    sites = np.stack([negative, atoms[:, 1], atoms[:, 2]], axis=1)
    charges = np.array([-2 * charge, charge, charge])
    distance = np.linalg.norm(sites[0][:, None] - sites[1][None], axis=-1)
    lennard = (sigma / np.linalg.norm(atoms[0, 0] - atoms[1, 0])) ** 6
    expected = COULOMB * (np.outer(charges, charges) / distance).sum() + 4 * epsilon * (lennard**2 - lennard)
    assert abs(expected) > 1
    assert measured == pytest.approx(expected, rel=2e-3)  # papers round their parameters


def test_ewald_agrees_with_the_direct_sum_in_a_large_box():
    system = Water(molecules=2, edge=4.0, ewald_tolerance=1e-5, tail=False).build()
    near = system.positions.copy()
    near[3:] += [0.35, 0, 0] + near[0] - near[3]
    far = near.copy()
    far[3:] += [0.25, 0, 0]
    periodic, alone = context(system), context(system, periodic=False)
    difference = [energy_and_forces(w, near)[0] - energy_and_forces(w, far)[0] for w in (periodic, alone)]
    assert difference[0] == pytest.approx(difference[1], abs=0.05)


def test_flexible_water_by_its_published_bonds():
    system = Water(model="spc-fw", molecules=1, edge=2.0).build()
    where = context(system, periodic=False)
    at_rest = energy_and_forces(where, system.positions)[0]
    assert at_rest == pytest.approx(0, abs=1e-8)
    bent = system.positions.copy()
    along = bent[1] - bent[0]
    bent[1] += 0.005 * along / np.linalg.norm(along)
    expected = 0.5 * 1059.162 * 418.4 * 0.005**2
    assert energy_and_forces(where, bent)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("model", PUBLISHED)
def test_forces_on_a_molecule_sum_to_the_force_on_its_centre(model):
    """Minus the numerical gradient of the energy when the molecule is moved as a whole."""
    system = Water(model=model, molecules=27, edge=0.97, cutoff=0.45, ewald_tolerance=1e-6).build()
    where = context(system)
    forces = energy_and_forces(where, system.positions)[1][system.atoms].reshape(27, 3, 3).sum(axis=1)
    each, step = len(system.positions) // 27, 1e-5
    for axis in range(3):
        shift = np.zeros_like(system.positions)
        shift[13 * each : 14 * each, axis] = step
        rise = [energy_and_forces(where, system.positions + s * shift)[0] for s in (1, -1)]
        # a pair that crosses the cut-off in between would show here: the geometry has none
        assert forces[13, axis] == pytest.approx(-(rise[0] - rise[1]) / (2 * step), rel=2e-4, abs=0.05)


@pytest.mark.parametrize("model", PUBLISHED)
def test_water_is_made_of_whole_molecules(model):
    water = Water(model=model, molecules=20, density=0.9, cutoff=0.4)
    system = water.build()
    assert system.topology.species == ("O", "H", "H") * 20
    assert len(system.topology.bonds) == 40
    assert system.topology.molecules.max() == 19
    assert len(system.constraints) == (0 if model == "spc-fw" else 60)
    assert system.degrees_of_freedom == 20 * (9 if model == "spc-fw" else 6) - 3
    mass = system.topology.masses.sum() * 1.66053906660e-3
    assert mass / np.linalg.det(system.box) == pytest.approx(0.9)
    atoms = system.positions[system.atoms]
    for i, j in system.constraints:
        place = system.atoms[i], system.atoms[j]
        assert np.linalg.norm(atoms[i] - atoms[j]) == pytest.approx(held_distance(system.system, place), abs=1e-5)


def held_distance(system, pair):
    for k in range(system.getNumConstraints()):
        i, j, distance = system.getConstraintParameters(k)
        if {i, j} == set(pair):
            return distance._value
    raise AssertionError(f"{pair} is not constrained")


def test_argon_by_a_direct_sum():
    argon = Argon(atoms=64, density=0.6, cutoff=2.0, switch=0.9)
    system = argon.build()
    x = system.positions + np.random.default_rng(0).normal(0, 0.02, (64, 3))
    measured, forces = energy_and_forces(context(system), x)
    i, j = np.triu_indices(64, 1)
    apart = x[i] - x[j]
    apart -= argon.edge * np.round(apart / argon.edge)
    r = np.linalg.norm(apart, axis=1)
    cutoff, start = argon.cutoff * argon.sigma, 0.9 * argon.cutoff * argon.sigma

    def pair(r):
        s = np.clip((r - start) / (cutoff - start), 0, 1)
        return (
            4
            * argon.epsilon
            * ((argon.sigma / r) ** 12 - (argon.sigma / r) ** 6)
            * (1 - 10 * s**3 + 15 * s**4 - 6 * s**5)
        )

    grid = np.linspace(start, cutoff, 20_001)
    bare = 4 * argon.epsilon * ((argon.sigma / grid) ** 12 - (argon.sigma / grid) ** 6)
    missing = np.trapezoid((bare - pair(grid)) * grid**2, grid)
    missing += 4 * argon.epsilon * (argon.sigma**12 / (9 * cutoff**9) - argon.sigma**6 / (3 * cutoff**3))
    tail = 2 * np.pi * 64**2 / argon.edge**3 * missing
    assert measured == pytest.approx(pair(r).sum() + tail, rel=1e-6)
    slope = -(pair(r + 1e-6) - pair(r - 1e-6)) / 2e-6
    direct = np.zeros_like(x)
    np.add.at(direct, i, (slope / r)[:, None] * apart)
    np.add.at(direct, j, -(slope / r)[:, None] * apart)
    np.testing.assert_allclose(forces, direct, atol=1e-4 * np.abs(direct).max())


def test_reduced_units_are_units_of_one():
    system = Argon(sigma=1, epsilon=1, mass=1, atoms=125).build()
    assert system.box[0, 0] == pytest.approx((125 / 0.8) ** (1 / 3))
    assert Argon(sigma=1, epsilon=1, mass=1).timestep == 0.005
    np.testing.assert_array_equal(system.topology.masses, 1)


@pytest.mark.parametrize("solvent", ["vacuum", "obc2"])
def test_alanine_dipeptide_is_the_molecule(solvent):
    system = AlanineDipeptide(solvent=solvent).build()
    top = system.topology
    assert len(top) == 22
    assert sorted(set(top.residues)) == ["ACE", "ALA", "NME"]
    assert len(top.bonds) == 21
    assert len(system.constraints) == 12
    assert system.box is None
    place = dict(zip(zip(top.residues, top.names, strict=True), system.positions, strict=True))
    n, ca, c, cb = (place["ALA", name] for name in ("N", "CA", "C", "CB"))
    assert np.dot(n - ca, np.cross(c - ca, cb - ca)) > 1e-3, "natural alanine is left-handed"
    where = context(system)
    energy, forces = energy_and_forces(where, system.positions)
    assert -200 < energy < 0
    along = np.random.default_rng(0).normal(size=(22, 3))
    rise = [energy_and_forces(where, system.positions + s * 1e-5 * along)[0] for s in (1, -1)]
    assert -(rise[0] - rise[1]) / 2e-5 == pytest.approx((forces * along).sum(), rel=1e-5)


def test_alanine_dipeptide_in_water():
    system = AlanineDipeptide(solvent="tip3p", edge=2.0).build()
    top = system.topology
    waters = top.residues.count("HOH") // 3
    assert 200 < waters < 280
    assert len(top) == 22 + 3 * waters
    assert top.molecules.max() == waters
    assert len(system.constraints) == 12 + 3 * waters


def test_every_builder_is_in_the_registry_and_in_recipes():
    for name in SYSTEMS:
        built = TypeAdapter(System).validate_python({"name": name})
        assert built == SYSTEMS[name]()
        for option, field in type(built).model_fields.items():
            assert option == "name" or field.description, f"{name}.{option} has no description"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "argon", "atom": 5}, "atom"),
        ({"name": "water", "model": "spc"}, "spce"),
        ({"name": "water", "molecules": 0}, "greater than or equal to 1"),
        ({"name": "watr"}, "argon"),
        ({"name": "alanine-dipeptide", "solvent": "obc2", "edge": 3.0}, "edge is for solvent: tip3p"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(System).validate_python(options)


@pytest.mark.parametrize("system", [Argon(atoms=32), Water(molecules=32), AlanineDipeptide(solvent="tip3p", edge=1.5)])
def test_a_box_too_small_for_the_cutoff_is_refused(system):
    with pytest.raises(ValueError, match="exceeds half the box edge"):
        system.build()


def test_openmm_is_asked_for_only_when_used():
    """Importing needs no OpenMM; building says how to get it."""
    code = (
        "import sys; sys.modules['openmm'] = None\n"
        "import meanforce.reference.openmm, meanforce.reference.liquids\n"
        "from meanforce.reference.systems import Water\n"
        "try: Water().build()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "meanforce[reference]"' in done.stdout
    assert require_openmm() is openmm


def test_the_energy_of_an_alkane_is_its_sum_of_terms():
    """One bent and twisted hexane by hand: bonds, angles, torsions, and the pairs four and five bonds apart."""
    alkane = Alkane(molecules=8, density=0.05, tail=False)
    built = alkane.build()
    rng = np.random.default_rng(3)
    positions = built.positions + 0.01 * rng.normal(size=built.positions.shape)
    positions[6:] += 1.5 * np.arange(1, 8).repeat(6)[:, None] * np.array([0.0, 0.3, 0.2])
    energy = energy_and_forces(context(built, periodic=False), positions)[0]
    assert energy == pytest.approx(alkane_by_hand(positions.reshape(8, 6, 3)), rel=1e-6)
    assert len(built.constraints) == 0
    assert built.topology.masses[:6] == pytest.approx([15.0347, *[14.0266] * 4, 15.0347])
    assert built.topology.names[:6] == ("C1", "C2", "C3", "C4", "C5", "C6")


def alkane_by_hand(chains):
    sigma, epsilon = np.array([0.375, *[0.395] * 4, 0.375]), KB * np.array([98.0, *[46.0] * 4, 98.0])
    step = np.diff(chains, axis=1)
    length = np.linalg.norm(step, axis=-1)
    total = 0.5 * 96500 * KB * 100 * ((length - 0.154) ** 2).sum()
    cosine = -(step[:, :-1] * step[:, 1:]).sum(-1) / (length[:, :-1] * length[:, 1:])
    total += 0.5 * 62500 * KB * ((np.arccos(cosine) - np.radians(114)) ** 2).sum()
    normal = np.cross(step[:, :-1], step[:, 1:])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    cos = np.clip((normal[:, :-1] * normal[:, 1:]).sum(-1), -1, 1)  # of the dihedral, -1 in trans
    phi = np.arccos(cos)
    total += KB * (355.03 * (1 + cos) - 68.19 * (1 - np.cos(2 * phi)) + 791.32 * (1 + np.cos(3 * phi))).sum()
    flat = chains.reshape(-1, 3)
    molecule, place = np.divmod(np.arange(len(flat)), 6)
    i, j = np.triu_indices(len(flat), 1)
    far = (molecule[i] != molecule[j]) | (place[j] - place[i] > 3)
    i, j = i[far], j[far]
    s6 = ((sigma[place[i]] + sigma[place[j]]) / 2 / np.linalg.norm(flat[i] - flat[j], axis=1)) ** 6
    return total + (4 * np.sqrt(epsilon[place[i]] * epsilon[place[j]]) * (s6**2 - s6)).sum()


def test_an_alkane_relaxes_into_a_liquid(tmp_path):
    """Hexane of 64 molecules at 298 K: bonds and angles by their springs, and most torsions in trans."""
    run = ReferenceRun(system=Alkane(), temperatures=(298.0,), time=1.5, interval=0.15, equilibration=3.0, virial=False)
    frames = mf.Dataset.open(openmm_run(run, tmp_path / "hexane.h5", threads=1))[:]
    chains = frames.positions.reshape(-1, 64, 6, 3)
    length = np.linalg.norm(np.diff(chains, axis=2), axis=-1)
    assert length.mean() == pytest.approx(0.154, abs=0.001)
    assert length.std() == pytest.approx(np.sqrt(KB * 298 / (96500 * KB * 100)), rel=0.1)
    ends = np.linalg.norm(chains[:, :, -1] - chains[:, :, 0], axis=-1)
    assert 0.5 < ends.mean() < 0.64
