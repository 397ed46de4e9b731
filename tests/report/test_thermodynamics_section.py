"""The section over temperatures: one verdict for a relation at all of them, and what is known said where it is."""

import numpy as np
import pytest
from example_curves import curve, rdf

from meanforce.observables.base import Scalar
from meanforce.observables.consistency import Check
from meanforce.report import thermodynamics as section
from meanforce.report.motion import Motion
from meanforce.report.structure import Comparison, error_of, reach_of
from meanforce.report.thermodynamics import Distribution, Energetics, Exchanged, Report

FORCES = "forces against configurations"
KELVINS = (300.0, 400.0, 500.0)


def energetics(shift=0.0, error=0.01, learned=(300.0, 500.0)):
    u = lambda kelvin, more: Scalar("energy", -40 + 0.03 * kelvin + more, error, "kJ/mol")
    c = lambda more: Scalar("heat", 60 * (1 + more), 0.3, "J/(mol K)")
    return tuple(Energetics(k, u(k, shift), u(k, 0), c(shift), c(0), k in learned) for k in KELVINS)


def with_entropies(found, shift):
    """Rises of the entropy of 20 J/(mol K) for each step, those of the model further apart by a part."""
    s = lambda n, more: Scalar("entropy", 20.0 * n * (1 + more), 0.1 * n, "J/(mol K)")
    return [e._replace(entropy=s(n, shift), atoms_entropy=s(n, 0.0)) for n, e in enumerate(found)]


def report(checks=(), energies=(), distributions=(), determined=None) -> section.Report:
    return Report("model", (300.0, 500.0), tuple(distributions), tuple(energies), tuple(checks), determined)


def verdicts(found: Report) -> dict:
    return {v.observable: v for v in section.thermodynamics(found).verdicts}


@pytest.mark.parametrize(
    ("values", "outcome", "said"),
    [
        ((300.0, 401.0, 500.0), "agrees", "all 3 temperatures, at 300 K: 300.00 ± 0.50 K, and 300 K is exact"),
        ((300.0, 460.0, 500.0), "differs", "1 of 3 temperatures, at 400 K: 460.00 ± 0.50 K, and 400 K is exact"),
    ],
)
def test_a_relation_holds_if_it_holds_at_every_temperature(values, outcome, said):
    checks = [Check(FORCES, value, 0.5, kelvin, "K", kelvin) for value, kelvin in zip(values, KELVINS, strict=True)]
    found = verdicts(report(checks))[FORCES]
    assert (found.outcome, found.finding) == (outcome, said)


def test_a_large_error_bar_buys_nothing():
    found = verdicts(report([Check(FORCES, 300.0, 30.0, 300.0, "K", 300.0)]))[FORCES]
    assert found.outcome == "not resolved"


def test_checks_stand_in_a_table_with_a_column_for_each_temperature():
    checks = [Check(FORCES, 302.0, 0.5, 300.0, "K", 300.0), Check(FORCES, 470.0, 0.5, 400.0, "K", 400.0)]
    table, words = section.thermodynamics(report(checks)).tables
    assert table.header == ("Relation", "Exact", "300 K", "400 K")
    assert table.rows == ((FORCES, "T / K", "302.00 ± 0.50 ✓", "470.00 ± 0.50 ✗"),)
    assert words.rows[0][0] == FORCES and "div g" in words.rows[0][1]


@pytest.mark.parametrize(("shift", "outcome"), [(0.0, "agrees"), (0.3, "differs")])
def test_energies_are_judged_at_all_temperatures(shift, outcome):
    found = verdicts(report(energies=energetics(shift)))
    assert found["mean energy of the atoms over temperatures"].outcome == outcome
    assert found["configurational heat capacity over temperatures"].outcome == outcome


@pytest.mark.parametrize(("shift", "outcome"), [(0.0, "not resolved"), (0.1, "differs"), (0.001, "not resolved")])
def test_rises_of_the_entropy_are_judged_but_for_the_first_which_is_none(shift, outcome):
    made = section.thermodynamics(report(energies=with_entropies(energetics(), shift)))
    found = {v.observable: v for v in made.verdicts}["rise of the entropy with temperature"]
    assert found.outcome == outcome and "300 K" not in found.finding
    drawn = made.figures[-1]
    assert drawn.title == "Rise of the entropy per molecule" and "ΔS per molecule / (J/(mol K))" in drawn.svg
    assert "ΔS = S − S(300 K)" in drawn.caption
    assert made.tables[-1].header[-2:] == ("ΔS, model / J/(mol K)", "ΔS, atoms")
    assert made.tables[-1].rows[0][-1].startswith("0") and made.tables[-1].rows[1][-1] == "20.00 ± 0.10"


