"""From what a user gives to what the compiled loop takes; everything that can be refused is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.block import Program, measure
from meanforce.dynamics.exchange import Exchange, Ladder, Swaps
from meanforce.dynamics.integrators import Course, Integrator, Phase, System, maxwell, without_drift
from meanforce.dynamics.noise import replica_keys
from meanforce.dynamics.ramp import Ramp
from meanforce.dynamics.settings import Schedule, Settings, schedule, whole_steps
from meanforce.frames import Frames
from meanforce.graph import Graph, build
from meanforce.potentials.base import Potential
from meanforce.potentials.thermal import folded
from meanforce.potentials.validity import check_temperature
from meanforce.topology import Topology
from meanforce.units import BAR, KB

#: Rows of the lists are this much longer than the first list needs.
_ROOM = 1.08
#: Fewer beads than this are together in memory anyway.
_FEW = 256


@dataclass(frozen=True, eq=False)
class Task:
    """One run, in the user's order of beads."""

    potential: Potential
    topology: Topology
    start: Frames  # one frame per replica
    temperatures: tuple[float, ...]  # K, one per replica, at the beginning
    change: Ramp | Ladder | None  # how they change
    schedule: Schedule
    seed: int | Sequence[int]
    thermostat: Integrator
    barostat: Barostat | None
    settings: Settings

    @property
    def beads(self) -> int:
        return len(self.topology)


def task(
    model, start: Frames, temperature: float | Ramp | Ladder, times: tuple[float, float], seed: int | Sequence[int],
    thermostat: Integrator, barostat: Barostat | None, settings: Settings,
) -> Task:  # fmt: skip
    """Checks what the user gave. `times` are the length of the run and the step, in ps."""
    if isinstance(temperature, Ladder):
        settings = _one_each(temperature, settings)
    replicas = settings.replicas
    change = _change(temperature, thermostat)
    temperatures, used = _temperatures(temperature, replicas)
    if start.particles != len(model.topology):
        raise ValueError(f"start holds {start.particles} beads and the model's topology {len(model.topology)}")
    if len(start) not in (1, replicas):
        raise ValueError(f"start holds {len(start)} frames; give one, or one for each of the {replicas} replicas")
    for name, value in (("positions", start.positions), ("box", start.box)):
        if value is not None and not np.isfinite(value).all():
            raise ValueError(f"the {name} of start are not finite; choose another frame to start from")
    if barostat is not None and start.box is None:
        raise ValueError("a barostat needs a box; start has none: give one, or leave the barostat out")
    if barostat is not None and not thermostat.canonical:
        raise ValueError("a barostat needs a thermostat beside it: take Langevin, NoseHoover or Rescaling, not NVE")
    check_temperature(model, used)
    first = start if len(start) == replicas else Frames.concatenate([start[0]] * replicas)
    plan = schedule(*times, settings.save_every, replicas * start.particles)
    if isinstance(change, Ladder) and change.every is not None:
        whole_steps("every", change.every, plan.timestep)
    return Task(
        model.potential, model.topology, first, temperatures, change, plan, seed, thermostat, barostat, settings
    )


def _temperatures(temperature: float | Ramp | Ladder, replicas: int) -> tuple[tuple[float, ...], np.ndarray]:
    """That of each replica at the beginning, and the extremes of a run, K."""
    if isinstance(temperature, Ladder):
        return temperature.temperatures, np.array(temperature.temperatures)
    if isinstance(temperature, Ramp):
        return (float(temperature.start),) * replicas, np.array([temperature.start, temperature.end])
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperatures are positive numbers in K, not {temperature}")
    return (float(temperature),) * replicas, np.array([temperature])


def _one_each(ladder: Ladder, settings: Settings) -> Settings:
    rungs = len(ladder.temperatures)
    if settings.replicas not in (1, rungs):
        raise ValueError(f"{rungs} temperatures make as many replicas; leave settings.replicas out")
    return replace(settings, replicas=rungs)


def _change(temperature: float | Ramp | Ladder, thermostat: Integrator) -> Ramp | Ladder | None:
    """A ramp, or a ladder that is exchanged; both need a bath."""
    if not isinstance(temperature, Ramp | Ladder) or (isinstance(temperature, Ladder) and temperature.every is None):
        return None
    if not thermostat.canonical:
        raise ValueError("ramps and exchanges need a thermostat: take Langevin, NoseHoover or Rescaling, not NVE")
    return temperature


def cell_order(task: Task) -> Int[np.ndarray, "beads"]:
    """Beads along the cells of the first frame: neighbours in space lie together in memory."""
    plain = np.arange(task.beads)
    width = max(task.potential.cutoffs, default=0.0) / 2
    if not width or task.beads < _FEW:
        return plain
    positions = np.asarray(task.start.positions[0], float)
    if task.start.box is not None:
        box = np.asarray(task.start.box[0], float)
        positions = positions - np.floor(positions @ np.linalg.inv(box)) @ box
    cells = np.floor((positions - positions.min(0)) / width).astype(np.int64)
    return np.lexsort((plain, *cells.T))


def system(task: Task, order: Int[np.ndarray, "beads"], at_rest: bool) -> System:
    """Masses, temperatures, degrees of freedom and keys."""
    replicas = len(task.temperatures)
    freedom = 3.0 * task.beads - (3.0 if at_rest else 0.0)
    return System(
        jnp.asarray(np.tile(task.topology.masses[order], replicas)[:, None]),
        jnp.asarray(KB * np.array(task.temperatures)),
        jnp.full(replicas, freedom),
        jnp.asarray(replica_keys(task.seed, replicas)),
        _course(task),
    )


