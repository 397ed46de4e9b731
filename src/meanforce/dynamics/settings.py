"""What a user decides about a run, and what a run says of itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.dynamics.exchange import Swaps
from meanforce.dynamics.guard import Guard
from meanforce.frames import Frames

#: A bead is moved in at most this much of a run at once; the rest of a block's length follows from it.
_BEAD_STEPS = 4_000_000
_LONGEST = 2000  # steps
_RECORD_BYTES = 2**26


class Progress(NamedTuple):
    """How far a run has come."""

    fraction: float
    remaining: float  # s
    steps_per_second: float


@dataclass(frozen=True)
class Settings:
    """How a simulation is carried out.

    ============  =========================================================================================
    save_every    ps between frames; by default a thousandth of the run, which is rounded up to whole frames
    replicas      copies that run side by side, as one graph
    precision     of forces and energies: "single" or "double". Positions, velocities and the box are always
                  in double precision, so that "single" neither drifts nor loses small steps
    skin          nm by which neighbour lists reach further than the cut-offs; by default a sixth of the longest
    output        data set (.h5) in which frames and checkpoints are kept while the run goes on
    resume        go on with `output` where it was left, or begin it; the result is the same bit by bit
    trajectories  files to write beside `output` at the end, such as ("xtc",), for VMD and OVITO
    progress      is called about once a second
    guard         warns of, or stops, a run that leaves its training data: `mf.Guard.of(data)`
    ============  =========================================================================================
    """

    save_every: float | None = None
    replicas: int = 1
    precision: Literal["single", "double"] = "single"
    skin: float | None = None
    output: str | Path | None = None
    resume: bool = False
    trajectories: tuple[str, ...] = ()
    progress: Callable[[Progress], None] | None = None
    guard: Guard | None = None

    def __post_init__(self):
        if self.precision not in ("single", "double"):
            raise ValueError(f"precision is 'single' or 'double', not {self.precision!r}")
        if self.replicas < 1:
            raise ValueError(f"replicas is a number of at least 1, not {self.replicas}")
        if self.skin is not None and not self.skin > 0:
            raise ValueError(f"skin must be a positive length in nm, not {self.skin}; leave it out for the default")
        if (self.resume or self.trajectories) and self.output is None:
            raise ValueError("resume and trajectories need a place on the disk: give output='run.h5'")
        if self.output is not None and Path(self.output).suffix != ".h5":
            raise ValueError(f"output is a data set, 'name.h5', not {self.output}; ask for others in trajectories=")

    @property
    def dtype(self) -> type:
        return np.float32 if self.precision == "single" else np.float64


class Schedule(NamedTuple):
    """A run in whole steps."""

    steps: int
    save_every: int
    frames: int  # per block
    timestep: float  # ps


def schedule(time: float, timestep: float, save_every: float | None, beads: int) -> Schedule:
    """Turns times in ps into steps, and refuses those that are not multiples of each other."""
    for name, value in (("time", time), ("timestep", timestep)):
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number of ps, not {value}")
    steps = whole_steps("time", time, timestep)
    if save_every is None:
        every = -(-steps // 1000)
        save_every, steps = timestep * every, -(-steps // every) * every
    every = whole_steps("save_every", save_every, timestep)
    if steps < every or steps % every:
        raise ValueError(f"time = {time} ps is not a whole number of frames, one each {save_every} ps")
    length = int(np.clip(_BEAD_STEPS // beads, 100, _LONGEST))
    frames = max(1, min(length // every, _RECORD_BYTES // (24 * beads), steps // every))
    return Schedule(steps, every, frames, float(timestep))


def whole_steps(name: str, time: float, timestep: float) -> int:
    """A time (ps) in steps."""
    steps = round(time / timestep)
    if steps < 1 or not _whole(time / timestep):
        raise ValueError(f"{name} = {time} ps is not a whole number of steps of {timestep} ps")
    return steps


class Trace(NamedTuple):
    """What does not belong to a frame, for the frames that this process made: (frames, replicas)."""

    step: Int[np.ndarray, "frames"]
    kinetic_temperature: Float[np.ndarray, "frames replicas"]  # K
    conserved: Float[np.ndarray, "frames replicas"]  # kJ/mol, NaN for thermostats that have none
    potential: Float[np.ndarray, "frames replicas"]  # kJ/mol
    pressure: Float[np.ndarray, "frames replicas"] | None  # bar, by the virial
    swaps: Swaps | None = None  # of the whole run, to its end on the disk

    def first(self, rows: int) -> Trace:
        """That of the first frames alone."""
        pressure = None if self.pressure is None else self.pressure[:rows]
        kinetic, conserved, potential = (a[:rows] for a in (self.kinetic_temperature, self.conserved, self.potential))
        return Trace(self.step[:rows], kinetic, conserved, potential, pressure, self.swaps)


class SimulationStopped(RuntimeError):
    """A run that could not go on: `cause`, the `step` at which it was seen, and the `last` good frames."""

    def __init__(self, message: str, cause: str, step: int, last: Frames):
        super().__init__(message)
        self.cause = cause
        self.step = step
        self.last = last


def _whole(number: float) -> bool:
    return math.isclose(number, round(number), rel_tol=1e-6, abs_tol=1e-6)
