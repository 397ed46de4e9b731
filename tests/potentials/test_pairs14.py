"""Pairs three bonds apart: left out, scaled or counted in full, as each pair term says."""

import numpy as np
import pytest

import meanforce.numerics.precision  # noqa: F401
from meanforce import thermodynamics
from meanforce.model import Model
from meanforce.potentials.priors import LennardJones, Repulsion
from meanforce.potentials.splines import PairSpline
from meanforce.topology import Topology

CHAIN = np.array([[0.0, 0, 0], [0.3, 0, 0], [0.3, 0.3, 0], [0.3, 0.3, 0.3]])  # the ends are 0.52 nm apart
BONDS = [(0, 1), (1, 2), (2, 3)]
FULL = {
    PairSpline: PairSpline(("A",), cutoff=0.9, spacing=0.1, coefficients=np.linspace(3.0, -1.0, 7)),
    Repulsion: Repulsion(("A",), height=[2.0], distance=[0.4], width=[0.1], cutoff=0.9),
}


def energy(term, r, **rules) -> float:
    topology = Topology.of(["A"] * len(r), {"A": 1.0}, **rules)
    return float(thermodynamics.free_energy(Model(term, topology), r, temperature=300.0))


@pytest.mark.parametrize("kind", FULL)
def test_learned_and_repulsive_pairs_count_them_in_full_unless_excluded(kind):
    alone = energy(FULL[kind], CHAIN[[0, 3]])
    assert alone != 0
    for scale in (1.0, 0.5):
        assert energy(FULL[kind], CHAIN, bonds=BONDS, exclude=2, scale14=scale) == pytest.approx(alone, rel=1e-12)
    assert energy(FULL[kind], CHAIN, bonds=BONDS, exclude=3) == pytest.approx(0, abs=1e-12)


def test_lennard_jones_scales_them_by_its_own_factor():
    whole, half = (LennardJones(("A",), sigma=[0.4], epsilon=[1.0], cutoff=0.9, scale14=s) for s in (1.0, 0.5))
    alone = energy(whole, CHAIN[[0, 3]])
    assert energy(whole, CHAIN, bonds=BONDS, exclude=2) == pytest.approx(alone, rel=1e-12)
    assert energy(half, CHAIN, bonds=BONDS, exclude=2) == pytest.approx(alone / 2, rel=1e-12)
    assert energy(half, CHAIN, bonds=BONDS, exclude=3) == pytest.approx(0, abs=1e-12)
