"""Exactly solvable beads: golden numbers, thermodynamic identities, and samples against them."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.stats import kstest

from meanforce.reference.analytic import (
    CurvedValley,
    ExponentialBath,
    ModulatedBath,
    PowerBath,
    RadialDistance,
    SquaredDistance,
    TwoStateBath,
)
from meanforce.reference.exact import draw_from
from meanforce.units import KB

# name -> (system, kT in kJ/mol, positions in nm)
SYSTEMS = {
    "modulated": (ModulatedBath(), 0.6, np.array([-1.1, 0.3, 0.8])),
    "two-state": (TwoStateBath(), 1.0, np.array([-0.9, 0.2, 0.7])),
    "power": (PowerBath(dimensions=3, power=4.0), 0.9, np.array([-1.2, 0.4, 1.0])),
    "exponential": (ExponentialBath(), 0.8, np.array([-1.5, -0.2, 0.9])),
    "radial": (RadialDistance(spring=1.7), 0.7, np.array([0.3, 0.8, 1.6])),
    "squared": (SquaredDistance(spring=1.7), 0.7, np.array([0.3, 0.8, 1.6])),
    "valley": (CurvedValley(), 0.7, np.array([-0.8, 0.35, 1.2])),
}
each_system = pytest.mark.parametrize("name", SYSTEMS)


def kelvin(kt):
    return kt / KB


def slope(function, x, step):
    """Central difference of fourth order."""
    near, far = function(x + step) - function(x - step), function(x + 2 * step) - function(x - 2 * step)
    return (8 * near - far) / (12 * step)


def at(value):
    return np.array([value])


def golden(value, expected):
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-8)


def test_modulated_bath_golden_numbers():
    """Response forces are per K: times 1/KB they are those with k_B = 1."""
    bath, r, t = ModulatedBath(), at(0.8), kelvin(0.6)
    golden(bath.force(r, t), -0.257454545454546)
    golden(bath.energy(r, t), 0.6824)
    golden(bath.variance(r, t), 0.54)
    golden(bath.covariance(r, t), -0.327272727272727)
    golden(bath.third_cumulant(r, t), -0.392727272727273)


@pytest.mark.parametrize(
    ("kt", "a", "e", "var", "f", "response"),
    [
        (0.5, 0.230311869871707, 0.387339901343611, 0.263737790462012, 1.37016368120745, -0.479523255385476),
        (1.0, -0.180742413934794, 1.04441297056818, 1.11034169944851, 1.07149410428719, -0.504700772476597),
        (2.0, -1.69982431825671, 1.63438433731769, 1.13476810230220, 0.803325301219231, -0.128950920716159),
    ],
)
def test_two_state_bath_golden_numbers(kt, a, e, var, f, response):
    bath, r, t = TwoStateBath(), at(0.7), kelvin(kt)
    golden(bath.free_energy(r, t), a)
    golden(bath.energy(r, t), e)
    golden(bath.variance(r, t), var)
    golden(bath.force(r, t), f)
    golden(bath.response_force(r, t) / KB, response)
    golden(bath.third_cumulant(r, t), bath.covariance(r, t) * 2.2 * (1 - 2 * bath.excited(r, t)))


def test_power_bath_of_two_dimensions_is_exponential_noise():
    """d = p = 2: the median of the label is the force with ln 2 for 1, which a mean absolute error would find."""
    bath, r, t = PowerBath(), at(0.8), kelvin(0.6)
    ratio = 0.8 / 1.32
    golden(bath.force(r, t), -(0.8**3 - 0.8) - 0.6 * ratio)
    golden(bath.median_force(r, t), -(0.8**3 - 0.8) - 0.6 * np.log(2) * ratio)
    golden(bath.energy(r, t), 0.8**4 / 4 - 0.32 + 0.6)
    label = bath.labels(np.full(200_000, 0.8), t, np.random.default_rng(3)).force
    density = 1 / (2 * 0.6 * ratio)  # of the label at its median
    assert abs(np.median(label) - bath.median_force(r, t)[0]) < 3 * 0.5 / density / len(label) ** 0.5


def test_distances_of_a_harmonic_particle():
    r, t, k = np.array([0.4, 1.3]), kelvin(0.7), 1.7
    near, squared = RadialDistance(k), SquaredDistance(k)
    golden(near.force(r, t), -k * r + 2 * 0.7 / r)
    golden(near.response_force(r, t) / KB, 2 / r)
    golden(squared.force(r, t), -k / 2 + 0.7 / (2 * r))
    metric = near.free_energy(r, t) - squared.metric_free_energy(r**2, t)
    golden(metric[0], metric[1])


def test_curved_valley_golden_numbers():
    valley, t = CurvedValley(potential=Polynomial([0.0, 0.35])), kelvin(0.7)
    golden(valley.mean_square(t), 0.538461538461538)
    golden(valley.mean_square(t, corrected=False), 0.678527905406)
    golden(valley.force(at(0.1), t), -0.35)
    projected = -0.35 - 0.7 * valley.mean_divergence(t)  # the mean label without kT D
    assert projected == pytest.approx(-0.673, abs=5e-4)


def test_exponential_bath_golden_numbers():
    bath, t = ExponentialBath(), kelvin(0.8)
    truth = bath.ensemble(t)
    golden(truth.log_partition, 2.562695777748052)
    golden(truth.mean_energy, 1.8304)
    golden(truth.variance_within, 0.96)
    golden(truth.variance_between, 0.68864)
    r = np.array([-1.0, 0.0, 0.7])
    golden(bath.covariance(r, t), -0.768)
    golden(bath.force(r, t), -2 * r - 0.96)
    golden(bath.response_force(r, t) / KB, -1.2)
    golden(bath.energy(r, t), r**2 + 1.2)
    naive = bath.covariance(r, t) + bath.force(r, t) * (bath.energy(r, t) - truth.mean_energy)
    golden(naive, -0.162816 + 1.2608 * r - 0.96 * r**2 - 2 * r**3)


def test_exponential_bath_agrees_with_quadrature():
    bath, t = ExponentialBath(), kelvin(0.8)
    r = np.linspace(-14, 12, 20001)
    weight = np.exp(-bath.free_energy(r, t) / 0.8)
    golden(np.log(weight.sum() * (r[1] - r[0])), 2.562695777748052)
    p = weight / weight.sum()
    mean = (p * bath.energy(r, t)).sum()
    golden(mean, 1.8304)
    golden((p * (bath.energy(r, t) - mean) ** 2).sum(), 0.68864)
    golden((p * r * bath.force(r, t)).sum(), -0.8)


@each_system
def test_every_quantity_is_the_derivative_it_should_be(name):
    system, kt, r = SYSTEMS[name]
    t = kelvin(kt)
    close = lambda value, expected: np.testing.assert_allclose(value, expected, rtol=1e-7, atol=1e-8)
    close(system.force(r, t), -slope(lambda x: system.free_energy(x, t), r, 1e-3))
    close(system.entropy(r, t), -slope(lambda x: system.free_energy(r, x), t, 1e-2))
    close(system.variance(r, t), KB * t**2 * slope(lambda x: system.energy(r, x), t, 1e-2))
    close(system.response_force(r, t), slope(lambda x: system.force(r, x), t, 1e-2))


@each_system
def test_replicas_at_fixed_position_have_the_exact_moments(name):
    """Mean force, mean energy, variance, covariance and force noise of 40,000 replicas, within 4 standard errors."""
    system, kt, r = SYSTEMS[name]
    t, n = kelvin(kt), 40_000
    labels = system.labels(np.repeat(r[:, None], n, axis=1), t, np.random.default_rng(11))
    force, energy = system.force(r, t)[:, None], system.energy(r, t)[:, None]
    df, du = labels.force - force, labels.energy - energy
    for sample, truth in (
        (df, 0.0),
        (du, 0.0),
        (du**2, system.variance(r, t)),
        (df * du, system.covariance(r, t)),
        (df**2, system.force_variance(r, t)),
    ):
        error = sample.std(axis=1) / n**0.5
        assert (abs(sample.mean(axis=1) - truth) <= 4 * error + 1e-12).all()


@each_system
def test_drawn_positions_follow_the_free_energy(name):
    system, kt, _ = SYSTEMS[name]
    t = kelvin(kt)
    frames = system.sample(20_000, t, seed=5)
    drawn = frames.positions[:, 0, 0]
    low, high = drawn.min() - 0.2, drawn.max() + 0.2
    grid = np.linspace(max(low, 1e-9) if name in ("radial", "squared") else low, high, 400_001)
    weight = np.exp(-(system.free_energy(grid, t) - system.free_energy(grid, t).min()) / kt)
    cumulative = np.cumsum(weight) / weight.sum()
    assert kstest(drawn, lambda x: np.interp(x, grid, cumulative)).pvalue > 0.01
    np.testing.assert_array_equal(frames.positions[:, 0, 1:], 0)
    assert frames.labels() == ("forces", "energy", "temperature")


def test_draws_depend_on_the_seed_alone():
    bath = TwoStateBath()
    first, again, other = (bath.sample(50, 300.0, seed=s).positions for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_noiseless_frames_carry_mean_labels():
    bath, r, t = ModulatedBath(), np.linspace(-1, 1, 5), 300.0
    frames = bath.noiseless(r, t)
    np.testing.assert_array_equal(frames.forces[:, 0, 0], bath.force(r, t))
    np.testing.assert_array_equal(frames.energy, bath.energy(r, t))


def test_a_free_energy_that_does_not_confine_is_refused():
    with pytest.raises(ValueError, match="does not confine"):
        draw_from(lambda r: -(r**2), 300.0, 10, np.random.default_rng(0))
