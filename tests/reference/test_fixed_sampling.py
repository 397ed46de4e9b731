"""Orientations of water at fixed centres: two molecules against quadrature over all orientations."""

from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import erfc

from meanforce.reference.ewald import RigidWater
from meanforce.reference.fixed import FixedSampling, sample_fixed
from meanforce.reference.water import molecule_geometry
from meanforce.units import KB

T = 700.0
BOX = np.array([1.5, 1.4, 1.45])
CENTRES = np.array([[0.1, 0.2, 0.3], [0.4, 0.37, 0.42]])
COULOMB = 138.93545764438198


@pytest.fixture(scope="module")
def water():
    masses = np.array([15.99943, 1.007947, 1.007947])
    return RigidWater(
        np.array([-0.8476, 0.4238, 0.4238]), np.eye(3), masses / masses.sum(), 0.3166, 0.65, 0.6, 4.38, 1e-7, False
    )


def body(water):
    shape = molecule_geometry(0.1, 109.47)
    return shape - water.weights @ shape


def orientations(azimuths, tilts, spins):
    """Product rule over all turns, with weights that sum to one; half a turn of the spin maps water on itself."""
    x, w = np.polynomial.legendre.leggauss(tilts)
    angles, weights = [], []
    for a, (tilt, weight), c in product(range(azimuths), zip(np.arccos(x), w, strict=True), range(spins)):
        angles.append((2 * np.pi * a / azimuths, tilt, np.pi * c / spins))
        weights.append(weight)
    weights = np.array(weights)
    return Rotation.from_euler("ZYZ", angles).as_matrix(), weights / weights.sum()


def upright(water):
    """Water with its symmetry axis along z."""
    return body(water) @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T


def exact(water, grid):
    """Force on the first molecule, U and its share in U on a grid of orientations of both, with their weights."""
    turns, weights = orientations(*grid)
    sites = np.einsum("nab,sb->nsa", turns, upright(water))
    q, g = water.charges, len(turns)
    energy, force = np.zeros((g, g)), np.zeros((3, g, g))
    for s, t in product(range(3), range(3)):
        apart = (CENTRES[0] + sites[:, None, s]) - (CENTRES[1] + sites[None, :, t])
        apart -= BOX * np.round(apart / BOX)
        r = np.linalg.norm(apart, axis=2)
        near = r < water.cutoff
        value = COULOMB * q[s] * q[t] * erfc(water.screening * r) / r
        gauss = 2 * water.screening / np.sqrt(np.pi) * np.exp(-((water.screening * r) ** 2))
        push = (value + COULOMB * q[s] * q[t] * gauss) / r**2
        if s == t == 0:
            value += 4 * water.epsilon * ((water.sigma / r) ** 12 - (water.sigma / r) ** 6)
            push += 24 * water.epsilon * (2 * (water.sigma / r) ** 12 - (water.sigma / r) ** 6) / r**2
        energy += np.where(near, value, 0)
        force += np.where(near, push, 0) * np.moveaxis(apart, 2, 0)
    own, cross, push = waves(water, sites)
    share = energy / 2 + own[0][:, None] + cross / 2
    energy += own[0][:, None] + own[1][None] + cross
    return energy, force + push, share, weights[:, None] * weights


def waves(water, sites):
    """Plain sum over all waves, without symmetry: of each molecule with itself, between both, force on the first."""
    n = np.array([k for k in product(range(-9, 10), repeat=3) if any(k)])
    k = 2 * np.pi * n / BOX
    square = (k**2).sum(1)
    keep = square < 4 * water.screening**2 * np.log(1e7)
    k, square = k[keep], square[keep]
    strength = 2 * np.pi * COULOMB / BOX.prod() * np.exp(-square / 4 / water.screening**2) / square
    s = [np.einsum("s,nsk->nk", water.charges, np.exp(1j * (c + sites) @ k.T)) for c in CENTRES]
    own = [(strength * abs(x) ** 2).sum(1) for x in s]
    cross = 2 * ((s[0] * strength) @ s[1].conj().T).real
    push = np.stack([2 * ((s[0] * strength * k[:, a]) @ s[1].conj().T).imag for a in range(3)])
    return own, cross, push


def cumulants(values, temperature=T):
    energy, force, share, weights = values
    weights = weights * np.exp(-(energy - energy.min()) / (KB * temperature))
    weights = weights / weights.sum()
    mean = lambda x: (weights * x).sum((-2, -1))
    df, du = force - mean(force)[:, None, None], energy - mean(energy)
    return {
        "forces": mean(force), "energy": mean(energy), "covariance": mean(df * du), "variance": mean(du**2),
        "third_cumulant": mean(df * du**2), "near": mean(df * (share - mean(share))),
        "force_variance": mean(df**2),
    }  # fmt: skip


