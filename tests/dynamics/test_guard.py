"""A guard knows exactly what occurs in its data, and ends or accompanies a run that leaves it."""

import warnings
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from liquids import argon, lattice

from meanforce.data.dataset import Dataset
from meanforce.data.ranges import Ranges
from meanforce.dynamics.guard import Doubt, Guard
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings, SimulationStopped
from meanforce.frames import Frames
from meanforce.potentials.committee import Committee
from meanforce.potentials.priors import HarmonicBond
from meanforce.potentials.validity import ExtrapolationWarning
from meanforce.topology import Topology

#: A chain a-b-c and a lone bead d; nothing is excluded but bonds.
CHAIN = Topology.of(
    ["A", "B", "A", "D"],
    masses={"A": 10.0, "B": 10.0, "D": 10.0},
    bonds=[(0, 1), (1, 2)],
    angles=[(0, 1, 2)],
    exclude=1,
)


def chain(bond: float = 0.3, angle: float = 90.0, lone: float = 0.5) -> np.ndarray:
    """B at the origin, A along x and at the angle in the plane, D behind B along -y."""
    turn = np.radians(angle)
    return np.array([[bond, 0, 0], [0, 0, 0], [0.3 * np.cos(turn), 0.3 * np.sin(turn), 0], [0, -lone, 0]])


def data_of(*frames: np.ndarray, topology: Topology = CHAIN) -> Dataset:
    return Dataset.from_arrays(
        topology, positions=np.stack(frames), forces=np.zeros((len(frames), 4, 3)), temperature=300
    )


def test_ranges_are_those_of_the_frames():
    ranges = Ranges.of(data_of(chain(0.28, 80, 0.5), chain(0.32, 120, 0.45)))
    assert CHAIN.pairs == (("A", "A"), ("A", "D"), ("B", "D"))  # A and B are always bonded
    assert ranges.contacts[1:] == pytest.approx([np.hypot(0.32, 0.45), 0.45])
    assert ranges.low[3:] == pytest.approx([0.28, 80])
    assert ranges.high[3:] == pytest.approx([0.32, 120])


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (chain(bond=0.331), "a bond A-B is 0.331 nm, in the training data 0.28 to 0.32 nm"),
        (chain(bond=0.269), "a bond A-B is 0.269 nm"),
        (chain(angle=131), "an angle A-B-A is 131 degrees, in the training data 80 to 120 degrees"),
        (chain(lone=0.41), "the distance of a pair B-D is 0.41 nm, in the training data never below 0.45 nm"),
    ],
)
def test_what_lies_outside_is_named(frame, reason):
    guard = Guard.of(data_of(chain(0.28, 80, 0.5), chain(0.32, 120, 0.45)))
    inside = [chain(bond=0.329), chain(bond=0.271), chain(angle=129), chain(lone=0.415), chain(lone=3.0)]
    positions = np.stack([*inside, frame])
    left = guard.departure(Frames(positions))
    assert left.row == 5
    assert left.reason.startswith(reason)
    assert guard.departure(Frames(positions[:5])) is None
    assert (guard.beyond(Frames(positions)) > 1).tolist() == [False] * 5 + [True]


def test_doubt_is_measured_against_the_training_frames():
    """Two bonds of stiffness 100 and 300: the forces of members differ by 200 (r - 0.3) along the bond."""
    bond = lambda k: HarmonicBond((("A", "B"),), stiffness=jnp.array([k]), length=jnp.array([0.3]))
    committee = Committee((bond(100.0), bond(300.0)))
    topology = Topology.of(["A", "B"], masses={"A": 10.0, "B": 10.0}, bonds=[(0, 1)])
    stretched = lambda *by: np.array([[[0.0, 0, 0], [0.3 + d, 0, 0]] for d in by])
    data = Dataset.from_arrays(
        topology, positions=stretched(0.01, -0.02, 0.015), forces=np.zeros((3, 2, 3)), temperature=300
    )
    doubt = Doubt.of(committee_of(committee), data)
    assert doubt.limit == pytest.approx(2 * 200 * 0.02 / np.sqrt(2))
    excess, reason = doubt.excess(Frames(stretched(0.039, 0.041)))
    assert excess == pytest.approx([0.975, 1.025])
    assert "more than 2 times the largest in the training data" in reason(1)


def committee_of(committee):
    return SimpleNamespace(potential=committee, force_std=committee.force_std)


def hot(settings: Settings):
    model = argon(27)
    return simulate(model, lattice(3, density=0.5), 1500.0, time=4.0, timestep=0.004, seed=1, settings=settings)


@pytest.fixture(scope="module")
def cold() -> Dataset:
    model = argon(27)
    frames = simulate(
        model, lattice(3, density=0.5), 90.0, time=4.0, timestep=0.004, seed=2, settings=Settings(save_every=0.04)
    ).frames
    return Dataset.from_frames(model.topology, frames.with_(forces=np.zeros_like(frames.positions)))


def test_a_run_that_leaves_its_data_is_told_once(cold):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = hot(Settings(save_every=0.04, replicas=2, guard=Guard.of(cold)))
    assert [w.category for w in told] == [ExtrapolationWarning]
    assert "in replica" in str(told[0].message)
    assert "a pair A-A" in str(told[0].message)
    assert len(found.frames) == 200
    assert (Guard.of(cold).beyond(found.frames) > 1).sum() > 1


def test_a_run_inside_its_data_is_left_alone(cold):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulate(
            argon(27), lattice(3, density=0.5), 90.0, time=4.0, timestep=0.004, seed=3,
            settings=Settings(save_every=0.04, guard=Guard.of(cold, stop=True)),
        )  # fmt: skip


def test_a_run_is_stopped_before_the_frame_that_leaves(cold, tmp_path):
    guard = Guard.of(cold, stop=True)
    whole = hot(Settings(save_every=0.04)).frames
    first = guard.departure(whole)
    with pytest.raises(SimulationStopped, match=r"left the training data at .* ps: the distance of a pair A-A") as stop:
        hot(Settings(save_every=0.04, guard=guard, output=tmp_path / "hot.h5"))
    kept = Dataset.open(tmp_path / "hot.h5")[:]
    assert first.row > 0
    assert len(kept) == first.row
    assert np.array_equal(kept.positions, whole[: first.row].positions)
    assert stop.value.step == (first.row + 1) * 10
    assert np.array_equal(stop.value.last.positions[0], whole.positions[first.row - 1])


def star(height: float) -> np.ndarray:
    """A bead above the plane of its three neighbours by a height, in nm."""
    turns = np.radians([0.0, 120.0, 240.0])
    return np.concatenate([[[0, 0, height]], 0.15 * np.stack([np.cos(turns), np.sin(turns), 0 * turns], -1)])


def test_a_bead_that_turns_over_is_named():
    """Planar groups have impropers about 180 degrees, where the angle jumps: a range must not."""
    topology = Topology.of(["C", "A", "B", "D"], masses=[12.0] * 4, bonds=[(0, 1), (0, 2), (0, 3)])
    flat = data_of(star(0.01), star(-0.01), star(0.0), topology=topology)
    ranges = Ranges.of(flat)
    assert ranges.high[-1] - ranges.low[-1] == pytest.approx(2 * ranges.high[-1], rel=1e-6)
    assert ranges.high[-1] < 20
    chiral = Guard.of(data_of(star(0.05), star(0.06), topology=topology))
    assert chiral.departure(Frames(star(0.055)[None])) is None
    assert chiral.departure(Frames(star(-0.055)[None])).reason.startswith("an improper A-C-B-D, from its mean, is")
