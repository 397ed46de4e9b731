"""The curve of a training as it is read back from its table."""

import numpy as np

from meanforce.learn.curve import Point, TrainingHistory
from meanforce.learn.score import Score
from meanforce.report.training import training


def test_every_objective_has_its_curve(tmp_path):
    score = lambda name, unit: Score(name, unit, *(1.0,) * (len(Score._fields) - 2))
    points = tuple(
        Point(k, 10 * k, (9.0 - k if k else np.nan, 5.0), (8.0 - k, 6.0), 1e-3, 1.0, float(k)) for k in range(4)
    )
    history = TrainingHistory(points, (score("force", "kJ/(mol nm)"), score("virial", "kJ/mol")), "", 30, 3.0, 0.0, 2)
    section = training("in words", history.to_csv(tmp_path / "training.csv"))
    assert section.verbatim == "in words"
    assert [figure.title for figure in section.figures] == ["Training: force", "Training: virial"]
    force = section.figures[0].description
    assert force.startswith("force error / kJ/(mol nm) against epoch.")
    assert "learned from: highest value 8 at 1" in force
    assert "held out: highest value 8 at 0" in force


def test_a_closed_form_has_none(tmp_path):
    assert training("in words", tmp_path / "training.csv").figures == ()
