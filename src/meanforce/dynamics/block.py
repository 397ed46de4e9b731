"""A block of steps as one compiled loop, from one checkpoint to the next.

Three loops in one another, so that nothing large is copied from step to step: the outer one makes the neighbour
list, the middle one records frames and lets the barostat act, the inner one only steps. It leaves when a bead
has moved half the skin, *before* a force is computed from the old list. A list is made at the beginning of every
block, which makes a run independent of where it was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from meanforce.dynamics.barostat import Barostat, rescaled
from meanforce.dynamics.exchange import Exchange
from meanforce.dynamics.integrators import Integrator, Phase, System, at_rest, kinetic_energy, scaled
from meanforce.graph import Graph, rebuild, strained
from meanforce.numerics.neighbours import IMPOSSIBLE
from meanforce.potentials.base import Potential

#: Why a block stopped.
FINISHED, OVERFLOW, NOT_FINITE, TOO_HOT, SMALL_BOX, BOX_JUMPED = range(6)

#: A bead with more than this many kT of kinetic energy was thrown by a force that no model means.
HOTTEST = 100.0

#: The largest change of length in one step of the barostat, relative.
_LARGEST_JUMP = 0.3


@dataclass(frozen=True)
class Program:
    """What is compiled in: everything but numbers that change."""

    integrator: Integrator
    barostat: Barostat | None
    timestep: float  # ps
    save_every: int  # steps
    frames: int  # per block
    at_rest: bool  # the centre of mass is held at rest

    @property
    def steps(self) -> int:
        return self.frames * self.save_every


class Records(NamedTuple):
    """The frames of a block."""

    positions: Float[Array, "frames beads 3"]
    box: Float[Array, "frames replicas 3 3"] | None
    energy: Float[Array, "frames replicas"]
    virial: Float[Array, "frames replicas"] | None
    kinetic: Float[Array, "frames replicas"]
    stored: Float[Array, "frames replicas"]
    thermal_energy: Float[Array, "frames replicas"]  # kT of the step


class Block(NamedTuple):
    phase: Phase
    records: Records
    stop: Int[Array, ""]
    needed: Int[Array, "lists"]  # the longest row of each neighbour list so far


class _Walk(NamedTuple):
    """`whole`: the velocities belong to the positions' step; else half a kick is still to come."""

    phase: Phase
    whole: Bool[Array, ""]


class _Patch(NamedTuple):
    """How the beads stood when the list was made; all lengths grow with the box."""

    reference: Float[Array, "beads 3"]
    origin: Float[Array, "beads 3"]  # the lattice vector of the box that each bead is in
    growth: Float[Array, "replicas"]


class _Laws(NamedTuple):
    program: Program
    potential: Potential
    system: System


@eqx.filter_jit
def run_block(
    program: Program, potential: Potential, system: System, graph: Graph, phase: Phase, end: Int[Array, ""]
) -> Block:
    """Steps up to `end`, at most `program.steps`, or fewer if something stops it.

    `graph` gives the sizes of the lists; where they are too short the block is to be done again from `phase`.
    """
    laws = _Laws(program, potential, system)
    if program.at_rest:
        phase = at_rest(phase, system)
    start = phase.step
    begin = _Walk(phase, jnp.array(True)), _blank(program, phase, system), jnp.array(FINISHED), _needed(graph)

    def going(carry):
        walk, _, stop, _ = carry
        return (stop == FINISHED) & ~((walk.phase.step == end) & walk.whole)

    def stretch(carry):
        walk, records, stop, needed = carry
        fresh, patch = _relist(graph, walk.phase)
        stop = _diagnose(walk, laws.system, fresh)
        walk, _, records, stop = _stretch(laws, fresh, (start, end), (walk, patch, records, stop))
        return walk, records, stop, jnp.maximum(needed, _needed(fresh))

    walk, records, stop, needed = jax.lax.while_loop(going, stretch, begin)
    return Block(walk.phase, records, stop, needed)


def _stretch(laws: _Laws, graph: Graph, span, carry):
    """Steps and events for as long as one list holds."""
    start, end = span

    def going(carry):
        walk, patch, _, stop = carry
        return (stop == FINISHED) & _holds(graph, patch, walk) & ~((walk.phase.step == end) & walk.whole)

    def onward(carry):
        walk, patch, records, stop = carry
        walk = _steps(laws, graph, patch, walk)
        due = (walk.phase.step == _next_event(laws, walk)) & _holds(graph, patch, walk)
        event = lambda carry: _event(laws, graph, start, carry)
        return jax.lax.cond(due, event, lambda carry: carry, (walk, patch, records, stop))

    return jax.lax.while_loop(going, onward, carry)


