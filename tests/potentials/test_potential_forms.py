"""What the contracts do not say: closed forms, composition, and files that were edited by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.potentials import priors, splines, sums
from meanforce.potentials.manybody import ThreeBodySpline
from meanforce.potentials.registry import from_header, to_header
from meanforce.topology import Topology

TRIMER = Topology.of(["W"] * 3, {"W": 18.0}, exclude=0)
PLACES = np.array([[[0.0, 0.0, 0.0], [0.28, 0.02, 0.0], [-0.05, 0.3, 0.1]]])


def lengths_and_cosines():
    r = PLACES[0]
    for i in range(3):
        a, b = (r[k] - r[i] for k in range(3) if k != i)
        yield np.linalg.norm(a), np.linalg.norm(b), a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_three_bodies_are_the_sum_over_triplets():
    term = ThreeBodySpline(("W",), cutoff=0.45, radial=2, degree=2)
    graph = build(Frames(positions=PLACES), TRIMER, term.cutoffs)

    def radial(p, r):
        u = abs((r - term.start) / term.spacing - (p + 2))
        return (max(2 - u, 0) ** 3 - 4 * max(1 - u, 0) ** 3) / 6

    legendre = [lambda c: 1.0, lambda c: c, lambda c: (3 * c * c - 1) / 2]
    expected = [
        sum(
            (radial(p, a) * radial(q, b) + radial(q, a) * radial(p, b)) * legendre[n](c)
            for a, b, c in lengths_and_cosines()
        )
        for p, q in [(0, 0), (0, 1), (1, 1)]
        for n in range(3)
    ]
    np.testing.assert_allclose(term.design(graph).energy[0], expected, rtol=1e-12)


def test_stillinger_weber_is_the_sum_over_pairs_and_triplets():
    water = priors.StillingerWeber()
    graph = build(Frames(positions=PLACES), TRIMER, water.cutoffs)
    s, e, rc = float(water.sigma), float(water.epsilon), water.reach
    g = lambda r: np.exp(1.2 * s / (r - rc)) if r < rc else 0.0
    two = lambda r: 7.049556277 * (0.6022245584 * (s / r) ** 4 - 1) * np.exp(s / (r - rc)) if r < rc else 0.0
    total = sum(
        e * (two(a) + two(b)) / 2 + 23.15 * e * (c + 1 / 3) ** 2 * g(a) * g(b) for a, b, c in lengths_and_cosines()
    )
    np.testing.assert_allclose(water.energy(graph)[0], total, rtol=1e-12)


@pytest.mark.parametrize("truncation", ["truncated", "shifted", "switched"])
def test_lennard_jones_has_its_minimum_and_its_end(truncation):
    term = priors.LennardJones(("A",), sigma=[0.3], epsilon=[1.2], cutoff=0.9, truncation=truncation)
    pair = Topology.of(["A", "A"], {"A": 1.0})
    distances = np.array([0.3 * 2 ** (1 / 6), 0.8999999])
    places = np.zeros((2, 2, 3))
    places[:, 1, 2] = distances
    well, end = term.energy(build(Frames(positions=places), pair, term.cutoffs))
    tail = 4 * 1.2 * ((0.3 / 0.9) ** 12 - (0.3 / 0.9) ** 6)
    assert well == pytest.approx(-1.2 - (tail if truncation == "shifted" else 0.0), rel=1e-10)
    assert end == pytest.approx(tail if truncation == "truncated" else 0.0, abs=1e-6)


def test_a_pair_spline_goes_on_as_a_line_towards_short_distances():
    term = splines.PairSpline(("A",), cutoff=0.6, start=0.3, spacing=0.05)
    term = term.with_coefficients(jnp.arange(6.0)[::-1] ** 2)
    pair = Topology.of(["A", "A"], {"A": 1.0})
    places = np.zeros((3, 2, 3))
    places[:, 1, 0] = [0.1, 0.2, 0.3]
    u = term.energy(build(Frames(positions=places), pair, term.cutoffs))
    assert u[0] - u[1] == pytest.approx(float(u[1] - u[2]), rel=1e-10)
    assert u[0] > u[1] > u[2]


def test_a_core_rises_where_no_data_determine_it():
    term = splines.PairSpline(("A",), cutoff=0.6, start=0.1, spacing=0.1).with_coefficients(jnp.zeros(5))
    raised = term.with_core(np.array([0.1, 0.4, 0.9, 0.0, 0.6]), 2.0)
    np.testing.assert_allclose(raised.coefficients, [4.0, 2.0, 0.0, 0.0, 0.0])


def test_a_spline_potential_has_a_term_for_whatever_the_topology_has():
    chain = Topology.of(
        ["A", "B", "A", "A", "A"], {"A": 1.0, "B": 2.0},
        bonds=[(0, 1), (1, 2), (2, 3), (3, 4)], angles=[(0, 1, 2)], dihedrals=[(0, 1, 2, 3)],
    )  # fmt: skip
    names = [type(term).__name__ for term in sums.SplinePotential(chain).terms]
    assert names == ["PairSpline", "ThreeBodySpline", "BondSpline", "AngleSpline", "DihedralSpline"]
    assert len(sums.SplinePotential(chain, many_body=False).terms) == 4
    with pytest.raises(ValueError, match="ExternalSpline"):
        sums.SplinePotential(Topology.of(["A"], {"A": 1.0}))


def test_a_sum_with_linear_terms_is_linear_and_stands_on_the_others():
    pair = splines.PairSpline(("A",))
    prior = priors.StillingerWeber()
    assert isinstance(sums.Sum.of(prior, pair), sums.LinearSum)
    assert isinstance(sums.Sum.of(prior), sums.Sum)
    assert sums.Sum.of(pair).fixed is None
    assert sums.Sum.of(prior, pair).cutoffs == (prior.reach, 0.9)


def test_headers_edited_by_hand_are_refused_by_name():
    structure, arrays = to_header(splines.PairSpline(("A",)))
    with pytest.raises(ValueError, match="did you mean PairSpline"):
        from_header({**structure, "class": "PairSplin"}, arrays)
    with pytest.raises(ValueError, match="is missing"):
        from_header(structure, {})
    with pytest.raises(ValueError, match="the header says"):
        from_header(structure, {name: a[:-1] for name, a in arrays.items()})
    with pytest.raises(ValueError, match="coefficients are needed"):
        from_header({**structure, "fields": {**structure["fields"], "pairs": [["A", "A"]] * 2}}, arrays)
    with pytest.raises(ValueError, match="do not match"):
        from_header({**structure, "fields": {**structure["fields"], "typo": 1}}, arrays)
    with pytest.raises(ValueError, match="no field asks for"):
        from_header(structure, {**arrays, "more": np.zeros(1)})
    with pytest.raises(ValueError, match="not a potential"):
        from_header(structure["fields"]["curve"], {})


def test_pairs_that_are_left_out_do_not_interact():
    topology = Topology.of(["A", "B", "B"], {"A": 1.0, "B": 1.0})
    rng = np.random.default_rng(5)
    frames = Frames(np.array([[[0.0, 0, 0], [0.35, 0, 0], [0.1, 0.4, 0]]]))
    every = splines.PairSpline(("A", "B"), cutoff=0.6, start=0.2, spacing=0.1)
    some = splines.PairSpline(("A", "B"), pairs=(("A", "B"),), cutoff=0.6, start=0.2, spacing=0.1)
    own = rng.normal(size=some.curve.size)
    full = np.zeros((3, every.curve.size))
    full[1] = own
    every, some = every.with_coefficients(full.ravel()), some.with_coefficients(own)
    graph = build(frames, topology, some.cutoffs)
    np.testing.assert_allclose(some.energies(graph), every.energies(graph), rtol=1e-13)
    np.testing.assert_allclose(some.energy(graph), every.energy(graph), rtol=1e-13)
    np.testing.assert_allclose(some.design(graph).forces @ own, every.design(graph).forces @ full.ravel(), atol=1e-12)
    with pytest.raises(ValueError, match="pairs name C"):
        splines.PairSpline(("A", "B"), pairs=(("A", "C"),))
