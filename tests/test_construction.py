"""Potentials as recipes ask for them."""

import numpy as np
import pytest

from meanforce import construction
from meanforce import recipe as recipes
from meanforce.data.dataset import Dataset
from meanforce.objectives.matching import ForceMatching
from meanforce.potentials.local import DEFAULT, LARGE
from meanforce.topology import Topology

TRIMER = Topology.of(["A", "B", "A"], masses=[1.0] * 3, bonds=[(0, 1), (1, 2)])


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    R = np.array([[0, 0, 0], [0.3, 0, 0], [0.4, 0.3, 0]]) + 0.03 * random.normal(size=(60, 3, 3))
    return Dataset.from_arrays(TRIMER, positions=R, forces=random.normal(size=R.shape), temperature=300.0)


def options(text):
    return recipes.parse("name: t\ndataset: beads.h5\npotential: " + text).potential


@pytest.mark.parametrize(("size", "expected"), [("small", DEFAULT), ("large", LARGE)])
def test_the_size_of_the_fast_network_is_chosen_by_a_word(data, size, expected):
    *_, network = construction.construct(options(f"{{kind: local, size: {size}}}"), data).terms
    assert (network.layers[0].weight.shape[1], network.cutoff) == (expected.hidden, 0.45)


def test_splines_under_a_network_are_solved_on_no_more_frames_than_they_need(data, monkeypatch):
    seen = []
    monkeypatch.setattr(construction, "ForceMatching", lambda few: seen.append(few) or ForceMatching(few))
    for limit in (1000, 45):
        monkeypatch.setattr(construction, "_BEADS_FOR_SPLINES", limit)
        construction.construct(options("local"), data)
    assert [len(few) for few in seen] == [60, 15]
    np.testing.assert_array_equal(seen[1][:].positions, data[::4].positions)
