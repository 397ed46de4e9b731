"""Radial and angular distributions against closed forms, crystals and a plain loop."""

import numpy as np
import pytest

from meanforce import observables
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.structure import AngularDistribution, RadialDistribution
from meanforce.topology import Topology

TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.7, 1.9, 0.0], [-0.6, 0.5, 2.2]])
BOXES = {"cube": np.eye(3) * 2.0, "brick": np.diag([2.0, 2.5, 1.8]), "triclinic": TRICLINIC}


def water(n):
    return Topology.of(["W"] * n, {"W": 18.0})


def gas(rng, frames, beads, box):
    return rng.random((frames, beads, 3)) @ box


def ensemble(positions, box, topology, log_weights=None, chain=None):
    n = len(positions)
    box = None if box is None else np.broadcast_to(box, (n, 3, 3)).copy()
    zero = np.zeros(n)
    return Ensemble(Frames(positions, box), topology, State(300.0), zero, zero if log_weights is None else log_weights,
                    np.zeros(n, int) if chain is None else chain)  # fmt: skip


def plain_rdf(positions, box, first, second, width, bins):
    """All images, all pairs, no cleverness."""
    shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3) @ box
    counts, pairs = np.zeros(bins), 0
    for i in range(len(positions)):
        for j in range(i + 1, len(positions)):
            if not (first[i] and second[j]) and not (first[j] and second[i]):
                continue
            pairs += 1
            d = np.linalg.norm(positions[j] - positions[i] + shifts, axis=1)
            counts += np.histogram(d[d < width * bins], bins, (0, width * bins))[0]
    edges = np.arange(bins + 1) * width
    return counts * abs(np.linalg.det(box)) / pairs / (4 / 3 * np.pi * np.diff(edges**3))


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_rdf_is_that_of_a_plain_loop(box):
    rng = np.random.default_rng(1)
    inside = gas(rng, 2, 40, box)
    x = inside + rng.integers(-6, 7, (2, 40, 3)) @ box
    topology = Topology.of(["A"] * 15 + ["B"] * 25, {"A": 1.0, "B": 2.0})
    is_a = np.arange(40) < 15
    everyone = np.ones(40, bool)
    frames = Frames(x, np.broadcast_to(box, (2, 3, 3)).copy())
    cases = {None: (everyone, everyone), ("A", "A"): (is_a, is_a), ("A", "B"): (is_a, ~is_a), ("B", "A"): (~is_a, is_a)}
    for species, (first, second) in cases.items():
        got = RadialDistribution(species, 0.8, 0.02).per_frame(frames, topology)
        want = [plain_rdf(frame, box, first, second, 0.02, 40) for frame in inside]
        np.testing.assert_allclose(got, want, rtol=1e-10)


def test_ideal_gas_has_one_everywhere_and_is_normalised_exactly():
    """<g> = 1 at any N; over all space every frame gives 1, which is N/(N - 1) of the convention with N^2."""
    rng = np.random.default_rng(3)
    n, box = 20, BOXES["cube"]
    curve = observables.rdf(ensemble(gas(rng, 4000, n, box), box, water(n)), r_max=1.0, bin_width=0.05)
    inside = curve.axis > 0.2
    z = (curve.value[inside] - 1) / curve.error[inside]
    assert np.abs(z).max() < 4 and abs(np.mean(z**2) - 1) < 1.2
    assert observables.coordination(curve, n, 8.0, 0.8) == pytest.approx((n - 1) / 8 * 4 / 3 * np.pi * 0.8**3, rel=0.02)
    one = RadialDistribution(None, 0.999999, 0.999999)
    x = np.full((1, n, 3), 1.0) + 0.3 * rng.random((1, n, 3))  # all pairs closer than half the box
    g = one.per_frame(Frames(x, box[None]), water(n))[0, 0]
    assert g * 4 / 3 * np.pi * 0.999999**3 / 8.0 == pytest.approx(1.0, rel=1e-12)


