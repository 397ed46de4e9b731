"""The diatomic liquid: its labels against an independent sum, its truth against derivatives, its samples."""

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.stats import kstest

from meanforce.reference.liquids import Configurations, DiatomicLiquid, PairFunction
from meanforce.units import KB

T = 300.0
KT = KB * T


@pytest.fixture(scope="module")
def liquid():
    return DiatomicLiquid(molecules=48, edge=1.85)


@pytest.fixture(scope="module")
def drawn(liquid):
    return liquid.draw(400, T, seed=2)


def atomic_energy(liquid, atoms, edge):
    """U of the atoms of one frame, straight from its definition."""
    first, second = atoms[0::2], atoms[1::2]
    centres, bonds = (first + second) / 2, first - second
    apart = centres[:, None] - centres[None]
    apart -= edge * np.round(apart / edge)
    i, j = np.triu_indices(len(centres), 1)
    r = np.linalg.norm(apart[i, j], axis=1)
    g = np.bincount(i, liquid.entropic(r), len(centres)) + np.bincount(j, liquid.entropic(r), len(centres))
    bond_energy = 0.5 * liquid.bond_spring * np.exp(g) * (bonds**2).sum(axis=1)
    return liquid.energetic(r).sum() + bond_energy.sum()


def test_pair_functions_are_smooth_and_vanish_at_the_cutoff():
    v = PairFunction.compact(60.0, 0.9, root=0.42)
    r = np.linspace(0.05, 0.95, 19)
    x = r / 0.9
    expected = np.where(x < 1, 60 * (1 - x**2) ** 6 * (1 - (r / 0.42) ** 2), 0)
    np.testing.assert_allclose(v(r), expected, atol=1e-11)
    slope = (v(r + 1e-5) - v(r - 1e-5)) / 2e-5
    np.testing.assert_allclose(v.derivative(r), slope, atol=1e-5)


def test_a_spline_is_taken_over_exactly_and_added_exactly():
    knots = np.concatenate([[0.0] * 3, np.linspace(0, 0.8, 9), [0.8] * 3])
    rng = np.random.default_rng(0)
    spline = BSpline(knots, np.append(rng.normal(size=8), [0, 0, 0]), 3)
    g = PairFunction.of_spline(spline)
    v = PairFunction.compact(60.0, 0.9, root=0.42)
    r = np.linspace(0.0, 0.79, 200)
    np.testing.assert_allclose(g(r), spline(r), atol=1e-12)
    np.testing.assert_allclose(g.derivative(r), spline(r, 1), atol=1e-11)
    both = v.plus(g, 7.5)
    r = np.linspace(0.0, 1.0, 333)
    np.testing.assert_allclose(both(r), v(r) + 7.5 * g(r), atol=1e-11)


def test_labels_of_atoms_are_those_of_the_energy(liquid, drawn):
    """Energy, forces and virial of the atoms against the plain sum and its differences."""
    few = Configurations(drawn.centres[:2], drawn.bonds[:2], drawn.chain[:2], T)
    frames = liquid.atoms(few)
    rng = np.random.default_rng(1)
    for f in range(2):
        x = frames.positions[f]
        np.testing.assert_allclose(frames.energy[f], atomic_energy(liquid, x, liquid.edge), rtol=1e-12)
        along = rng.normal(size=x.shape)
        step = 1e-6
        rise = atomic_energy(liquid, x + step * along, liquid.edge) - atomic_energy(
            liquid, x - step * along, liquid.edge
        )
        np.testing.assert_allclose(-(frames.forces[f] * along).sum(), rise / (2 * step), rtol=1e-6)
        shift = np.repeat(few.centres[f], 2, axis=0)
        grown = atomic_energy(liquid, x + step * shift, liquid.edge * (1 + step))
        shrunk = atomic_energy(liquid, x - step * shift, liquid.edge * (1 - step))
        np.testing.assert_allclose(frames.virial[f], -(grown - shrunk) / (2 * step), rtol=1e-5)


