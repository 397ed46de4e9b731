"""Writes a report as one HTML file that needs nothing else: no script, no font, no network."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from meanforce.report.sections import Outcome, Report, Verdict

#: A mark beside the word and the colour, for every outcome.
MARKS = {"agrees": "✓", "differs": "✗", "not resolved": "?"}


def render(report: Report) -> str:
    """The page as text."""
    folder = resources.files("meanforce.report") / "templates"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters.update(bound=_bound, sentence=lambda text: text[:1].upper() + text[1:])
    template = environment.from_string((folder / "page.html").read_text("utf-8"))
    judged = [v for v in report.verdicts if v.model in ("", report.model)]
    rivals = [v for v in report.verdicts if v.model not in ("", report.model)]
    _check(report)
    style = Markup((folder / "page.css").read_text("utf-8"))
    return template.render(
        report=report, judged=judged, rivals=rivals, style=style, marks=MARKS, headline=headline(judged)
    )


def write(report: Report, path: str | os.PathLike) -> Path:
    """Writes the page at once: whoever opens `path` sees the old page or the new one, never half of it."""
    path = Path(path)
    text = render(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def headline(verdicts: list[Verdict]) -> str:
    """One sentence that counts the verdicts: 'Of 5 observables, 4 agree and 1 is not resolved.'"""
    if not verdicts:
        return "Nothing was compared with a reference."
    count = Counter(v.outcome for v in verdicts)
    plural: dict[Outcome, tuple[str, str]] = {
        "agrees": ("agrees", "agree"),
        "differs": ("differs", "differ"),
        "not resolved": ("is not resolved", "are not resolved"),
    }
    parts = [f"{count[o]} {plural[o][count[o] > 1]}" for o in plural if count[o]]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return f"Of {len(verdicts)} observable{'s' if len(verdicts) > 1 else ''}, {listed}."


def _bound(text: str) -> str:
    """Keeps a number together with its error, its power of ten and its unit, and gives it a true minus."""
    text = re.sub(r" (±|×) ", "\u00a0\\1\u00a0", text)
    text = re.sub(r"(?<=\d) (?=%|nm|bar|kJ|combined)", "\u00a0", text)
    return re.sub(r"(?<![\w.–-])-(?=\d)", "−", text)


def _check(report: Report) -> None:
    anchors = Counter(section.anchor for section in report.sections)
    twice = [section.title for section in report.sections if anchors[section.anchor] > 1]
    if twice:
        raise ValueError(f"two sections are called {twice[0]!r}: give each its own title")
    for section in report.sections:
        for figure in section.figures:
            if not figure.svg.startswith("<svg"):
                raise ValueError(f"figure {figure.title!r} is not an <svg> element")
