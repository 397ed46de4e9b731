"""Constraints from words, from pairs, and from a GROMACS run input."""

from pathlib import Path

import numpy as np
import pytest

from meanforce.data.constraints import constrained_pairs, groups, tpr_constraints
from meanforce.data.errors import ReadingError
from meanforce.topology import Topology

ELEMENTS = ("O", "H", "H", "C", "H", "O")  # a water, then H-C-O
TOPOLOGY = Topology(ELEMENTS, np.ones(6), bonds=[(0, 1), (0, 2), (3, 4), (3, 5)])


@pytest.mark.parametrize(
    ("words", "pairs"),
    [
        ("none", []),
        ("h-bonds", [(0, 1), (0, 2), (3, 4)]),
        ("all-bonds", [(0, 1), (0, 2), (3, 4), (3, 5)]),
        ("rigid-water", [(0, 1), (0, 2), (1, 2)]),
        ([(3, 5)], [(3, 5)]),
        ([], []),
    ],
)
def test_words_and_pairs(words, pairs):
    assert sorted(map(tuple, constrained_pairs(TOPOLOGY, ELEMENTS, words).tolist())) == pairs


def test_unknown_is_not_none():
    assert constrained_pairs(TOPOLOGY, ELEMENTS, None) is None
    assert constrained_pairs(TOPOLOGY, ELEMENTS, "none") is not None


def test_groups_are_rigid_bodies():
    of = groups(6, constrained_pairs(TOPOLOGY, ELEMENTS, "h-bonds"))
    assert of[0] == of[1] == of[2]
    assert of[3] == of[4]
    assert len(set(of.tolist())) == 3
    assert len(set(groups(6, None).tolist())) == 6


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ReadingError, match="'hbonds' is unknown; give none, h-bonds"):
        constrained_pairs(TOPOLOGY, ELEMENTS, "hbonds")
    with pytest.raises(ReadingError, match="needs the bonds"):
        constrained_pairs(Topology(ELEMENTS, np.ones(6)), ELEMENTS, "h-bonds")
    with pytest.raises(ReadingError, match="no molecule of one oxygen"):
        constrained_pairs(Topology(("C",), np.ones(1)), ("C",), "rigid-water")
    with pytest.raises(ReadingError, match="outside the 6 atoms"):
        constrained_pairs(TOPOLOGY, ELEMENTS, [(0, 6)])
    with pytest.raises(ReadingError, match="pairs of atom indices"):
        constrained_pairs(TOPOLOGY, ELEMENTS, [0, 1, 2])


def test_run_inputs_of_gromacs(tmp_path):
    """On the run inputs that MDAnalysis ships for its own tests, where these are installed."""
    files = pytest.importorskip("MDAnalysisTests.datafiles")
    import MDAnalysis

    pairs = tpr_constraints(Path(files.TPR2024))
    atoms = MDAnalysis.Universe(files.TPR2024, to_guess=()).atoms
    held = {frozenset((atoms.names[i], atoms.names[j])) for i, j in pairs.tolist()}
    assert frozenset(("OW", "HW1")) in held
    assert frozenset(("HW1", "HW2")) in held
    assert (atoms.resindices[pairs[:, 0]] == atoms.resindices[pairs[:, 1]]).mean() > 0.9


def test_a_broken_run_input_is_refused(tmp_path):
    (tmp_path / "broken.tpr").write_bytes(b"nothing of the kind")
    with pytest.raises(ReadingError, match="constraints cannot be read"):
        tpr_constraints(tmp_path / "broken.tpr")