def test_beads_are_mapped_atoms(liquid, drawn):
    atoms, beads = liquid.atoms(drawn), liquid.beads(drawn)
    paired = atoms.forces.reshape(len(atoms), -1, 2, 3)
    np.testing.assert_allclose(paired.sum(axis=2), beads.forces, atol=1e-9)
    np.testing.assert_allclose(atoms.positions.reshape(paired.shape).mean(axis=2), beads.positions, atol=1e-12)
    np.testing.assert_allclose(beads.forces.sum(axis=1), 0, atol=1e-8)
    for name in ("energy", "virial", "temperature", "trajectory"):
        np.testing.assert_array_equal(getattr(atoms, name), getattr(beads, name))
    assert len(liquid.atom_topology) == atoms.particles
    assert len(liquid.topology) == beads.particles
    assert liquid.atom_topology.molecules.max() + 1 == liquid.molecules


def test_wrapped_atoms_are_the_same_atoms(liquid, drawn):
    whole, wrapped = liquid.atoms(drawn), liquid.atoms(drawn, wrapped=True)
    shift = (wrapped.positions - whole.positions) / liquid.edge
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-9)
    assert (np.ptp(np.round(shift).reshape(len(whole), -1, 2, 3), axis=2) > 0).any(), "some molecules must be broken"


def test_truth_is_consistent(liquid, drawn):
    x = drawn.centres[:3]
    a = lambda x, t=T: liquid.free_energy(x, t)
    along = np.random.default_rng(4).normal(size=x.shape)
    work = -(liquid.force(x, T) * along).sum(axis=(1, 2))
    np.testing.assert_allclose(work, (a(x + 1e-6 * along) - a(x - 1e-6 * along)) / 2e-6, rtol=1e-6)
    np.testing.assert_allclose(liquid.entropy(x, T), -(a(x, T + 0.01) - a(x, T - 0.01)) / 0.02, rtol=1e-8)
    response = (liquid.force(x, T + 1) - liquid.force(x, T - 1)) / 2
    np.testing.assert_allclose(liquid.response_force(x, T), response, atol=1e-10)
    heat = (liquid.energy(x, T + 1) - liquid.energy(x, T - 1)) / 2
    np.testing.assert_allclose(liquid.variance(T), KB * T**2 * heat, rtol=1e-9)
    r = np.linspace(0.2, 0.95, 7)
    np.testing.assert_allclose(liquid.pair_potential(r, T), liquid.mean_potential(T)(r), atol=1e-11)
    np.testing.assert_allclose(liquid.pair_force(r, T), -liquid.mean_potential(T).derivative(r), atol=1e-9)


def test_free_energy_is_a_pair_sum_and_the_virial_its_derivative(liquid, drawn):
    x = drawn.centres[:3]
    i, j = np.triu_indices(liquid.molecules, 1)
    apart = x[:, i] - x[:, j]
    apart -= liquid.edge * np.round(apart / liquid.edge)
    r = np.linalg.norm(apart, axis=-1)
    pairs = liquid.pair_potential(r, T).sum(axis=1)
    np.testing.assert_allclose(np.diff(liquid.free_energy(x, T)), np.diff(pairs), atol=1e-9)
    np.testing.assert_allclose(liquid.virial(x, T), (r * liquid.pair_force(r, T)).sum(axis=1), atol=1e-8)


def test_replicas_at_fixed_centres_average_to_the_truth(liquid, drawn):
    """Mean labels and the noise floor, from 4,000 replicas of the bonds."""
    n = 4000
    x = np.broadcast_to(drawn.centres[7], (n, liquid.molecules, 3))
    bonds = liquid.draw_bonds(x, T, np.random.default_rng(8))
    frames = liquid.beads(Configurations(x, bonds, np.zeros(n, int), T))
    noise = frames.forces - liquid.force(x[:1], T)
    z = noise.mean(axis=0) / (noise.std(axis=0) / n**0.5)
    assert kstest(z.ravel(), "norm").pvalue > 0.001
    square = (noise**2).mean(axis=(1, 2))
    assert abs(square.mean() - liquid.noise_floor(x[:1], T)) < 3 * square.std() / n**0.5
    energy = frames.energy - liquid.energy(x[:1], T)
    assert abs(energy.mean()) < 3 * energy.std() / n**0.5
    assert energy.var() == pytest.approx(liquid.variance(T), rel=4 * (2 / n) ** 0.5)
    virial = frames.virial - liquid.virial(x[:1], T)
    assert abs(virial.mean()) < 3 * virial.std() / n**0.5


