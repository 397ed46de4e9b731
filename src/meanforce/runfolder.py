"""The folder of one run: what is finished lies there under its own name, and nothing else does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meanforce.recipe import RecipeError

_HOME = Path("runs")


@dataclass(frozen=True)
class RunFolder:
    """Names in a run folder. A file is there when its step is finished, whole; only the log grows.

    Simulations at several temperatures each have their own, `simulation-300K.h5`.
    """

    path: Path

    recipe = property(lambda self: self.path / "recipe.yaml")
    atoms = property(lambda self: self.path / "atoms.h5")
    beads = property(lambda self: self.path / "beads.h5")
    held = property(lambda self: self.path / "held.h5")
    responses = property(lambda self: self.path / "responses.h5")
    model = property(lambda self: self.path / "model.mf")
    pairs_model = property(lambda self: self.path / "pairs-only.mf")
    training = property(lambda self: self.path / "training.json")
    curve = property(lambda self: self.path / "training.csv")
    checkpoint = property(lambda self: self.path / "training.checkpoint")
    friction = property(lambda self: self.path / "friction.json")
    simulation = property(lambda self: self.path / "simulation.h5")
    pairs_simulation = property(lambda self: self.path / "pairs-only.h5")
    report = property(lambda self: self.path / "report.html")
    verdicts = property(lambda self: self.path / "verdicts.json")
    log = property(lambda self: self.path / "run.log")
    seconds = property(lambda self: self.path / "seconds.json")

    @staticmethod
    def choose(name: str, text: str, *, folder: Path | None = None, resume: bool = False) -> RunFolder:
        """A new dated folder, the one that is asked for, or with `resume` the newest one of this recipe.

        `text` is the recipe to the letter; a run is only ever continued with the very same one.
        """
        if folder is None:
            folder = _newest(name, text) if resume else _HOME / f"{time.strftime('%Y-%m-%d_%H%M%S')}_{name}"
        found = RunFolder(folder)
        if found.recipe.exists():
            if not resume:
                raise RecipeError(f"{folder} holds a run already; go on with --resume or choose another --folder")
            if found.recipe.read_text("utf-8") != text:
                raise RecipeError(f"{folder} was begun with another recipe; choose another --folder")
            return found
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(found.recipe, text)
        return found

    def timings(self) -> dict[str, float]:
        """Seconds of each finished step."""
        return json.loads(self.seconds.read_text()) if self.seconds.exists() else {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds the wall time of a step to those that earlier tries took."""
        started = time.perf_counter()
        try:
            yield
        finally:
            timings = self.timings()
            timings[step] = timings.get(step, 0.0) + time.perf_counter() - started
            write_whole(self.seconds, json.dumps(timings, indent=2))


def write_whole(path: Path, text: str) -> None:
    """Writes beside the target and renames: a kill leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _newest(name: str, text: str) -> Path:
    """The newest folder that was begun with the same recipe."""
    for folder in sorted(_HOME.glob(f"*_{name}"), reverse=True):
        recipe = RunFolder(folder).recipe
        if recipe.exists() and recipe.read_text("utf-8") == text:
            return folder
    raise RecipeError(f"no run of this recipe under {_HOME}/ to go on with; leave --resume out to begin one")
