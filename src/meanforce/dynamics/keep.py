"""Where frames go while a run goes on: to memory, and to a data set that survives a kill."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from meanforce.data.storage import Store, read_state
from meanforce.data.writer import Writer, part_folder
from meanforce.dynamics.checkpoint import Checkpoint, fingerprint, pack, step_of, swaps_of
from meanforce.dynamics.exchange import Ladder, Swaps
from meanforce.dynamics.ramp import Ramp
from meanforce.dynamics.settings import SimulationStopped, Trace
from meanforce.dynamics.setup import Task
from meanforce.dynamics.trajectory import targets, write_trajectory
from meanforce.frames import Frames

#: Seconds between commits. When they happen changes no number: they are always between two blocks.
_COMMIT_EVERY = 2.0


class Keeper:
    """Takes the frames of each block; what it held at the last commit is what a resumed run begins with."""

    def __init__(self, task: Task, writer: Writer | None):
        self._task, self._writer = task, writer
        self._parts: list[Frames] = []
        self._traces: list[Trace] = []
        self._committed = clock.monotonic()

    @property
    def state(self) -> bytes | None:
        return None if self._writer is None else self._writer.state

    def append(self, frames: Frames, trace: Trace) -> None:
        if not len(frames):
            return
        self._traces.append(trace)
        if self._writer is None:
            self._parts.append(frames)
        else:
            self._writer.append(frames)
            self._parts = [frames]

    def commit(self, checkpoint: Checkpoint, *, now: bool) -> None:
        if self._writer is not None and (now or clock.monotonic() - self._committed > _COMMIT_EVERY):
            self._writer.commit(pack(checkpoint))
            self._committed = clock.monotonic()

    def stop(self, stopped: SimulationStopped, begun: Frames) -> None:
        """Saves what is good and raises. `begun` is the beginning of the block, for want of a later frame."""
        if self._writer is not None:
            if not self._parts and not self._writer.frames:
                self._writer.append(begun)
            # Without a checkpoint: going on from here would only fail again.
            self._writer.commit()
            self._writer.close()
        raise stopped

    def last(self, begun: Frames) -> Frames:
        """The last good frame of each replica."""
        kept = self._parts[-1] if self._parts else begun
        return kept[len(kept) - len(begun) :]

    def finish(self) -> tuple[Frames, Trace]:
        """All frames, those of earlier parts of the run included."""
        if self._writer is None:
            frames = Frames.concatenate(self._parts)
        else:
            self._writer.close()
            store = Store(self._writer.path)
            frames = store.read(slice(None))
            store.close()
            _export(self._task, self._writer.path, frames, again=True)
        return frames, _joined(self._traces)


def finished(task: Task) -> tuple[Frames, Trace] | None:
    """What a run gave that was carried out before, if this is the same and no longer one."""
    path = None if task.settings.output is None else Path(task.settings.output)
    if path is None or not task.settings.resume or not path.exists() or part_folder(path).exists():
        return None
    store = Store(path)
    state = read_state(path)
    if state is None or step_of(state) < task.schedule.steps or store.header.provenance != provenance(task):
        store.close()
        return None  # the writer goes on with it, or says why not
    frames = store.read(slice(0, task.schedule.steps // task.schedule.save_every * len(task.temperatures)))
    store.close()
    _export(task, path, frames, again=False)
    swaps = swaps_of(state, Swaps.begin(len(task.temperatures))) if isinstance(task.change, Ladder) else None
    return frames, no_trace()._replace(swaps=swaps)


@contextmanager
def open_keeper(task: Task) -> Iterator[Keeper]:
    """Opens the data set, or the unfinished one of the same run; what was committed stays if the run fails."""
    settings = task.settings
    if settings.output is None:
        yield Keeper(task, None)
        return
    writer = Writer(settings.output, task.topology, provenance=provenance(task), resume=settings.resume)
    try:
        if writer.frames and writer.state is None:
            raise ValueError(
                f"{settings.output} holds frames but no checkpoint: it was stopped by an error, or it is not a "
                "simulation; choose another name"
            )
        yield Keeper(task, writer)
    finally:
        writer.abandon()


def _export(task: Task, output: Path, frames: Frames, *, again: bool) -> None:
    """Writes the trajectories asked for; those of a finished run only if a kill came before them."""
    for kind in task.settings.trajectories:
        path = output.with_suffix(f".{kind}")
        if again or not all(target.exists() for target in targets(path, frames).values()):
            write_trajectory(path, frames, task.topology)


def provenance(task: Task) -> dict:
    """What makes the run what it is: a run is only resumed with the same."""
    seed = task.seed if isinstance(task.seed, int | np.integer) else [int(s) for s in task.seed]
    changes: dict = {} if task.change is None else {"temperature_changes": repr(task.change)}
    if isinstance(task.change, Ramp):
        changes["ramp_steps"] = task.schedule.steps
    return {
        "program": "simulation",
        **changes,
        "potential": fingerprint(task.potential),
        "temperatures": list(task.temperatures),
        "timestep": task.schedule.timestep,
        "save_every": task.schedule.save_every,
        "frames_per_block": task.schedule.frames,
        "thermostat": repr(task.thermostat),
        "barostat": repr(task.barostat),
        "seed": seed if isinstance(seed, list) else int(seed),
        "precision": task.settings.precision,
        "skin": task.settings.skin,
        "start": [fingerprint_of(task.start.positions), fingerprint_of(task.start.box)],
    }


def fingerprint_of(array: np.ndarray | None) -> str:
    return "none" if array is None else fingerprint(np.asarray(array))


def no_trace() -> Trace:
    none = np.zeros((0, 0))
    return Trace(np.zeros(0, int), none, none, none, None)


def _joined(traces: list[Trace]) -> Trace:
    if not traces:
        return no_trace()
    join = lambda name: np.concatenate([getattr(trace, name) for trace in traces])
    pressure = None if traces[0].pressure is None else join("pressure")
    kinetic, conserved, potential = (join(name) for name in ("kinetic_temperature", "conserved", "potential"))
    return Trace(join("step"), kinetic, conserved, potential, pressure, traces[-1].swaps)