def sum_rule(liquid, x, temperature, reach=0.7):
    """E[kT div h + h.F] in its standard errors, for a field h that pushes near pairs apart."""
    force = liquid.force(x, temperature)
    i, j = np.triu_indices(liquid.molecules, 1)
    apart = x[:, i] - x[:, j]
    apart -= liquid.edge * np.round(apart / liquid.edge)
    square = (apart**2).sum(axis=-1)
    near = np.clip(1 - square / reach**2, 0, None)
    divergence = 2 * (3 * near**2 - 4 * square * near / reach**2)
    work = (near[..., None] ** 2 * apart * (force[:, i] - force[:, j])).sum(axis=-1)
    value = (KB * temperature * divergence + work).sum(axis=1)
    return value.mean() / value.std() * len(x) ** 0.5


@pytest.mark.parametrize("temperature", [250.0, 400.0])
def test_samples_are_canonical(liquid, temperature):
    """The sum rule holds for samples of the temperature of the forces, and breaks for another temperature."""
    x = liquid.draw(800, temperature, seed=3).centres
    assert abs(sum_rule(liquid, x, temperature)) < 3
    assert abs(sum_rule(liquid, x, 1.1 * temperature)) > 5
    wave = 2 * np.pi / liquid.edge
    for k in (1, 2, 4):
        divergence = k * wave * np.cos(k * wave * x)
        value = KB * temperature * divergence + np.sin(k * wave * x) * liquid.force(x, temperature)
        value = value.sum(axis=(1, 2))
        assert abs(value.mean()) < 3 * value.std() / len(x) ** 0.5


def test_two_molecules_have_the_exact_distance_distribution():
    pair = DiatomicLiquid(molecules=2, edge=1.8)
    x = pair.draw(4000, T, seed=6, chains=8, sweeps=30).centres
    apart = x[:, 0] - x[:, 1]
    apart -= pair.edge * np.round(apart / pair.edge)
    grid = (np.arange(60) + 0.5) / 60 * pair.edge - pair.edge / 2
    r = np.sqrt((np.stack(np.meshgrid(grid, grid, grid)) ** 2).sum(axis=0)).ravel()
    order = np.argsort(r)
    weight = np.exp(-pair.pair_potential(r, T) / KT)[order]
    cumulative = np.cumsum(weight) / weight.sum()
    distance = np.linalg.norm(apart, axis=1)
    assert kstest(distance, lambda d: np.interp(d, r[order], cumulative)).pvalue > 0.01


def test_frames_are_nearly_independent_and_reproducible(liquid, drawn):
    a = liquid.free_energy(drawn.centres, T)
    for chain in range(4):
        part = a[drawn.chain == chain] - a.mean()
        assert abs((part[1:] * part[:-1]).mean() / part.var()) < 0.35
    again = liquid.draw(400, T, seed=2)
    np.testing.assert_array_equal(again.centres, drawn.centres)
    np.testing.assert_array_equal(again.bonds, drawn.bonds)


def test_noiseless_frames_carry_mean_labels(liquid, drawn):
    frames = liquid.noiseless(drawn.centres[:5], T)
    np.testing.assert_array_equal(frames.forces, liquid.force(drawn.centres[:5], T))
    np.testing.assert_allclose(frames.energy, liquid.energy(drawn.centres[:5], T), rtol=1e-12)
    np.testing.assert_array_equal(frames.virial, liquid.virial(drawn.centres[:5], T))


def test_a_box_too_small_for_the_cutoff_is_refused():
    with pytest.raises(ValueError, match="exceeds half the box edge"):
        DiatomicLiquid(edge=1.7)
