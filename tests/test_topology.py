"""Topologies: what the bonds imply, checked against an independent graph search; and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, shortest_path

from meanforce.topology import Topology


@st.composite
def molecules(draw):
    n = draw(st.integers(1, 10))
    species = draw(st.lists(st.sampled_from("ABC"), min_size=n, max_size=n))
    every = [(i, j) for i in range(n) for j in range(i + 1, n)]
    bonds = draw(st.lists(st.sampled_from(every), unique=True, max_size=12)) if every else []
    bonds = [pair[::-1] if draw(st.booleans()) else pair for pair in bonds]
    return Topology.of(
        species, {"A": 1.0, "B": 2.5, "C": 14.0}, bonds=bonds, exclude=draw(st.integers(0, 4)), scale14=0.5
    )


def distances(topology: Topology) -> np.ndarray:
    n = len(topology)
    links = coo_matrix((np.ones(len(topology.bonds)), topology.bonds.T), shape=(n, n)).tocsr()
    return shortest_path(links, directed=False, unweighted=True)


def pairs_where(condition: np.ndarray) -> list[list[int]]:
    return np.argwhere(np.triu(condition, 1)).tolist()


@settings(max_examples=80, deadline=None)
@given(molecules())
def test_exclusions_and_14_pairs_are_bond_distances(topology):
    bonds_apart = distances(topology)
    assert topology.excluded.tolist() == pairs_where(bonds_apart <= topology.exclude)
    assert topology.pairs14.tolist() == (pairs_where(bonds_apart == 3) if topology.exclude < 3 else [])
    assert topology.excluded.shape[1] == topology.pairs14.shape[1] == 2


@settings(max_examples=50, deadline=None)
@given(molecules())
def test_molecules_are_what_the_bonds_connect(topology):
    n = len(topology)
    links = coo_matrix((np.ones(len(topology.bonds)), topology.bonds.T), shape=(n, n))
    count, label = connected_components(links, directed=False)
    assert len(set(zip(label, topology.molecules, strict=True))) == count == topology.molecules.max() + 1
    first_seen = [np.flatnonzero(topology.molecules == m)[0] for m in range(count)]
    assert first_seen == sorted(first_seen)


@settings(max_examples=50, deadline=None)
@given(molecules())
def test_json_round_trip(topology):
    again = Topology.from_json(topology.to_json())
    assert again == topology and again.hash == topology.hash and hash(again) == hash(topology)
    assert again.types == topology.types
    np.testing.assert_array_equal(again.species_index, topology.species_index)


@settings(max_examples=50, deadline=None)
@given(molecules(), st.randoms(use_true_random=False))
def test_kinds_read_from_either_end(topology, random):
    turned = [term[::-1] if random.random() < 0.5 else term for term in topology.bonds.tolist()]
    other = Topology.of(topology.species, topology.masses, bonds=turned)
    assert other.kinds("bonds") == topology.kinds("bonds")
    np.testing.assert_array_equal(other.kind_index("bonds"), topology.kind_index("bonds"))
    for term, kind in zip(topology.bonds, topology.kind_index("bonds"), strict=True):
        assert sorted(topology.species[i] for i in term) == sorted(topology.kinds("bonds")[kind])


@settings(max_examples=40, deadline=None)
@given(molecules(), st.integers(1, 3), st.integers(1, 4))
def test_a_mixture_is_its_molecules_side_by_side(topology, first, second):
    solvent = Topology.of(["W", "V"], [18.0, 1.0], bonds=[(0, 1)], exclude=topology.exclude, scale14=0.5)
    mixed = Topology.mixture([(topology, first), (solvent, second)])
    n = len(topology)
    assert len(mixed) == n * first + 2 * second
    assert len(set(mixed.molecules.tolist())) == len(set(topology.molecules.tolist())) * first + second
    for copy in range(first):
        inside = (mixed.excluded >= copy * n).all(axis=1) & (mixed.excluded < (copy + 1) * n).all(axis=1)
        assert (mixed.excluded[inside] - copy * n).tolist() == topology.excluded.tolist()
    assert len(mixed.excluded) == len(topology.excluded) * first + len(solvent.excluded) * second
    assert len(mixed.pairs14) == len(topology.pairs14) * first
    assert mixed.masses.sum() == pytest.approx(topology.masses.sum() * first + 19.0 * second)
    assert len(set(mixed.residue_ids.tolist())) == len(set(topology.residue_ids.tolist())) * first + second


def test_butane_by_hand():
    chain = Topology.of(["C3", "C2", "C2", "C3"], {"C3": 15.0, "C2": 14.0}, bonds=[(0, 1), (1, 2), (2, 3)],
                        angles=[(0, 1, 2), (3, 2, 1)], dihedrals=[(0, 1, 2, 3)], exclude=2)  # fmt: skip
    assert chain.excluded.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert chain.pairs14.tolist() == [[0, 3]]
    assert chain.types == ("C2", "C3")
    assert chain.kinds("bonds") == (("C2", "C2"), ("C2", "C3"))
    assert chain.kinds("angles") == (("C2", "C2", "C3"),)
    assert chain.kind_index("angles").tolist() == [0, 0]
    assert chain.kinds("dihedrals") == (("C3", "C2", "C2", "C3"),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bonds": [(0, 3)]}, "outside the 3 particles"),
        ({"bonds": [(-1, 0)]}, "outside the 3 particles"),
        ({"bonds": [(0, 1), (1, 0)]}, "twice, from either end"),
        ({"bonds": [(1, 1)]}, "one particle twice"),
        ({"angles": [(0, 1, 0)]}, "one particle twice"),
        ({"angles": [(0, 1), (1, 2), (2, 0)]}, r"angles have shape \(3, 2\)"),
        ({"bonds": [0.0, 1.0]}, "have shape"),
        ({"bonds": [(0.0, 1.0)]}, "are integers"),
        ({"masses": [1.0, 2.0]}, "3 positive masses"),
        ({"masses": [1.0, 2.0, np.nan]}, "3 positive masses"),
        ({"masses": {"A": 1.0}}, "no mass is given for B"),
        ({"exclude": -1}, "exclude=-1"),
        ({"scale14": np.nan}, "scale14=nan"),
    ],
)
def test_what_no_molecule_can_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Topology.of(["A", "B", "A"], **{"masses": {"A": 1.0, "B": 2.0}, **changes})


def test_edited_json_is_refused():
    text = json.loads(Topology.of(["A"], {"A": 1.0}).to_json())
    with pytest.raises(ValueError, match="this is no topology"):
        Topology.from_json(json.dumps({**text, "charge": 1}))
    with pytest.raises(ValueError, match="this is no topology"):
        Topology.from_json("[]")


def test_mixtures_of_different_rules_are_refused():
    a = Topology.of(["A"], {"A": 1.0}, exclude=2)
    b = Topology.of(["B"], {"B": 1.0}, exclude=3)
    with pytest.raises(ValueError, match="same exclude"):
        Topology.mixture([(a, 1), (b, 1)])
    with pytest.raises(ValueError, match="at least one"):
        Topology.mixture([(a, 0)])


def test_pairs_are_those_that_some_two_beads_can_have():
    chain = Topology.of(["A", "B", "C", "D"], dict.fromkeys("ABCD", 1.0), bonds=[(0, 1), (1, 2), (2, 3)], exclude=2)
    assert chain.pairs == (("A", "D"),)
    liquid = Topology.of(["A", "B", "A", "B"], {"A": 1.0, "B": 1.0}, bonds=[(0, 1), (2, 3)], exclude=1)
    assert liquid.pairs == (("A", "A"), ("A", "B"), ("B", "B"))
    assert Topology.of(["A", "B"], {"A": 1.0, "B": 1.0}).pairs == (("A", "B"),)
    assert Topology.of(["A"], {"A": 1.0}).pairs == ()


def test_impropers_stand_around_particles_with_three_bonds():
    """A peptide plane, a branch of equal beads in both orders, and none for two or four neighbours."""
    star = Topology.of(["D", "C", "B", "A"], masses=[1.0] * 4, bonds=[(0, 1), (0, 2), (0, 3)])
    assert star.impropers.tolist() == [[3, 0, 2, 1]]
    equal = Topology.of(["D", "B", "A", "B"], masses=[1.0] * 4, bonds=[(0, 1), (0, 2), (0, 3)])
    assert equal.impropers.tolist() == [[2, 0, 1, 3], [2, 0, 3, 1]]
    assert equal.kinds("impropers") == (("A", "D", "B", "B"),)
    chain = Topology.of(["A"] * 3, masses=[1.0] * 3, bonds=[(0, 1), (1, 2)])
    crossing = Topology.of(["A"] * 5, masses=[1.0] * 5, bonds=[(0, k) for k in range(1, 5)])
    assert len(chain.impropers) == len(crossing.impropers) == 0
