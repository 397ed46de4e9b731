"""Kernel regression: the Gaussian process it must be, the points it stands on, and what it learns of temperature."""

import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce import testing
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.learn.linear import normal_equations
from meanforce.learn.posterior import Posterior
from meanforce.learn.regression import pose, solve
from meanforce.learn.tuning import evidence
from meanforce.numerics.cholesky import pivots
from meanforce.potentials.kernels import DotProduct, KernelPotential, SquaredExponential, TemperatureKernel
from meanforce.potentials.manybody import ThreeBodySpline
from meanforce.potentials.sums import Sum
from meanforce.potentials.surroundings import Coordinate, Surroundings
from meanforce.reference.analytic import TwoStateBath
from meanforce.reference.exact import Labels, line_frames
from meanforce.topology import Topology
from meanforce.units import KB

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

ONE = Topology.of(["A"], masses={"A": 1.0})
NOISE, SPREAD = 0.3, 2.0  # of the labels, and of f under its prior


def squared_exponential(x, y, length=0.9):
    """k, its derivative by x, and that by both, written out."""
    apart = np.subtract.outer(x, y)
    k = np.exp(-(apart**2) / (2 * length**2))
    return k, -apart / length**2 * k, (1 / length**2 - apart**2 / length**4) * k


def dot_product(x, y):
    """The same of the third power."""
    x, y = x[:, None], y[None]
    u = 1 + x * y
    p, q, p_slope, q_slope = (
        (1 + x**2) ** -1.5,
        (1 + y**2) ** -1.5,
        -3 * x * (1 + x**2) ** -2.5,
        -3 * y * (1 + y**2) ** -2.5,
    )
    by_x = 3 * u**2 * y * p + u**3 * p_slope
    mixed = ((6 * u * x * y + 3 * u**2) * p + 3 * u**2 * x * p_slope) * q + by_x * q_slope
    return u**3 * p * q, by_x * q, mixed


KERNELS = {
    "distance": (squared_exponential, SquaredExponential(0.9), 1.65 * np.cos(np.pi * (np.arange(17) + 0.5) / 17)),
    "product": (dot_product, DotProduct(3), np.array([-1.2, -0.3, 0.4, 1.4])),  # its space has four dimensions
}


def on_a_line(r):
    return build(Frames(np.stack([r, 0 * r, 0 * r], -1)[:, None]), ONE, ())


@pytest.mark.parametrize("name", KERNELS)
def test_it_is_the_dense_gaussian_process_of_derivatives(name):
    """Points that span the kernel's space on the data: mean, variance and evidence are those of no approximation."""
    k, kernel, points = KERNELS[name]
    rng = np.random.default_rng(4)
    r, at = rng.uniform(-1.5, 1.5, 40), np.linspace(-1.4, 1.4, 9)
    y = np.sin(3 * r) + NOISE * rng.standard_normal(40)
    data = Dataset.from_frames(ONE, line_frames(r, Labels(y, y), 300.0))
    potential = KernelPotential(("A",), Coordinate(), kernel, points[:, None])
    normals, _, _ = normal_equations(potential, [mf.ForceMatching(data)])
    problem, _ = pose(normals, potential.penalties(), potential.basis_names())
    solution = solve(problem, np.array([NOISE**-2]), np.array([SPREAD**-2]))
    posterior = Posterior(potential.with_coefficients(solution.coefficients), solution.factor)

    labels = SPREAD**2 * k(r, r)[2] + NOISE**2 * np.eye(40)  # of forces, which are minus the derivatives of A
    of_force, of_energy = SPREAD**2 * k(at, r)[2], -(SPREAD**2) * k(r, at)[1].T
    gain = np.linalg.inv(labels)
    model = mf.Model(posterior.potential, ONE)
    R = np.stack([at, 0 * at, 0 * at], -1)[:, None]
    np.testing.assert_allclose(thermo.force(model, R, temperature=300.0)[:, 0, 0], of_force @ gain @ y, atol=1e-8)
    found, known = thermo.free_energy(model, R, temperature=300.0), of_energy @ gain @ y
    np.testing.assert_allclose(found - found[0], known - known[0], atol=1e-8)
    left = SPREAD**2 * k(at, at)[2] - of_force @ gain @ of_force.T
    graph = on_a_line(at)
    found = posterior.std("force", graph)[:, 0, 0]
    np.testing.assert_allclose(found**2, np.diag(left), atol=1e-8)
    np.testing.assert_allclose(found, posterior.force_std(graph)[:, 0], atol=1e-12)
    less = of_energy[1:] - of_energy[0]
    prior = k(at, at)[0]
    prior = prior[1:, 1:] - prior[1:, :1] - prior[:1, 1:] + prior[0, 0]
    differences = posterior.std(lambda p, g: p.energy(g)[1:] - p.energy(g)[0], graph)
    np.testing.assert_allclose(differences**2, np.diag(SPREAD**2 * prior - less @ gain @ less.T), atol=1e-8)

    given = [np.array([value]) for value in (SPREAD**-2, NOISE, 1.0)]
    likelihood = -0.5 * (y @ gain @ y + np.linalg.slogdet(labels)[1] + 40 * np.log(2 * np.pi))
    assert evidence(normals, potential.penalties(), *given) == pytest.approx(likelihood, abs=1e-6)


