"""Replicas that exchange their temperatures, by reduced potentials Phi(R, T) = A(R; T)/kT.

A move proposes that neighbours i and j of a ladder of temperatures change places and is accepted with

    ln p = -[Phi(R_j, T_i) + Phi(R_i, T_j) - Phi(R_i, T_i) - Phi(R_j, T_j)],

from which any gauge h(T) cancels. At constant pressure A + PV stands for A. Velocities are scaled to the new
temperature, under which their distribution is invariant. Neighbours 0-1, 2-3, ... and 1-2, 3-4, ... take turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from meanforce.dynamics.integrators import Phase, System, scaled
from meanforce.dynamics.noise import uniforms
from meanforce.units import KB

#: Counter of the exchange's random numbers, out of the way of thermostats and barostat.
_PLACE = 2**32 - 2

#: How far on its way up and down the ladder a replica is.
_NOWHERE, _WAS_COLD, _WAS_HOT = range(3)


@dataclass(frozen=True)
class Ladder:
    """Ascending temperatures (K), one replica at each; neighbours are exchanged each `every` ps, never if None.

    Neighbours should overlap in energy, so that a fifth of the exchanges or more is accepted; frequent exchanges do
    no harm. Equal ratios (`Ladder.geometric`) suit a heat capacity that does not change.
    """

    temperatures: tuple[float, ...]
    every: float | None

    def __post_init__(self):
        object.__setattr__(self, "temperatures", tuple(float(t) for t in self.temperatures))
        if len(self.temperatures) < 2:
            raise ValueError("a ladder has two temperatures at least; at one temperature take simulate")
        kelvin = np.array(self.temperatures)
        if not (np.isfinite(kelvin).all() and (kelvin > 0).all() and (np.diff(kelvin) > 0).all()):
            raise ValueError(f"the temperatures of a ladder are positive and ascend, in K; not {self.temperatures}")
        if self.every is not None and not (np.isfinite(self.every) and self.every > 0):
            raise ValueError(f"every={self.every}: a positive time in ps, or None for no exchange")

    @staticmethod
    def geometric(low: float, high: float, count: int, *, every: float | None) -> Ladder:
        """`count` temperatures from `low` to `high` (K), each the same factor above the one before."""
        return Ladder(tuple(np.geomspace(low, high, count).tolist()), every)


class Swaps(NamedTuple):
    """Where every replica is on the ladder, and what has come of the exchanges so far."""

    rung: Int[Array, "replicas"]
    tried: Int[Array, "pairs"]
    accepted: Float[Array, "pairs"]  # sums of probabilities
    way: Int[Array, "replicas"]
    trips: Int[Array, "replicas"]  # from the coldest to the hottest rung and back

    @staticmethod
    def begin(replicas: int) -> Swaps:
        """Replica r is on rung r, and the ends have been visited by those that are there."""
        way = jnp.full(replicas, _NOWHERE).at[0].set(_WAS_COLD)
        none = jnp.zeros(replicas - 1, int)
        return Swaps(jnp.arange(replicas), none, none.astype(float), way, jnp.zeros(replicas, int))


class Exchange(NamedTuple):
    """A ladder as the compiled loop reads it."""

    temperatures: Float[Array, "replicas"]  # K
    every: Int[Array, ""]  # steps
    pressure: Float[Array, ""] | None  # kJ/(mol nm^3)

    def kelvin(self, phase: Phase) -> Float[Array, "replicas"]:
        return self.temperatures[phase.swaps.rung]

    def proposed(self, phase: Phase) -> Float[Array, "replicas"]:
        """The temperatures after all exchanges of this turn; at the ends of the ladder some stay where they are."""
        return self.temperatures[self._across(phase)]

    def decide(
        self, phase: Phase, before: Float[Array, "replicas"], after: Float[Array, "replicas"], system: System
    ) -> tuple[Phase, Bool[Array, "replicas"]]:
        """Exchanges what is accepted, and says of which replicas. `before`, `after`: A at own and proposed kelvin."""
        rung, there = phase.swaps.rung, self._across(phase)
        if phase.box is not None and self.pressure is not None:
            work = self.pressure * jnp.abs(jnp.linalg.det(phase.box))
            before, after = before + work, after + work
        change = after / (KB * self.temperatures[there]) - before / (KB * self.temperatures[rung])
        holder = jnp.argsort(rung)  # the replica on each rung
        mate = holder[there]
        log_p = -(change + change[mate])
        lower = holder[jnp.minimum(rung, there)]
        dice = uniforms(system.keys, phase.step, _PLACE)[lower]
        accepted = (there != rung) & (jnp.log(dice) < log_p)
        swaps = self._counted(phase, jnp.where(accepted, there, rung), log_p[holder])
        factor = jnp.where(accepted, jnp.sqrt(self.temperatures[there] / self.temperatures[rung]), 1.0)
        return phase._replace(velocities=scaled(phase.velocities, factor), swaps=swaps), accepted

    def _across(self, phase: Phase) -> Int[Array, "replicas"]:
        """The rung that each replica would go to in this turn."""
        rung, top = phase.swaps.rung, self.temperatures.shape[0] - 1
        upwards = (rung + phase.step // self.every) % 2 == 0
        there = jnp.where(upwards, rung + 1, rung - 1)
        return jnp.where((there < 0) | (there > top), rung, there)

    def _counted(self, phase: Phase, rung: Int[Array, "replicas"], log_p: Float[Array, "rungs"]) -> Swaps:
        """`log_p` in the order of rungs: the same for both of a pair."""
        old: Swaps = phase.swaps
        top = self.temperatures.shape[0] - 1
        turn = (jnp.arange(top) + phase.step // self.every) % 2 == 0
        chance = jnp.nan_to_num(jnp.exp(jnp.minimum(log_p[:-1], 0.0)))
        back = (rung == 0) & (old.way == _WAS_HOT)
        way = jnp.where((rung == top) & (old.way == _WAS_COLD), _WAS_HOT, jnp.where(rung == 0, _WAS_COLD, old.way))
        return Swaps(rung, old.tried + turn, old.accepted + turn * chance, way, old.trips + back)
