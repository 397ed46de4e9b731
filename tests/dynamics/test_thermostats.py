"""Thermostats on harmonic wells, where every moment is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from meanforce.dynamics.integrators import (
    Phase,
    System,
    kinetic_energy,
    maxwell,
    step,
    without_drift,
)
from meanforce.dynamics.noise import normals, replica_keys
from meanforce.dynamics.thermostats import NVE, Langevin, NoseHoover, Rescaling
from meanforce.units import KB

KT = KB * 300.0
STIFFNESS = np.array([[100.0, 400.0, 900.0]])


def wells(positions):
    return -STIFFNESS * positions


def well_energy(positions):
    return 0.5 * (STIFFNESS * positions**2).sum()


def cold(integrator, *, replicas=1, beads=1, mass=10.0, seed=1, freedom=None, kt=KT):
    """A system of free beads at the origin with Maxwell velocities."""
    count = 3.0 * beads if freedom is None else freedom
    system = System(
        jnp.full((replicas * beads, 1), mass), jnp.full(replicas, kt), jnp.full(replicas, count),
        jnp.asarray(replica_keys(seed, replicas)),
    )  # fmt: skip
    positions = jnp.zeros((replicas * beads, 3))
    phase = Phase(positions, jnp.asarray(maxwell(system)), None, integrator.init(system), jnp.array(0))
    return system, phase


def walk(integrator, system, phase, force, timestep, steps, observe):
    """The observations after every step."""

    def body(carry, _):
        phase, forces = step(integrator, *carry, system, timestep, force)
        phase = phase._replace(step=phase.step + 1)
        return (phase, forces), observe(phase)

    run = jax.jit(lambda phase: jax.lax.scan(body, (phase, force(phase.positions)), None, length=steps))
    (phase, _), seen = run(phase)
    return phase, seen


def test_verlet_is_of_second_order_in_the_step():
    errors = []
    for refinement in range(4):
        h = 0.02 / 2**refinement
        system, phase = cold(NVE())
        phase = phase._replace(positions=jnp.array([[0.1, 0.2, -0.1]]), velocities=jnp.array([[1.0, 0.0, 2.0]]))
        end, _ = walk(NVE(), system, phase, wells, h, 50 * 2**refinement, lambda p: p.step)
        omega = np.sqrt(STIFFNESS / 10.0)
        exact = np.array([[0.1, 0.2, -0.1]]) * np.cos(omega) + np.array([[1.0, 0, 2]]) / omega * np.sin(omega)
        errors.append(np.abs(np.asarray(end.positions) - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 2) < 0.05), orders


@pytest.mark.parametrize("integrator", [NoseHoover(period=0.5), NoseHoover(period=0.5, length=1)])
def test_the_chain_conserves_its_energy_to_second_order(integrator):
    def conserved(phase):
        return (
            kinetic_energy(phase.velocities, system) + well_energy(phase.positions) + integrator.stored(phase, system)
        )[0]

    spread = []
    for h in (0.01, 0.005, 0.0025):
        system, phase = cold(integrator, beads=20)
        phase = phase._replace(positions=0.1 * phase.velocities)
        _, energy = walk(integrator, system, phase, wells, h, round(4 / h), conserved)
        spread.append(float(jnp.abs(energy - energy[0]).max()))
    orders = np.log2(np.array(spread[:-1]) / spread[1:])
    assert spread[0] < 1.0
    assert np.all(np.abs(orders - 2) < 0.2), (spread, orders)


def test_langevin_configurations_are_exact_in_a_harmonic_well():
    """BAOAB has the exact variance kT/k at any stable step: here omega h = 1, where Verlet is 33 % off."""
    integrator, h, replicas, steps = Langevin(friction=5.0), 0.1, 400, 2000
    system, phase = cold(integrator, replicas=replicas)
    _, squares = walk(integrator, system, phase, wells, h, steps, lambda p: (p.positions**2).reshape(replicas, 3))
    squares = np.asarray(squares)[steps // 4 :].mean(0)
    mean, error = squares.mean(0), squares.std(0) / np.sqrt(replicas)
    exact = KT / STIFFNESS[0]
    assert np.all(np.abs(mean - exact) < 4 * error), (mean / exact, error / exact)
    assert np.all(error < 0.01 * exact)


def test_rescaling_draws_the_canonical_kinetic_energy():
    """An ideal gas with its centre of mass at rest: 2K/kT is chi-square with 3N - 3 degrees of freedom."""
    integrator, beads, replicas = Rescaling(time=0.05), 5, 200
    system, phase = cold(integrator, replicas=replicas, beads=beads, freedom=3.0 * beads - 3)
    phase = phase._replace(velocities=3.0 * without_drift(phase.velocities, system))
    free = jnp.zeros_like
    _, kinetic = walk(integrator, system, phase, free, 0.01, 800, lambda p: kinetic_energy(p.velocities, system))
    sample = np.asarray(2 * kinetic / KT)[200::50].ravel()
    assert stats.kstest(sample, "chi2", args=(3 * beads - 3,)).pvalue > 1e-3
    # Three degrees more or fewer would be seen.
    assert stats.kstest(sample, "chi2", args=(3 * beads,)).pvalue < 1e-9


def test_rescaling_remembers_for_its_time():
    integrator, beads, replicas = Rescaling(time=0.2), 20, 400
    system, phase = cold(integrator, replicas=replicas, beads=beads)
    phase = phase._replace(velocities=2.0 * phase.velocities)
    free = jnp.zeros_like
    _, kinetic = walk(integrator, system, phase, free, 0.01, 20, lambda p: kinetic_energy(p.velocities, system))
    excess = np.asarray(kinetic).mean(1) / (30 * KT) - 1
    assert excess[-1] == pytest.approx(3 * np.exp(-1), rel=0.03)


def test_rescaling_keeps_account_of_the_heat():
    integrator = Rescaling(time=0.1)
    system, phase = cold(integrator, beads=4)
    free = jnp.zeros_like
    start = float(kinetic_energy(phase.velocities, system)[0])
    end, _ = walk(integrator, system, phase, free, 0.01, 300, lambda p: p.step)
    later, stored = kinetic_energy(end.velocities, system), integrator.stored(end, system)
    assert abs(float(later[0]) / start - 1) > 1e-3
    assert float((later + stored)[0]) == pytest.approx(start, rel=1e-10)


@pytest.mark.parametrize("integrator", [NVE(), Langevin(), NoseHoover(), Rescaling()])
def test_finishing_with_no_time_changes_nothing(integrator):
    system, phase = cold(integrator, replicas=2, beads=3)
    phase = phase._replace(positions=phase.velocities)
    forces = wells(phase.positions)
    phase = integrator.advance(phase, forces, system, 0.01)
    same = integrator.finish(phase, forces, system, jnp.array(0.0))
    for one, two in zip(jax.tree.leaves(phase), jax.tree.leaves(same), strict=True):
        assert np.array_equal(one, two)


def test_the_chain_is_canonical_where_it_is_ergodic():
    """Many replicas of coupled stiff and soft modes, seen late: <x^2> = kT/k in each."""
    integrator, replicas = NoseHoover(period=0.4, length=4), 2000
    system, phase = cold(integrator, replicas=replicas)
    quartic = lambda x: -100.0 * x - 4000.0 * x * (x**2).sum(1, keepdims=True)
    _, seen = walk(
        integrator, system, phase, quartic, 0.01, 2000, lambda p: (p.positions * quartic(p.positions)).sum(1)
    )
    virial = -np.asarray(seen)[1000::100].mean(0)  # <x . grad U> = 3 kT by equipartition
    error = virial.std() / np.sqrt(replicas)
    assert abs(virial.mean() - 3 * KT) < 4 * error + 0.003 * KT
    assert error < 0.03 * KT


def test_noise_is_normal_and_does_not_repeat():
    keys = jnp.asarray(replica_keys(3, 4))
    draw = jax.jit(lambda step: normals(keys, step, 25_000))
    numbers = np.stack([draw(jnp.array(s)) for s in (0, 1, 2**32)]).reshape(12, -1)
    for row in numbers:
        assert stats.kstest(row, "norm").pvalue > 1e-4
    correlation = np.corrcoef(numbers) - np.eye(12)
    assert np.abs(correlation).max() < 5 / np.sqrt(25_000)
    shifted = np.corrcoef(numbers[0][1:], numbers[0][:-1])[0, 1]
    assert abs(shifted) < 5 / np.sqrt(25_000)


@pytest.mark.parametrize("word", [0, 2**32 - 1])
def test_the_rarest_noise_is_finite(word, monkeypatch):
    monkeypatch.setattr("meanforce.dynamics.noise.bits", lambda key, place, low: (jnp.full_like(place, word), place))
    extreme = np.asarray(normals(jnp.asarray(replica_keys(1, 1)), jnp.array(0), 3))
    assert np.isfinite(extreme).all()
    assert np.abs(extreme) == pytest.approx(5.3, abs=0.03)


def test_threefry_agrees_with_jax():
    from jax.extend.random import threefry_2x32

    from meanforce.dynamics.noise import bits

    key, counters = jnp.array([7, 9], jnp.uint32), jnp.arange(10, dtype=jnp.uint32)
    mine = jnp.concatenate(bits((key[0], key[1]), counters[:5], counters[5:]))
    assert np.array_equal(mine, threefry_2x32(key, counters))


def test_options_are_checked():
    for wrong in (lambda: Langevin(friction=-1.0), lambda: NoseHoover(period=0.0), lambda: Rescaling(time=np.nan)):
        with pytest.raises(ValueError, match="positive number"):
            wrong()
    with pytest.raises(ValueError, match="length"):
        NoseHoover(length=0)
    with pytest.raises(ValueError, match="2 seeds"):
        replica_keys([1, 2], 3)
