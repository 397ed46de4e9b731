"""Progress bars and one clear summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

_MARK = {"agrees": "[green]agrees[/]", "differs": "[red]differs[/]", "not resolved": "[yellow]not resolved[/]"}


class Bars:
    """One bar per stage, with the remaining time; plain lines where there is no terminal."""

    def __init__(self, console: Console):
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=32),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """A line that stays."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str) -> Iterator[Callable[[float], None]]:
        """A stage of the work; the value is called with the fraction that is done."""
        if self._progress.disable:
            self.note(f"{title} ...")
        task = self._progress.add_task(f"{title:<28}", total=1.0)
        yield lambda fraction: self._progress.update(task, completed=min(fraction, 1.0))
        self._progress.update(task, completed=1.0)


def summary_table(found: dict) -> Table:
    """The verdicts of a report, one line each."""
    table = Table(title=found["title"], title_justify="left", show_edge=False, pad_edge=False)
    for heading in ("observable", "model", "verdict", "finding"):
        table.add_column(heading, overflow="fold")
    for verdict in found["verdicts"]:
        table.add_row(verdict["observable"], verdict["model"], _MARK[verdict["outcome"]], verdict["finding"])
    return table