def test_fcc_crystal():
    a, cells = 0.5, 5
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    corners = np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    x = ((corners + basis) * a).reshape(1, -1, 3) + 1e-7
    n, box = x.shape[1], np.eye(3) * a * cells
    sampled = ensemble(x, box, water(n))
    curve = observables.rdf(sampled, r_max=0.9)
    assert np.isnan(curve.error).all(), "one frame has no error bar"
    shells = {a / np.sqrt(2): 12, a: 6, a * np.sqrt(1.5): 24, a * np.sqrt(2): 12, a * np.sqrt(2.5): 24}
    want = 0
    for r, count in shells.items():
        want += count
        assert observables.coordination(curve, n, (a * cells) ** 3, r + 0.02) == pytest.approx(want, rel=1e-9)
    assert (curve.value > 0).sum() <= 2 * 7
    angles = observables.adf(sampled, cutoff=0.4)
    counted = angles.value * np.pi / 90
    places = {60: 24, 90: 12, 120: 24, 180: 6}  # of the 66 pairs of twelve neighbours
    for degrees, count in places.items():
        near = np.abs(np.degrees(angles.axis) - degrees) < 2.1
        assert counted[near].sum() == pytest.approx(count / 66, rel=1e-9)


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_angles_of_random_triplets_are_half_a_sine(box):
    rng = np.random.default_rng(4)
    curve = observables.adf(ensemble(gas(rng, 300, 60, box), box, water(60)), cutoff=0.6)
    assert curve.value.sum() * np.pi / 90 == pytest.approx(1.0, rel=1e-12)
    edges = np.linspace(0, np.pi, 91)
    want = -np.diff(np.cos(edges)) / 2 / (np.pi / 90)
    z = (curve.value - want) / curve.error
    assert np.abs(z).max() < 4.5 and abs(np.mean(z**2) - 1) < 0.6


def plain_angles(x, box, ends, cutoff, bins):
    shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3) @ box
    one, centre, other = ends
    found = []
    for i in np.flatnonzero(centre):
        d = x - x[i] + shifts[:, None]
        r = np.linalg.norm(d, axis=-1)
        image, j = np.nonzero((r < cutoff) & (r > 1e-9))
        arms = d[image, j] / r[image, j][:, None]
        for p in range(len(j)):
            for q in range(p):
                if (one[j[p]] and other[j[q]]) or (one[j[q]] and other[j[p]]):
                    found.append(np.arccos(np.clip(arms[p] @ arms[q], -1, 1)))
    return np.histogram(found, bins, (0, np.pi))[0]


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_adf_is_that_of_a_plain_loop(box):
    rng = np.random.default_rng(5)
    x = gas(rng, 1, 40, box)
    topology = Topology.of(["A"] * 15 + ["B"] * 25, {"A": 1.0, "B": 2.0})
    is_a = np.arange(40) < 15
    for species, ends in {
        None: (is_a | True,) * 3,
        ("A", "B", "A"): (is_a, ~is_a, is_a),
        ("A", "A", "B"): (is_a, is_a, ~is_a),
    }.items():
        got = AngularDistribution(species, 0.6).per_frame(Frames(x, box[None]), topology)[0]
        np.testing.assert_array_equal(got, plain_angles(x[0], box, ends, 0.6, 90))


def test_reweighting_gives_what_direct_sampling_gives():
    """Two beads bound by a spring, sampled with one constant and reweighted to another: P(r) ~ r^2 exp(-k r^2/2)."""
    rng = np.random.default_rng(6)
    n, box = 10000, np.eye(3) * 4.0
    bond = rng.standard_normal((n, 3)) * 0.25
    x = np.stack([np.full((n, 3), 2.0), 2.0 + bond], axis=1)
    k = 1 / 0.25**2
    log_weights = -(0.5 * k) / 2 * (bond**2).sum(-1)
    reweighted = observables.rdf(ensemble(x, box, water(2), log_weights), r_max=1.0, bin_width=0.05)
    direct = observables.rdf(
        ensemble(np.stack([x[:, 0], 2.0 + bond / np.sqrt(1.5)], 1), box, water(2)), r_max=1.0, bin_width=0.05
    )
    edges = np.arange(21) * 0.05
    fine = np.linspace(0, 4, 800001)
    density = fine**2 * np.exp(-1.5 * k * fine**2 / 2)
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    exact = np.diff(np.interp(edges, fine, cumulative / cumulative[-1])) * 64 / (4 / 3 * np.pi * np.diff(edges**3))
    for curve in (reweighted, direct):
        z = (curve.value - exact)[:14] / curve.error[:14]
        assert np.abs(z).max() < 4 and np.mean(z**2) < 2.5


