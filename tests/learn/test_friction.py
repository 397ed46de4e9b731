"""Friction from diffusion: free beads and dumb-bells, whose D = kT/(M gamma) is exact, and a liquid against itself."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import meanforce as mf
from meanforce import units
from meanforce.dynamics.activated import Activated
from meanforce.dynamics.integrators import Phase, System
from meanforce.dynamics.noise import normals
from meanforce.learn.friction import Free, Line, Match, _Tried
from meanforce.observables.base import Curve, Scalar
from meanforce.observables.velocities import Memory
from meanforce.potentials.base import Potential
from meanforce.potentials.priors import HarmonicBond, LennardJones

T, MASS = 300.0, 20.0


class Holder(NamedTuple):
    potential: Potential
    topology: mf.Topology


class Nothing(Potential):
    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        return 0 * graph.positions[:, 0]


def coefficient(mass, gamma, kelvin=T):
    """kT/(m gamma) in 1e-9 m^2/s."""
    return units.KB * kelvin / (mass * gamma) * units.DIFFUSION


def test_free_beads_have_the_friction_of_einstein():
    free = Holder(Nothing(), mf.Topology.of(["A"] * 400, masses={"A": MASS}))
    start, gamma = mf.Frames(np.zeros((1, 400, 3))), 5.0
    friction = mf.match_diffusion(free, start, coefficient(MASS, gamma), T, 60.0, 0.02, 1)
    (found,) = friction.matches
    assert found.tried[0] == pytest.approx(gamma, rel=1e-12)
    assert abs(found.value.value - gamma) < 3 * found.value.error
    assert found.value.error < 0.06 * gamma
    assert friction.thermostat == mf.Langevin(found.value.value) and friction.at(450.0) == found.value
    # At another temperature the same friction has the diffusion of that temperature.
    hot = mf.simulate(free, start, 450.0, 60.0, 0.02, 2, thermostat=friction.thermostat)
    there = mf.observables.diffusion(hot).coefficient
    assert abs(there.value / coefficient(MASS, gamma, 450.0) - 1) < 3 * np.hypot(
        there.error / there.value, found.value.error / gamma
    )


def test_dumb_bells_diffuse_as_their_mass():
    """The first guess, that of free beads, is a factor of two off: bound beads diffuse with kT/(2 m gamma)."""
    pairs = 200
    bonds = [(2 * k, 2 * k + 1) for k in range(pairs)]
    topology = mf.Topology.of(["A"] * (2 * pairs), masses={"A": MASS}, bonds=bonds)
    spring = HarmonicBond(topology.kinds("bonds"), length=[0.3], stiffness=[2000.0])
    ends = np.zeros((1, 2 * pairs, 3))
    ends[0, 1::2, 0] = 0.3
    gamma = 4.0
    found = mf.match_diffusion(
        Holder(spring, topology), mf.Frames(ends), coefficient(2 * MASS, gamma), T, 80.0, 0.02, 3,
        settings=mf.Settings(save_every=0.1),
    ).matches[0]  # fmt: skip
    assert found.tried[0] == pytest.approx(2 * gamma, rel=1e-12)
    assert abs(found.value.value - gamma) < 3 * found.value.error
    assert found.value.error < 0.12 * gamma
    assert found.slope == pytest.approx(2.0, rel=0.3), "per mass of a bead"


def test_a_liquid_is_given_back_its_own_friction():
    lennard_jones = LennardJones(("A",), sigma=jnp.array([0.34]), epsilon=jnp.array([0.996]), cutoff=0.8)
    model = Holder(lennard_jones, mf.Topology.of(["A"] * 64, masses={"A": 39.948}))
    edge = 4 * 0.34 * 0.6 ** (-1 / 3)
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    start = mf.Frames(((sites + 0.5) / 4 * edge)[None], edge * np.eye(3)[None])
    settings, gamma = mf.Settings(save_every=0.1, replicas=2), 3.0
    melt = mf.simulate(model, start, 150.0, 20.0, 0.01, 1, thermostat=mf.Langevin(gamma), settings=settings).frames
    begun = mf.Frames(melt.positions[-2:], melt.box[-2:])
    run = mf.simulate(model, begun, 150.0, 60.0, 0.01, 2, thermostat=mf.Langevin(gamma), settings=settings)
    reference = mf.observables.diffusion(run)
    found = mf.match_diffusion(model, begun, reference, 150.0, 60.0, 0.01, 4, settings=settings).matches[0]
    assert found.window == pytest.approx(reference.window, rel=0.2)
    assert found.tried[0] > 1.5 * gamma, "the liquid has its own resistance"
    assert abs(found.value.value - gamma) < 3 * found.value.error
    assert found.value.error < 0.4 * gamma


def test_a_line_through_exact_runs_is_solved_exactly():
    tried, free = np.array([1.0, 2.0, 5.0]), Free(0.5)  # D = 0.5 / friction
    runs = [Scalar("D", 1 / (0.5 + 0.25 * g), 0.01, "") for g in tried]
    line = Line.through(tried, [free.friction(d) for d in runs], 0.5 / 0.8)
    solved = lambda value, error: line.solved(
        free.friction(Scalar("", value, error, "")), Scalar("", value, error, ""), free
    )
    assert solved(0.8, 0.0).value == pytest.approx(3.0, rel=1e-9)
    spread = [solved(0.8, e).error for e in (0.0, 0.1)]
    assert np.sqrt(spread[1] ** 2 - spread[0] ** 2) == pytest.approx(0.1 / 0.8**2 / 0.25, rel=1e-9)
    with pytest.raises(ValueError, match="without friction its coefficient is 2"):
        solved(3.0, 0.0)


@pytest.mark.parametrize("window", [None, 0.5])
@pytest.mark.parametrize("gamma", [-0.5, 1e-9, 0.3, 5.0, 200.0])
def test_free_beads_have_a_pace_for_a_friction_and_a_friction_for_a_pace(window, gamma):
    free = Free(100.0, window)
    if window is None and gamma < 0:
        return
    exact = 100.0 / gamma * (1.0 if window is None else -np.expm1(-gamma * 0.5))
    assert free.coefficient(gamma) == pytest.approx(exact, rel=1e-6)
    back = free.friction(Scalar("D", free.coefficient(gamma), 1e-3, ""))
    assert back.value == pytest.approx(gamma, rel=1e-9, abs=1e-9)
    step = 1e-5 * max(abs(gamma), 1.0)
    if gamma > 1e-3:
        slope = (free.coefficient(gamma + step) - free.coefficient(gamma - step)) / (2 * step)
        assert back.error == pytest.approx(1e-3 / abs(slope), rel=1e-5)


class Well(Potential):
    """Every bead in a harmonic well at the origin."""

    stiffness: float

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        return 0.5 * self.stiffness * (graph.positions**2).sum(1)


GAMMA, WINDOW, STEP = 4.0, 0.2, 0.02


def in_a_well(square, gamma, t):
    """<|x(t) - x(0)|^2> of a bead of mass MASS that is rung with k = m square: 6 kT/k (1 - decay)."""
    omega = np.sqrt(square - gamma**2 / 4 + 0j)
    decay = np.exp(-gamma * t / 2) * (np.cos(omega * t) + gamma / (2 * omega) * np.sin(omega * t))
    return 6 * units.KB * T / (MASS * square) * (1 - decay.real)


def freely(gamma, t):
    return 6 * units.KB * T / (MASS * gamma**2) * (gamma * t - 1 + np.exp(-gamma * t))


def memory_of(displacement):
    """What is measured on frames a step apart, from the exact displacements, as of atoms."""
    value = (displacement(WINDOW + STEP) - displacement(WINDOW - STEP)) / (12 * STEP) * units.DIFFUSION
    axis = np.arange(0, WINDOW + STEP / 2, STEP)
    curve = Curve("velocity autocorrelation", axis, 0 * axis, 0 * axis, "", "")
    return Memory(Scalar("memory", float(value), 0.0, "1e-9 m²/s"), curve, WINDOW)


def test_velocities_lose_their_memory_with_the_friction_that_they_had():
    """Beads in a well, whose velocities turn round soon after the window; gamma is known exactly."""
    square = 60.0  # 1/ps^2
    reference = memory_of(lambda t: in_a_well(square, GAMMA, t))
    model = Holder(Well(MASS * square), mf.Topology.of(["A"] * 200, masses={"A": MASS}))
    width = np.sqrt(units.KB * T / (MASS * square))
    start = mf.Frames(width * np.random.default_rng(3).standard_normal((1, 200, 3)))
    found = mf.match_diffusion(model, start, reference, T, 12.0, 0.01, 1).matches[0]
    assert found.window == (0.0, WINDOW)
    assert found.tried[0] > 1.5 * GAMMA, "the well holds beads back as friction would"
    assert abs(found.value.value - GAMMA) < 3 * found.value.error
    assert found.value.error < 0.06 * GAMMA


def test_what_is_measured_otherwise_than_the_reference_is_refused():
    reference, free = memory_of(lambda t: freely(GAMMA, t)), Holder(Nothing(), mf.Topology.of(["A"], masses={"A": 1.0}))
    start = mf.Frames(np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match=r"leave settings\.save_every out"):
        mf.match_diffusion(free, start, reference, T, 8.0, 0.01, 1, settings=mf.Settings(save_every=0.1))
    with pytest.raises(ValueError, match=r"measure takes the whole of time and the reference 0\.2 ps"):
        mf.match_diffusion(free, start, reference, T, 8.0, 0.02, 1, measure=mf.observables.diffusion)


def test_runs_are_kept_and_gone_on_with(tmp_path):
    free = Holder(Nothing(), mf.Topology.of(["A"] * 20, masses={"A": MASS}))
    start = mf.Frames(np.zeros((1, 20, 3)))
    seen: list[float] = []
    settings = mf.Settings(
        save_every=0.1, output=tmp_path / "free.h5", resume=True, progress=lambda p: seen.append(p.fraction)
    )
    match = lambda: mf.match_diffusion(free, start, coefficient(MASS, 5.0), T, 10.0, 0.02, 1, settings=settings)
    one = match()
    assert seen == sorted(seen) and seen[-1] == 1.0 and 0.0 < seen[0] <= 0.2, "progress is that of all runs"
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"free-{k}.h5" for k in range(5)]
    two = match()
    assert one.to_json() == two.to_json() == mf.Friction.from_json(one.to_json()).to_json()
    with pytest.raises(ValueError, match="give one above 0"):
        mf.match_diffusion(free, start, -1.0, T, 10.0, 0.02, 1)


def matched(kelvin, gamma, error, slope=1.0):
    d, value = Scalar("diffusion coefficient", 2.0, 0.1, "1e-9 m²/s"), Scalar("friction", gamma, error, "1/ps")
    return mf.Friction((Match(kelvin, value, d, np.array([1.0]), (d,), (2.0, 4.0), slope),))


def test_the_error_of_the_friction_is_owed_by_diffusion():
    """Free beads: relative errors of D and gamma are the same; twice as much at twice the slope of the match nearby."""
    friction = mf.Friction.through(matched(300.0, 8.0, 0.4), matched(600.0, 2.0, 0.1, slope=2.0))
    for kelvin, factor in ((300.0, 1.0), (590.0, 2.0)):
        gamma = friction.at(kelvin)
        d = Scalar("D", coefficient(MASS, gamma.value, kelvin), 0.0, "1e-9 m²/s")
        owed = friction.uncertainty(d, np.full(3, MASS), kelvin)
        assert owed / d.value == pytest.approx(factor * gamma.error / gamma.value, rel=1e-9)


def test_friction_is_a_line_between_matches_and_beyond():
    """gamma = 0.5 exp(1200 K/T), of which two matches know everything, and a third no more."""
    exact = lambda kelvin: 0.5 * np.exp(1200.0 / kelvin)
    cold, hot = matched(300.0, exact(300.0), 0.03 * exact(300.0)), matched(600.0, exact(600.0), 0.04 * exact(600.0))
    friction = mf.Friction.through(hot, cold)
    assert [match.kelvin for match in friction.matches] == [300.0, 600.0]
    for kelvin in (250.0, 300.0, 400.0, 600.0, 900.0):
        found = friction.at(kelvin)
        assert found.value == pytest.approx(exact(kelvin), rel=1e-12)
        share = (1 / kelvin - 1 / 600.0) / (1 / 300.0 - 1 / 600.0)
        assert found.error == pytest.approx(found.value * np.hypot(0.03 * share, 0.04 * (1 - share)), rel=1e-9)
    middle = mf.Friction.through(friction, matched(400.0, 1.1 * exact(400.0), 0.1))
    assert middle.at(400.0).value == pytest.approx(1.1 * exact(400.0), rel=1e-12)
    assert middle.at(300.0).value == pytest.approx(exact(300.0), rel=1e-12)
    assert exact(350.0) < middle.at(350.0).value < 1.1 * exact(350.0)
    with pytest.raises(ValueError, match="give one match at each"):
        mf.Friction.through(cold, hot, cold)


def test_a_friction_that_is_tried_is_that_of_langevin_and_compiles_nothing_anew():
    free = Holder(Nothing(), mf.Topology.of(["A"] * 5, masses={"A": MASS}))
    start, settings = mf.Frames(np.zeros((1, 5, 3))), mf.Settings(save_every=0.1, precision="double")
    run = lambda bath: mf.simulate(free, start, T, 1.0, 0.02, 3, thermostat=bath, settings=settings).frames.positions
    np.testing.assert_allclose(run(_Tried(2.0)), run(mf.Langevin(2.0)), rtol=1e-9, atol=1e-12)
    assert np.abs(run(_Tried(4.0)) - run(_Tried(2.0))).max() > 1e-3
    assert (
        _Tried(4.0) == _Tried(2.0) and hash(_Tried(4.0)) == hash(_Tried(2.0)) and repr(_Tried(4.0)) != repr(_Tried(2.0))
    )


def test_a_bath_has_the_friction_of_its_temperature():
    """One thermostat at two temperatures: exactly the runs with two numbers, but for rounding."""
    friction = mf.Friction.through(matched(300.0, 8.0, 0.1), matched(600.0, 2.0, 0.1))
    free = Holder(Nothing(), mf.Topology.of(["A"] * 5, masses={"A": MASS}))
    start, settings = mf.Frames(np.zeros((1, 5, 3))), mf.Settings(save_every=0.1, precision="double")
    for kelvin, gamma in ((600.0, 2.0), (400.0, friction.at(400.0).value)):
        one, other = (
            mf.simulate(free, start, kelvin, 1.0, 0.02, 3, thermostat=bath, settings=settings).frames.positions
            for bath in (friction.thermostat, mf.Langevin(gamma))
        )
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_friction_follows_a_ramp():
    """Steps of a heated free bead against the same by hand, with the friction of each step's temperature."""
    friction = mf.Friction.through(matched(300.0, 8.0, 0.1), matched(600.0, 2.0, 0.1)).thermostat.friction
    bath, steps, dt = mf.Langevin(friction), 20, 0.02
    mass, kelvin = np.full((3, 1), MASS), 300.0 + 300.0 * np.arange(steps) / steps
    keys = jnp.asarray([[1, 2]], jnp.uint32)
    begun = System(jnp.asarray(mass), jnp.array([units.KB * 300.0]), jnp.array([9.0]), keys)
    system = begun._replace(course=mf.Ramp(300.0, 600.0).over(steps, 1))
    phase = Phase(jnp.zeros((3, 3)), jnp.ones((3, 3)), None, None, jnp.array(0))
    v, x = np.ones((3, 3)), np.zeros((3, 3))
    for n in range(steps):
        phase = bath.advance(phase, jnp.zeros((3, 3)), system.at(phase), dt)._replace(step=jnp.array(n + 1))
        share = (1 / kelvin[n] - 1 / 600.0) / (1 / 300.0 - 1 / 600.0)
        kept = np.exp(-dt * 2.0 * 4.0**share)
        noise = np.asarray(normals(keys, jnp.array(n), 9)).reshape(3, 3)
        x, old = x + v * dt / 2, v
        v = kept * old + np.sqrt((1 - kept**2) * units.KB * kelvin[n] / MASS) * noise
        x = x + v * dt / 2
    np.testing.assert_allclose(phase.velocities, v, rtol=1e-6)
    np.testing.assert_allclose(phase.positions, x, rtol=1e-6)


def test_a_friction_that_no_bath_has_is_refused():
    for kelvins, frictions in (((300.0,), (1.0,)), ((400.0, 300.0), (1.0, 2.0)), ((300.0, 400.0), (1.0, -2.0))):
        with pytest.raises(ValueError, match=r"rising temperatures|positive"):
            Activated(kelvins, frictions)
