"""Neighbour sets against brute force and against an independent library."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vesin import NeighborList

from meanforce.numerics import neighbours
from meanforce.numerics.neighbours import FAR, IMAGE_RANGE, SIDE

CUBE = np.eye(3) * 3.0
SKEW = np.array([[3.0, 0, 0], [1.2, 2.8, 0], [-0.9, 1.1, 2.6]])
GENERAL = np.array([[2.6, 0.5, -0.3], [0.2, 3.1, 0.7], [-0.6, 0.4, 2.9]])
SMALL = np.array([[0.7, 0, 0], [0.2, 0.8, 0], [0.0, 0.1, 0.9]])


def lattice(code):
    return np.stack([code // SIDE**2, code // SIDE % SIDE, code % SIDE], -1) - IMAGE_RANGE


def listed(rows, home):
    """The pairs of a list, with the image relative to the positions as they were given."""
    pairs = set()
    for i in range(len(rows.index)):
        for j, code in zip(rows.index[i], rows.image[i], strict=True):
            if code != FAR:
                pairs.add((i, int(j), *(int(s) for s in lattice(code) - home[j] + home[i])))
    assert len(pairs) == (rows.image != FAR).sum(), "a pair is listed twice"
    return pairs


def brute_force(positions, box, cutoff, first=0, reach=12):
    shifts = np.zeros((1, 3), int)
    if box is not None:
        shifts = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vectors = shifts @ (np.zeros((3, 3)) if box is None else box)
    pairs = set()
    for i in range(len(positions)):
        for j in range(len(positions)):
            d = np.linalg.norm(positions[j] - positions[i] + vectors, axis=1)
            for s in shifts[d <= cutoff]:
                if i != j or s.any():
                    pairs.add((first + i, first + j, *(int(v) for v in s)))
    return pairs


def build(positions, box, cutoffs, capacity=400, start=None, pairs=None):
    start = np.array([0, len(positions)]) if start is None else start
    box = None if box is None else np.broadcast_to(box, (len(start) - 1, 3, 3))
    excluded = neighbours.exclusions(len(positions), pairs)
    return neighbours.build(positions, box, start, cutoffs, [capacity] * len(cutoffs), excluded)


@pytest.mark.parametrize("box", [CUBE, SKEW, GENERAL, None], ids=["cube", "skew", "general", "none"])
def test_same_pairs_as_vesin(box):
    rng = np.random.default_rng(1)
    positions = rng.uniform(-2, 5, (150, 3)) if box is None else rng.uniform(-1, 2, (150, 3)) @ box
    for cutoff in (0.6, 2.2):
        (rows,), home = build(positions, box, [cutoff], 1500)
        search = NeighborList(cutoff=cutoff, full_list=True)
        i, j, s = search.compute(positions, np.zeros((3, 3)) if box is None else box, box is not None, "ijS")
        assert listed(rows, home) == set(zip(i.tolist(), j.tolist(), *s.T.astype(int).tolist(), strict=True))
        assert rows.needed == np.bincount(i.astype(int)).max()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.sampled_from([CUBE, SKEW, GENERAL, SMALL, None]))
def test_same_pairs_as_brute_force(seed, n, box):
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-1, 1, (n, 3)) * 1.5
    height = 1.0 if box is None else neighbours.smallest_height(box[None])
    cutoffs = sorted(rng.uniform(0.1, 2.9, 2) * height)
    lists, home = build(positions, box, cutoffs, 3000)
    for rows, cutoff in zip(lists, cutoffs, strict=True):
        assert listed(rows, home) == brute_force(positions, box, cutoff, reach=8)


def test_several_frames_are_disjoint():
    rng = np.random.default_rng(2)
    start = np.array([0, 20, 20, 55, 70])
    boxes = np.array([CUBE, CUBE, SKEW, GENERAL])
    positions = rng.uniform(0, 3, (70, 3))
    (rows,), home = neighbours.build(positions, boxes, start, [1.3], [200])
    expected = set()
    for f in range(4):
        expected |= brute_force(positions[start[f] : start[f + 1]], boxes[f], 1.3, start[f], reach=3)
    assert listed(rows, home) == expected


@pytest.mark.parametrize("box", [CUBE, SMALL, None], ids=["cube", "small", "none"])
@pytest.mark.parametrize("capacity", [60, 4])
def test_slots_lead_back(box, capacity):
    positions = np.random.default_rng(3).uniform(0, 1, (40, 3)) * (0.8 if box is SMALL else 2.0)
    for rows in build(positions, box, [0.5, 0.8], capacity)[0]:
        i, k = np.indices(rows.index.shape)
        assert (rows.index[rows.index, rows.slot] == i).all()
        assert (rows.slot[rows.index, rows.slot] == k).all()
        back = np.where(rows.image == FAR, FAR, FAR - 1 - rows.image)
        assert (rows.image[rows.index, rows.slot] == back).all()
        assert (rows.index[rows.image == FAR] == i[rows.image == FAR]).all()


def test_overflow_is_counted_and_stays_inside():
    positions = np.random.default_rng(4).uniform(0, 3, (200, 3))
    (full,), _ = build(positions, CUBE, [1.0], 200)
    for capacity in (0, 1, 7, full.needed - 1):
        (rows,), home = build(positions, CUBE, [1.0], capacity)
        assert rows.needed == full.needed > rows.index.shape[1]
        assert listed(rows, home) <= listed(full, home)


def test_excluded_pairs_are_skipped_in_their_nearest_image():
    positions = np.array([[0.05, 0.4, 0.45], [0.65, 0.4, 0.45], [0.28, 0.1, 0.1]])
    pairs = np.array([[0, 1], [1, 2]])
    (plain,), home = build(positions, SMALL, [1.2])
    (rows,), _ = build(positions, SMALL, [1.2], pairs=pairs)
    gone = listed(plain, home) - listed(rows, home)
    assert len(gone) == 4
    for i, j, *s in gone:
        d = positions[j] - positions[i] + lattice(np.arange(FAR)) @ SMALL
        assert np.allclose(np.linalg.norm(d, axis=1).min(), np.linalg.norm(positions[j] - positions[i] + s @ SMALL))
    (large,), home = build(positions, CUBE, [1.2], pairs=pairs)
    assert {p[:2] for p in listed(large, home)} == {(0, 2), (2, 0)}


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_impossible_lists_are_empty_and_say_so(bad):
    positions = np.random.default_rng(5).uniform(0, 3, (20, 3))
    positions[7, 1] = bad
    (rows,), _ = build(positions, CUBE, [1.0])
    assert rows.needed == neighbours.IMPOSSIBLE
    assert (rows.image == FAR).all()
    (rows,), _ = build(np.nan_to_num(positions, posinf=1.0) % 3, SMALL, [2.6])
    assert rows.needed == neighbours.IMPOSSIBLE


def test_sparse_and_flat_systems_without_a_box():
    rng = np.random.default_rng(6)
    positions = rng.normal(0, 50, (60, 3))
    positions[:30] = positions[30:] + rng.normal(0, 0.3, (30, 3))
    (rows,), home = build(positions, None, [0.7])
    assert listed(rows, home) == brute_force(positions, None, 0.7)
    flat = np.zeros((5, 3))
    flat[:, 0] = np.arange(5) * 0.5
    (rows,), home = build(flat, None, [0.6])
    assert listed(rows, home) == brute_force(flat, None, 0.6)


def test_cutoffs_must_ascend():
    with pytest.raises(ValueError, match="ascending"):
        build(np.zeros((2, 3)), CUBE, [1.0, 0.5])