@pytest.fixture(scope="module")
def values(water):
    return exact(water, (10, 7, 5))


@pytest.fixture(scope="module")
def truth(values):
    return cumulants(values)


@pytest.fixture(scope="module")
def drawn(water):
    sampling = FixedSampling(
        replicas=24, burn_in=100, samples=2000, stride=3, start="random", ranges=(0.0, 0.5), seed=3
    )
    atoms = CENTRES[:, None] + body(water)
    return sample_fixed(water, atoms, BOX, (T,), sampling)[0]


def test_the_quadrature_has_converged(water, truth):
    for name, value in cumulants(exact(water, (8, 6, 4))).items():
        np.testing.assert_allclose(value, truth[name], rtol=0.01, atol=0.01 * abs(truth[name]).max(), err_msg=name)


@pytest.mark.parametrize("name", ["forces", "covariance", "third_cumulant"])
def test_vectors_agree_with_quadrature(truth, drawn, name):
    value, error = getattr(drawn, name)
    np.testing.assert_array_less(abs(value[0] - truth[name]), 3 * error[0])
    np.testing.assert_allclose(value[0], -value[1], rtol=1e-6, atol=1e-6 * abs(value).max())
    assert error[0].max() < 0.2 * np.linalg.norm(truth[name])


def test_energy_and_variance_agree_with_quadrature(truth, drawn, water):
    tables = water.tables(CENTRES[:, None] + body(water), BOX)
    value, error = drawn.energy
    assert abs(value - 2 * tables.constant - truth["energy"]) < 3 * error < 0.2
    value, error = drawn.variance
    assert abs(value - truth["variance"]) < 3 * error < 0.1 * truth["variance"]
    np.testing.assert_allclose(drawn.local_energy.value.sum(), drawn.energy.value, rtol=1e-12)
    np.testing.assert_allclose(drawn.force_variance[0], truth["force_variance"], rtol=0.03)


def test_local_energies_give_their_part_of_the_covariance(truth, drawn):
    value, error = drawn.near_covariance
    np.testing.assert_array_less(abs(value[0, 0] - truth["near"]), 3 * error[0, 0])
    np.testing.assert_allclose(value[1], drawn.covariance.value, rtol=1e-9, atol=1e-9)
    assert drawn.noise[1] == pytest.approx(drawn.noise[2]) and drawn.noise[0] < drawn.noise[1]


def test_temperatures_that_exchange_copies_keep_their_own_distributions(water, values):
    """Both temperatures agree with quadrature, and the copies do change places."""
    sampling = FixedSampling(replicas=16, burn_in=100, samples=1500, stride=2, ranges=(), seed=5)
    atoms = CENTRES[:, None] + body(water)
    levels = sample_fixed(water, atoms, BOX, (T, 2 * T), sampling)
    assert 0.3 < levels[0].acceptance[2] < 1
    for level, temperature in zip(levels, (T, 2 * T), strict=True):
        expected = cumulants(values, temperature)
        energy = level.energy.value - 2 * water.tables(atoms, BOX).constant
        assert abs(energy - expected["energy"]) < 3 * level.energy.error
        assert abs(level.variance.value - expected["variance"]) < 3 * level.variance.error
        np.testing.assert_array_less(abs(level.forces.value[0] - expected["forces"]), 3 * level.forces.error[0])


def test_the_same_number_gives_the_same_bits(water):
    sampling = FixedSampling(replicas=3, burn_in=10, samples=10)
    atoms = CENTRES[:, None] + body(water)
    first, again, other = (sample_fixed(water, atoms, BOX, (T,), sampling, number=n)[0] for n in (4, 4, 5))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.energy.value != other.energy.value


def test_bad_settings_are_refused(water):
    atoms = CENTRES[:, None] + body(water)
    few = FixedSampling(burn_in=10, samples=10)
    with pytest.raises(ValueError, match="ascend"):
        sample_fixed(water, atoms, BOX, (400.0, 300.0), few)
    with pytest.raises(ValueError, match="ranges"):
        sample_fixed(water, atoms, BOX, (T,), few.model_copy(update={"ranges": (0.5, 0.3)}))
    with pytest.raises(ValueError, match="half the shortest edge"):
        sample_fixed(water, atoms, np.array([1.5, 1.1, 1.5]), (T,), few)
    with pytest.raises(ValueError):
        FixedSampling(replicas=2)