BATH = TwoStateBath()
LINE = np.linspace(-1.5, 1.5, 61)


def kelvin(beta):
    return 1 / (beta * KB)


def exact(r, betas):
    return Dataset.from_frames(ONE, Frames.concatenate([BATH.noiseless(r, kelvin(b)) for b in betas]))


def errors(model, betas):
    R = np.stack([LINE, 0 * LINE, 0 * LINE], -1)[:, None]
    found = [thermo.force(model, R, temperature=kelvin(b))[:, 0, 0] - BATH.force(LINE, kelvin(b)) for b in betas]
    return np.sqrt(np.mean(np.square(found), axis=1))


def test_energies_link_temperatures(tmp_path):
    """V3, 15 positions, exact labels at beta = 0.8 and 1.2: the force at 0.7, 1.0 and 1.4."""
    potential = KernelPotential.of(
        exact(LINE, (1.0,)), descriptor=Coordinate(), kernel=SquaredExponential(1.0), width=2.0, tolerance=1e-12,
        temperatures=tuple(map(kelvin, np.geomspace(0.6, 1.6, 9))),
    )  # fmt: skip
    data = exact(np.linspace(-1.5, 1.5, 15), (0.8, 1.2))
    forces = errors(mf.fit(potential, mf.ForceMatching(data)).model, (0.7, 1.0, 1.4))
    fit = mf.fit(potential, [mf.ForceMatching(data), mf.EnergyMatching(data)])
    both = errors(fit.model, (0.7, 1.0, 1.4))
    assert (both < 0.005).all()
    assert (forces > 30 * both).all()
    assert not any("compromise" in note for note in fit.model.notes)
    again = mf.Model.load(fit.model.save(tmp_path / "kernel.mf"))
    assert (errors(again, (1.0,)) == errors(fit.model, (1.0,))).all()


def test_it_is_a_process_of_phi():
    """A = kT f: a kernel as wide as all temperatures leaves entropy alone, and no energy."""
    wide = KernelPotential.of(exact(LINE, (0.8, 1.2)), count=5, descriptor=Coordinate(), width=1e6)
    model = mf.Model(wide.with_coefficients(np.arange(1.0, len(wide.points) + 1)), ONE)
    R = np.stack([LINE, 0 * LINE, 0 * LINE], -1)[:, None]
    cold, hot = (thermo.free_energy(model, R, temperature=t) for t in (200.0, 500.0))
    np.testing.assert_allclose(hot, 2.5 * cold, rtol=1e-9)
    assert np.abs(thermo.energy(model, R, temperature=300.0)).max() < 1e-9 * np.abs(hot).max()


