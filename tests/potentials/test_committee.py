"""A committee is the mean of its members, and its spread theirs."""

import jax.numpy as jnp
import numpy as np
import pytest

from meanforce import testing
from meanforce.potentials.committee import Committee
from meanforce.potentials.splines import PairSpline
from meanforce.topology import Topology

TOPOLOGY = Topology.of(["A"] * 12, masses={"A": 10.0})
SPLINE = PairSpline(("A",), cutoff=0.6, start=0.2, spacing=0.1)


def members(count=3):
    draw = lambda k: jnp.asarray(np.random.default_rng(k).standard_normal(SPLINE.coefficients.shape))
    return tuple(SPLINE.with_coefficients(draw(k)) for k in range(count))


def graph():
    return testing.graph_of(SPLINE, TOPOLOGY, testing.disordered(TOPOLOGY, SPLINE.cutoffs, frames=3))


def test_the_spread_of_linear_members_is_that_of_their_coefficients():
    committee, here = Committee(members()), graph()
    coefficients = np.stack([m.coefficients for m in committee.members])
    rows = SPLINE.design(here)
    centred = rows.energy - rows.energy.mean(0, keepdims=True)
    assert np.allclose(committee.energy(here), rows.energy @ coefficients.mean(0), rtol=1e-11)
    assert np.allclose(committee.force_std(here), np.std(rows.forces @ coefficients.T, axis=-1, ddof=1), atol=1e-10)
    assert np.allclose(committee.energy_std(here), np.std(centred @ coefficients.T, axis=-1, ddof=1), atol=1e-10)


def test_a_committee_of_one_is_refused():
    with pytest.raises(ValueError, match="a committee of 1 has no spread"):
        Committee(members(1))
