"""V1 with several beads, V4, V7 and V8: estimators that find the truth, and those that must not."""

import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.numerics import replicas
from meanforce.potentials.splines import BondSpline, ExternalSpline
from meanforce.reference.analytic import ExponentialBath, PowerBath
from meanforce.topology import Topology
from meanforce.units import KB

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

ONE = Topology.of(["A"], masses={"A": 1.0})
F, E, C = mf.ForceMatching, mf.EnergyMatching, mf.ResponseMatching

# V1: nine atoms with springs between all of them, at rest where they coincide; three beads of three, weighed by mass.
ATOMS, BEADS, T = 9, 3, 300.0
KT = KB * T


def network():
    """K, M and the sums of forces B with M B = 1, the same for x, y and z."""
    rng = np.random.default_rng(0)
    spring = np.triu(rng.uniform(20, 200, (ATOMS, ATOMS)), 1)
    spring += spring.T
    stiffness = np.diag(spring.sum(axis=1)) - spring
    sums = np.kron(np.eye(BEADS), np.ones((ATOMS // BEADS, 1)))
    mass = rng.uniform(1, 16, ATOMS)[:, None] * sums
    return stiffness, (mass / mass.sum(axis=0)).T, sums


def relaxed(stiffness, mapping):
    """Where the atoms are at held beads when the energy is least, as a matrix; and what moves no bead."""
    null = np.linalg.svd(mapping)[2][BEADS:].T
    start = np.linalg.pinv(mapping)
    return start - null @ np.linalg.solve(null.T @ stiffness @ null, null.T @ stiffness @ start), null


def effective(stiffness, mapping):
    """K_e, of the energy at relaxed atoms."""
    best = relaxed(stiffness, mapping)[0]
    return best.T @ stiffness @ best


def conditional(stiffness, mapping, beads, count, seed):
    """Atoms at fixed beads: Gaussian about where the energy is least, within the null space of the map."""
    best, null = relaxed(stiffness, mapping)
    shape = np.linalg.cholesky(np.linalg.inv(null.T @ stiffness @ null) * KT)
    noise = np.random.default_rng(seed).standard_normal((count, ATOMS - BEADS, 3))
    return best @ beads + null @ shape @ noise


BOUND = Topology.of(["A", "B", "C"], masses=dict.fromkeys("ABC", 10.0), bonds=[(0, 1), (0, 2), (1, 2)])
SPRINGS = BondSpline(BOUND.kinds("bonds"), start=0.05, end=1.5, spacing=1.5)


def triangles(count, seed):
    """Three beads 0.2 to 1.2 nm apart."""
    rng, found = np.random.default_rng(seed), []
    while len(found) < count:
        x = rng.uniform(0, 1, (3, 3))
        if min(np.linalg.norm(x - np.roll(x, 1, 0), axis=1)) > 0.2:
            found.append(x - x.mean(0))
    return np.array(found)


def test_a_network_of_springs_has_no_entropy_of_its_beads():
    """V1, exact labels: F = -K_e R at every temperature, E = R K_e R / 2, nothing responds."""
    k, m, _ = network()
    stiff, x = effective(k, m), triangles(60, 1)
    energy = np.einsum("fia,ij,fja->f", x, stiff, x) / 2
    inner = 1.5 * (ATOMS - BEADS)
    frames = [
        Frames(x, forces=-stiff @ x, energy=energy + inner * KB * t, temperature=np.full(60, t)) for t in (T, 400.0)
    ]
    for parts in (frames[:1], frames):
        data = Dataset.from_frames(BOUND, Frames.concatenate(parts))
        model = mf.fit(mf.LinearThermal.of(SPRINGS, reference=T), [F(data), E(data)], regularisation=0).model
        fresh = triangles(5, 2)
        for t in (T, 700.0):
            np.testing.assert_allclose(thermo.force(model, fresh, temperature=t), -stiff @ fresh, atol=1e-8)
            np.testing.assert_allclose(thermo.covariance(model, fresh, temperature=t), 0, atol=1e-8)


def test_samples_of_a_network_of_springs():
    """V1, 4,000 replicas at fixed beads: Cov(f, U) = kappa(f, U, U) = 0 and Cov(f) = kT (B K B - K_e)."""
    k, m, b = network()
    stiff, x = effective(k, m), triangles(1, 3)[0]
    r = conditional(k, m, x, 4000, 4)
    np.testing.assert_allclose(m @ r, np.broadcast_to(x, (4000, 3, 3)), atol=1e-12)
    force, energy = -b.T @ k @ r, np.einsum("fia,ij,fja->f", r, k, r) / 2
    u = energy[:, None, None]
    expected = np.einsum("ia,ij,ja->", x, stiff, x) / 2 + 1.5 * (ATOMS - BEADS) * KT
    for found, truth in (
        (replicas.mean(force), -stiff @ x),
        (replicas.mean(energy), expected),
        (replicas.covariance(energy, energy, energy**2), 1.5 * (ATOMS - BEADS) * KT**2),
        (replicas.covariance(force, u, force * u), 0.0),
        (replicas.third_cumulant(force, u, force * u, u * u, force * u * u), 0.0),
    ):
        z = (found.value - truth) / found.error
        assert np.abs(z).max() < 3.3 and np.sqrt(np.mean(z**2)) < 1.8
    noise, n = force - (-stiff @ x), len(force)
    spread = np.einsum("fia,fja->fij", noise, noise) / 3
    scatter = (spread.mean(0) - KT * (b.T @ k @ b - stiff)) / (spread.std(0) / n**0.5)
    assert np.abs(scatter).max() < 3


def test_absolute_errors_find_the_median():
    """V4: F by least squares, and the median force with ln 2 for 1 by least absolute errors, tens of errors apart."""
    bath, kelvin = PowerBath(), 0.6 / KB
    frames = bath.sample(40_000, kelvin, seed=3)
    r, label = frames.positions[:, 0, 0], frames.forces[:, 0, 0]
    rows = np.stack([-(r**3), r, -r / (1 + r**2 / 2)], -1)
    squares = np.linalg.lstsq(rows, label)[0]
    absolute = squares.copy()
    for _ in range(100):  # iteratively reweighted least squares
        weight = 1 / np.maximum(np.abs(label - rows @ absolute), 1e-4)
        absolute = np.linalg.solve(rows.T @ (weight[:, None] * rows), rows.T @ (weight * label))
    at = np.array([0.5, 0.8, 1.1])
    there = np.stack([-(at**3), at, -at / (1 + at**2 / 2)], -1)
    error = np.sqrt(np.einsum("ak,kl,al->a", there, np.linalg.inv(rows.T @ rows), there) * 0.36)
    assert (np.abs(there @ squares - bath.force(at, kelvin)) < 3 * error).all()
    assert (np.abs(there @ absolute - bath.median_force(at, kelvin)) < 4 * error).all()
    assert (np.abs(bath.median_force(at, kelvin) - bath.force(at, kelvin)) > 15 * error).all()
    with pytest.raises(ValueError, match="median"):
        mf.Training(loss="mae")


def test_covariances_of_few_samples():
    """V7: 1/n makes them small, more so where samples are correlated; n - 1, n - g and replicas do not."""
    rng, n, phi, count = np.random.default_rng(7), 8, 0.6, 60_000
    white = rng.standard_normal((count, 2, n)) @ np.eye(n)
    mixed = np.linalg.cholesky([[1, 0.5], [0.5, 1]]) @ white
    chain = mixed.copy()
    for k in range(1, n):
        chain[..., k] = phi * chain[..., k - 1] + np.sqrt(1 - phi**2) * mixed[..., k]
    g = (1 + phi) / (1 - phi) - 2 * phi * (1 - phi**n) / (n * (1 - phi) ** 2)
    for (x, y), inflated, naive in ((np.moveaxis(mixed, 1, 0), 1.0, 0.4375), (np.moveaxis(chain, 1, 0), g, 0.30761)):
        each = (x * y).mean(1) - x.mean(1) * y.mean(1)
        error = each.std() / count**0.5
        assert abs(each.mean() - naive) < 3 * error < 0.01
        assert abs(each.mean() * n / (n - inflated) - 0.5) < 3 * error * n / (n - inflated)
        pairs = [v.reshape(-1, 2, n).mean(2).T for v in (x, y, x * y)]
        found = np.array([replicas.covariance(a, b, c).value for a, b, c in [pairs]])[0]
        assert abs(found.mean() - 0.5) < 3 * found.std() / len(found) ** 0.5


def test_biased_labels_teach_a_biased_response():
    """V7 through the fit, eight replicas at fixed R of V6: 1/n gives seven eighths of the response, within errors."""
    bath, kelvin, n = ExponentialBath(), 200.0, 8
    r = bath.draw(20_000, kelvin, np.random.default_rng(1))
    labels = bath.labels(np.broadcast_to(r, (n, len(r))), kelvin, np.random.default_rng(2))
    fair = replicas.covariance(labels.force, labels.energy, labels.force * labels.energy).value
    along = lambda values: np.stack([values, 0 * r, 0 * r], -1)[:, None]
    base = bath.noiseless(r, kelvin)
    basis = ExternalSpline(("A",), start=-4.0, end=3.0, intervals=1)
    for values, part in ((fair, 1.0), (fair * (1 - 1 / n), 1 - 1 / n)):
        data = Dataset.from_frames(ONE, base.with_(covariance=along(values), forces=along(labels.force.mean(0))))
        fit = mf.fit(mf.LinearThermal.of(basis, reference=kelvin), [F(data), C(data)], regularisation=1e-6)
        found = (
            thermo.response_force(fit.model, np.zeros((1, 3)), temperature=kelvin)[0, 0] / bath.response_force(r, 0)[0]
        )
        error = values.std() / len(r) ** 0.5 / abs(bath.covariance(r, kelvin)[0])
        assert abs(found - part) < 3 * error < 0.06


def copies(count, frames, kelvin, seed):
    """`count` beads of V6 with baths of one dimension, 10 nm apart: one frame holds them all."""
    bath, rng = ExponentialBath(dimensions=1), np.random.default_rng(seed)
    r = bath.draw(count * frames, kelvin, rng)
    labels = bath.labels(r, kelvin, rng)
    positions = np.zeros((frames, count, 3))
    positions[..., 0], positions[..., 1] = r.reshape(frames, count), 10 * np.arange(count)
    forces = np.zeros_like(positions)
    forces[..., 0] = labels.force.reshape(frames, count)
    own = labels.energy.reshape(frames, count)
    kelvins = np.full(frames, kelvin)
    return Frames(positions, forces=forces, energy=own.sum(1), local_energy=own, temperature=kelvins)


@pytest.mark.parametrize("count", [2, 16])
def test_noise_of_the_label_grows_with_the_box(count):
    """V8: Var(y) = (kT)^4 a^2 [(N - 1)/4 + 7/2] by the whole energy, and that of one copy by local energies."""
    kelvin, frames = 200.0, 24_000 // count
    data = Dataset.from_frames(Topology.of(["A"] * count, masses={"A": 1.0}), copies(count, frames, kelvin, count))
    basis = ExternalSpline(("A",), start=-4.0, end=3.0, intervals=1)
    thermal, unit = mf.LinearThermal.of(basis, reference=kelvin), (KB * kelvin) ** 4 * 0.8**2
    for local, known in ((None, (count - 1) / 4 + 3.5), (0.9, 3.5)):
        label = mf.cross_fit(thermal, data, local=local, folds=2, regularisation=1e-6)[:].covariance[..., 0]
        signal = -((KB * kelvin) ** 2) * 0.8 / 2
        square = ((label - signal) ** 2 / unit).mean(1)
        assert abs(square.mean() - known) < 3.5 * square.std() / frames**0.5
        mean = label.mean(1)
        assert abs(mean.mean() - signal) < 3.5 * mean.std() / frames**0.5
