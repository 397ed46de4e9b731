"""The liquid of two states: labels against an independent sum, truth against derivatives and replicas, samples."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from meanforce.reference import TwoStateLiquid
from meanforce.reference.liquids import PairFunction
from meanforce.reference.two_state_liquid import StateConfigurations
from meanforce.units import KB

T = 300.0
KT = KB * T


@pytest.fixture(scope="module")
def liquid():
    return TwoStateLiquid(molecules=48, edge=1.85)


@pytest.fixture(scope="module")
def drawn(liquid):
    return liquid.draw(400, T, seed=2)


def plain_energy(liquid, x, excited, edge):
    """U of one frame, straight from its definition."""
    apart = x[:, None] - x[None]
    apart -= edge * np.round(apart / edge)
    r = np.linalg.norm(apart, axis=-1)
    np.fill_diagonal(r, np.inf)
    gaps = liquid.gap + liquid.splitting(r).sum(axis=1)
    return liquid.energetic(r).sum() / 2 + (gaps * excited).sum()


def slope(function, x, step):
    """Central difference of fourth order."""
    near, far = function(x + step) - function(x - step), function(x + 2 * step) - function(x - 2 * step)
    return (8 * near - far) / (12 * step)


def test_labels_are_those_of_the_energy(liquid, drawn):
    """Energy, forces and virial of two frames against the plain sum and its differences."""
    frames = liquid.beads(StateConfigurations(drawn.centres[:2], drawn.excited[:2], drawn.chain[:2], T))
    along = np.random.default_rng(1).normal(size=frames.positions[0].shape)
    for f in range(2):
        x, s = frames.positions[f], drawn.excited[f]
        assert 0 < s.sum() < len(s)
        np.testing.assert_allclose(frames.energy[f], plain_energy(liquid, x, s, liquid.edge), rtol=1e-12)
        np.testing.assert_allclose(frames.local_energy[f].sum(), frames.energy[f], rtol=1e-12)
        rise = slope(lambda h: plain_energy(liquid, x + h * along, s, liquid.edge), 0.0, 1e-5)  # noqa: B023
        np.testing.assert_allclose(-(frames.forces[f] * along).sum(), rise, rtol=1e-7)
        grown = slope(lambda h: plain_energy(liquid, x * (1 + h), s, liquid.edge * (1 + h)), 0.0, 1e-5)  # noqa: B023
        np.testing.assert_allclose(frames.virial[f], -grown, rtol=1e-7)


def test_truth_is_the_sum_over_all_states():
    """Three molecules have eight states: A, p, E and every cumulant from their Boltzmann weights."""
    few = TwoStateLiquid(molecules=3, edge=1.8)
    x = np.random.default_rng(3).uniform(0, 0.6, (2, 3, 3))
    states = np.array([[n >> k & 1 for k in range(3)] for n in range(8)], bool)
    each = [few.beads(StateConfigurations(np.repeat(x[f : f + 1], 8, 0), states, np.zeros(8), T)) for f in range(2)]
    for f, frames in enumerate(each):
        weight = few.degeneracy ** states.sum(axis=1) * np.exp(-frames.energy / KT)
        p, u = weight / weight.sum(), frames.energy
        du, df = u - p @ u, frames.forces - np.tensordot(p, frames.forces, 1)
        at = x[f : f + 1]
        for found, expected in (
            (few.free_energy(at, T), -KT * np.log(weight.sum())),
            (few.excited(at, T), p @ states),
            (few.energy(at, T), p @ u),
            (few.variance(at, T), p @ du**2),
            (few.force(at, T), np.tensordot(p, frames.forces, 1)),
            (few.virial(at, T), p @ frames.virial),
            (few.covariance(at, T), np.tensordot(p * du, df, 1)),
            (few.third_cumulant(at, T), np.tensordot(p * du**2, df, 1)),
            (few.noise_floor(at, T), (p @ (df**2).mean(axis=(1, 2)))),
        ):
            np.testing.assert_allclose(np.squeeze(found), expected, rtol=1e-9, atol=1e-10)


def test_truth_is_consistent(liquid, drawn):
    x = drawn.centres[:3]
    close = lambda value, expected: np.testing.assert_allclose(value, expected, rtol=1e-7, atol=1e-8)
    along = np.random.default_rng(4).normal(size=x.shape)
    close(
        -(liquid.force(x, T) * along).sum(axis=(1, 2)), slope(lambda h: liquid.free_energy(x + h * along, T), 0, 1e-5)
    )
    close(liquid.entropy(x, T), -slope(lambda t: liquid.free_energy(x, t), T, 0.5))
    close(liquid.energy(x, T), liquid.free_energy(x, T) + T * liquid.entropy(x, T))
    close(liquid.variance(x, T), KB * T**2 * slope(lambda t: liquid.energy(x, t), T, 0.5))
    close(liquid.response_force(x, T), slope(lambda t: liquid.force(x, t), T, 0.5))
    close(liquid.response_force(x, T, 2), slope(lambda t: liquid.response_force(x, t), T, 0.5))
    close(liquid.covariance(x, T), KB * T**2 * liquid.response_force(x, T))
    by_beta = slope(lambda b: liquid.covariance(x, 1 / (KB * b)), 1 / KT, 1e-4)
    close(liquid.third_cumulant(x, T), -by_beta)
    close(liquid.virial(x, T), -slope(lambda h: grown(liquid, h).free_energy(x * (1 + h), T), 0.0, 1e-5))


def grown(liquid, h):
    return replace(liquid, edge=liquid.edge * (1 + h))


def test_high_and_low_temperatures_do_not_overflow(liquid, drawn):
    x = drawn.centres[:2]
    frozen, hot = liquid.free_energy(x, 0.05), liquid.free_energy(x, 1e6)
    assert np.isfinite(frozen).all() and np.isfinite(hot).all()
    np.testing.assert_allclose(liquid.excited(x, 1e9), liquid.degeneracy / (1 + liquid.degeneracy), rtol=1e-6)


def test_replicas_at_fixed_centres_average_to_the_truth(liquid, drawn):
    """Mean labels, cumulants and the noise floor from 4,000 replicas of the states, within their standard errors."""
    n, x = 4000, drawn.centres[7:8]
    at = np.repeat(x, n, axis=0)
    excited = liquid.draw_states(at, T, np.random.default_rng(8))
    frames = liquid.beads(StateConfigurations(at, excited, np.zeros(n, int), T))
    df, du = frames.forces - liquid.force(x, T), frames.energy - liquid.energy(x, T)
    du3 = du[:, None, None]
    for sample, truth in (
        (df, 0.0),
        (df * du3, liquid.covariance(x, T)),
        (df * du3**2, liquid.third_cumulant(x, T)),
    ):
        z = (sample - truth).mean(axis=0) / (sample.std(axis=0) / n**0.5)
        assert kstest(z.ravel(), "norm").pvalue > 0.001
    for sample, truth in (
        (du, 0.0),
        (du**2, liquid.variance(x, T)),
        (frames.virial, liquid.virial(x, T)),
        ((df**2).mean(axis=(1, 2)), liquid.noise_floor(x, T)),
    ):
        assert abs(sample.mean() - truth) < 3 * sample.std() / n**0.5


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


@pytest.mark.parametrize("temperature", [250.0, 450.0])
def test_samples_are_canonical(liquid, temperature):
    """The sum rule holds for samples of the temperature of the forces, and breaks for another temperature."""
    x = liquid.draw(600, temperature, seed=3).centres
    assert abs(sum_rule(liquid, x, temperature)) < 3
    assert abs(sum_rule(liquid, x, 1.1 * temperature)) > 5


def test_moves_follow_the_gaps_of_neighbours():
    """Gaps of 7 kT and more scatter: gaps of neighbours that lag behind would break the sum rule."""
    strong = TwoStateLiquid(
        molecules=32, edge=1.85, splitting=PairFunction.compact(60.0, 0.9), gap=-10.0, degeneracy=50.0
    )
    x = strong.draw(1200, T, seed=3).centres
    assert abs(sum_rule(strong, x, T)) < 3
    assert strong.gaps(x).std() > 5 * KT


def test_covariances_of_samples_obey_their_sum_rule(liquid, drawn):
    """E[Cov_X(f, U) . h] = -Cov(F . h, E) for a field without divergence: along each wave, across it."""
    wave = 2 * np.pi / liquid.edge
    x = drawn.centres
    force, energy, covariance = liquid.force(x, T), liquid.energy(x, T), liquid.covariance(x, T)
    for along, across in ((0, 1), (1, 2), (2, 0)):
        push = np.sin(wave * x[..., along])
        within = (push * covariance[..., across]).sum(axis=1)
        between = (push * force[..., across]).sum(axis=1) * (energy - energy.mean())
        value = within + between
        assert abs(value.mean()) < 3 * value.std() / len(x) ** 0.5


def test_two_molecules_have_the_exact_distance_distribution():
    pair = TwoStateLiquid(molecules=2, edge=1.8)
    x = pair.draw(4000, T, seed=6, chains=8, sweeps=30).centres
    apart = x[:, 0] - x[:, 1]
    apart -= pair.edge * np.round(apart / pair.edge)
    grid = (np.arange(60) + 0.5) / 60 * pair.edge - pair.edge / 2
    r = np.sort(np.sqrt((np.stack(np.meshgrid(grid, grid, grid)) ** 2).sum(axis=0)).ravel())
    odds = pair.degeneracy * np.exp(-(pair.gap + pair.splitting(r)) / KT)
    weight = np.exp(-pair.energetic(r) / KT) * (1 + odds) ** 2
    cumulative = np.cumsum(weight) / weight.sum()
    distance = np.linalg.norm(apart, axis=1)
    assert kstest(distance, lambda d: np.interp(d, r, cumulative)).pvalue > 0.01


def test_frames_are_nearly_independent_and_reproducible(liquid, drawn):
    a = liquid.free_energy(drawn.centres, T)
    for chain in range(4):
        part = a[drawn.chain == chain] - a.mean()
        assert abs((part[1:] * part[:-1]).mean() / part.var()) < 0.35
    again = liquid.draw(400, T, seed=2)
    np.testing.assert_array_equal(again.centres, drawn.centres)
    np.testing.assert_array_equal(again.excited, drawn.excited)
    assert ((drawn.centres >= 0) & (drawn.centres < liquid.edge)).all()


def test_noiseless_frames_carry_mean_labels(liquid, drawn):
    x = drawn.centres[:5]
    frames = liquid.noiseless(x, T)
    for label, truth in (
        (frames.forces, liquid.force),
        (frames.energy, liquid.energy),
        (frames.virial, liquid.virial),
        (frames.covariance, liquid.covariance),
        (frames.variance, liquid.variance),
        (frames.third_cumulant, liquid.third_cumulant),
    ):
        np.testing.assert_array_equal(label, truth(x, T))
    assert len(liquid.topology) == frames.particles


def test_what_cannot_be_is_refused(liquid):
    with pytest.raises(ValueError, match="exceeds half the box edge"):
        TwoStateLiquid(edge=1.7)
    with pytest.raises(ValueError, match="weight of the upper state"):
        TwoStateLiquid(degeneracy=0.0)
    with pytest.raises(ValueError, match="starts at distance 0"):
        TwoStateLiquid(splitting=PairFunction(np.array([0.1, 0.9]), np.zeros((1, 1))))
    with pytest.raises(ValueError, match="order=3"):
        liquid.response_force(np.zeros((1, 48, 3)), T, 3)
