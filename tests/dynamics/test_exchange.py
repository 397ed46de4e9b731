"""The rule of replica exchange by reduced potentials: balance, dice, counts, and what a run makes of it."""

from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from liquids import Swelling, Trap, argon, lattice, model
from test_resume import Interrupted, interrupting

import meanforce as mf
from meanforce.dynamics import keep, setup
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.exchange import Exchange, Ladder, Swaps
from meanforce.dynamics.integrators import Phase, System
from meanforce.dynamics.noise import replica_keys
from meanforce.dynamics.replicas import replica_exchange
from meanforce.dynamics.run import carry_out
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import NVE, Langevin, NoseHoover
from meanforce.frames import Frames
from meanforce.potentials.splines import PairSpline
from meanforce.potentials.thermal import LinearThermal
from meanforce.units import KB


def proposal(energies, kelvin, step=0, seed=1, box=None, pressure=None):
    """The exchange of two replicas: A of each at its own temperature and at that of the other."""
    system = System(jnp.ones((2, 1)), KB * jnp.asarray(kelvin), jnp.full(2, 3.0), jnp.asarray(replica_keys(seed, 2)))
    phase = Phase(jnp.zeros((2, 3)), jnp.ones((2, 3)), box, None, jnp.array(step), Swaps.begin(2))
    own, other = (jnp.asarray([e[0] for e in energies]), jnp.asarray([e[1] for e in energies]))
    exchange = Exchange(jnp.asarray(kelvin), jnp.array(1), pressure)
    return exchange.decide(phase, own, other, system)


def test_the_rule_keeps_the_balance_of_all_states():
    """Two replicas of three states each: with the probabilities of the rule, the product distribution stays."""
    kelvin, beta = (250.0, 400.0), 1 / (KB * np.array([250.0, 400.0]))
    a = np.array([[0.0, 1.3, 2.9], [-40.0, -43.0, -41.0]])  # A[temperature, state]: any gauge, and entropic
    states = list(product(range(3), range(3)))
    weight = np.exp(-(beta[:, None] * (a - a.min(1, keepdims=True))))
    pi = np.array([weight[0, i] * weight[1, j] for i, j in states])
    matrix = np.zeros((9, 9))
    for row, (i, j) in enumerate(states):
        phase, _ = proposal([(a[0, i], a[1, i]), (a[1, j], a[0, j])], kelvin)
        assert phase.swaps.tried.tolist() == [1]
        chance = float(phase.swaps.accepted[0])
        ratio = np.exp(-(beta[0] * (a[0, j] - a[0, i]) + beta[1] * (a[1, i] - a[1, j])))
        assert chance == pytest.approx(min(1.0, ratio), rel=1e-12)
        matrix[row, states.index((j, i))] += chance
        matrix[row, row] += 1 - chance
    np.testing.assert_allclose(pi @ matrix, pi, rtol=1e-12)
    np.testing.assert_allclose(pi[:, None] * matrix, (pi[:, None] * matrix).T, rtol=1e-12, atol=1e-15)


def test_dice_fall_as_often_as_the_rule_says():
    energies, kelvin = [(0.0, 1.0), (2.0, 3.0)], (250.0, 400.0)
    chance = float(proposal(energies, kelvin)[0].swaps.accepted[0])
    assert 0.3 < chance < 0.8
    many = jax.vmap(lambda step: proposal(energies, kelvin, step=2 * step)[1])(jnp.arange(4000))
    assert (many[:, 0] == many[:, 1]).all()
    assert many[:, 0].mean() == pytest.approx(chance, abs=3 * np.sqrt(chance * (1 - chance) / 4000))
    for phase, accepted in (proposal(energies, kelvin, step=step) for step in range(0, 20, 2)):
        factor = np.sqrt(np.array([400.0 / 250.0, 250.0 / 400.0])) if accepted[0] else np.ones(2)
        np.testing.assert_allclose(phase.velocities, np.repeat(factor[:, None], 3, 1))
        assert phase.swaps.rung.tolist() == ([1, 0] if accepted[0] else [0, 1])
    turn = proposal(energies, kelvin, step=1)
    assert not turn[1].any(), "the odd turn has no pair in a ladder of two"
    assert turn[0].swaps.tried.tolist() == [0]


def test_a_state_that_is_no_number_is_never_accepted():
    phase, accepted = proposal([(0.0, np.nan), (2.0, 3.0)], (250.0, 400.0))
    assert not accepted.any()
    assert phase.swaps.accepted.tolist() == [0.0]


def test_round_trips_are_counted_from_cold_to_hot_and_back():
    """Where everything is accepted three replicas go round a ladder of three in six turns."""
    exchange = Exchange(jnp.array([100.0, 200.0, 300.0]), jnp.array(1), None)
    system = System(jnp.ones((3, 1)), jnp.ones(3), jnp.full(3, 3.0), jnp.asarray(replica_keys(1, 3)))
    phase = Phase(jnp.zeros((3, 3)), jnp.ones((3, 3)), None, None, jnp.array(0), Swaps.begin(3))
    rungs = []
    for step in range(60):
        phase, _ = exchange.decide(phase._replace(step=jnp.array(step)), jnp.zeros(3), jnp.zeros(3), system)
        rungs.append(phase.swaps.rung.tolist())
    assert rungs[:6] == [[1, 0, 2], [2, 0, 1], [2, 1, 0], [1, 2, 0], [0, 2, 1], [0, 1, 2]]
    assert phase.swaps.trips.tolist() == [10, 9, 9]
    assert phase.swaps.tried.tolist() == [30, 30]
    np.testing.assert_allclose(phase.velocities, 1.0)


