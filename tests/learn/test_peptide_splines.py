"""Splines of a peptide from a few frames: hundreds of coefficients, stiff bonds beside faint dihedrals."""

from pathlib import Path

import numpy as np

import meanforce as mf

DATA = Path(__file__).parents[2] / "benchmarks" / "data" / "alanine_obc2.h5"


def test_eighty_frames_foretell_forces_almost_to_their_noise():
    """Though most coefficients are touched by no frame, and fewer than a quarter are determined."""
    data = mf.Dataset.open(DATA).at(slice(0, 80))
    potential = mf.SplinePotential(data.topology, cutoff=1.4, many_body=False, spacing=0.04)
    found = mf.fit(potential, mf.ForceMatching(data), core=False)
    (score,) = found.history.scores
    assert score.labels > 500
    assert score.held_out < 1.3 * score.noise
    report = found.history.identifiability
    assert report.rank < 0.25 * report.size and len(report.unsampled) > 0.7 * report.size
    assert np.isfinite(found.posterior.factor).all()
