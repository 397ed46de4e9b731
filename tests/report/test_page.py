import dataclasses
import re

import numpy as np
import pytest

from meanforce.observables.base import Curve
from meanforce.report import page
from meanforce.report.figures import Series, overlay
from meanforce.report.sections import Report, Section, Table, Verdict


def verdict(outcome, model=""):
    return Verdict("RDF", outcome, "0.1 against 0.2", "effect size 1", model)


def test_headline_counts_what_is_judged():
    assert page.headline([verdict("agrees")]) == "Of 1 observable, 1 agrees."
    mixed = [verdict("agrees"), verdict("agrees"), verdict("differs"), verdict("not resolved")]
    assert page.headline(mixed) == "Of 4 observables, 2 agree, 1 differs and 1 is not resolved."
    assert page.headline([]) == "Nothing was compared with a reference."


def test_rivals_do_not_count(report):
    text = page.render(report)
    judged = [v for v in report.verdicts if v.model in ("", "spline model")]
    assert page.headline(judged) in text and "For comparison" in text
    assert len(judged) < len(report.verdicts)


def test_everything_is_escaped():
    section = Section("a <b>", ("x < y & z",), tables=(Table("<i>", ("<u>",), (("<s>",),)),), verbatim="<script>")
    text = page.render(Report("<h1>", "", (section,)))
    for raw in ("<b>", "<i>", "<u>", "<s>", "<script>", "<h1><h1>"):
        assert raw not in text
    assert "x &lt; y &amp; z" in text


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "new" / "report.html"
    page.write(Report("first", "", ()), path)
    assert "first" in path.read_text()

    def no_space(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(page.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        page.write(Report("second", "", ()), path)
    assert "first" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_the_same_report_gives_the_same_page(report):
    assert page.render(report) == page.render(report)


def test_mistakes_are_named(report):
    twice = dataclasses.replace(report, sections=report.sections + report.sections[:1])
    with pytest.raises(ValueError, match="two sections are called 'Structure'"):
        page.render(twice)
    with pytest.raises(ValueError, match="2 cells under 1 headings"):
        Table("t", ("a",), (("b", "c"),))


def test_a_narrow_axis_keeps_every_place_of_its_numbers():
    r = np.linspace(0.110, 0.135, 51)
    bond = Curve("bond", r, np.exp(-(((r - 0.122) / 0.003) ** 2)), np.full(51, 0.01), "r / nm", "density / nm⁻¹")
    drawn = overlay([Series(bond, "atoms", "reference"), Series(bond, "model", "model")], "A bond", "").svg
    assert all(f">{place}<" in drawn for place in ("0.115", "0.120", "0.125", "0.130"))
    assert not re.search(r' d="[^"]*\d\.\d{3}', drawn)  # lines need no more than two places