def test_the_heads_of_a_thermal_potential_may_be_kernels():
    """Energies and forces of V3 at two temperatures; the closed heads hold the rest up to their third order."""
    points = np.linspace(-1.6, 1.6, 13)[:, None]
    kernel = KernelPotential(("A",), Coordinate(), SquaredExponential(0.7), points)
    thermal = mf.LinearThermal.of(kernel, reference=kelvin(1.0), heat_capacity=True)
    data = exact(np.linspace(-1.5, 1.5, 15), (0.8, 1.2))
    fit = mf.fit(thermal, [mf.ForceMatching(data), mf.EnergyMatching(data)])
    assert errors(fit.model, (1.0,)) < 0.03
    with pytest.raises(ValueError, match="do not depend on temperature themselves"):
        mf.LinearThermal.of(KernelPotential.of(data, descriptor=Coordinate(), width=1.0), reference=300.0)


def test_pivots_are_those_of_the_least_known_values():
    """Against the Schur complement written out; what is left of every point is below the tolerance."""
    x = np.random.default_rng(1).uniform(-1, 1, 50)
    matrix = squared_exponential(x, x)[0]
    chosen = pivots(lambda i: matrix[:, i], np.diag(matrix), 40, 1e-6)
    assert len(chosen) < 20
    for n in range(1, len(chosen) + 1):
        known = matrix[:, chosen[:n]]
        left = np.diag(matrix - known @ np.linalg.solve(known[chosen[:n]], known.T))
        if n < len(chosen):
            assert left[chosen[n]] == pytest.approx(left.max(), abs=1e-8)
            assert left.max() > 1e-6
    assert left.max() < 1.1e-6
    assert (pivots(lambda i: matrix[:, i], np.diag(matrix), 5, 1e-6) == chosen[:5]).all()


def test_inducing_points_come_from_the_data():
    data = exact(LINE, (0.8, 1.2))
    one, again = (KernelPotential.of(data, count=6, descriptor=Coordinate()) for _ in range(2))
    assert len(one.points) == 6
    assert (np.asarray(one.points) == np.asarray(again.points)).all()
    assert np.isin(np.asarray(one.points)[:, 0], LINE).all()
    unseen = np.asarray(one.unseen(on_a_line(np.array([float(one.points[3, 0]), 0.1, 30.0]))))
    np.testing.assert_allclose(unseen[[0, 2]], [0.0, 1.0], atol=1e-9)
    assert 0 < unseen[1] < 0.05
    thermal = KernelPotential.of(data, count=12, descriptor=Coordinate(), width=0.5).thermal
    assert thermal is not None
    assert set(np.asarray(thermal.temperatures)) == set(data.temperatures)


MIXED = Topology.of(["A", "B"] * 8, {"A": 12.0, "B": 16.0})


def forces_of(potential, topology, frames):
    forces = thermo.force(mf.Model(potential, topology), frames.positions, frames.box, temperature=300.0)
    return Dataset.from_frames(topology, frames.with_(forces=forces, temperature=np.full(len(frames), 300.0)))


def test_what_lies_in_its_span_is_recovered_from_forces():
    """Two species: the forces of drawn coefficients give them back, up to constants."""
    frames = testing.disordered(MIXED, (0.5,), frames=24, seed=2)
    descriptor = Surroundings(MIXED.types, cutoff=0.5, radial=3, degree=2)
    empty = KernelPotential.of(forces_of(Sum(()), MIXED, frames), count=40, descriptor=descriptor)
    truth = empty.with_coefficients(np.random.default_rng(3).standard_normal(40))
    fit = mf.fit(empty, mf.ForceMatching(forces_of(truth, MIXED, frames)), regularisation=0)
    other = testing.disordered(MIXED, (0.5,), frames=4, seed=5)
    found, known = (forces_of(p, MIXED, other)[:].forces for p in (fit.model.potential, truth))
    np.testing.assert_allclose(found, known, atol=1e-6 * np.abs(known).max())


