"""Simulation: a model and a temperature in, an ensemble out."""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from meanforce.dynamics import block as blocks
from meanforce.dynamics import checkpoint, setup
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.block import Block, Program, run_block
from meanforce.dynamics.integrators import Integrator, Phase, System
from meanforce.dynamics.keep import Keeper, finished, open_keeper
from meanforce.dynamics.ramp import Ramp
from meanforce.dynamics.settings import Progress, Settings, SimulationStopped, Trace
from meanforce.dynamics.thermostats import Langevin
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.graph import Graph
from meanforce.potentials.base import Potential
from meanforce.potentials.validity import ExtrapolationWarning
from meanforce.topology import Topology
from meanforce.units import BAR, KB

_LANGEVIN, _SETTINGS = Langevin(), Settings()
_TELL_EVERY = 1.0  # s


@runtime_checkable
class Model(Protocol):
    """What is simulated."""

    @property
    def potential(self) -> Potential: ...

    @property
    def topology(self) -> Topology: ...


def simulate(
    model: Model,
    start: Frames,
    temperature: float | Ramp,
    time: float,
    timestep: float,
    seed: int | Sequence[int],
    *,
    thermostat: Integrator = _LANGEVIN,
    barostat: Barostat | None = None,
    settings: Settings = _SETTINGS,
) -> Ensemble:
    """Molecular dynamics of a model's beads: `time` ps in steps of `timestep` ps at `temperature` K.

    With `mf.Ramp(start, end)` the temperature changes at a constant rate: every frame has its own, the free energy
    A(R; T) follows it, and neither `state.temperature` nor `reduced` exists (NaN): the frames are of no one state.
    `start` is one frame, or one for each replica. The first frame kept is that after `settings.save_every`;
    leave out what is not yet in equilibrium by slicing or with `inspect`. Positions are not wrapped into the
    box, so that displacements are those of the beads. Of NVE, `reduced` is NaN: its samples are not those of
    a temperature. A run that cannot go on raises SimulationStopped with its cause and the last good frame.
    """
    task = setup.task(model, start, temperature, (time, timestep), seed, thermostat, barostat, settings)
    frames, _ = carry_out(task)
    temperature = np.nan if isinstance(temperature, Ramp) else temperature
    return ensemble_of(task, frames, temperature)


def carry_out(task: setup.Task) -> tuple[Frames, Trace]:
    """Runs a task block by block; frames of all replicas, one time after another."""
    done_before = finished(task)
    if done_before is not None:
        return done_before
    with open_keeper(task) as keeper:
        run = _prepare(task, keeper)
        watch = _Watch(task, int(run.phase.step))
        while (step := int(run.phase.step)) < task.schedule.steps:
            end = min(step + run.program.steps, task.schedule.steps)
            run, block = _advance(task, run, end)
            rows = (int(block.phase.step) - step) // task.schedule.save_every
            frames, trace = _frames(task, run.order, block, rows), _trace(task, run, block, rows)
            watch.guard(frames, trace, keeper, run)
            keeper.append(frames, trace)
            if int(block.stop) != blocks.FINISHED:
                begun = _frame_of(task, run)
                keeper.stop(_stopped(task, block, keeper.last(begun)), begun)
            run = run._replace(phase=block.phase)
            done = int(run.phase.step) == task.schedule.steps
            keeper.commit(checkpoint.Checkpoint(run.phase, run.order, run.capacities), now=done)
            watch.report(int(run.phase.step))
        return keeper.finish()


class _Run(NamedTuple):
    """What a block needs, in the order of beads of the run."""

    program: Program
    potential: Potential
    system: System
    graph: Graph
    phase: Phase
    order: np.ndarray

    @property
    def capacities(self) -> tuple[int, ...]:
        return tuple(n.capacity for n in self.graph.neighbours)


