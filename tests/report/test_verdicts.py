"""Every rule is met once, broken once, and once left open."""

import math

import numpy as np
import pytest
from example_curves import adf, rdf

from meanforce.observables.base import Curve, Scalar
from meanforce.observables.compare import StructureError
from meanforce.observables.surface import SurfaceError
from meanforce.report import structure as structures
from meanforce.report import verdicts
from meanforce.report.structure import Comparison, structure

RELATIVE = [verdicts.PEAK_HEIGHT, verdicts.ENERGY, verdicts.DENSITY, verdicts.DIFFUSION]
ABSOLUTE = [verdicts.PEAK_POSITION, verdicts.PRESSURE, verdicts.FREE_ENERGY]


@pytest.mark.parametrize("rule", RELATIVE + ABSOLUTE, ids=lambda rule: rule.observable)
def test_numbers(rule):
    reference = Scalar("x", -7.0, 0.0, "u")
    effect = rule.effect * (7.0 if rule.relative else 1.0)

    def outcome(difference, error):
        return verdicts.compare_scalars(rule, Scalar("x", -7.0 + difference, error, "u"), reference).outcome

    small = 0.01 * effect
    for sign in (-1, 1):
        assert outcome(sign * 0.9 * effect, small) == "agrees"
        assert outcome(sign * 1.1 * effect, small) == "differs"
        assert outcome(sign * 0.9 * effect, 0.1 * effect) == "not resolved"
        assert outcome(sign * 1.1 * effect, 0.1 * effect) == "not resolved"
    assert outcome(0.0, math.nan) == "not resolved"


@pytest.mark.parametrize("rule", [verdicts.RDF, verdicts.ADF, verdicts.BONDED], ids=lambda rule: rule.observable)
def test_structure_errors(rule):
    def outcome(excess, error, noise=1e-4):
        return verdicts.judge_structure(rule, StructureError(excess + noise, noise, error)).outcome

    assert outcome(0.5 * rule.effect, 0.1 * rule.effect) == "agrees"
    assert outcome(2.0 * rule.effect, 0.1 * rule.effect) == "differs"
    assert outcome(0.5 * rule.effect, 0.5 * rule.effect) == "not resolved"
    assert outcome(-3.0 * rule.effect, 0.6 * rule.effect) == "not resolved", "noise can not buy agreement"


def test_surfaces():
    effect = verdicts.SURFACE.effect

    def outcome(rms, error, unseen=0.0):
        found = SurfaceError(StructureError(1e-3, 1e-3, 1e-3), rms, error, 0.9, unseen)
        return verdicts.judge_surface(verdicts.SURFACE, found).outcome

    assert outcome(0.5 * effect, 0.1 * effect) == "agrees"
    assert outcome(2.0 * effect, 0.1 * effect) == "differs"
    assert outcome(0.9 * effect, 0.1 * effect) == "not resolved"
    assert outcome(0.5 * effect, 0.1 * effect, unseen=0.01) == "not resolved", "what is missing is no agreement"


def test_forces_against_the_floor():
    floor = (90.0, 100.0)

    def outcome(value, error):
        return verdicts.judge_floor(verdicts.FORCE, Scalar("f", value, error, "u"), floor).outcome

    assert outcome(92.0, 0.5) == "agrees"
    assert outcome(120.0, 1.0) == "differs"
    assert outcome(100.0, 0.5) == "not resolved"
    assert outcome(92.0, 5.0) == "not resolved"
    with pytest.raises(ValueError, match="interval"):
        verdicts.judge_floor(verdicts.FORCE, Scalar("f", 1.0, 0.1, "u"), (2.0, 1.0))


def test_an_open_floor_is_never_met():
    found = verdicts.judge_floor(verdicts.FORCE, Scalar("f", 1.0, 0.0, "u"), (0.0, 1.0))
    assert found.outcome == "not resolved"


def test_the_rule_and_the_numbers_are_said():
    found = verdicts.compare_scalars(
        verdicts.PEAK_HEIGHT, Scalar("peak", 3.2, 0.01, ""), Scalar("peak", 3.1, 0.02, ""), "spline"
    )
    assert found.rule == "effect size 3 %, k = 2 combined standard errors"
    assert "3.200 ± 0.010 against 3.100 ± 0.020" in found.finding and "3.23 %" in found.finding


