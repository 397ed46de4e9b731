"""Atomistic reference data from OpenMM: one recipe, a list of temperatures, safe against a kill at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from meanforce.data.writer import Writer
from meanforce.reference.engine import BrokenSimulation, Engine, choose_platform, provenance
from meanforce.reference.recipe import ReferenceRun


class Progress(NamedTuple):
    """How far a run is. `remaining` is in seconds of real time, unknown (None) at first."""

    fraction: float
    remaining: float | None
    temperature: float
    phase: Literal["equilibration", "production"]
    frames: int


@runtime_checkable
class Watcher(Protocol):
    def __call__(self, progress: Progress) -> None: ...


def run(
    recipe: ReferenceRun,
    path: str | Path,
    *,
    resume: bool = False,
    threads: int | None = None,
    watcher: Watcher | None = None,
    commit_seconds: float = 20.0,
) -> Path:
    """Runs the recipe and writes a data set of atoms at `path`.

    Every `commit_seconds` of real time the frames so far and the engine's checkpoint are put on the disk in one
    indivisible step. After a kill, `resume=True` continues from there: the time axis has no gap and no repeat.
    At constant volume on OpenMM's Reference platform the trajectory is bit for bit that of an undisturbed run.
    Elsewhere it is another, equally valid one: the fast platforms add forces up in an order that depends on
    their history, and no checkpoint holds the barostat's random numbers.
    """
    system = recipe.system.build()
    platform = choose_platform(recipe.platform, system)
    schedule = _Schedule.of(recipe)
    with Writer(path, system.topology, provenance=provenance(recipe, system, platform), resume=resume) as writer:
        clock = _Clock(schedule, watcher, commit_seconds)
        place = _Place.unpack(writer.state) if writer.state is not None else _Place()
        while place.leg < len(recipe.temperatures):
            engine = Engine.create(recipe, system, place.leg, place.steps, platform, threads)
            if place.checkpoint:
                engine.restore(place.checkpoint)
            else:
                engine.start()
            place = _run_leg(engine, place, schedule, writer, clock)
    return Path(path)


def _run_leg(engine: Engine, place: _Place, schedule: _Schedule, writer: Writer, clock: _Clock) -> _Place:
    """One temperature, from wherever it stands to its end."""
    for steps, frame in schedule.after(place.steps):
        try:
            engine.integrate(steps)
        except BrokenSimulation as error:
            raise BrokenSimulation(
                f"{error} {writer.frames} frames are safe; keep them with Dataset.recover({str(writer.path)!r})"
            ) from error
        if frame is not None:
            writer.append(engine.frame(time=(frame + 1) * schedule.interval))
        place = replace(place, steps=place.steps + steps)
        clock.tick(place, engine.temperature)
        if clock.due():
            writer.commit(replace(place, checkpoint=engine.checkpoint()).pack())
            clock.committed()
    place = _Place(leg=place.leg + 1)
    writer.commit(place.pack())
    return place


@dataclass(frozen=True)
class _Place:
    """Where a run stands: which temperature, how many steps into it, and the engine's checkpoint there."""

    leg: int = 0
    steps: int = 0
    checkpoint: bytes = b""

    def pack(self) -> bytes:
        return json.dumps({"leg": self.leg, "steps": self.steps}).encode() + b"\n" + self.checkpoint

    @staticmethod
    def unpack(state: bytes) -> _Place:
        head, _, checkpoint = state.partition(b"\n")
        return _Place(**json.loads(head), checkpoint=checkpoint)


@dataclass(frozen=True)
class _Schedule:
    """The steps of each temperature: equilibration in pieces, then one piece a frame."""

    equilibration: int
    stride: int
    frames: int
    interval: float
    legs: int

    @staticmethod
    def of(recipe: ReferenceRun) -> _Schedule:
        stride = recipe.stride
        equilibration = round(recipe.equilibration / recipe.step)
        return _Schedule(equilibration, stride, recipe.frames, recipe.interval, len(recipe.temperatures))

    @property
    def leg_steps(self) -> int:
        return self.equilibration + self.frames * self.stride

    def after(self, done: int) -> Iterator[tuple[int, int | None]]:
        """Pieces (steps, number of the frame at their end or None) that follow the first `done` steps."""
        while done < self.leg_steps:
            if done < self.equilibration:
                steps, frame = min(self.stride, self.equilibration - done), None
            else:
                steps, frame = self.stride, (done - self.equilibration) // self.stride
            yield steps, frame
            done += steps


class _Clock:
    """Tells the watcher how far it is and when to commit; knows nothing of the physics."""

    def __init__(self, schedule: _Schedule, watcher: Watcher | None, commit_seconds: float):
        self._schedule, self._watcher, self._commit_seconds = schedule, watcher, commit_seconds
        self._started: tuple[float, int] | None = None
        self._last_commit = time.monotonic()

    def tick(self, place: _Place, temperature: float) -> None:
        now, schedule = time.monotonic(), self._schedule
        done = place.leg * schedule.leg_steps + place.steps
        total = schedule.legs * schedule.leg_steps
        # the first piece also pays for building the context: speed counts from its end
        self._started = self._started or (now, done)
        if self._watcher is None:
            return
        since, at = self._started
        remaining = (now - since) / (done - at) * (total - done) if done > at else None
        recorded = max(place.steps - schedule.equilibration, 0) // schedule.stride
        phase: Literal["equilibration", "production"]
        phase = "equilibration" if place.steps <= schedule.equilibration and recorded == 0 else "production"
        self._watcher(Progress(done / total, remaining, temperature, phase, place.leg * schedule.frames + recorded))

    def due(self) -> bool:
        return time.monotonic() - self._last_commit >= self._commit_seconds

    def committed(self) -> None:
        self._last_commit = time.monotonic()