def _steps(laws: _Laws, graph: Graph, patch: _Patch, walk: _Walk) -> _Walk:
    """Steps up to the next event, or until the list no longer holds."""
    program, potential, system = laws
    target = _next_event(laws, walk)

    def going(walk):
        return (walk.phase.step < target) & _holds(graph, patch, walk)

    def onward(walk):
        now = system.at(walk.phase)
        forces = _forces(potential, _placed(graph, walk.phase, patch, system))
        pending = jnp.where(walk.whole, 0.0, program.timestep)
        phase = program.integrator.finish(walk.phase, forces, now, pending)
        phase = program.integrator.advance(phase, forces, now, program.timestep)
        return _Walk(phase._replace(step=phase.step + 1), jnp.array(False))

    return jax.lax.while_loop(going, onward, walk)


def _event(laws: _Laws, graph: Graph, start, carry):
    """Completes the step, keeps the frame, exchanges temperatures, and lets the barostat act."""
    program, potential, system = laws
    walk, patch, records, _ = carry
    now = system.at(walk.phase)
    energy, forces, virial = measure(potential, _placed(graph, walk.phase, patch, system))
    pending = jnp.where(walk.whole, 0.0, program.timestep)
    phase = program.integrator.finish(walk.phase, forces, now, pending)
    # Other events write too, until the frame's own event has the last word.
    row = (phase.step - start - 1) // program.save_every
    kept = Records(
        phase.positions, phase.box, energy, virial, kinetic_energy(phase.velocities, now),
        program.integrator.stored(phase, now), now.thermal_energy,
    )  # fmt: skip
    records = jax.tree.map(lambda all_, one: all_.at[row].set(one), records, kept)
    phase, virial = _exchanged(laws, graph, patch, (phase, energy, virial))
    jumped = jnp.array(False)
    if program.barostat is not None:
        factors = program.barostat.scale(phase, virial, system.at(phase), program.timestep)
        factors = jnp.where(phase.step % program.barostat.interval == 0, factors, 1.0)
        jumped = ~(jnp.abs(factors - 1) < _LARGEST_JUMP).all()
        factors = jnp.where(jumped, 1.0, factors)
        phase = rescaled(phase, factors)
        patch = _Patch(scaled(patch.reference, factors), scaled(patch.origin, factors), patch.growth * factors)
    walk = _Walk(phase, jnp.array(True))
    stop = _diagnose(walk, system, graph)
    return walk, patch, records, jnp.where((stop == FINISHED) & jumped, BOX_JUMPED, stop)


def _exchanged(laws: _Laws, graph: Graph, patch: _Patch, measured):
    """Temperatures exchanged where it is their turn, and the virial at those that replicas have then."""
    exchange = laws.system.course
    if not isinstance(exchange, Exchange):
        return measured[0], measured[2]

    def turn(measured):
        phase, energy, virial = measured
        placed = _placed(graph, phase, patch, laws.system)
        placed = _heated(placed, exchange.proposed(phase))
        if virial is None:
            return exchange.decide(phase, energy, _energy(laws.potential, placed), laws.system)[0], None
        other, _, there = measure(laws.potential, placed)
        phase, accepted = exchange.decide(phase, energy, other, laws.system)
        return phase, jnp.where(accepted, there, virial)

    due = measured[0].step % exchange.every == 0
    return jax.lax.cond(due, turn, lambda measured: (measured[0], measured[2]), measured)


