"""Flexible water at fixed centres: energies of OpenMM, one molecule by quadrature, two by weighted random draws."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from meanforce.data.mapping import Mapping
from meanforce.reference import ReferenceRun, Water, hold, open_reference, read_errors, run
from meanforce.reference.ewald import RigidWater
from meanforce.reference.ewald_kernels import evaluate
from meanforce.reference.fixed import FixedSampling, draw_fixed, sample_fixed
from meanforce.reference.flexible import FlexibleWater
from meanforce.reference.variates import Observed
from meanforce.reference.water import molecule_geometry
from meanforce.units import KB

openmm = pytest.importorskip("openmm")

T = 700.0
KT = KB * T
BOX = np.array([1.5, 1.4, 1.45])
CENTRES = np.array([[0.1, 0.2, 0.3], [0.4, 0.37, 0.42]])


@pytest.fixture(scope="module")
def system():
    return Water(model="spc-fw", molecules=32, density=1.0, cutoff=0.45).build()


@pytest.fixture(scope="module")
def box_of_water(system):
    """Its parameters, strained molecules, and the edges of the box."""
    water = FlexibleWater.of(system, accuracy=1e-9)
    atoms = system.positions.reshape(-1, 3, 3)
    return water, atoms + 0.004 * np.random.default_rng(0).normal(size=atoms.shape), np.diagonal(system.box)


@pytest.fixture(scope="module")
def lone(system):
    """The same molecules for a box of another size, with few waves and a longer cut-off."""
    water = FlexibleWater.of(system, accuracy=1e-4)
    between = dataclasses.replace(water.between, cutoff=0.6, screening=4.38, tail=False)
    return dataclasses.replace(water, between=between, inside=water.inside._replace(screening=4.38))


def body(water):
    shape = molecule_geometry(0.1012, 113.24)
    return shape - water.between.weights @ shape


def test_shares_sum_to_openmms_energy(system, box_of_water):
    water, atoms, box = box_of_water
    engine = openmm.XmlSerializer.clone(system.system)
    force = next(f for f in engine.getForces() if isinstance(f, openmm.NonbondedForce))
    force.setPMEParameters(water.between.screening, 64, 64, 64)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(engine, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(atoms.reshape(-1, 3))
    state = context.getState(energy=True, forces=True)
    found = water.interaction(atoms, box)
    assert found.shares.sum() == pytest.approx(state.getPotentialEnergy()._value, rel=1e-5)
    forces = state.getForces(asNumpy=True)._value.reshape(atoms.shape)
    np.testing.assert_allclose(found.forces, forces, atol=1e-5 * abs(forces).max())


def test_a_sample_has_the_same_energy_and_forces(box_of_water):
    """What the compiled loops keep up to date over many moves is what a fresh look at the drawn atoms finds."""
    water, atoms, box = box_of_water
    few = FixedSampling(replicas=3, burn_in=30, samples=10, stride=1)
    labels = sample_fixed(water, atoms, box, (300.0,), few)[0]
    drawn = draw_fixed(water, atoms, box, 300.0, few)
    every = np.array([[water.interaction(x, box).energy for x in replica] for replica in drawn])
    np.testing.assert_allclose(labels.replica_energy, every.mean(1), rtol=1e-9)
    assert labels.local_energy.value.sum() == pytest.approx(labels.energy.value, rel=1e-12)
    assert labels.acceptance.shape == (4,) and labels.acceptance[3] > 0.2


def test_centres_stay_where_they_are(lone):
    atoms = CENTRES[:, None] + body(lone)
    sampling = FixedSampling(replicas=3, burn_in=500, samples=20, stride=50, start="random")
    drawn = draw_fixed(lone, atoms, BOX, T, sampling)
    centres = np.einsum("a,rsmad->rsmd", lone.between.weights, drawn)
    np.testing.assert_allclose(centres, np.broadcast_to(CENTRES, centres.shape), atol=1e-9)
    at_oxygen = dataclasses.replace(
        lone, between=dataclasses.replace(lone.between, weights=np.array([1.0, 0, 0])),
        inside=lone.inside._replace(weights=np.array([1.0, 0, 0])),
    )  # fmt: skip
    drawn = draw_fixed(at_oxygen, atoms, BOX, T, sampling)
    np.testing.assert_allclose(drawn[:, :, :, 0], np.broadcast_to(atoms[:, 0], (*drawn.shape[:3], 3)), atol=1e-9)


def shapes(water, count, temperature):
    """A grid of both bonds and the angle with exact weights in r^2 r^2 sin(angle), for harmonic terms."""
    inside, kt = water.inside, KB * temperature
    x = np.linspace(-6, 6, count)
    r = inside.lengths[0] + x * np.sqrt(kt / inside.stiffness[0])
    angle = inside.angles[0] + x * np.sqrt(kt / inside.bending[0])
    one, two, bend = np.meshgrid(r, r, angle[angle < np.pi], indexing="ij")
    energy = 0.5 * inside.stiffness[0] * ((one - r.mean()) ** 2 + (two - r.mean()) ** 2)
    energy += 0.5 * inside.bending[0] * (bend - angle.mean()) ** 2
    return one, two, bend, energy, one**2 * two**2 * np.sin(bend)


def test_one_molecule_agrees_with_quadrature(lone):
    """Means and variances of bonds and angle of a molecule without charges, from the integral in r^2 r^2 sin(angle)."""
    sampling = FixedSampling(replicas=24, burn_in=60, samples=1000, stride=3, start="random", seed=4)
    atoms = CENTRES[:1, None] + body(lone)
    bare = dataclasses.replace(lone.between, charges=np.zeros(3), epsilon=0.0)
    soft = lone.inside.stiffness / 4  # for volumes in r^2 to count
    alone = dataclasses.replace(
        lone, between=bare, inside=lone.inside._replace(excluded=np.zeros((3, 3)), stiffness=soft)
    )
    drawn = draw_fixed(alone, atoms, BOX, T, sampling)[:, :, 0]
    one, two, bend, energy, volume = shapes(alone, 61, T)
    weights = volume * np.exp(-energy / KT)
    weights /= weights.sum()
    arms = drawn[:, :, 1:] - drawn[:, :, :1]
    r = np.linalg.norm(arms, axis=-1)
    angle = np.arccos(np.sum(arms[:, :, 0] * arms[:, :, 1], -1) / r.prod(-1))
    for name, seen, exact in (
        ("first bond", r[..., 0], one), ("second bond", r[..., 1], two), ("angle", angle, bend),
        ("bond squared", (r[..., 0] - 0.1012) ** 2, (one - 0.1012) ** 2),
        ("angle squared", (angle - lone.inside.angles[0]) ** 2, (bend - lone.inside.angles[0]) ** 2),
        ("both bonds", (r[..., 0] - 0.1012) * (r[..., 1] - 0.1012), (one - 0.1012) * (two - 0.1012)),
        ("along x", (arms[:, :, 0, 0] / r[..., 0]) ** 2, np.full(one.shape, 1 / 3)),
    ):  # fmt: skip
        mean = seen.mean(1)
        assert abs(mean.mean() - (weights * exact).sum()) < 3 * mean.std(ddof=1) / np.sqrt(24), name


def random_pairs(water, count, rng):
    """Molecules of random turns and of shapes drawn from bonds and angles alone: whole molecules, and log-weights."""
    inside = water.inside
    r = inside.lengths[0] + np.sqrt(KT / inside.stiffness[0]) * rng.normal(size=(count, 2, 2))
    angle = inside.angles[0] + np.sqrt(KT / inside.bending[0]) * rng.normal(size=(count, 2))
    log = 2 * np.log(r).sum((1, 2)) + np.log(np.sin(np.minimum(angle, np.pi - 1e-9))).sum(1)
    flat = np.zeros((count, 2, 3, 3))
    flat[:, :, 1, 0] = r[..., 0]
    flat[:, :, 2, 0], flat[:, :, 2, 1] = r[..., 1] * np.cos(angle), r[..., 1] * np.sin(angle)
    turns = Rotation.random(2 * count, rng=rng).as_matrix().reshape(count, 2, 3, 3)
    atoms = np.einsum("nmab,nmsb->nmsa", turns, flat)
    return CENTRES[:, None] + atoms - np.einsum("s,nmsa->nma", water.between.weights, atoms)[:, :, None], log


def test_two_molecules_agree_with_weighted_random_draws(lone):
    """Energy, force, variance and response, with charges; 12,000 independent draws carry the weight of the rest."""
    sampling = FixedSampling(replicas=24, burn_in=100, samples=800, stride=3, start="random", ranges=(0.0,), seed=3)
    labels = sample_fixed(lone, CENTRES[:, None] + body(lone), BOX, (T, 1.3 * T), sampling)[0]
    assert 0.2 < labels.acceptance[2] < 1  # copies of two temperatures change places
    atoms, log = random_pairs(lone, 12_000, np.random.default_rng(8))
    observed = Observed.of(lone, atoms[0], BOX)
    inner = lone.bonded(atoms.reshape(-1, 3, 3))[0].reshape(-1, 2).sum(1)
    excluded = lone.between.exclusions(atoms.reshape(-1, 3, 3))[0].reshape(-1, 2).sum(1)
    seen = [evaluate(x, observed.around, observed.tables) for x in atoms]
    energy = np.array([shares.sum() for shares, _ in seen]) + excluded + inner
    force = np.array([forces[0].sum(0) for _, forces in seen])
    log -= (energy - inner) / KT
    parts = np.array_split(np.exp(log - log.max()), 20)
    means = lambda values: np.array([
        w @ v / w.sum() for w, v in zip(parts, np.array_split(values, 20), strict=True)
    ])  # fmt: skip
    weights = np.concatenate(parts) / np.sum(np.concatenate(parts))
    assert 1 / (weights**2).sum() > 1000
    for name, found, values in (
        ("energy", labels.energy, energy),
        ("force", (labels.forces.value[0, 0], labels.forces.error[0, 0]), force[:, 0]),
        ("variance", labels.variance, (energy - weights @ energy) ** 2),
        ("response", (labels.covariance.value[0, 0], labels.covariance.error[0, 0]),
         (energy - weights @ energy) * (force[:, 0] - weights @ force[:, 0])),
    ):  # fmt: skip
        error = np.hypot(found[1], means(values).std(ddof=1) / np.sqrt(20))
        assert abs(found[0] - weights @ values) < 3 * error, name


@pytest.mark.parametrize("kind", ["virial", "strain"])
def test_fields_keep_the_centre_and_know_their_divergence(box_of_water, kind):
    water, atoms, box = box_of_water
    field = lambda x: Observed.of(water, x, box).field(kind, x, x)
    np.testing.assert_allclose(water.centres(field(atoms).atoms), 0, atol=1e-15)
    step, found = 1e-6, np.zeros(len(atoms))
    for atom in (1, 2):
        for axis in range(3):
            shift = np.zeros((1, 3, 3))
            shift[0, atom, axis] = step
            rise = field(atoms + shift).atoms - field(atoms - shift).atoms
            found += (rise[:, atom] - rise[:, 0])[:, axis] / (2 * step)
    np.testing.assert_allclose(field(atoms).divergence, found, rtol=1e-6)


@pytest.mark.parametrize("model", ["spc-fw", "tip4p-2005"])
def test_the_field_of_torques_knows_its_divergence(model):
    """The slope of a molecule's own torque while it turns about each axis, with the centre where it is."""
    system = Water(model=model, molecules=32, density=1.0, cutoff=0.45).build()
    water = (FlexibleWater if model == "spc-fw" else RigidWater).of(system, 1e-4)
    atoms, box = system.positions[system.atoms].reshape(-1, 3, 3), np.diagonal(system.box)
    observed, sites = Observed.of(water, atoms, box), water.place(atoms)
    forces = observed.seen(sites).forces
    field, divergence = observed.field("turn", sites, forces)
    assert abs(np.einsum("msa,msa->ms", field, sites - observed.centres[:, None])).max() < 1e-12
    step = 1e-6
    for i in (0, 17):
        slope = 0.0
        for axis, sign in product(range(3), (1, -1)):
            turn = Rotation.from_rotvec(sign * step * np.eye(3)[axis]).as_matrix()
            moved = sites.copy()
            moved[i] = observed.centres[i] + (sites[i] - observed.centres[i]) @ turn.T
            pulled = observed.seen(moved).forces[i]
            slope += sign * np.cross(moved[i] - observed.centres[i], pulled).sum(0)[axis] / (2 * step)
        assert divergence[i] == pytest.approx(slope, rel=1e-6)


