"""The ways to keep a temperature: each is a velocity Verlet step with a bath in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.dynamics.activated import Activated
from meanforce.dynamics.integrators import Forces, Phase, System, drift, kick, kinetic_energy, scaled
from meanforce.dynamics.noise import chi_square, normals
from meanforce.units import KB


@dataclass(frozen=True)
class NVE:
    """Constant energy: velocity Verlet. The temperature only sets the first velocities."""

    conserves_momentum = True
    canonical = False

    def init(self, system: System) -> None:
        return None

    def advance(self, phase: Phase, forces: Forces, system: System, timestep: float) -> Phase:
        return drift(kick(phase, forces, system, timestep / 2), timestep)

    def finish(self, phase: Phase, forces: Forces, system: System, timestep: Float[Array, ""] | float) -> Phase:
        return kick(phase, forces, system, timestep / 2)

    def stored(self, phase: Phase, system: System) -> Float[Array, "replicas"]:
        return jnp.zeros_like(system.thermal_energy)


@dataclass(frozen=True)
class Langevin:
    """Friction and noise in the middle of the step (BAOAB): configurations are right to high order in the step.

    Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34. Exact for the positions in a harmonic well.
    A friction that changes with temperature is taken at that of each step and replica.
    """

    friction: float | Activated = 1.0  # 1/ps

    conserves_momentum = False
    canonical = True

    def __post_init__(self):
        if not isinstance(self.friction, Activated):
            _positive("friction", self.friction, "1/ps")

    def init(self, system: System) -> None:
        return None

    def advance(self, phase: Phase, forces: Forces, system: System, timestep: float) -> Phase:
        return baoab(phase, forces, system, timestep, self._kept(system, timestep))

    def _kept(self, system: System, timestep: float) -> Float[Array, "replicas"]:
        """What is left of a velocity after a step."""
        if isinstance(self.friction, Activated):
            return jnp.exp(-timestep * self.friction.at(system.thermal_energy / KB))
        return jnp.full(system.replicas, np.exp(-self.friction * timestep))

    def finish(self, phase: Phase, forces: Forces, system: System, timestep: Float[Array, ""] | float) -> Phase:
        return kick(phase, forces, system, timestep / 2)

    def stored(self, phase: Phase, system: System) -> Float[Array, "replicas"]:
        return jnp.full_like(system.thermal_energy, jnp.nan)


def baoab(
    phase: Phase, forces: Forces, system: System, timestep: float, kept: Float[Array, "replicas"]
) -> Phase:  # fmt: skip
    """A Langevin step up to its last half kick, which leaves this part of every velocity."""
    phase = drift(kick(phase, forces, system, timestep / 2), timestep / 2)
    width = jnp.sqrt(1 - kept**2) * jnp.sqrt(system.thermal_energy)
    beads = len(phase.velocities)
    noise = normals(system.keys, phase.step, 3 * beads // system.replicas).reshape(beads, 3)
    noise = scaled(noise.astype(phase.velocities.dtype), width) / jnp.sqrt(system.masses)
    return drift(phase._replace(velocities=scaled(phase.velocities, kept) + noise), timestep / 2)


class Chain(NamedTuple):
    """Nosé-Hoover variables of each replica."""

    position: Float[Array, "replicas length"]
    velocity: Float[Array, "replicas length"]  # 1/ps


@dataclass(frozen=True)
class NoseHoover:
    """A chain of thermostats, deterministic: Martyna, Tuckerman, Tobias & Klein, Mol. Phys. 87, 1117 (1996).

    `period` is that of the free oscillation of the temperature. Not ergodic for a few stiff oscillators: take
    Langevin there.
    """

    period: float = 1.0  # ps
    length: int = 3

    conserves_momentum = True
    canonical = True

    def __post_init__(self):
        _positive("period", self.period, "ps")
        if self.length < 1:
            raise ValueError(f"a Nosé-Hoover chain has a length of at least 1, not {self.length}")

    def init(self, system: System) -> Chain:
        zeros = jnp.zeros((system.replicas, self.length))
        return Chain(zeros, zeros)

    def advance(self, phase: Phase, forces: Forces, system: System, timestep: float) -> Phase:
        phase = self._thermalise(phase, system, timestep / 2)
        return drift(kick(phase, forces, system, timestep / 2), timestep)

    def finish(self, phase: Phase, forces: Forces, system: System, timestep: Float[Array, ""] | float) -> Phase:
        return self._thermalise(kick(phase, forces, system, timestep / 2), system, timestep / 2)

    def stored(self, phase: Phase, system: System) -> Float[Array, "replicas"]:
        chain: Chain = phase.thermostat
        weights = jnp.ones((system.replicas, self.length)).at[:, 0].set(system.freedom)
        thermal = system.thermal_energy[:, None] * weights * chain.position
        return (0.5 * self._masses(system) * chain.velocity**2 + thermal).sum(1)

    def _masses(self, system: System) -> Float[Array, "replicas length"]:
        unit = system.thermal_energy[:, None] * (self.period / (2 * np.pi)) ** 2
        return jnp.broadcast_to(unit, (system.replicas, self.length)).at[:, 0].multiply(system.freedom)

    def _thermalise(self, phase: Phase, system: System, time: Float[Array, ""] | float) -> Phase:
        """The chain acts for `time`, split in three by Suzuki and Yoshida (fourth order)."""
        masses = self._masses(system)
        kt = system.thermal_energy
        twice = 2 * kinetic_energy(phase.velocities, system)
        factor = jnp.ones_like(kt)
        q = [phase.thermostat.position[:, k] for k in range(self.length)]
        v = [phase.thermostat.velocity[:, k] for k in range(self.length)]
        last = self.length - 1

        def pull(k, twice):
            if k == 0:
                return (twice - system.freedom * kt) / masses[:, 0]
            return (masses[:, k - 1] * v[k - 1] ** 2 - kt) / masses[:, k]

        for weight in _SUZUKI_YOSHIDA:
            h = weight * time
            for k in range(last, -1, -1):
                damp = 1.0 if k == last else jnp.exp(-h / 4 * v[k + 1])
                v[k] = (v[k] * damp + h / 2 * pull(k, twice)) * damp
            scale = jnp.exp(-h * v[0])
            factor, twice = factor * scale, twice * scale**2
            q = [q[k] + h * v[k] for k in range(self.length)]
            for k in range(self.length):
                damp = 1.0 if k == last else jnp.exp(-h / 4 * v[k + 1])
                v[k] = (v[k] * damp + h / 2 * pull(k, twice)) * damp
        chain = Chain(jnp.stack(q, 1), jnp.stack(v, 1))
        return phase._replace(velocities=scaled(phase.velocities, factor), thermostat=chain)


@dataclass(frozen=True)
class Rescaling:
    """Stochastic velocity rescaling: Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007).

    The kinetic energy follows its own Langevin equation with the relaxation time `time`; the dynamics is hardly
    disturbed, which suits transport properties.
    """

    time: float = 1.0  # ps

    conserves_momentum = True
    canonical = True

    def __post_init__(self):
        _positive("time", self.time, "ps")

    def init(self, system: System) -> Float[Array, "replicas"]:
        return jnp.zeros_like(system.thermal_energy)

    def advance(self, phase: Phase, forces: Forces, system: System, timestep: float) -> Phase:
        kinetic = kinetic_energy(phase.velocities, system)
        kept = np.exp(-timestep / self.time)
        normal = normals(system.keys, phase.step, 1)[:, 0].astype(kinetic.dtype)
        others = chi_square(system.keys, phase.step, system.freedom - 1)
        share = (1 - kept) * 0.5 * system.thermal_energy / kinetic
        squared = kept + share * (normal**2 + others) + 2 * jnp.sqrt(kept * share) * normal
        # The factor changes its sign with the normal number it follows (their equation A8).
        factor = jnp.sqrt(squared) * jnp.where(normal + jnp.sqrt(kept / share) < 0, -1.0, 1.0)
        phase = phase._replace(
            velocities=scaled(phase.velocities, factor), thermostat=phase.thermostat - kinetic * (squared - 1)
        )
        return drift(kick(phase, forces, system, timestep / 2), timestep)

    def finish(self, phase: Phase, forces: Forces, system: System, timestep: Float[Array, ""] | float) -> Phase:
        return kick(phase, forces, system, timestep / 2)

    def stored(self, phase: Phase, system: System) -> Float[Array, "replicas"]:
        return phase.thermostat


_SUZUKI_YOSHIDA = (1 / (2 - 2 ** (1 / 3)), 1 - 2 / (2 - 2 ** (1 / 3)), 1 / (2 - 2 ** (1 / 3)))


def _positive(name: str, value: float, unit: str) -> None:
    if not value > 0 or not np.isfinite(value):
        raise ValueError(f"{name} must be a positive number in {unit}, not {value}")