def _prepare(task: setup.Task, keeper: Keeper) -> _Run:
    """The beginning of the run, or the place where it was left."""
    order = setup.cell_order(task)
    positions = np.asarray(task.start.positions, float)[:, order]
    graph = setup.graph(task, order, positions, task.start.box)
    potential = setup.at_work(task)
    if not np.array_equal(order, np.arange(task.beads)) and not setup.same_energy(task, potential, graph):
        # A potential that tells beads apart by their number is run in the user's order.
        order = np.arange(task.beads)
        graph = setup.graph(task, order, task.start.positions, task.start.box)
    at_rest = task.thermostat.conserves_momentum and setup.keeps_momentum(potential, graph)
    system = setup.system(task, order, at_rest)
    phase = setup.phase(task, order, system, at_rest)
    run = _Run(setup.program(task, at_rest), potential, system, graph, phase, order)
    if keeper.state is None:
        return run
    left = checkpoint.unpack(keeper.state, phase)
    run = run._replace(phase=left.phase)
    return run._replace(graph=_graph(task, run, left.capacities))


def _graph(task: setup.Task, run: _Run, capacities: Sequence[int]) -> Graph:
    box = None if run.phase.box is None else np.asarray(run.phase.box)
    return setup.graph(task, run.order, np.asarray(run.phase.positions), box, capacities)


def _advance(task: setup.Task, run: _Run, end: int) -> tuple[_Run, Block]:
    """One block; if a list was too short it is made longer and the block is done again from its start."""
    while True:
        block = run_block(run.program, run.potential, run.system, run.graph, run.phase, jnp.array(end))
        if int(block.stop) != blocks.OVERFLOW:
            return run, block
        longer = [
            setup.with_room(int(needed)) if needed > capacity else capacity
            for needed, capacity in zip(np.asarray(block.needed), run.capacities, strict=True)
        ]
        run = run._replace(graph=_graph(task, run, longer))


def _frames(task: setup.Task, order: np.ndarray, block: Block, rows: int) -> Frames:
    """The first `rows` frames of a block in the user's order of beads."""
    replicas = len(task.temperatures)
    records, count = block.records, rows * replicas
    back = np.argsort(order)
    flat = lambda value, *shape: np.asarray(value, float)[:rows].reshape(count, *shape)
    periodic = records.box is not None
    last = int(block.phase.step) // task.schedule.save_every
    times = np.arange(last - rows + 1, last + 1) * task.schedule.save_every * task.schedule.timestep
    return Frames(
        flat(records.positions, task.beads, 3)[:, back],
        flat(records.box, 3, 3) if periodic else None,
        energy=flat(records.energy),
        virial=flat(records.virial) if periodic else None,
        temperature=_kelvin(task, flat(records.thermal_energy)),
        time=np.repeat(times, replicas),
        trajectory=np.tile(np.arange(replicas), rows),
        parameters={name: np.tile(value, rows) for name, value in task.start.parameters.items()},
    )


def _kelvin(task: setup.Task, thermal_energy: Float[np.ndarray, "replicas"]) -> Float[np.ndarray, "replicas"]:
    """From kT to K, without rounding where the temperatures are given."""
    kelvin = thermal_energy / KB
    if isinstance(task.change, Ramp):
        return kelvin
    given = np.array(task.temperatures)
    return given[np.abs(kelvin[:, None] - given).argmin(1)]


def _frame_of(task: setup.Task, run: _Run) -> Frames:
    """The beginning of a block, which was good."""
    replicas = len(task.temperatures)
    positions = np.asarray(run.phase.positions).reshape(replicas, task.beads, 3)[:, np.argsort(run.order)]
    box = None if run.phase.box is None else np.asarray(run.phase.box)
    kelvin = _kelvin(task, np.asarray(run.system.at(run.phase).thermal_energy))
    return Frames(positions, box, temperature=kelvin, trajectory=np.arange(replicas))


def _trace(task: setup.Task, run: _Run, block: Block, rows: int) -> Trace:
    records = block.records
    kinetic, stored, energy = (np.asarray(a)[:rows] for a in (records.kinetic, records.stored, records.energy))
    every, last = task.schedule.save_every, int(block.phase.step) // task.schedule.save_every
    pressure = None
    if records.box is not None:
        volume = np.abs(np.linalg.det(np.asarray(records.box)[:rows]))
        uncounted = (3 * task.beads - np.asarray(run.system.freedom)) * np.asarray(records.thermal_energy)[:rows]
        pressure = (2 * kinetic + uncounted + np.asarray(records.virial)[:rows]) / (3 * volume) / BAR
    breathing = np.nan if task.barostat is not None or task.change is not None else 0.0
    return Trace(
        np.arange(last - rows + 1, last + 1) * every, 2 * kinetic / (KB * np.asarray(run.system.freedom)),
        kinetic + energy + stored + breathing, energy, pressure, block.phase.swaps,
    )  # fmt: skip


