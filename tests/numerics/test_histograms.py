"""Histograms against counting all pairs and all angles."""

import time

import numpy as np
import pytest

from meanforce.numerics import histograms

BOXES = np.array([np.eye(3) * 2.0, [[2.0, 0, 0], [0.7, 1.9, 0], [-0.5, 0.6, 1.8]]])
IMAGES = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)


def vectors(positions, box):
    """From every bead to every bead in every image: (n, n, images, 3)."""
    shifts = np.zeros((1, 3)) if box is None else IMAGES @ box
    return positions[None, :, None] - positions[:, None, None] + shifts


@pytest.mark.parametrize("boxes", [BOXES, None], ids=["boxes", "none"])
def test_distances_by_species_and_without_excluded_pairs(boxes):
    positions = np.random.default_rng(0).uniform(0, 2, (2, 40, 3))
    species = np.arange(40) % 2
    excluded = np.array([[0, 1], [5, 9], [3, 30]])
    edges = np.linspace(0.1, 1.2, 23)
    counts = histograms.pair_distances(positions, boxes, edges, species=species, excluded=excluded)
    for f in range(2):
        d = np.linalg.norm(vectors(positions[f], None if boxes is None else boxes[f]), axis=-1)
        d[excluded[:, 0], excluded[:, 1]] = d[excluded[:, 1], excluded[:, 0]] = 99
        for a in range(2):
            for b in range(2):
                found = np.histogram(d[species == a][:, species == b], edges)[0]
                assert (counts[f, a, b] == (found // 2 if a == b else found)).all()


def test_small_boxes_count_every_image():
    positions = np.random.default_rng(1).uniform(0, 1, (1, 5, 3))
    box = np.eye(3)[None] * 0.8
    edges = np.linspace(0, 1.9, 20)
    d = np.linalg.norm(vectors(positions[0], box[0]), axis=-1)
    expected = np.histogram(d[d > 0], edges)[0] // 2
    assert (histograms.pair_distances(positions, box, edges)[0, 0, 0] == expected).all()


@pytest.mark.parametrize("boxes", [BOXES, None], ids=["boxes", "none"])
def test_angles_at_every_bead(boxes):
    positions = np.random.default_rng(2).uniform(-1, 3, (2, 60, 3))
    species = np.arange(60) % 3
    counts = histograms.triplet_angles(positions, boxes, 0.8, 18, species=species)
    for f in range(2):
        v = vectors(positions[f], None if boxes is None else boxes[f])
        if boxes is not None:
            v = vectors((positions[f] @ np.linalg.inv(boxes[f]) % 1) @ boxes[f], boxes[f])
        expected = np.zeros((3, 3, 3, 18), int)
        for i in range(60):
            d = np.linalg.norm(v[i], axis=-1)
            near = v[i][(d <= 0.8) & (d > 0)]
            near /= np.linalg.norm(near, axis=-1)[:, None]
            kind = species[np.nonzero((d <= 0.8) & (d > 0))[0]]
            for a in range(3):
                for b in range(3):
                    ends = (kind[:, None] == a) & (kind == b)
                    ends = np.triu(ends | ends.T, 1)
                    cosines = (near @ near.T)[ends]
                    expected[species[i], a, b] += np.histogram(np.arccos(np.clip(cosines, -1, 1)), 18, (0, np.pi))[0]
        assert (counts[f] == expected).all()


def test_a_frame_of_water_takes_milliseconds():
    positions = np.random.default_rng(3).uniform(0, 3, (5, 901, 3))
    box = np.repeat(np.eye(3)[None] * 3, 5, 0)
    edges = np.linspace(0, 0.9, 301)
    histograms.pair_distances(positions, box, edges)
    best = []
    for _ in range(3):
        start = time.thread_time()
        histograms.pair_distances(positions, box, edges)
        best.append((time.thread_time() - start) / 5)
    assert min(best) < 0.020


def test_bad_input_is_refused_with_the_frame():
    positions = np.random.default_rng(4).uniform(0, 2, (2, 4, 3))
    positions[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="frame 1"):
        histograms.pair_distances(positions, None, np.linspace(0, 1, 5))
    with pytest.raises(ValueError, match="frame 1"):
        histograms.triplet_angles(positions, None, 0.5, 5)
    with pytest.raises(ValueError, match="equally spaced"):
        histograms.pair_distances(positions, None, np.array([0, 1, 3.0]))
    with pytest.raises(ValueError, match="4 species"):
        histograms.pair_distances(positions, None, np.linspace(0, 1, 5), species=np.zeros(3, int))
