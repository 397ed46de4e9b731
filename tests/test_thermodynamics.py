"""Every derivative against finite differences, closed forms, and itself in other batches."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

import meanforce.numerics.precision  # noqa: F401
import meanforce.thermodynamics as thermo
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.potentials.base import Potential
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.hipnn import HipNN
from meanforce.potentials.priors import LennardJones
from meanforce.potentials.splines import PairSpline
from meanforce.potentials.sums import SplinePotential
from meanforce.topology import Topology
from meanforce.units import BAR, KB

BEADS = 12
TOPOLOGY = Topology.of(["A"] * BEADS, masses={"A": 10.0})
EDGE = 1.9


class Holder(NamedTuple):
    potential: Potential
    topology: Topology


def spline_model():
    term = PairSpline(("A",), cutoff=0.9, start=0.0, spacing=0.05)
    return Holder(term.with_coefficients(np.random.default_rng(1).standard_normal(term.coefficients.shape)), TOPOLOGY)


class Thermal(Potential):
    """A = sum (x^2 + y^2 + z^2) (a + b T) - c T ln T: every temperature derivative in closed form."""

    a: float = 2.0
    b: float = 0.01
    c: float = 0.03

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph) -> Float[Array, "beads"]:
        t = graph.temperature[graph.frame]
        scale = graph.parameters.get("scale", jnp.ones(graph.frames))[graph.frame]
        return scale * (graph.positions**2).sum(-1) * (self.a + self.b * t) - self.c * t * jnp.log(t)


class Schottky(Potential):
    """V3, one bead along x: A = (x^2 - 1)^2 - kT ln(1 + 5 exp(-(3/2 + x)/kT)), and `tilt` x^2 / 2 beside it."""

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph) -> Float[Array, "beads"]:
        x, kt = graph.positions[:, 0], KB * graph.temperature[graph.frame]
        tilt = graph.parameters.get("tilt", jnp.zeros(graph.frames))[graph.frame]
        return (x**2 - 1) ** 2 - kt * jnp.log1p(5 * jnp.exp(-(1.5 + x) / kt)) + tilt**2 * kt * x**2 / 2


ONE = Topology.of(["A"], masses={"A": 1.0})


def random_frames(n, seed=0):
    return np.random.default_rng(seed).uniform(0, EDGE, (n, BEADS, 3))


@pytest.mark.parametrize("box", [None, EDGE * np.eye(3), np.array([[1.9, 0, 0], [0.4, 1.95, 0], [-0.3, 0.5, 2.0]])])
def test_forces_are_minus_the_gradient(box):
    model, R, step = spline_model(), random_frames(1)[0], 1e-5
    force = thermo.force(model, R, box, temperature=300.0)
    for bead, axis in ((0, 0), (3, 1), (7, 2)):
        shifted = np.stack([R, R])
        shifted[:, bead, axis] += (step, -step)
        up, down = thermo.free_energy(model, shifted, box, temperature=300.0)
        assert force[bead, axis] == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_the_virial_is_the_derivative_in_the_logarithm_of_the_length():
    model, R, step = spline_model(), random_frames(2), 1e-5
    box = EDGE * np.eye(3)
    found = thermo.virial(model, R, box, temperature=300.0)
    up = thermo.free_energy(model, R * np.exp(step), box * np.exp(step), temperature=300.0)
    down = thermo.free_energy(model, R * np.exp(-step), box * np.exp(-step), temperature=300.0)
    assert found == pytest.approx(-(up - down) / (2 * step), abs=1e-6)


def test_the_virial_is_the_sum_over_pairs():
    """Without a box: sum r_ij . f_ij = sum R . F."""
    model, R = spline_model(), random_frames(3)
    force = thermo.force(model, R, temperature=300.0)
    assert thermo.virial(model, R, temperature=300.0) == pytest.approx((R * force).sum((1, 2)), abs=1e-9)


def test_the_pressure_of_an_ideal_gas():
    """Beads out of reach of one another: N kT / V, in bar."""
    R = np.array([[2.0 * i, 0.0, 0.0] for i in range(BEADS)])
    model = Holder(LennardJones(("A",), epsilon=np.array([1.0]), sigma=np.array([0.3]), cutoff=0.9), TOPOLOGY)
    found = thermo.pressure(model, R, np.eye(3) * 2.0 * BEADS, temperature=300.0)
    assert found == pytest.approx(BEADS * KB * 300.0 / (2.0 * BEADS) ** 3 / BAR, rel=1e-12)
    with pytest.raises(ValueError, match="needs a box"):
        thermo.pressure(model, R, temperature=300.0)


def test_pressures_of_several_boxes_and_temperatures():
    model, R = spline_model(), random_frames(3)
    boxes, kelvin = np.array([1.9, 2.0, 2.1])[:, None, None] * np.eye(3), np.array([280.0, 300.0, 320.0])
    together = thermo.pressure(model, R, boxes, temperature=kelvin)
    apart = [thermo.pressure(model, R[i], boxes[i], temperature=kelvin[i]) for i in range(3)]
    assert together == pytest.approx(apart, rel=1e-10)


def test_energy_is_a_where_nothing_depends_on_temperature():
    model, R = spline_model(), random_frames(2)
    assert np.array_equal(thermo.energy(model, R, temperature=300.0), thermo.free_energy(model, R, temperature=300.0))
    assert np.array_equal(thermo.entropy(model, R, temperature=300.0), np.zeros(2))


def test_temperature_derivatives_of_a_thermal_potential():
    """S = -dA/dT and E = A + T S = d(A/kT)/d(1/kT), frame by frame."""
    model, R = Holder(Thermal(), TOPOLOGY), random_frames(3)
    kelvin = np.array([250.0, 300.0, 400.0])
    square = (R**2).sum((1, 2))
    entropy = -0.01 * square + BEADS * 0.03 * (np.log(kelvin) + 1)
    assert thermo.entropy(model, R, temperature=kelvin) == pytest.approx(entropy, rel=1e-12)
    assert thermo.energy(model, R, temperature=kelvin) == pytest.approx(2.0 * square + BEADS * 0.03 * kelvin, rel=1e-12)
    step = 1e-3
    reduced = lambda t: thermo.free_energy(model, R[0], temperature=t) / (KB * t)
    slope = (reduced(300.0 + step) - reduced(300.0 - step)) / (1 / (KB * (300.0 + step)) - 1 / (KB * (300.0 - step)))
    assert thermo.energy(model, R[0], temperature=300.0) == pytest.approx(slope, rel=1e-6)


def test_parameters_reach_the_potential():
    model, R = Holder(Thermal(), TOPOLOGY), random_frames(2)
    plain = thermo.force(model, R, temperature=300.0)
    assert thermo.force(model, R, temperature=300.0, parameters={"scale": 2.0}) == pytest.approx(2 * plain)
    scaled = thermo.force(model, R, temperature=300.0, parameters={"scale": np.array([1.0, 3.0])})
    assert scaled == pytest.approx(plain * np.array([1.0, 3.0])[:, None, None])


def test_batches_do_not_matter(monkeypatch):
    """Eleven frames at once, in batches with a short last one, and one by one; rows of any length."""
    model, R = spline_model(), random_frames(11)
    R[4] *= 0.4  # many more neighbours than the others
    box = EDGE * np.eye(3)
    together = thermo.force(model, R, box, temperature=300.0)
    alone = np.stack([thermo.force(model, r, box, temperature=300.0) for r in R])
    monkeypatch.setattr(thermo, "frames_per_batch", lambda *_: 3)
    batched = thermo.force(model, R, box, temperature=300.0)
    assert np.abs(batched - together).max() < 1e-10
    assert np.abs(alone - together).max() < 1e-10


def test_one_pass_gives_all_first_derivatives():
    model, R, box = spline_model(), random_frames(3), EDGE * np.eye(3)
    frames, _ = thermo._frames(TOPOLOGY, R, box, 300.0, None)
    found = eqx.filter_jit(thermo.derivatives)(model.potential, build(frames, TOPOLOGY, model.potential.cutoffs))
    assert np.asarray(found.energy) == pytest.approx(thermo.free_energy(model, R, box, temperature=300.0))
    assert np.asarray(found.forces).reshape(R.shape) == pytest.approx(thermo.force(model, R, box, temperature=300.0))
    assert np.asarray(found.virial) == pytest.approx(thermo.virial(model, R, box, temperature=300.0))


@pytest.mark.parametrize(
    ("R", "box", "temperature", "message"),
    [
        (np.zeros((BEADS + 1, 3)), None, 300.0, "R has shape"),
        (np.zeros((2, BEADS, 2)), None, 300.0, "R has shape"),
        (np.full((BEADS, 3), np.nan), None, 300.0, "not finite"),
        (random_frames(1)[0], np.zeros((2, 2)), 300.0, "box has shape"),
        (random_frames(2), None, -1.0, "must be positive"),
        (random_frames(2), None, np.array([300.0] * 3), "temperature has shape"),
    ],
)
def test_nonsense_is_refused(R, box, temperature, message):
    with pytest.raises(ValueError, match=message):
        thermo.force(spline_model(), R, box, temperature=temperature)


@pytest.mark.parametrize(
    ("kt", "a", "e", "var", "f", "slope"),
    [
        (0.5, 0.230311869871707, 0.387339901343611, 0.263737790462012, 1.37016368120745, -0.479523255385476),
        (1.0, -0.180742413934794, 1.04441297056818, 1.11034169944851, 1.07149410428719, -0.504700772476597),
        (2.0, -1.69982431825671, 1.63438433731769, 1.13476810230220, 0.803325301219231, -0.128950920716159),
    ],
)
def test_the_schottky_bath(kt, a, e, var, f, slope):
    """Every derivative where nothing is linear in temperature (kB = 1 in the golden numbers)."""
    model, R, state = Holder(Schottky(), ONE), np.array([[0.7, 0.0, 0.0]]), {"temperature": kt / KB}
    x = lambda vectors: vectors[0, 0]
    assert thermo.free_energy(model, R, **state) == pytest.approx(a, rel=1e-12)
    assert thermo.energy(model, R, **state) == pytest.approx(e, rel=1e-12)
    assert thermo.entropy(model, R, **state) == pytest.approx((e - a) / kt * KB, rel=1e-12)
    assert thermo.variance(model, R, **state) == pytest.approx(var, rel=1e-9)
    assert thermo.heat_capacity(model, R, **state) == pytest.approx(var / kt**2 * KB, rel=1e-9)
    assert x(thermo.force(model, R, **state)) == pytest.approx(f, rel=1e-12)
    assert x(thermo.response_force(model, R, **state)) == pytest.approx(slope * KB, rel=1e-9)
    assert x(thermo.entropic_force(model, R, **state)) == pytest.approx(kt * slope, rel=1e-9)
    assert x(thermo.energetic_force(model, R, **state)) == pytest.approx(f - kt * slope, rel=1e-9)
    assert x(thermo.covariance(model, R, **state)) == pytest.approx(kt**2 * slope, rel=1e-9)
    gap = 2.2
    p = 5 * np.exp(-gap / kt) / (1 + 5 * np.exp(-gap / kt))
    third = p * (1 - p) * (1 - 2 * p)
    assert thermo.cumulant(model, R, order=1, **state) == pytest.approx(e, rel=1e-12)
    assert thermo.cumulant(model, R, order=3, **state) == pytest.approx(gap**3 * third, rel=1e-8)
    second = -(gap**2) * third / kt**4 - 2 * slope / kt  # kappa(f, U, U)/(kT^2)^2 - 2 Cov(f, U)/(kT^3)
    assert x(thermo.response_force(model, R, order=2, **state)) == pytest.approx(second * KB**2, rel=1e-8)


def test_derivatives_by_a_parameter():
    """A = ... + lambda^2 kT x^2 / 2: each derivative frame by frame, also mixed with temperature."""
    model, R = Holder(Schottky(), ONE), np.array([[[0.7, 0.0, 0.0]], [[-0.4, 0.0, 0.0]]])
    kelvin, tilt = np.array([280.0, 310.0]), np.array([0.3, 0.9])
    state = {"temperature": kelvin, "parameters": {"tilt": tilt}, "name": "tilt"}
    square = R[:, 0, 0] ** 2
    assert thermo.by_parameter(model, R, **state) == pytest.approx(tilt * KB * kelvin * square, rel=1e-12)
    assert thermo.by_parameter(model, R, order=2, **state) == pytest.approx(KB * kelvin * square, rel=1e-12)
    assert thermo.by_parameter(model, R, response=1, **state) == pytest.approx(tilt * KB * square, rel=1e-12)
    with pytest.raises(ValueError, match="none of the parameters given: tilt"):
        thermo.by_parameter(model, R, **(state | {"name": "tild"}))


def test_orders_count_from_one():
    model, R = Holder(Schottky(), ONE), np.zeros((1, 3))
    for wrong in (
        lambda: thermo.cumulant(model, R, order=0, temperature=300.0),
        lambda: thermo.response_force(model, R, order=0, temperature=300.0),
        lambda: thermo.by_parameter(model, R, name="tilt", order=0, temperature=300.0, parameters={"tilt": 1.0}),
    ):
        with pytest.raises(ValueError, match="order=0"):
            wrong()


def test_a_batch_is_as_small_as_its_potential_is_large():
    """The memory that XLA plans for forces stays near half a GB: DimeNet++ keeps fifty times the numbers of splines."""
    topology = Topology.of(["W"] * 216, masses={"W": 18.0})
    positions = np.random.default_rng(0).uniform(0, 1.86, (1, 216, 3))
    frames = Frames(positions=positions, box=np.eye(3)[None] * 1.86)
    for potential in (SplinePotential(topology, cutoff=0.9), HipNN(topology.types), DimeNet(topology.types)):
        _, graph, _ = next(iter(thermo.graphs([frames], topology, potential.cutoffs)))
        arrays, rest = eqx.partition((potential, graph), eqx.is_array)
        forces = lambda found, rest=rest: thermo._force(*eqx.combine(found, rest))
        planned = jax.jit(forces).lower(arrays).compile().memory_analysis().temp_size_in_bytes
        assert 1e8 < planned * thermo.frames_per_batch(topology, 10_000, potential) < 1.5e9, type(potential).__name__