def ensemble_of(task: setup.Task, frames: Frames, temperature: float) -> Ensemble:
    """The frames of one temperature, as they were sampled: all weights are the same. NaN: of no one temperature."""
    parameters = tuple((name, float(value[0])) for name, value in frames.parameters.items())
    pressure = None if task.barostat is None else task.barostat.pressure
    reduced = np.asarray(frames.energy) / (KB * temperature)
    if not task.thermostat.canonical:
        reduced = np.full(len(frames), np.nan)
    state = State(float(temperature), pressure, parameters)
    return Ensemble(frames, task.topology, state, reduced, np.zeros(len(frames)), np.asarray(frames.trajectory))


def _stopped(task: setup.Task, block: Block, last: Frames) -> SimulationStopped:
    """Names the cause and what to do about it."""
    step = int(block.phase.step)
    cause, advice = {
        blocks.NOT_FINITE: ("a coordinate is not a finite number", _BLOW_UP),
        blocks.TOO_HOT: ("a bead has more than 100 kT of kinetic energy", _BLOW_UP),
        blocks.SMALL_BOX: ("the box has become smaller than a third of the cut-off", _COLLAPSE),
        blocks.BOX_JUMPED: ("the box changed by a third in one step of the barostat", _COLLAPSE),
    }[int(block.stop)]
    where = f"step {step} ({step * task.schedule.timestep:g} ps of {task.schedule.steps * task.schedule.timestep:g})"
    kept = f"; the last good frame is in {task.settings.output}" if task.settings.output else ""
    return SimulationStopped(f"the simulation stopped at {where}: {cause}{kept}. {advice}", cause, step, last)


_BLOW_UP = (
    "Take a shorter time step; if that does not help, the model has no repulsion where the beads went: give it a "
    "prior, or data there, and start from a frame without overlaps"
)
_LEFT = (
    "What the model says there is extrapolation: add such frames to the training data, or a prior that keeps the beads "
    "from there"
)
_COLLAPSE = (
    "The model's pressure is far from the one asked for: check the pressure (bar), give the barostat a longer time, "
    "match the virial or give the model a repulsive prior, or keep the volume"
)


class _Watch:
    """Tells the caller how far the run has come, about once a second, and where it should not have come."""

    def __init__(self, task: setup.Task, step: int):
        self._task, self._tell, self._steps, self._first = task, task.settings.progress, task.schedule.steps, step
        self._began = self._last = clock.monotonic()
        self._warned = False

    def guard(self, frames: Frames, trace: Trace, keeper: Keeper, run: _Run) -> None:
        """Warns, once, of frames that leave the training data; or keeps those before them and stops."""
        guard = self._task.settings.guard
        if guard is None or not len(frames) or (self._warned and not guard.stop):
            return
        left = guard.departure(frames)
        if left is None:
            return
        replicas = len(self._task.temperatures)
        rows = left.row // replicas
        time = np.asarray(frames.time)[left.row]
        where = f"at {time:g} ps" + (f" in replica {left.row % replicas}" if replicas > 1 else "")
        message = f"the simulation left the training data {where}: {left.reason}"
        if not guard.stop:
            warnings.warn(f"{message}. {_LEFT}", ExtrapolationWarning, stacklevel=2)
            self._warned = True
            return
        keeper.append(frames[: rows * replicas], trace.first(rows))
        begun, step = _frame_of(self._task, run), int(trace.step[rows])
        stopped = SimulationStopped(f"{message}. {_LEFT}", left.reason, step, keeper.last(begun))
        keeper.stop(stopped, begun)

    def report(self, step: int) -> None:
        now = clock.monotonic()
        if self._tell is None or (now - self._last < _TELL_EVERY and step < self._steps):
            return
        self._last = now
        rate = (step - self._first) / max(now - self._began, 1e-9)
        self._tell(Progress(step / self._steps, (self._steps - step) / rate, rate))