def test_a_data_set_gives_what_an_ensemble_gives():
    rng = np.random.default_rng(7)
    box = BOXES["triclinic"]
    x = gas(rng, 30, 25, box)
    weights = rng.random(30)
    chain = np.repeat([0, 1, 2], 10)
    data = Dataset.from_arrays(water(25), positions=x, box=box, temperature=300.0, weights=weights, trajectory=chain)
    theirs = observables.rdf(data, r_max=0.8)
    ours = observables.rdf(ensemble(x, box, water(25), np.log(weights), chain), r_max=0.8)
    for a, b in zip(theirs[1:4], ours[1:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-12)
    assert theirs.name == ours.name == "RDF W–W"


def test_beads_of_one_molecule_are_not_neighbours_in_space():
    rng = np.random.default_rng(8)
    box = BOXES["cube"]
    x = gas(rng, 1, 20, box)
    x[:, 1::2] = x[:, ::2] + [0.1, 0.0, 0.0]
    topology = Topology.of(["A", "B"] * 10, {"A": 1.0, "B": 1.0}, bonds=[(2 * k, 2 * k + 1) for k in range(10)])
    frames, is_a = Frames(x, box[None]), np.arange(20) % 2 == 0
    got = RadialDistribution(("A", "B"), 0.9, 0.03).per_frame(frames, topology)[0]
    free = RadialDistribution(("A", "B"), 0.9, 0.03).per_frame(frames, Topology.of(["A", "B"] * 10, topology.masses))[0]
    shells = 4 / 3 * np.pi * np.diff((np.arange(31) * 0.03) ** 3) / 8.0
    bonds = np.zeros(30)
    bonds[3] = 10  # 0.1 nm
    np.testing.assert_allclose(got * shells * 90 + bonds, free * shells * 100, atol=1e-9)
    np.testing.assert_allclose(free, plain_rdf(x[0], box, is_a, ~is_a, 0.03, 30), rtol=1e-9)


def test_beyond_half_the_box_is_refused():
    rng = np.random.default_rng(9)
    box = BOXES["triclinic"]
    sampled = ensemble(gas(rng, 2, 10, box), box, water(10))
    half = (1 / np.linalg.norm(np.linalg.inv(box), axis=0)).min() / 2
    with pytest.raises(ValueError, match="beyond half"):
        observables.rdf(sampled, r_max=half + 0.01)
    assert half - 0.005 < observables.rdf(sampled).axis[-1] + 0.0025 <= half


def nowhere(e):
    return e._replace(frames=e.frames.with_(positions=e.frames.positions * np.nan))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: observables.rdf(e._replace(frames=e.frames.with_(box=None))), "frames have none"),
        (lambda e: observables.rdf(e, ("W", "X")), "no bead is of species 'X'; there are W"),
        (lambda e: observables.rdf(e, bin_width=-0.1), "must be positive"),
        (lambda e: observables.adf(e, cutoff=0.01), "no bead ever has two neighbours"),
        (lambda e: observables.adf(e, cutoff=-1.0), "positive cut-off"),
        (lambda e: observables.adf(nowhere(e), cutoff=0.3), "no neighbours within|not finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(call, message):
    box = BOXES["cube"]
    with pytest.raises(ValueError, match=message):
        call(ensemble(gas(np.random.default_rng(1), 2, 12, box), box, water(12)))


def test_other_sources_are_refused():
    with pytest.raises(TypeError, match="an Ensemble or a Dataset, not ndarray"):
        observables.rdf(np.zeros((1, 2, 3)))


def test_several_temperatures_are_refused():
    data = Dataset.from_arrays(water(2), positions=np.random.default_rng(0).random((2, 2, 3)), box=[2, 2, 2],
                               temperature=np.array([300.0, 350.0]))  # fmt: skip
    with pytest.raises(ValueError, match=r"select\(temperature=300\)"):
        observables.rdf(data)
