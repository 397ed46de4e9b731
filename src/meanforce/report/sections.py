"""What a report is made of: plain sections, which rooms hand to the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["agrees", "differs", "not resolved"]


@dataclass(frozen=True)
class Verdict:
    """One line on one observable: what was found, in numbers, and the rule that was laid down before."""

    observable: str
    outcome: Outcome
    finding: str
    rule: str
    model: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with words for those who cannot see it. A `wide` one has a row of its own."""

    title: str
    description: str
    caption: str
    svg: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; columns that hold numbers are set on the right."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...] = ()

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"table {self.title!r}: a row has {len(row)} cells under {len(self.header)} headings")


@dataclass(frozen=True)
class Section:
    """A part of the page. `text` is paragraphs; `verbatim` is shown as it is, in a fixed-width face."""

    title: str
    text: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    tables: tuple[Table, ...] = ()
    verbatim: str = ""

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower()).strip("-")


@dataclass(frozen=True)
class Report:
    """The whole page: a headline, a few facts, and sections in reading order."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...] = ()
    model: str = field(default="")

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return tuple(verdict for section in self.sections for verdict in section.verdicts)
