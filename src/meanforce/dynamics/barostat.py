"""Constant pressure: the box breathes as a whole by stochastic cell rescaling."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.dynamics.integrators import Phase, System, kinetic_energy, scaled
from meanforce.dynamics.noise import normals
from meanforce.units import BAR

#: Counters of the barostat's noise, out of the way of the thermostats'.
_PLACE = 2**32 - 1


@dataclass(frozen=True)
class Barostat:
    """Isotropic stochastic cell rescaling: Bernetti & Bussi, J. Chem. Phys. 153, 114107 (2020).

    First order, no oscillations, the right fluctuations of the volume. Only compressibility / time matters:
    a guess of the compressibility (that of water by default) makes `time` the relaxation time of the volume.
    """

    pressure: float = 1.0  # bar
    time: float = 2.0  # ps
    compressibility: float = 4.5e-5  # 1/bar
    interval: int = 10  # steps

    def __post_init__(self):
        if not np.isfinite(self.pressure):
            raise ValueError(f"pressure must be a number in bar, not {self.pressure}")
        if not (self.time > 0 and self.compressibility > 0 and self.interval >= 1):
            raise ValueError("a barostat needs a positive time (ps), compressibility (1/bar) and interval (steps)")

    def scale(
        self, phase: Phase, virial: Float[Array, "replicas"], system: System, timestep: float
    ) -> Float[Array, "replicas"]:
        """The factor by which lengths grow, from one step of their equation for the square root of the volume."""
        root = jnp.sqrt(volume(_box(phase)))
        mobility = self.compressibility / BAR / self.time
        time = self.interval * timestep
        push = pressure(phase, virial, system) - self.pressure * BAR + system.thermal_energy / (2 * root**2)
        noise = normals(system.keys, phase.step, 1, first=_PLACE)[:, 0].astype(root.dtype)
        change = 0.5 * mobility * root * push * time + jnp.sqrt(0.5 * mobility * system.thermal_energy * time) * noise
        return ((root + change) / root) ** (2 / 3)


def volume(box: Float[Array, "replicas 3 3"]) -> Float[Array, "replicas"]:
    """nm^3"""
    return jnp.abs((box[:, 0] * jnp.cross(box[:, 1], box[:, 2])).sum(-1))


def pressure(phase: Phase, virial: Float[Array, "replicas"], system: System) -> Float[Array, "replicas"]:
    """kJ/(mol nm^3), by the virial; motion that is not counted has its thermal share added back."""
    uncounted = 3 * (len(system.masses) // system.replicas) - system.freedom
    twice = 2 * kinetic_energy(phase.velocities, system) + uncounted * system.thermal_energy
    return (twice + virial) / (3 * volume(_box(phase)))


def rescaled(phase: Phase, factors: Float[Array, "replicas"]) -> Phase:
    """Lengths times the factors, velocities divided by them: the volume of phase space stays the same."""
    return phase._replace(
        positions=scaled(phase.positions, factors),
        velocities=scaled(phase.velocities, 1 / factors),
        box=_box(phase) * factors[:, None, None],
    )


def _box(phase: Phase) -> Float[Array, "replicas 3 3"]:
    if phase.box is None:
        raise ValueError("without a box there is no volume and no pressure")
    return phase.box