def test_slopes_are_those_of_the_forces(box_of_water):
    water, atoms, box = box_of_water
    observed = Observed.of(water, atoms, box, (0.0, 0.35))
    found = observed.sample(atoms, T, "strain")
    field = observed.field("strain", atoms, atoms).atoms
    step = 1e-6
    for reach, i in ((0, 3), (1, 3), (2, 3), (2, 20)):
        along = step * field * (observed.shell[i] <= reach)[:, None, None]
        rise = water.interaction(atoms + along, box).forces[i] - water.interaction(atoms - along, box).forces[i]
        np.testing.assert_allclose(found.slope[reach, i], KT * rise.sum(0) / (2 * step), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.shares, water.interaction(atoms, box).shares, rtol=1e-10)


@pytest.fixture(scope="module")
def drawn(lone):
    sampling = FixedSampling(replicas=16, burn_in=100, samples=150, stride=6, start="random", seed=6)
    return draw_fixed(lone, CENTRES[:, None] + body(lone), BOX, T, sampling)


@pytest.mark.parametrize("kind", ["virial", "strain", "turn"])
def test_variates_average_to_zero_and_leave_responses_alone(lone, drawn, kind):
    """v and f v + kT (n.grad) f vanish on average, and U loses noise to the strain's variate."""
    atoms = drawn[0, 0]
    observed = Observed.of(lone, atoms, BOX)
    seen = [[observed.sample(x, T, kind) for x in replica] for replica in drawn]
    v = np.array([[s.variates.sum() for s in replica] for replica in seen])
    energy = np.array([[s.shares.sum() for s in replica] for replica in seen])
    force = np.array([[s.forces for s in replica] for replica in seen])
    slope = np.array([[s.slope[-1] for s in replica] for replica in seen])
    vanishing = lambda x: np.abs(x.mean((0, 1))) / (x.mean(1).std(0, ddof=1) / 4)
    assert vanishing(v) < 3
    np.testing.assert_array_less(vanishing(force * v[..., None, None] + slope), 3.5)
    if kind == "strain":
        assert (energy + 0.5 * v).var() < 0.75 * energy.var()