def _next_event(laws: _Laws, walk: _Walk) -> Int[Array, ""]:
    """The first step after this one, or this one if it is not complete, at which more happens than a step."""
    last = walk.phase.step - jnp.where(walk.whole, 0, 1)
    due = lambda every: (last // every + 1) * every
    first = due(laws.program.save_every)
    if laws.program.barostat is not None:
        first = jnp.minimum(first, due(laws.program.barostat.interval))
    if isinstance(laws.system.course, Exchange):
        first = jnp.minimum(first, due(laws.system.course.every))
    return first


def _holds(graph: Graph, patch: _Patch, walk: _Walk) -> Bool[Array, ""]:
    """Whether no pair can have come within a cut-off unseen; False for coordinates that are not numbers.

    A pair now at the cut-off c was within (c + 2 d) / growth of each other when the list of reach c + skin was
    made, if no bead has moved by more than d beside the growth of the box.
    """
    moved = ((walk.phase.positions - patch.reference) ** 2).sum(1).reshape(graph.frames, -1).max(1)
    free = jnp.full(graph.frames, jnp.inf)
    for neighbours in graph.neighbours:
        free = jnp.minimum(free, (patch.growth * (neighbours.cutoff + graph.skin) - neighbours.cutoff) / 2)
    return jnp.all((moved <= free**2) & (free > 0))


def _diagnose(walk: _Walk, system: System, graph: Graph) -> Int[Array, ""]:
    """Why the run cannot go on, if it cannot."""
    phase = walk.phase
    finite = jnp.isfinite(phase.positions).all() & jnp.isfinite(phase.velocities).all()
    own = 0.5 * (system.masses * phase.velocities**2).reshape(system.replicas, -1, 3).sum(-1)
    hot = (own > HOTTEST * system.at(phase).thermal_energy[:, None]).any()
    small = (_needed(graph) >= IMPOSSIBLE).any()
    causes = [(~finite, NOT_FINITE), (hot, TOO_HOT), (small, SMALL_BOX), (graph.overflow, OVERFLOW)]
    return jnp.select([when for when, _ in causes], [jnp.array(cause) for _, cause in causes], FINISHED)


def _needed(graph: Graph) -> Int[Array, "lists"]:
    return jnp.stack([n.needed for n in graph.neighbours]) if graph.neighbours else jnp.zeros(0, jnp.int32)


def _relist(graph: Graph, phase: Phase) -> tuple[Graph, _Patch]:
    """New lists, found in double precision, and positions in the box from then on."""
    home = jnp.zeros_like(graph.home)
    graph = eqx.tree_at(lambda g: g.home, graph, home)
    if graph.neighbours:
        exact = eqx.tree_at(lambda g: g.positions, graph, phase.positions)
        if phase.box is not None:
            exact = eqx.tree_at(lambda g: g.box, exact, phase.box)
        exact = rebuild(exact)
        lists, home = exact.neighbours, exact.home
        graph = eqx.tree_at(lambda g: g.neighbours, graph, lists)
    origin = jnp.zeros_like(phase.positions)
    if phase.box is not None:
        cells = home.reshape(graph.frames, -1, 3).astype(origin.dtype)
        origin = jnp.einsum("fik,fka->fia", cells, phase.box).reshape(-1, 3)
    return graph, _Patch(phase.positions, origin, jnp.ones(graph.frames))


def _placed(graph: Graph, phase: Phase, patch: _Patch, system: System) -> Graph:
    """The graph at the phase's positions and temperatures, in the precision of the graph."""
    near = (phase.positions - patch.origin).astype(graph.positions.dtype)
    graph = eqx.tree_at(lambda g: g.positions, graph, near)
    if system.course is not None:
        graph = _heated(graph, system.course.kelvin(phase))
    if phase.box is None:
        return graph
    return eqx.tree_at(lambda g: g.box, graph, phase.box.astype(near.dtype))


def _heated(graph: Graph, kelvin: Float[Array, "frames"]) -> Graph:
    return eqx.tree_at(lambda g: g.temperature, graph, kelvin.astype(graph.positions.dtype))


def _blank(program: Program, phase: Phase, system: System) -> Records:
    many = lambda shape: jnp.zeros((program.frames, *shape))
    scalars = many((system.replicas,))
    box, virial = (None, None) if phase.box is None else (many(phase.box.shape), scalars)
    return Records(many(phase.positions.shape), box, scalars, virial, scalars, scalars, scalars)


def _energy(potential: Potential, graph: Graph) -> Float[Array, "replicas"]:
    return potential.energy(graph).astype(float)


def _forces(potential: Potential, graph: Graph) -> Float[Array, "beads 3"]:
    def total(positions):
        return potential.energy(eqx.tree_at(lambda g: g.positions, graph, positions)).sum()

    return -jax.grad(total)(graph.positions)


def measure(potential: Potential, graph: Graph):
    """Energy, forces and, in a box, the virial of each replica."""
    if graph.box is None:
        return _energy(potential, graph), _forces(potential, graph), None

    def total(positions, strain):
        moved = eqx.tree_at(lambda g: g.positions, graph, positions)
        energy = potential.energy(strained(moved, strain))
        return energy.sum(), energy

    still = jnp.zeros(graph.frames, graph.positions.dtype)
    (_, energy), (slope, virial) = jax.value_and_grad(total, (0, 1), has_aux=True)(graph.positions, still)
    return energy.astype(float), -slope, -virial.astype(float)