def structure_verdicts(kind, reference, model):
    section = structure([Comparison(kind, reference, (("model", model), ("pair", model)))])
    return {v.observable: v.outcome for v in section.verdicts if v.model == "model"}


def test_a_section_agrees_with_itself_and_sees_a_shift():
    rng = np.random.default_rng(3)
    reference, same, high = rdf(rng), rdf(rng), rdf(rng, height=3.5)
    assert set(structure_verdicts("rdf", reference, same).values()) == {"agrees"}
    found = structure_verdicts("rdf", reference, high)
    assert found["RDF W–W: mean-square error"] == "differs"
    assert found["first peak of RDF W–W, height"] == "differs"
    shifted = same._replace(value=np.roll(same.value, 2), blocks=np.roll(same.blocks, 2, axis=1))
    assert structure_verdicts("rdf", reference, shifted)["first peak of RDF W–W, position"] == "differs"
    assert set(structure_verdicts("adf", adf(rng), adf(rng)).values()) == {"agrees"}
    assert set(structure_verdicts("adf", adf(rng), adf(rng, tilt=0.4)).values()) == {"differs"}
    noisy = rdf(rng, noise=0.05)
    assert structure_verdicts("rdf", reference, noisy)["RDF W–W: mean-square error"] == "not resolved"


def test_bonded_distributions_are_judged_relative_to_their_size():
    r = np.linspace(0.1, 0.2, 60)

    def bond(width):
        p = np.exp(-(((r - 0.15) / width) ** 2))
        p /= p.sum() * (r[1] - r[0])
        return Curve("bond", r, p, np.full(60, 0.01), "r / nm", "density / nm⁻¹")

    assert set(structure_verdicts("bonded", bond(0.01), bond(0.0101)).values()) == {"agrees"}
    assert set(structure_verdicts("bonded", bond(0.01), bond(0.014)).values()) == {"differs"}


def left_open(monkeypatch, same_frames):
    """The section on a committee of known errors, 0.03 by sampling and 0.04 by learning, and the errors drawn."""
    drawn, theta = [], (np.arange(90) + 0.5) * np.pi / 90
    labels = ("angle / rad", "probability density / rad⁻¹")
    own = Curve("angle A–A–A", theta, np.sin(theta) / 2, np.full(90, 0.03), *labels)
    learned = own._replace(error=np.where(np.arange(90) % 2, 0.0, 0.04 * np.sqrt(2)))
    overlay = structures.overlay
    monkeypatch.setattr(
        structures, "overlay", lambda series, *words, **span: drawn.append(series) or overlay(series, *words, **span)
    )
    atoms = own._replace(value=0.99 * own.value, error=np.full(90, 0.01))
    compared = Comparison("bonded", atoms, (("net", own), ("pair", own)), learned)
    section = structure([compared], same_frames=same_frames)
    (series,) = drawn
    assert [s.label for s in series] == ["atoms", "net", "pair"]
    without = structure([Comparison("bonded", atoms, compared.models)])
    assert section.verdicts == without.verdicts and len(without.tables) == 1
    assert section.tables[0] == without.tables[0]
    return section, [np.sqrt(np.mean(s.curve.error**2)) for s in series], series[1].curve.error[:2]


def test_errors_of_learning_widen_the_band_of_what_is_judged_and_no_verdict(monkeypatch):
    section, errors, first = left_open(monkeypatch, same_frames=False)
    assert errors == pytest.approx([0.01, 0.05, 0.03])
    assert first == pytest.approx([np.hypot(0.03, 0.04 * np.sqrt(2)), 0.03])
    assert "two standard errors, of net those of sampling and learning together;" in section.figures[0].caption
    table = section.tables[1]
    assert table.title.startswith("What the data leave open: error of learning")
    assert table.rows == (("angle A–A–A", "0.040 rad⁻¹", "0.030 rad⁻¹"),)


def test_disagreement_of_members_that_saw_the_same_frames_is_no_error_bar(monkeypatch):
    section, errors, _ = left_open(monkeypatch, same_frames=True)
    assert errors == pytest.approx([0.01, 0.03, 0.03])
    assert "Bands: two standard errors; below" in section.figures[0].caption
    assert "disagreement of members that saw the same frames, which is no error bar" in section.tables[1].title
    assert section.tables[1].rows == (("angle A–A–A", "0.040 rad⁻¹", "0.030 rad⁻¹"),)
