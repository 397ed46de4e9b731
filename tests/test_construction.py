"""Potentials as recipes ask for them."""

import numpy as np
import pytest

from meanforce import construction
from meanforce import recipe as recipes
from meanforce.data.dataset import Dataset
from meanforce.objectives.matching import EnergyMatching, ForceMatching
from meanforce.potentials.kernels import KernelPotential
from meanforce.potentials.local import DEFAULT, LARGE
from meanforce.potentials.sums import SplinePotential
from meanforce.potentials.surroundings import Surroundings
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


THERMAL = "thermal: {reference: 350, heat_capacity: HEAT}"


@pytest.fixture(scope="module")
def warm():
    random = np.random.default_rng(0)
    R = np.array([[0, 0, 0], [0.3, 0, 0], [0.4, 0.3, 0]]) + 0.03 * random.normal(size=(60, 3, 3))
    return Dataset.from_arrays(
        TRIMER, positions=R, forces=random.normal(size=R.shape), energies=random.normal(size=60),
        temperature=np.repeat([300.0, 400.0], 30),
    )  # fmt: skip


def test_kernels_stand_on_splines_and_see_as_far_as_asked(data):
    asked = "{kind: kernel, cutoff: 0.45, start: 0.1, radial: 2, degree: 1, points: 7, reach: 0.6, spacing: 0.05}"
    under, kernel = construction.construct(options(asked), data).terms
    assert isinstance(under, SplinePotential) and not np.any(under.coefficients)
    assert kernel.descriptor == Surroundings(("A", "B"), 0.45, start=0.1, radial=2, degree=1)
    assert len(kernel.points) == 7 and not np.any(kernel.coefficients)


@pytest.mark.parametrize(("bonds", "said", "factor"), [(True, "", 1), (False, "", 4), (True, ", length: 2.5", 2.5)])
def test_kernels_are_shorter_in_molecules_of_several_beads(data, bonds, said, factor):
    topology = TRIMER if bonds else Topology.of(["A", "B", "A"], masses=[1.0] * 3)
    frames = Dataset.from_frames(topology, data[:])
    *_, kernel = construction.construct(options(f"{{kind: kernel{said}}}"), frames).terms
    once = KernelPotential.of(frames, count=1, descriptor=Surroundings(("A", "B")), length=1.0)
    assert kernel.kernel.length == pytest.approx(factor * once.kernel.length)


@pytest.mark.parametrize("kind", ["spline", "kernel"])
@pytest.mark.parametrize(("heat", "heads"), [("true", 3), ("false", 2)])
def test_splines_that_depend_on_temperature_have_a_head_more_for_each_order(warm, kind, heat, heads):
    made = construction.construct(options(f"{{kind: {kind}, {THERMAL.replace('HEAT', heat)}}}"), warm)
    assert (len(made.heads), made.reference) == (heads, 350.0)


def test_the_middle_temperature_is_the_reference_where_none_is_said(warm):
    assert construction.construct(options("{kind: spline, thermal: {}}"), warm).reference == 400.0


def test_networks_that_depend_on_temperature_are_heads_of_other_seeds_on_splines_with_entropy(warm):
    wanted = [ForceMatching(warm), EnergyMatching(warm)]
    asked = options(f"{{kind: local, cutoff: 0.6, {THERMAL.replace('HEAT', 'true')}}}")
    under, *_, networks = construction.construct(asked, warm, wanted).terms
    assert len(under.heads) == 2 and np.any(np.asarray(under.heads[1].coefficients))
    weights = [head.layers[0].weight for head in (networks.value, networks.entropy, networks.capacity)]
    assert not np.allclose(weights[0], weights[1]) and not np.allclose(weights[1], weights[2])
    assert networks.reference == under.reference == 350.0


def test_a_heat_capacity_may_be_given_at_several_temperatures(warm):
    asked = options(f"{{kind: local, cutoff: 0.6, {THERMAL.replace('HEAT', '[300, 350, 400]')}}}")
    *_, networks = construction.construct(asked, warm, [ForceMatching(warm), EnergyMatching(warm)]).terms
    assert (networks.temperatures, networks.reference) == ((300.0, 350.0, 400.0), 350.0)
    first, *others = (head.layers[0].weight for head in networks.capacities)
    assert not any(np.allclose(first, other) for other in others)