def test_constrained_molecules_are_refused_with_the_reason(system):
    rigid = Water(model="spce", molecules=32, density=1.0, cutoff=0.45).build()
    with pytest.raises(ValueError, match=r"96 distances in the molecules are constrained.*RigidWater"):
        FlexibleWater.of(rigid)
    observed = Observed.of(RigidWater.of(rigid), rigid.positions.reshape(-1, 3, 3), np.diagonal(rigid.box))
    with pytest.raises(ValueError, match=r"fixed lengths.*use 'turn'"):
        observed.sample(rigid.positions.reshape(-1, 3, 3), T, "strain")
    with pytest.raises(ValueError, match="flexible; use FlexibleWater"):
        RigidWater.of(system)


def test_torn_molecules_are_refused(lone):
    atoms = CENTRES[:, None] + body(lone)
    atoms[1, 2, 0] += BOX[0]
    with pytest.raises(ValueError, match="put the molecules together"):
        sample_fixed(lone, atoms, BOX, (T,), FixedSampling(burn_in=10, samples=10))


def test_frames_of_a_run_are_held_and_resumed(tmp_path):
    system = Water(model="spc-fw", molecules=32, density=1.0, cutoff=0.45)
    recipe = ReferenceRun(system=system, temperatures=(300.0,), time=0.04, interval=0.02, equilibration=0.05, seed=4)
    source = run(recipe, tmp_path / "atoms.h5", threads=1)
    few = FixedSampling(replicas=3, burn_in=10, samples=20, stride=1, seed=2)
    whole = hold(source, tmp_path / "whole.h5", [1, 0], few)
    hold(source, tmp_path / "parts.h5", [1], few)
    parts = hold(source, tmp_path / "parts.h5", [1, 0], few, resume=True)
    assert whole.hash == parts.hash
    atoms = open_reference(source)
    mapped = next(iter(Mapping.by_residue(atoms, {"HOH": {"W": "all"}})(atoms).batches(2)))
    np.testing.assert_allclose(whole[:].positions, mapped.positions[[1, 0]], atol=1e-6)
    assert (read_errors(tmp_path / "whole.h5")["effective"] > 0).all()
    assert "shapes" in whole.provenance["ensemble"]
