"""The log of a run: what was done and when, with which versions, and how it ended."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from meanforce.report.provenance import versions

Progress = Callable[[float], None]


@runtime_checkable
class Bars(Protocol):
    """Where progress is shown."""

    def stage(self, title: str) -> AbstractContextManager[Progress]: ...

    def note(self, text: str) -> None: ...


class RunLog:
    """Bars that are written down as well, line by line: a run that is killed or resumed keeps its lines."""

    def __init__(self, path: Path, bars: Bars):
        self._bars, self._started = bars, time.perf_counter()
        self._handler = logging.FileHandler(path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S%z"))
        self._logger = logging.Logger("meanforce.run")  # of this run alone: it touches no other logging
        self._logger.addHandler(self._handler)

    def __enter__(self) -> RunLog:
        self._logger.info("command: %s", shlex.join(sys.argv))
        self._logger.info("versions: %s", ", ".join(f"{name} {number}" for name, number in versions().items()))
        return self

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        seconds = time.perf_counter() - self._started
        if error is None:
            self._logger.info("finished in %.1f s", seconds)
        elif isinstance(error, KeyboardInterrupt):
            self._logger.info("interrupted after %.1f s", seconds)
        else:
            self._logger.error("failed after %.1f s", seconds, exc_info=error)
        self._handler.close()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._logger.info("note: %s", text)
        self._bars.note(text)

    @contextmanager
    def stage(self, title: str) -> Iterator[Progress]:
        """A stage of the work, with its beginning, its end and its seconds."""
        self._logger.info("begin: %s", title)
        started = time.perf_counter()
        with self._bars.stage(title) as progress:
            yield progress
        self._logger.info("end: %s, %.1f s", title, time.perf_counter() - started)
