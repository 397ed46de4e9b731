"""Free-energy surfaces: a closed form, its errors, weights, and what is refused."""

import numpy as np
import pytest

from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables import free_energy_surface, surface_error
from meanforce.topology import Topology

CHAIN = Topology.of(["A"] * 5, {"A": 1.0})
PHI, PSI = (0, 1, 2, 3), (1, 2, 3, 4)
BINS = 12


def chains(phi, psi):
    """Five beads with bonds of 0.3 nm and angles of 110 degrees, placed one after the other."""
    n = len(phi)
    x = np.zeros((n, 5, 3))
    x[:, 1, 0] = 0.3
    bend = np.radians(110)
    x[:, 2] = x[:, 1] + 0.3 * np.array([-np.cos(bend), np.sin(bend), 0])
    for k, turn in ((3, phi), (4, psi)):
        axis = (x[:, k - 1] - x[:, k - 2]) / 0.3
        normal = np.cross(x[:, k - 2] - x[:, k - 3], axis)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        side = np.cross(normal, axis)
        step = -np.cos(bend) * axis + np.sin(bend) * (np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * normal)
        x[:, k] = x[:, k - 1] + 0.3 * step
    return x


def drawn(n, kappa, seed, log_weights=None):
    rng = np.random.default_rng(seed)
    phi, psi = rng.vonmises(-1.2, kappa, n), rng.vonmises(0.8, kappa, n)
    zero = np.zeros(n)
    logs = zero if log_weights is None else log_weights(phi, psi)
    return Ensemble(Frames(chains(phi, psi)), CHAIN, State(300.0), zero, logs, np.arange(n) * 4 // n)


def expected(kappa):
    from scipy.stats import vonmises

    edges = np.linspace(-np.pi, np.pi, BINS + 1)
    one, two = (np.diff(vonmises(kappa, loc=at).cdf(edges)) for at in (-1.2, 0.8))
    return np.outer(one, two) / (2 * np.pi / BINS) ** 2


def test_density_is_the_closed_form_within_its_errors():
    found = free_energy_surface(drawn(20000, 1.5, 1), PHI, PSI, bins=BINS)
    assert found.density.sum() * (2 * np.pi / BINS) ** 2 == pytest.approx(1)
    pull = (found.density - expected(1.5)) / np.maximum(found.error, 1e-4)
    assert np.sqrt(np.mean(pull**2)) < 1.5
    assert np.unravel_index(found.density.argmax(), found.density.shape) == (
        int((-1.2 + np.pi) / (2 * np.pi) * BINS), int((0.8 + np.pi) / (2 * np.pi) * BINS),
    )  # fmt: skip
    assert found.free_energy.min() == 0


def test_weights_turn_one_density_into_another():
    logs = lambda phi, psi: 0.5 * (np.cos(phi + 1.2) + np.cos(psi - 0.8))
    found = free_energy_surface(drawn(40000, 1.0, 2, logs), PHI, PSI, bins=BINS)
    pull = (found.density - expected(1.5)) / np.maximum(found.error, 1e-4)
    assert np.sqrt(np.mean(pull**2)) < 1.5


def test_equal_molecules_are_averaged():
    one = drawn(2000, 1.5, 3)
    x = one.frames.positions
    both = one._replace(frames=Frames(np.concatenate([x, x + 1.0], 1)), topology=Topology.of(["A"] * 10, {"A": 1.0}))
    second = [tuple(k + 5 for k in q) for q in (PHI, PSI)]
    np.testing.assert_allclose(
        free_energy_surface(both, [PHI, second[0]], [PSI, second[1]]).density,
        free_energy_surface(one, PHI, PSI).density,
    )


def test_the_error_is_the_distance_and_not_the_noise():
    same = surface_error(*(free_energy_surface(drawn(20000, 1.5, s), PHI, PSI, bins=BINS) for s in (4, 5)))
    assert same.rms < 0.15
    assert abs(same.density.excess) < 3 * same.density.error
    assert same.within_half > 0.97
    assert same.unseen == 0
    other, reference = (free_energy_surface(drawn(20000, k, 6), PHI, PSI, bins=BINS) for k in (0.75, 1.5))
    apart = surface_error(other, reference)
    sampled = reference.free_energy <= 4
    true = np.log(expected(0.75) / expected(1.5))[sampled]
    assert apart.rms == pytest.approx(np.sqrt(np.mean(true**2)), abs=4 * apart.rms_error)
    assert apart.rms_error < 0.05
    assert apart.density.mean_square == pytest.approx(np.mean((expected(0.75) - expected(1.5)) ** 2), rel=0.1)
    assert apart.within_half < 0.9


def test_what_cannot_be_a_dihedral_is_named():
    one = drawn(20, 1.0, 7)
    with pytest.raises(ValueError, match="four bead numbers"):
        free_energy_surface(one, (0, 1, 2), PSI)
    with pytest.raises(ValueError, match="from 0 to 4"):
        free_energy_surface(one, (0, 1, 2, 9), PSI)
    with pytest.raises(ValueError, match="do not pair"):
        free_energy_surface(one, [PHI, PHI], PSI)
    with pytest.raises(ValueError, match="same bins="):
        surface_error(free_energy_surface(one, PHI, PSI, bins=6), free_energy_surface(one, PHI, PSI, bins=8))
