"""Whole runs: what is conserved, what is sampled, and what a run says when it cannot go on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from liquids import EPSILON, MASS, SIGMA, Trap, argon, lattice, model
from scipy import stats

from meanforce.dynamics import setup
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.run import carry_out, simulate
from meanforce.dynamics.settings import Settings, SimulationStopped
from meanforce.dynamics.thermostats import NVE, Langevin, NoseHoover, Rescaling
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.potentials.base import Potential
from meanforce.units import BAR, KB

T = 120.0
DOUBLE = Settings(precision="double", save_every=0.1)


def traced(system, start, time, timestep, *, thermostat, settings, barostat=None, temperature=T):
    return carry_out(setup.task(system, start, temperature, (time, timestep), 1, thermostat, barostat, settings))


def test_a_trap_has_its_boltzmann_moments():
    """Through the whole machine: kT/k and 3 (kT/k)^2 of positions, at a step of a sixth of the period."""
    stiffness, replicas = 400.0, 400
    timestep = 1.0 / np.sqrt(stiffness / MASS)
    ensemble = simulate(
        model(Trap(stiffness), 1), Frames(np.zeros((1, 1, 3))), T, timestep * 600, timestep, 3,
        thermostat=Langevin(4.0), settings=Settings(replicas=replicas, save_every=20 * timestep),
    )  # fmt: skip
    late = ensemble.frames.time > timestep * 100
    x = ensemble.frames.positions[late].reshape(-1, replicas, 3) / np.sqrt(KB * T / stiffness)
    for power, exact in ((2, 1.0), (4, 3.0)):
        values = (x**power).mean((0, 2))
        error = values.std() / np.sqrt(replicas)
        assert abs(values.mean() - exact) < 4 * error
        assert error < 0.05 * exact
    assert ensemble.reduced == pytest.approx(ensemble.frames.energy / (KB * T))
    assert np.array_equal(ensemble.chain[:replicas], np.arange(replicas))
    assert ensemble.frames.box is None
    assert ensemble.frames.virial is None


@pytest.mark.parametrize("shear", [0.3, None])
def test_energy_is_conserved_to_second_order(shear):
    """In a cube, in a triclinic box and in no box at all; and the recorded energies are those of the frames."""
    start = lattice(4, shear=shear or 0.0)
    if shear is None:
        start = Frames(start.positions)
    spreads = []
    for timestep in (0.01, 0.005):
        frames, trace = traced(argon(64), start, 4.0, timestep, thermostat=NVE(), settings=DOUBLE, temperature=60.0)
        spreads.append(np.abs(trace.conserved[5:] - trace.conserved[5]).max())
    assert spreads[0] < 0.02 * KB * 60.0 * 64
    assert 1.6 < np.log2(spreads[0] / spreads[1]) < 2.6
    assert trace.conserved[-10:].mean() == pytest.approx(trace.conserved[:10].mean(), abs=2 * spreads[1])
    graph = build(frames, argon(64).topology, (0.8,))
    assert argon(64).potential.energy(graph) == pytest.approx(frames.energy, abs=1e-9)


def test_single_precision_follows_double_and_does_not_drift():
    start, system = lattice(4), argon(64)
    ends = {}
    for precision in ("single", "double"):
        settings = Settings(precision=precision, save_every=0.1)
        ends[precision] = traced(system, start, 10.0, 0.005, thermostat=NVE(), settings=settings, temperature=60.0)
    (single, trace), (double, _) = ends["single"], ends["double"]
    assert np.abs(single.positions[:5] - double.positions[:5]).max() < 1e-5
    spread = trace.conserved[5:] - trace.conserved[5:].mean()
    slope = np.polyfit(np.arange(len(spread)), spread[:, 0], 1)[0] * len(spread)
    assert abs(slope) < 1e-3 * KB * 60.0 * 64


def test_a_replica_runs_as_it_would_alone():
    start, system = lattice(4), argon(64)
    both = simulate(
        system, start, T, 0.5, 0.005, [5, 9], settings=Settings(precision="double", save_every=0.1, replicas=2)
    )
    for replica, seed in enumerate((5, 9)):
        alone = simulate(system, start, T, 0.5, 0.005, [seed], settings=DOUBLE)
        together = both.frames.positions[both.chain == replica]
        assert np.abs(together - alone.frames.positions).max() < 1e-10
    apart = np.abs(both.frames.positions[::2] - both.frames.positions[1::2])[-1]
    assert apart.mean() > 0.01


@pytest.mark.parametrize(
    "thermostat",
    [Langevin(2.0), *(pytest.param(t, marks=pytest.mark.long) for t in (NoseHoover(1.0), Rescaling(0.5)))],
)
def test_a_liquid_has_its_temperature_in_motion_and_in_place(thermostat):
    """Kinetic temperature with the degrees of freedom counted right, and <|grad U|^2> / <laplacian U>."""
    system, start = argon(27, cutoff=0.7), lattice(3, density=0.6)
    frames, trace = traced(
        system, start, 30.0, 0.01, thermostat=thermostat, settings=Settings(save_every=0.25, replicas=8)
    )
    kinetic = trace.kinetic_temperature[20:].mean(0)
    error = kinetic.std(ddof=1) / np.sqrt(8)
    assert abs(kinetic.mean() - T) < 4 * error + 0.003 * T
    assert error < 0.02 * T
    late = frames[20 * 8 :: 5]
    squares, laplacians = curvature(system.potential, build(late, system.topology, (0.7,), capacities=[40]))
    blocks = [np.asarray(a[: len(late) // 8 * 8]).reshape(8, -1).mean(1) for a in (squares, laplacians)]
    place = blocks[0] / blocks[1] / KB
    error = place.std(ddof=1) / np.sqrt(8)
    assert abs(place.mean() - T) < 4 * error + 0.01 * T
    assert error < 0.06 * T


@eqx.filter_jit
def curvature(potential, graph):
    """|grad U|^2 and the Laplacian of U for each frame."""
    gradient = jax.grad(lambda x: potential.energy(eqx.tree_at(lambda g: g.positions, graph, x)).sum())
    flat = lambda values: values.reshape(graph.frames, -1)

    def second(k):
        direction = jnp.zeros_like(flat(graph.positions)).at[:, k].set(1.0).reshape(-1, 3)
        return flat(jax.jvp(gradient, (graph.positions,), (direction,))[1])[:, k]

    laplacian = jax.lax.map(second, jnp.arange(flat(graph.positions).shape[1])).sum(0)
    return (flat(gradient(graph.positions)) ** 2).sum(1), laplacian


def test_short_rows_are_found_and_made_longer(monkeypatch):
    """A collapse makes rows grow: the block is done again, and the run is that with long rows from the start."""
    system, made = argon(64), setup.graph
    start = Frames(1.3 * lattice(4).positions)  # a thin cluster that condenses
    lengths, runs = [], []

    def noted(task, order, positions, box, capacities=None):
        graph = made(task, order, positions, box, capacities)
        lengths.append(graph.neighbours[0].capacity)
        return graph

    monkeypatch.setattr(setup, "graph", noted)
    for room in (1.0, 4.0):
        monkeypatch.setattr(setup, "_ROOM", room)
        runs.append(simulate(system, start, 60.0, 4.0, 0.005, 1, settings=DOUBLE).frames)
    assert len(lengths) >= 3
    assert lengths[1] > lengths[0]
    assert lengths[-1] > max(lengths[:-1])
    # The order of a sum is another, and a liquid forgets nothing so fast as rounding.
    assert np.abs(runs[0].positions[:20] - runs[1].positions[:20]).max() < 1e-9
    again = system.potential.energy(build(runs[0], system.topology, (0.8,)))
    assert again == pytest.approx(runs[0].energy, abs=1e-9)


class Nothing(Potential):
    """An ideal gas."""

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        return jnp.zeros(len(graph.positions), graph.positions.dtype)


@pytest.mark.parametrize("thermostat", [Langevin(5.0), Rescaling(0.2)])
def test_the_volume_of_an_ideal_gas_is_gamma_distributed(thermostat):
    """p(V) ~ V^N exp(-PV/kT): a Gamma distribution of shape N + 1, momenta removed or not."""
    beads, replicas, pressure = 8, 400, 100.0
    length = (beads * KB * T / (pressure * BAR)) ** (1 / 3)
    start = Frames(np.random.default_rng(0).random((1, beads, 3)) * length, np.eye(3)[None] * length)
    barostat = Barostat(pressure, time=1.0, compressibility=1 / pressure, interval=5)
    settings = Settings(save_every=2.0, replicas=replicas)
    ensemble = simulate(
        model(Nothing(), beads), start, T, 24.0, 0.01, 4, thermostat=thermostat, barostat=barostat, settings=settings
    )
    volume = np.linalg.det(ensemble.frames.box).reshape(-1, replicas)[4:] * pressure * BAR / (KB * T)
    assert volume.mean() == pytest.approx(beads + 1, rel=0.03)
    assert stats.kstest(volume[::4].ravel(), "gamma", args=(beads + 1,)).pvalue > 1e-3
    assert stats.kstest(volume[::4].ravel(), "gamma", args=(beads,)).pvalue < 1e-3
    assert ensemble.state.pressure == pressure


def test_constant_pressure_gives_back_the_volume():
    """At the mean pressure of constant volume the mean volume is the same; lists hold while the box breathes."""
    system, start = argon(27, cutoff=0.7), lattice(3, density=0.7)
    settings = Settings(save_every=0.2, replicas=8)
    _, trace = traced(system, start, 24.0, 0.01, thermostat=Langevin(1.0), settings=settings, temperature=140.0)
    mean = trace.pressure[20:].mean()
    barostat = Barostat(mean, time=1.0, compressibility=5e-4)
    frames, trace = traced(
        system, start, 30.0, 0.01, thermostat=Langevin(1.0), settings=settings, barostat=barostat, temperature=140.0
    )
    volumes = np.linalg.det(frames.box).reshape(-1, 8)[40:].mean(0) / np.linalg.det(start.box[0])
    error = volumes.std(ddof=1) / np.sqrt(8)
    assert abs(volumes.mean() - 1) < 4 * error + 0.01
    assert error < 0.03
    again = system.potential.energy(build(frames, system.topology, (0.7,)))
    assert again == pytest.approx(frames.energy, rel=1e-4, abs=1e-2)


def test_momentum_is_counted_only_where_it_is_free():
    trap, free = model(Trap(100.0), 10), argon(64)
    start = Frames(np.random.default_rng(1).normal(0, 0.1, (1, 10, 3)))
    for thermostat, system, begin, expected in (
        (Rescaling(), trap, start, False), (Rescaling(), free, lattice(4), True), (Langevin(), free, lattice(4), False),
    ):  # fmt: skip
        task = setup.task(system, begin, T, (1.0, 0.01), 1, thermostat, None, Settings())
        graph = setup.graph(task, np.arange(task.beads), begin.positions, begin.box)
        potential = setup.in_precision(system.potential, np.float32)
        assert (thermostat.conserves_momentum and setup.keeps_momentum(potential, graph)) == expected
    frames, _ = traced(free, lattice(4), 2.0, 0.01, thermostat=Rescaling(), settings=Settings(save_every=0.1))
    centre = frames.positions.mean(1)
    assert np.abs(centre - lattice(4).positions.mean(1)).max() < 1e-6


def test_sorted_beads_come_back_in_their_order():
    """Above a few hundred beads the run sorts them in space; a user does not see it."""
    start, system = lattice(7), argon(343)
    frames = simulate(system, start, T, 0.02, 0.005, 1, settings=Settings(precision="double", save_every=0.005)).frames
    assert np.abs(frames.positions[0] - start.positions[0]).max() < 0.02
    shuffle = np.random.default_rng(0).permutation(343)
    task = setup.task(system, Frames(start.positions[:, shuffle], start.box), T, (1.0, 0.01), 1, NVE(), None, DOUBLE)
    order = setup.cell_order(task)
    assert sorted(order) == list(range(343))
    steps = np.linalg.norm(np.diff(start.positions[0][shuffle][order], axis=0), axis=1)
    assert np.median(steps) < 0.8 < np.median(np.linalg.norm(np.diff(start.positions[0][shuffle], axis=0), axis=1))


def test_a_blow_up_is_named_with_its_step_and_its_last_frame(tmp_path):
    output = tmp_path / "run.h5"
    settings = Settings(save_every=0.2, output=output)
    with pytest.raises(SimulationStopped, match="shorter time step") as stopped:
        simulate(argon(64), lattice(4), 300.0, 100.0, 0.1, 1, settings=settings)
    assert stopped.value.step < 1000
    assert np.isfinite(stopped.value.last.positions).all()
    assert str(output) in str(stopped.value)
    assert output.exists()


@pytest.mark.parametrize(("compressibility", "cause"), [(1e-5, "third of the cut-off"), (1e-3, "third in one step")])
def test_a_collapsing_box_is_named(compressibility, cause):
    barostat = Barostat(1e6, time=1.0, compressibility=compressibility, interval=1)
    with pytest.raises(SimulationStopped, match="check the pressure") as stopped:
        simulate(
            model(Soft(), 8), lattice(2), T, 10.0, 0.01, 1, thermostat=Langevin(10.0), barostat=barostat,
            settings=Settings(save_every=0.1),
        )  # fmt: skip
    assert cause in stopped.value.cause


class Soft(Potential):
    """Nothing, but with a cut-off."""

    @property
    def cutoffs(self):
        return (0.5,)

    def energies(self, graph):
        return jnp.zeros(len(graph.positions), graph.positions.dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timestep": 0.0}, "timestep must be a positive"),
        ({"time": 1.0037}, "whole number of"),
        ({"settings": Settings(save_every=0.003)}, "save_every"),
        ({"start": lattice(3)}, "27 beads"),
        ({"temperature": -1.0}, "temperatures are positive"),
        ({"thermostat": NVE(), "barostat": Barostat()}, "needs a thermostat"),
        ({"start": Frames(lattice(4).positions), "barostat": Barostat()}, "needs a box"),
        ({"start": Frames(np.full((1, 64, 3), np.nan))}, "not finite"),
        ({"seed": [1, 2]}, "2 seeds"),
        ({"settings": Settings(replicas=3), "start": Frames(np.zeros((2, 64, 3)))}, "holds 2 frames"),
    ],
)
def test_bad_input_is_refused_with_its_reason(change, message):
    given = {
        "start": lattice(4), "temperature": T, "time": 1.0, "timestep": 0.01, "seed": 1, **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        simulate(argon(64), **given)


@pytest.mark.parametrize(
    "options", [{"precision": "half"}, {"replicas": 0}, {"skin": -1}, {"resume": True}, {"output": "a.xtc"}]
)
def test_settings_are_checked(options):
    with pytest.raises(ValueError, match=r"'half'|at least 1|positive length|output=|data set"):
        Settings(**options)


def test_progress_is_told():
    seen = []
    settings = Settings(save_every=0.1, progress=seen.append)
    simulate(model(Trap(100.0), 5), Frames(np.zeros((1, 5, 3))), T, 1.0, 0.01, 1, settings=settings)
    assert seen[-1].fraction == 1.0
    assert seen[-1].remaining == 0.0


def test_units_of_the_constants():
    assert pytest.approx(120, rel=0.01) == EPSILON / KB
    assert SIGMA < 0.4
