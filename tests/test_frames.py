"""Frames keep their shape, their labels and what is missing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meanforce.frames import LABELS, SHAPES, TABLES, Frames


@st.composite
def any_frames(draw, minimum=1):
    n = draw(st.integers(minimum, 8))
    particles = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = draw(st.sets(st.sampled_from(LABELS)))
    shape = lambda name: (n, *(particles if k == "particles" else k for k in SHAPES[name]))
    values = {name: rng.normal(size=shape(name)) for name in labels}
    box = rng.normal(size=(n, 3, 3)) if draw(st.booleans()) else None
    names = st.sets(st.sampled_from(["lam", "field"]))
    tables = {table: {name: rng.normal(size=n) for name in draw(names)} for table in TABLES}
    return Frames(rng.normal(size=(n, particles, 3)), box, **values, **tables)


def same(a: Frames, b: Frames) -> bool:
    pairs = [(getattr(a, n), getattr(b, n)) for n in ("positions", "box", *LABELS)]
    for mine, theirs in ((getattr(a, table), getattr(b, table)) for table in TABLES):
        if mine.keys() != theirs.keys():
            return False
        pairs += [(mine[k], theirs[k]) for k in mine]
    return all((x is None) == (y is None) and (x is None or np.array_equal(x, y)) for x, y in pairs)


@settings(max_examples=40, deadline=None)
@given(any_frames(), st.data())
def test_cutting_and_joining_gives_the_same_frames(frames, data):
    cut = data.draw(st.integers(1, len(frames)))
    parts = [frames[:cut], frames[cut:]] if cut < len(frames) else [frames[:cut]]
    assert same(Frames.concatenate(parts), frames)
    assert same(Frames.concatenate(list(frames)), frames)
    order = np.array(data.draw(st.permutations(range(len(frames)))))
    assert same(frames[order][np.argsort(order)], frames)
    assert same(frames[-1], frames[len(frames) - 1 :])
    for name in LABELS:
        assert (getattr(frames[0], name) is None) == (name not in frames.labels())


@settings(max_examples=20, deadline=None)
@given(any_frames())
def test_a_frame_that_does_not_exist_is_refused(frames):
    with pytest.raises(IndexError):
        frames[len(frames)]
    with pytest.raises(IndexError):
        frames[-len(frames) - 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forces": np.zeros((2, 3))}, "forces has shape"),
        ({"energy": np.zeros((2, 1))}, "energy has shape"),
        ({"box": np.zeros((3, 3))}, "box has shape"),
        ({"positions": np.zeros((4, 3))}, "positions have shape"),
        ({"parameters": {"lam": np.zeros(5)}}, "parameter 'lam'"),
    ],
)
def test_wrong_shapes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Frames(**{"positions": np.zeros((2, 4, 3)), **changes})


def test_frames_that_differ_are_not_joined():
    frames = Frames(np.zeros((2, 4, 3)), energy=np.zeros(2))
    with pytest.raises(ValueError, match="energy cannot be joined to"):
        Frames.concatenate([frames, frames.with_(energy=None)])
    with pytest.raises(ValueError, match="5 particles cannot be joined to 4"):
        Frames.concatenate([frames, Frames(np.zeros((2, 5, 3)), energy=np.zeros(2))])
    with pytest.raises(ValueError, match="no frames"):
        Frames.concatenate([])
