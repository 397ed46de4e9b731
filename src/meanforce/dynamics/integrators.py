"""Newton's equations in halves: what comes before a force is known, and what comes after.

A step is `advance` (half kick, drift), the force at the new positions, `finish` (half kick). Thermostats put
their own part between these; see `thermostats.py`. Positions and velocities are in double precision and
unwrapped; forces come in the precision of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

import meanforce.numerics.precision  # noqa: F401
from meanforce.units import KB

Forces = Float[Array, "beads 3"]


class System(NamedTuple):
    """What stays the same in a run: `replicas` copies of the same beads, one after another."""

    masses: Float[Array, "beads 1"]  # u
    thermal_energy: Float[Array, "replicas"]  # kT in kJ/mol
    freedom: Float[Array, "replicas"]  # degrees of freedom that carry kinetic energy
    keys: UInt32[Array, "replicas 2"]
    course: Course | None = None  # of temperatures that change

    @property
    def replicas(self) -> int:
        return self.thermal_energy.shape[0]

    def at(self, phase: Phase) -> System:
        """With the temperatures of a step."""
        return self if self.course is None else self._replace(thermal_energy=KB * self.course.kelvin(phase))


class Phase(NamedTuple):
    """A point in phase space, and how far the run has come."""

    positions: Float[Array, "beads 3"]  # nm, not wrapped
    velocities: Float[Array, "beads 3"]  # nm/ps
    box: Float[Array, "replicas 3 3"] | None
    thermostat: Any
    step: Int[Array, ""]
    swaps: Any = None  # of replicas that exchange their temperatures


@runtime_checkable
class Course(Protocol):
    """Temperatures that change during a run."""

    def kelvin(self, phase: Phase) -> Float[Array, "replicas"]: ...


@runtime_checkable
class Integrator(Protocol):
    """Pure functions; options are the fields of a frozen dataclass. `finish` with no time changes nothing."""

    @property
    def conserves_momentum(self) -> bool:
        """Whether the motion of the centre of mass is left as it is: then it is removed, and not counted."""

    @property
    def canonical(self) -> bool: ...

    def init(self, system: System) -> Any: ...

    def advance(self, phase: Phase, forces: Forces, system: System, timestep: float) -> Phase: ...

    def finish(self, phase: Phase, forces: Forces, system: System, timestep: Float[Array, ""] | float) -> Phase: ...

    def stored(self, phase: Phase, system: System) -> Float[Array, "replicas"]:
        """Energy that the bath holds: kinetic + potential + stored is conserved, or NaN where it is not known."""


def step(
    integrator: Integrator, phase: Phase, forces: Forces, system: System, timestep: float, force: Callable
) -> tuple[Phase, Forces]:
    """One step from forces at the phase's positions to forces at the next."""
    phase = integrator.advance(phase, forces, system, timestep)
    forces = force(phase.positions)
    return integrator.finish(phase, forces, system, timestep), forces


def kick(phase: Phase, forces: Forces, system: System, time: Float[Array, ""] | float) -> Phase:
    return phase._replace(velocities=phase.velocities + (time / system.masses) * forces)


def drift(phase: Phase, time: float) -> Phase:
    return phase._replace(positions=phase.positions + time * phase.velocities)


def per_replica(values: Float[Array, "beads k"], replicas: int) -> Float[Array, "replicas"]:
    """Sums over the beads of each replica."""
    return values.reshape(replicas, -1).sum(1)


def scaled(values: Float[Array, "beads 3"], factors: Float[Array, "replicas"]) -> Float[Array, "beads 3"]:
    """Multiplies the vectors of each replica by its factor."""
    replicas = factors.shape[0]
    return (values.reshape(replicas, -1, 3) * factors[:, None, None]).reshape(-1, 3)


def kinetic_energy(velocities: Float[Array, "beads 3"], system: System) -> Float[Array, "replicas"]:
    return 0.5 * per_replica(system.masses * velocities**2, system.replicas)


def without_drift(velocities: Float[Array, "beads 3"], system: System) -> Float[Array, "beads 3"]:
    """Velocities with the centre of mass of every replica at rest."""
    v, m = (a.reshape(system.replicas, -1, a.shape[-1]) for a in (velocities, system.masses))
    return (v - (m * v).sum(1, keepdims=True) / m.sum(1, keepdims=True)).reshape(-1, 3)


def maxwell(system: System) -> Float[np.ndarray, "beads 3"]:
    """Velocities of the canonical distribution, one independent stream per replica."""
    beads = len(system.masses) // system.replicas
    sequences = [np.random.SeedSequence(key.tolist()) for key in np.asarray(system.keys)]
    unit = np.concatenate([np.random.default_rng(s).standard_normal((beads, 3)) for s in sequences])
    return unit * np.sqrt(np.repeat(np.asarray(system.thermal_energy), beads)[:, None] / np.asarray(system.masses))


def at_rest(phase: Phase, system: System) -> Phase:
    return phase._replace(velocities=jnp.asarray(without_drift(phase.velocities, system)))