def test_where_there_are_no_atoms_the_model_is_shown_and_not_judged():
    alone = [e._replace(atoms_energy=None, atoms_heat=None) for e in energetics()]
    made = section.thermodynamics(report(energies=alone))
    assert not made.verdicts and not made.figures
    assert made.tables[0].rows[0][3] == "–"


def test_figures_say_where_the_model_learned():
    drawn = section.thermodynamics(report(energies=energetics())).figures
    assert [f.title for f in drawn] == [
        "Mean potential energy per molecule",
        "Configurational heat capacity per molecule",
    ]
    assert all("learned from" in f.svg and "Triangles" in f.caption for f in drawn)
    assert "up to a constant" in drawn[0].caption


def distributions(heights):
    rng = np.random.default_rng(1)
    return [
        Distribution("rdf", k, rdf(rng, 3.1), rdf(rng, height), k != 400.0)
        for k, height in zip(KELVINS, heights, strict=True)
    ]


def test_structure_is_judged_at_each_temperature():
    made = section.thermodynamics(report(distributions=distributions((3.1, 3.1, 3.8))))
    outcomes = {v.observable: v.outcome for v in made.verdicts}
    assert outcomes == {
        "RDF W–W at 300 K: mean-square error": "agrees",
        "RDF W–W at 400 K: mean-square error (not learned from)": "agrees",
        "RDF W–W at 500 K: mean-square error": "differs",
    }
    every, errors = made.figures
    assert every.wide and all(f"{k:g} K" in every.svg for k in KELVINS)
    assert "what would matter" in errors.svg and "beyond noise / 10⁻⁴" in errors.svg


@pytest.mark.parametrize(("factor", "outcome"), [(1.0, "agrees"), (1.5, "differs")])
def test_diffusion_is_judged_where_friction_was_not_matched(factor, outcome):
    d = lambda value: Scalar("diffusion coefficient", value, 0.01 * value, "1e-9 m²/s")
    gamma = Scalar("friction", 28.4, 0.7, "1/ps")
    motion = [
        Motion(k, d(factor * k / 100 if k > 300 else 3.0), d(k / 100), k == 300.0, gamma, (2.0, 4.4)) for k in KELVINS
    ]
    made = section.thermodynamics(Report("model", (300.0,), (), (), (), motion=tuple(motion)))
    (verdict,), (figure,), (table,) = made.verdicts, made.figures, made.tables
    assert table.header[3] == "D, model / (10⁻⁹\u00a0m²/s)"
    assert table.rows[0] == ("300", "yes", "28.40 ± 0.70", "3.000 ± 0.030", "3.000 ± 0.030", "2 – 4.4")
    assert (verdict.observable, verdict.outcome) == ("diffusion coefficient, predicted", outcome)
    assert "all 2 temperatures" in verdict.finding or "2 of 2" in verdict.finding
    assert figure.title == "Diffusion over temperature" and "D / (10⁻⁹\u00a0m²/s)" in figure.svg
    assert "friction matched" in figure.svg and "10⁻⁹" in verdict.finding
    only = section.thermodynamics(Report("model", (300.0,), (), (), (), motion=(motion[0],)))
    assert not only.verdicts and not only.figures


def test_exchanges_stand_in_a_table():
    told = (Exchanged(300.0, 330.0, 120, 0.31), Exchanged(330.0, 360.0, 119, 0.28))
    (table,) = section.thermodynamics(Report("m", (), (), (), (), exchanged=told, round_trips=7)).tables
    assert table.rows[0] == ("300 – 330", "120", "0.31") and "7 round trips" in table.title


def test_labels_that_leave_coefficients_open_are_not_called_wrong():
    assert verdicts(report(determined=(70, 70)))["what the labels determine"].outcome == "agrees"
    assert verdicts(report(determined=(64, 70)))["what the labels determine"].outcome == "not resolved"


def test_in_a_small_box_the_error_is_taken_to_its_end_and_said_to_be():
    rng = np.random.default_rng(1)
    axis = np.arange(0.0025, 0.62, 0.005)
    small = lambda value: curve("RDF W–W", axis, value + 0 * axis, 1e-4, rng, ("r / nm", "g(r)"))
    compared = Comparison("rdf", small(1.0), (("model", small(1.1)),))
    assert reach_of(compared) == ", over 0.2 to 0.62 nm where the box ends"
    assert error_of(compared).mean_square == pytest.approx(0.01, rel=0.01)
    whole = Comparison("rdf", rdf(rng), (("model", rdf(rng)),))
    assert reach_of(whole) == ""