def test_the_box_breathes_at_the_new_temperature():
    """A barostat that acts in the step of an exchange sees kT, velocities and the virial of A(R; T) after it."""
    ladder, barostat = Ladder((200.0, 300.0), every=0.01), Barostat(0.0, time=1.0, compressibility=1e-3, interval=1)
    task = setup.task(
        model(Swelling(400.0), 1), Frames(np.full((1, 1, 3), 0.1), 2 * np.eye(3)[None]), ladder, (0.03, 0.01), 1,
        Langevin(1.0), barostat, Settings(save_every=0.01, precision="double"),
    )  # fmt: skip
    frames, trace = carry_out(task)
    assert frames.temperature.tolist() == [200.0, 300.0, 200.0, 300.0, 300.0, 200.0]
    before, after = frames[2:4], frames[4:6]
    ratio = after.temperature / before.temperature
    kinetic = 1.5 * KB * trace.kinetic_temperature[1] * ratio
    velocities = np.zeros((2, 3))
    velocities[:, 0] = np.sqrt(2 * kinetic / task.topology.masses[0])
    system = setup.system(task, np.arange(1), False)._replace(thermal_energy=jnp.asarray(KB * after.temperature))
    phase = Phase(jnp.zeros((2, 3)), jnp.asarray(velocities), jnp.asarray(before.box), None, jnp.array(2))
    factors = barostat.scale(phase, jnp.asarray(before.virial * ratio), system, 0.01)
    np.testing.assert_allclose(after.box[:, 0, 0] / before.box[:, 0, 0], factors, rtol=1e-9)


def test_a_resumed_exchange_is_the_same_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(keep, "_COMMIT_EVERY", 0.0)
    monkeypatch.setattr("meanforce.dynamics.run._TELL_EVERY", 0.0)
    settings = Settings(save_every=0.1, output=tmp_path / "run.h5")
    ladder = Ladder.geometric(110.0, 125.0, 3, every=0.05)

    def go(settings, time=24.0):
        return replica_exchange(
            argon(27, cutoff=0.7), lattice(3, 0.6), ladder, time, 0.005, 1, thermostat=NoseHoover(0.5),
            settings=settings,
        )  # fmt: skip

    def same(one, two):
        for name in ("acceptance", "tried", "round_trips"):
            assert np.array_equal(getattr(one, name), getattr(two, name)), name
        for a, b in zip(one.ensembles, two.ensembles, strict=True):
            assert np.array_equal(a.chain, b.chain)
            for name in ("positions", "energy", "temperature", "time"):
                assert np.array_equal(getattr(a.frames, name), getattr(b.frames, name)), name

    whole = go(replace(settings, output=tmp_path / "whole.h5"))
    with pytest.raises(Interrupted):
        go(replace(settings, progress=interrupting(0.4)))
    same(go(replace(settings, resume=True)), whole)
    same(go(replace(settings, resume=True)), whole)  # read from the disk
    longer = go(replace(settings, resume=True), time=36.0)
    assert (longer.tried > whole.tried).all()
    assert np.array_equal(longer.ensembles[0].frames.positions[:240], whole.ensembles[0].frames.positions)
    assert (whole.acceptance > 0.2).all()
    assert len(np.unique(whole.ensembles[0].chain)) == 3


def test_heads_are_weighed_by_the_temperature_of_each_frame():
    """A LinearThermal under a sum, in a box, in both kinds of change: recorded energies and virials are those of T."""
    spline = PairSpline(("A",), cutoff=0.7, start=0.2, spacing=0.1)
    draw = np.random.default_rng(0).standard_normal
    heads = tuple(spline.with_coefficients(0.05 * draw(spline.coefficients.shape)) for _ in range(2))
    whole = mf.Model(mf.Sum.of(LinearThermal(heads, 120.0), argon(27, cutoff=0.7).potential), argon(27).topology)
    settings = Settings(save_every=0.1, precision="double")
    options = {"time": 1.0, "timestep": 0.005, "seed": 1, "settings": settings}
    found = replica_exchange(whole, lattice(3, 0.6), Ladder((110.0, 120.0, 130.0), every=0.05), **options)
    ramp = mf.simulate(whole, lattice(3, 0.6), mf.Ramp(100.0, 140.0), **options)
    assert len(np.unique(found.ensembles[0].chain)) > 1
    assert np.ptp(ramp.frames.temperature) > 30
    frames = Frames.concatenate([*(ensemble.frames for ensemble in found.ensembles), ramp.frames])
    given = {"temperature": frames.temperature}
    energy = mf.thermodynamics.free_energy(whole, frames.positions, frames.box, **given)
    virial = mf.thermodynamics.virial(whole, frames.positions, frames.box, **given)
    np.testing.assert_allclose(frames.energy, energy, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(frames.virial, virial, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ladder((300.0,), every=1.0), "two temperatures"),
        (lambda: Ladder((300.0, 250.0), every=1.0), "ascend"),
        (lambda: Ladder((300.0, 350.0), every=0.0), "positive time"),
        (lambda: run(Ladder((300.0, 350.0), every=0.015)), "every = 0.015 ps is not a whole number of steps"),
        (lambda: run(Ladder((300.0, 350.0), every=0.1), thermostat=NVE()), "need a thermostat"),
        (lambda: run(Ladder((300.0, 350.0), every=0.1), settings=Settings(replicas=3)), "as many replicas"),
    ],
)
def test_what_makes_no_ladder_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def run(ladder, **options):
    return replica_exchange(model(Trap(100.0), 1), Frames(np.zeros((1, 1, 3))), ladder, 1.0, 0.01, 1, **options)