def test_products_of_descriptors_are_sums_over_pairs_of_neighbours():
    """|d|^2 is that of the sums of R_c and of the full matrix, over c and c', of sum_jk R_c R_c' P_1(cos jk)."""
    frames = testing.disordered(MIXED, (0.5,), frames=1, seed=2)
    descriptor = Surroundings(MIXED.types, cutoff=0.5, radial=2, degree=1)
    graph = build(frames, MIXED, descriptor.cutoffs)
    seen = descriptor.read(graph)
    found = np.asarray(descriptor.values(seen))
    x, y, z, squared, kinds = map(np.asarray, seen)
    r = np.sqrt(squared)
    u = np.abs((r[..., None] - 0.15) / 0.07 - np.arange(2, 4))  # knots 0.07 nm apart
    radial = (np.maximum(2 - u, 0) ** 3 - 4 * np.maximum(1 - u, 0) ** 3) / 6 / np.sqrt(10)
    radial = np.concatenate([radial * (kinds == kind)[..., None] for kind in (0, 1)], -1)
    vectors = np.einsum("bkc,bkx->bcx", radial, np.stack([x, y, z], -1) / r[..., None])
    square = (radial.sum(1) ** 2).sum(1) + (np.einsum("bcx,bdx->bcd", vectors, vectors) ** 2).sum((1, 2))
    np.testing.assert_allclose((found**2).sum(1), square, rtol=1e-10)


def test_three_bodies_are_learned_from_forces():
    """A smooth three-body term of one species from 60 points: held-out errors below a tenth of the forces."""
    topology = Topology.of(["W"] * 16, {"W": 18.0})
    term = ThreeBodySpline(("W",), cutoff=0.5, start=0.1, radial=2, degree=2)
    truth = term.with_coefficients(np.random.default_rng(3).standard_normal(term.coefficients.shape))
    data = forces_of(truth, topology, testing.disordered(topology, (0.5,), frames=40, seed=2))
    kernel = KernelPotential.of(data, count=60, descriptor=Surroundings(("W",), degree=2))
    score = mf.fit(kernel, mf.ForceMatching(data), blocks=8).history.scores[0]
    assert score.held_out < 0.1 * score.labels


def test_what_cannot_be_meant_is_refused():
    data = exact(LINE, (1.0,))
    make = lambda **options: KernelPotential.of(data, **{"descriptor": Coordinate(), **options})
    with pytest.raises(ValueError, match="give its width= as well"):
        make(temperatures=(300.0,))
    with pytest.raises(ValueError, match="at least one point"):
        make(count=0)
    with pytest.raises(ValueError, match="give kernel="):
        KernelPotential.of(data)
    with pytest.raises(ValueError, match="leave it out with kernel="):
        make(length=2.0, kernel=SquaredExponential(1.0))
    with pytest.raises(ValueError, match="a positive length"):
        SquaredExponential(0.0)
    with pytest.raises(ValueError, match="whole number"):
        DotProduct(1.5)
    with pytest.raises(ValueError, match="a positive width"):
        TemperatureKernel(np.array([300.0]), -1.0)
    with pytest.raises(ValueError, match="say the same as fewer"):
        KernelPotential(("A",), Coordinate(), SquaredExponential(1.0), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="do not fit a descriptor of 1"):
        KernelPotential(("A",), Coordinate(), SquaredExponential(1.0), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="one place in the types"):
        KernelPotential(("A",), Coordinate(), SquaredExponential(1.0), np.zeros((1, 1)), kinds=np.array([1]))
    with pytest.raises(ValueError, match="degree >= 0"):
        Surroundings(("A",), degree=-1)
