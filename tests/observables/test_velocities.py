"""Velocities from positions: plain sums, exact Ornstein-Uhlenbeck motion free and in a well, and refusals."""

import numpy as np
import pytest

from meanforce import observables, units
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.velocities import correlated
from meanforce.topology import Topology

KT, MASS, GAMMA, STEP = units.KB * 300.0, 18.0, 3.0, 0.02
SQUARE = 50.0  # 1/ps^2, stiffness over mass


def ensemble(positions, box=None, step=STEP):
    n, beads = positions.shape[:2]
    boxes = None if box is None else np.broadcast_to(box, (n, 3, 3)).copy()
    frames = Frames(positions, boxes, time=np.arange(n) * step)
    topology = Topology.of(["A"] * beads, {"A": MASS})
    return Ensemble(frames, topology, State(300.0), np.zeros(n), np.zeros(n), np.zeros(n, int))


def path(square, frames=4000, beads=60, step=STEP):
    """x'' = -square x - GAMMA x' + noise, drawn exactly from the linear equation over each step."""
    from scipy.linalg import expm

    rng = np.random.default_rng(2)
    drift = np.array([[0.0, 1.0], [-square, -GAMMA]])
    noise = np.array([[0.0, 0.0], [0.0, 2 * GAMMA * KT / MASS]])
    both = expm(np.block([[-drift, noise], [np.zeros((2, 2)), drift.T]]) * step)  # Van Loan
    turn = both[2:, 2:].T
    width = np.linalg.cholesky(turn @ both[:2, 2:])
    x = np.zeros((beads, 3)) if not square else np.sqrt(KT / (MASS * square)) * rng.standard_normal((beads, 3))
    state = np.stack([x, np.sqrt(KT / MASS) * rng.standard_normal((beads, 3))], -1)
    kicks = rng.standard_normal((frames, beads, 3, 2)) @ width.T
    found = np.empty((frames, beads, 3))
    for n in range(frames):
        state = state @ turn.T + kicks[n]
        found[n] = state[..., 0]
    return found


def displaced(square, t):
    """The exact mean-square displacement."""
    t = np.abs(t)
    if not square:
        return 6 * KT / (MASS * GAMMA**2) * (GAMMA * t - 1 + np.exp(-GAMMA * t))
    omega = np.sqrt(square - GAMMA**2 / 4)
    decay = np.exp(-GAMMA * t / 2) * (np.cos(omega * t) + GAMMA / (2 * omega) * np.sin(omega * t))
    return 6 * KT / (MASS * square) * (1 - decay)


def velocities(square, t):
    """The exact velocity autocorrelation."""
    if not square:
        return 3 * KT / MASS * np.exp(-GAMMA * t)
    omega = np.sqrt(square - GAMMA**2 / 4)
    return 3 * KT / MASS * np.exp(-GAMMA * t / 2) * (np.cos(omega * t) - GAMMA / (2 * omega) * np.sin(omega * t))


def test_the_transform_gives_what_the_sum_gives():
    v = np.random.default_rng(0).standard_normal((57, 4, 3))
    want = [np.mean((v[lag:] * v[: len(v) - lag]).sum(-1)) for lag in range(57)]
    np.testing.assert_allclose(correlated(v), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("square", [0.0, SQUARE])
def test_linear_motion_has_its_exact_autocorrelation(square):
    source = ensemble(path(square))
    curve = observables.vacf(source, longest=0.8)
    t, h = curve.axis, STEP
    over_steps = (displaced(square, t + h) - 2 * displaced(square, t) + displaced(square, t - h)) / (2 * h**2)
    assert np.abs((curve.value - over_steps) / curve.error).max() < 4
    assert curve.error.max() < 0.02 * curve.value[0]
    np.testing.assert_allclose(over_steps, velocities(square, t), atol=0.03 * curve.value[0])  # to order h
    found = observables.velocity_memory(source, 0.4)
    exact = (displaced(square, 0.4 + h) - displaced(square, 0.4 - h)) / (12 * h) * units.DIFFUSION
    assert abs(found.coefficient.value - exact) < 4 * found.coefficient.error
    assert found.coefficient.error < 0.1 * abs(exact) and found.coefficient.unit == "1e-9 m²/s"
    assert (found.window, found.interval) == (0.4, pytest.approx(STEP))


def test_wrapped_paths_and_drift():
    x = path(0.0, frames=400, beads=4)
    box = np.array([[1.5, 0, 0], [0.5, 1.4, 0], [-0.4, 0.3, 1.6]])
    inverse = np.linalg.inv(box)
    wrapped = (x @ inverse - np.floor(x @ inverse)) @ box
    plain = observables.vacf(ensemble(x), longest=0.4)
    np.testing.assert_allclose(observables.vacf(ensemble(wrapped, box), longest=0.4).value, plain.value, atol=1e-9)
    drifting = x + 0.01 * np.arange(400)[:, None, None]
    still = observables.vacf(ensemble(x - x.mean(1, keepdims=True)), longest=0.4).value
    free = observables.vacf(ensemble(drifting), longest=0.4, remove_drift=True).value
    np.testing.assert_allclose(free, still, atol=1e-9)


def test_rare_frames_are_refused_with_how_often_to_write_them():
    x = path(0.0, frames=8000)[::100]
    with pytest.raises(ValueError, match=r"frames are 2 ps apart.*within 0\.28 ps.*write them often: every 0\.03 ps"):
        observables.vacf(ensemble(x, step=2.0))
    with pytest.raises(ValueError, match=r"not two or more times 0\.02 ps"):
        observables.velocity_memory(ensemble(path(0.0, frames=400, beads=4)), 0.43)
    with pytest.raises(ValueError, match="too few to follow velocities over 41"):
        observables.vacf(ensemble(path(0.0, frames=100, beads=2)), longest=0.8)
