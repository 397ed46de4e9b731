"""Errors against temperature and number of frames: read, drawn, and claims on them judged."""

import json

import pytest

from meanforce.report.learning import Claim, Quantity, Row, judge, learning, read_rows

RDF = Quantity("RDF", "mean-square error beyond noise", level=5e-4)
CLAIM = Claim("response", "force", "own", 400.0, 100)


def rows(ours=2e-4, bar=2e-5):
    at = lambda name, n, kelvin, error: Row(name, n, kelvin, error, bar)
    return [at(name, n, kelvin, error * 100 / n) for kelvin in (300.0, 400.0) for n in (10, 30, 100)
            for name, error in (("force", 2e-3), ("response", ours), ("own", 1e-4))]  # fmt: skip


def test_lines_of_a_benchmark_are_read_and_the_noise_is_taken_off(tmp_path):
    lines = [{"model": "force", "kelvin": 250.0, "frames": 30, "rdf": [9e-3, 1e-3, 5e-4], "force": 0.4},
             {"model": "force", "kelvin": 350.0, "frames": 30, "rdf": [4e-3, 1e-3, 5e-4]}]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert read_rows(path, "rdf") == [Row("force", 30, 250.0, pytest.approx(8e-3), 5e-4),
                                      Row("force", 30, 350.0, pytest.approx(3e-3), 5e-4)]  # fmt: skip
    assert read_rows(path, "force") == [Row("force", 30, 250.0, 0.4, 0.0)]
    with pytest.raises(ValueError, match="no line has 'adf'"):
        read_rows(path, "adf")


@pytest.mark.parametrize(
    ("ours", "bar", "outcome"), [(2e-4, 2e-5, "agrees"), (1.2e-3, 2e-5, "differs"), (7e-4, 1e-4, "not resolved")]
)
def test_a_claim_is_judged_beyond_the_floor(ours, bar, outcome):
    """A third of 1.9e-3 beyond 1e-4 is 7.3e-4."""
    found = judge(rows(ours, bar), CLAIM, RDF)
    assert (found.outcome, found.model) == (outcome, "response")
    assert found.rule.startswith("at most 33.3 % of what force leaves beyond own")
    if outcome == "agrees":
        assert "1.0 × 10⁻⁴ beyond own, against 0.0019: 5.3 %" in found.finding
        assert "(-5.33 ± 0.25) × 10⁻⁴" in found.finding  # 2e-5 sqrt(1 + 1/9 + 4/9)


def test_figures_have_a_plot_for_each_number_of_frames_and_each_temperature():
    made = learning(rows(), RDF, reference="own", claims=[CLAIM])
    over_t, over_n = made.figures
    assert all(f">{n} frames<" in over_t.svg for n in (10, 30, 100)) and "temperature / K" in over_t.svg
    assert all(f">{t} K<" in over_n.svg for t in (300, 400)) and "number of frames learned from" in over_n.svg
    for figure in (over_t, over_n):
        assert figure.wide and all(f"data {role}" in figure.svg for role in ("reference", "model", "rival"))
        assert "what would matter" in figure.svg
    assert [v.outcome for v in made.verdicts] == ["agrees"]
    (table,) = made.tables
    assert table.header == ("Model", "Frames", "300 K", "400 K")
    assert table.rows[2] == ("force", "100", *("0.002000 ± 0.000020",) * 2)


def test_the_legend_names_models_that_the_first_plot_lacks():
    few = [row for row in rows() if row.model == "force" or row.frames == 100]
    assert all(f">{name}<" in learning(few, RDF).figures[0].svg for name in ("force", "response", "own"))


def test_what_is_not_told_from_zero_is_an_open_mark():
    told = learning([Row("force", n, 300.0, 1e-3, 1e-5) for n in (10, 100)], RDF).figures[0].svg
    lost = learning([Row("force", n, 300.0, e, 1e-4) for n, e in ((10, 1e-3), (100, -5e-5))], RDF).figures[0].svg
    assert "data open" in lost and "data open" not in told


def test_too_many_models_and_claims_without_errors_are_refused():
    many = [Row(f"m{k}", n, 300.0, 1e-3, 1e-5) for k in range(5) for n in (10, 100)]
    with pytest.raises(ValueError, match="5 models in one figure cannot be told apart"):
        learning(many, RDF)
    with pytest.raises(ValueError, match="0 errors of response at 400 K from 300 frames"):
        judge(rows(), CLAIM._replace(frames=300), RDF)