def _course(task: Task) -> Course | None:
    """How the temperatures change, as the compiled loop reads it."""
    change = task.change
    if isinstance(change, Ramp):
        return change.over(task.schedule.steps, len(task.temperatures))
    if change is None or change.every is None:
        return None
    pressure = None if task.barostat is None else jnp.array(task.barostat.pressure * BAR)
    every = whole_steps("every", change.every, task.schedule.timestep)
    return Exchange(jnp.asarray(change.temperatures), jnp.array(every), pressure)


def graph(
    task: Task, order: Int[np.ndarray, "beads"], positions: Float[np.ndarray, "... 3"],
    box: Float[np.ndarray, "replicas 3 3"] | None, capacities: Sequence[int] | None = None,
) -> Graph:  # fmt: skip
    """The graph of all replicas (their positions in a row or apart), with lists of the given or the needed capacity."""
    cutoffs = task.potential.cutoffs
    skin = task.settings.skin or max(cutoffs, default=0.0) / 6
    frames = Frames(
        np.asarray(positions).reshape(len(task.temperatures), -1, 3), box=box,
        temperature=np.array(task.temperatures), parameters=task.start.parameters,
    )  # fmt: skip
    make = lambda capacities: build(
        frames, reordered(task.topology, order), cutoffs, skin=skin, capacities=capacities, dtype=task.settings.dtype
    )
    if capacities is not None or not cutoffs:
        return make(capacities)
    return make([with_room(int(n.needed)) for n in make(None).neighbours])


def with_room(needed: int) -> int:
    return -(-int(needed * _ROOM + 2) // 4) * 4


def phase(task: Task, order: Int[np.ndarray, "beads"], system: System, at_rest: bool) -> Phase:
    """The start frames with Maxwell velocities."""
    positions = jnp.asarray(np.asarray(task.start.positions, float)[:, order].reshape(-1, 3))
    back = np.argsort(order)
    shape = (len(task.temperatures), task.beads, 3)
    # Drawn in the user's order, so that sorting the beads changes nothing.
    plain = system._replace(masses=system.masses.reshape(shape[:2])[:, back].reshape(-1, 1))
    velocities = jnp.asarray(maxwell(plain).reshape(shape)[:, order].reshape(-1, 3))
    if at_rest:
        velocities = without_drift(velocities, system)
    box = None if task.start.box is None else jnp.asarray(task.start.box, float)
    swaps = Swaps.begin(len(task.temperatures)) if isinstance(task.change, Ladder) else None
    return Phase(positions, velocities, box, task.thermostat.init(system), jnp.array(0), swaps)


def program(task: Task, at_rest: bool) -> Program:
    plan = task.schedule
    return Program(task.thermostat, task.barostat, plan.timestep, plan.save_every, plan.frames, at_rest)


def same_energy(task: Task, potential: Potential, sorted_: Graph) -> bool:
    """Whether the potential does not tell beads apart by their number, so that they may be sorted."""
    capacities = [n.capacity for n in sorted_.neighbours]
    plain = graph(task, np.arange(task.beads), task.start.positions, task.start.box, capacities)
    one, two = (np.asarray(eqx.filter_jit(measure)(potential, g)[0]) for g in (sorted_, plain))
    return bool(np.allclose(one, two, rtol=1e-3, atol=1e-3 * task.beads))


def keeps_momentum(potential: Potential, graph: Graph) -> bool:
    """Whether forces add up to zero, seen away from the start, which may be where an outer field vanishes."""
    shift = jnp.array([[0.0137, -0.0071, 0.0093]], graph.positions.dtype)
    moved = eqx.tree_at(lambda g: g.positions, graph, graph.positions + shift)
    _, forces, _ = eqx.filter_jit(measure)(potential, moved)
    each = np.asarray(forces, float).reshape(graph.frames, -1, 3)
    net, size = np.abs(each.sum(1)).max(-1), np.sqrt((each**2).sum((1, 2)))
    return each.shape[1] > 1 and bool((net <= 1e-3 * size).all())


def at_work(task: Task) -> Potential:
    """The potential as the run evaluates it: at one temperature its heads are folded into one."""
    (kelvin, *others) = set(task.temperatures)
    varies = others or task.change is not None
    potential = task.potential if varies else folded(task.potential, kelvin)
    return in_precision(potential, task.settings.dtype)


def in_precision(potential: Potential, dtype) -> Potential:
    """The potential with its numbers in the precision of the run."""
    numbers = lambda leaf: isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)
    cast = lambda leaf: jnp.asarray(leaf, dtype) if numbers(leaf) else leaf
    return jax.tree.map(cast, potential)


def reordered(topology: Topology, order: Int[np.ndarray, "beads"]) -> Topology:
    """The same molecules with the beads in another order."""
    place = np.argsort(order).astype(np.int32)
    pick = lambda names: tuple(names[i] for i in order)
    return replace(
        topology, species=pick(topology.species), masses=topology.masses[order], names=pick(topology.names),
        molecules=topology.molecules[order], residues=pick(topology.residues),
        residue_ids=topology.residue_ids[order], bonds=place[topology.bonds],
        angles=place[topology.angles], dihedrals=place[topology.dihedrals],
    )  # fmt: skip
