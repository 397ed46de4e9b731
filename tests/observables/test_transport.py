"""Motion: plain sums, exact random walks, wrapped paths, and refusals."""

import numpy as np
import pytest

from meanforce import observables, units
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.transport import displacements, unwrapped
from meanforce.topology import Topology


def ensemble(positions, box=None, times=None, chain=None, log_weights=None):
    n, beads = positions.shape[:2]
    zero = np.zeros(n)
    frames = Frames(positions, None if box is None else np.broadcast_to(box, (n, 3, 3)).copy(),
                    time=np.arange(n) * 0.5 if times is None else times)  # fmt: skip
    topology = Topology.of(["A"] * (beads - 1) + ["B"], {"A": 1.0, "B": 3.0})
    return Ensemble(frames, topology, State(300.0), zero, zero if log_weights is None else log_weights,
                    np.zeros(n, int) if chain is None else chain)  # fmt: skip


def walk(rng, frames, beads, diffusion, step=0.5):
    return np.cumsum(rng.standard_normal((frames, beads, 3)) * np.sqrt(2 * diffusion * step), axis=0)


def test_the_transform_gives_what_the_sum_gives():
    rng = np.random.default_rng(0)
    x = walk(rng, 57, 4, 0.1) + 100.0
    want = [np.mean(((x[lag:] - x[: len(x) - lag]) ** 2).sum(-1)) for lag in range(57)]
    np.testing.assert_allclose(displacements(x), want, rtol=1e-9, atol=1e-12)


def test_brownian_motion():
    """<dr^2> = 6 D t, over several replicas, within the errors and with the coefficient stated in 1e-9 m^2/s."""
    rng = np.random.default_rng(1)
    d = 2.3e-3  # nm^2/ps: that of water
    x = np.concatenate([walk(rng, 400, 50, d) for _ in range(4)])
    source = ensemble(x, times=np.tile(np.arange(400) * 0.5, 4), chain=np.repeat(np.arange(4), 400))
    curve = observables.msd(source)
    z = (curve.value[1:] - 6 * d * curve.axis[1:]) / curve.error[1:]
    assert np.abs(z).max() < 4
    found = observables.diffusion(source)
    assert abs(found.coefficient.value - 2.3) < 4 * found.coefficient.error and found.coefficient.error < 0.15
    assert found.coefficient.unit == "1e-9 m²/s" and found.infinite is None


def test_langevin_motion():
    """A free bead with friction: <dr^2> = 6 kT/(m g^2) (g t - 1 + exp(-g t)), sampled exactly."""
    rng = np.random.default_rng(2)
    mass, friction, step, n, beads = 18.0, 2.0, 0.05, 3000, 40
    kt = units.KB * 300.0
    a = np.exp(-friction * step)
    c = np.array([[kt / mass * (1 - a * a), 0.0], [0.0, 0.0]])
    c[0, 1] = c[1, 0] = kt / (mass * friction) * (1 - a) ** 2
    c[1, 1] = kt / (mass * friction**2) * (2 * friction * step - 3 + 4 * a - a * a)
    kicks = rng.standard_normal((n, beads, 3, 2)) @ np.linalg.cholesky(c).T
    v, x = np.sqrt(kt / mass) * rng.standard_normal((beads, 3)), np.zeros((beads, 3))
    path = np.empty((n, beads, 3))
    for t in range(n):
        x = x + v * (1 - a) / friction + kicks[t, ..., 1]
        v = a * v + kicks[t, ..., 0]
        path[t] = x
    curve = observables.msd(ensemble(path, times=np.arange(n) * step), longest=4.0)
    t = curve.axis[1:]
    exact = 6 * kt / (mass * friction**2) * (friction * t - 1 + np.exp(-friction * t))
    assert curve.axis[-1] == pytest.approx(4.0)
    assert np.abs((curve.value[1:] - exact) / curve.error[1:]).max() < 4.5
    np.testing.assert_allclose(curve.value[1:], exact, rtol=0.25)


@pytest.mark.parametrize("box", [np.eye(3) * 1.5, np.array([[1.5, 0, 0], [0.5, 1.4, 0], [-0.4, 0.3, 1.6]])])
def test_wrapped_paths_are_followed(box):
    rng = np.random.default_rng(3)
    x = walk(rng, 200, 6, 2e-3)
    inverse = np.linalg.inv(box)
    wrapped = (x @ inverse - np.floor(x @ inverse)) @ box
    boxes = np.broadcast_to(box, (200, 3, 3))
    np.testing.assert_allclose(unwrapped(wrapped, boxes) - wrapped[:1], x - x[:1], atol=1e-12)
    np.testing.assert_allclose(unwrapped(x, boxes), x, atol=1e-12)
    np.testing.assert_allclose(
        observables.msd(ensemble(wrapped, box)).value, observables.msd(ensemble(x)).value, atol=1e-12
    )


def test_drift_and_species():
    rng = np.random.default_rng(4)
    x = walk(rng, 200, 5, 1e-3)
    drifting = x + np.arange(200)[:, None, None] * 0.1
    masses = np.array([1.0, 1.0, 1.0, 1.0, 3.0])
    free = x - np.einsum("i,tid->td", masses / 7, x)[:, None]
    np.testing.assert_allclose(observables.msd(ensemble(drifting), remove_drift=True).value,
                               observables.msd(ensemble(free)).value, rtol=1e-9, atol=1e-12)  # fmt: skip
    np.testing.assert_allclose(
        observables.msd(ensemble(x), species="B").value, observables.msd(ensemble(x[:, 4:])).value, atol=1e-12
    )


def test_yeh_and_hummer():
    """TIP3P water, 300 K, 0.32 mPa s, L = 1.86 nm: 2.837297 kT/(6 pi eta L) = 1.05e-9 m^2/s by hand in SI units."""
    by_hand = 2.837297 * 1.380649e-23 * 300 / (6 * np.pi * 0.32e-3 * 1.86e-9)
    assert observables.yeh_hummer(300.0, 0.32, 1.86) * 1e-6 == pytest.approx(by_hand, rel=1e-9)
    rng = np.random.default_rng(5)
    source = ensemble(walk(rng, 200, 6, 2e-3), np.eye(3) * 1.86)
    found = observables.diffusion(source, viscosity=0.32)
    assert found.infinite.value - found.coefficient.value == pytest.approx(by_hand * 1e9, rel=1e-9)


def refusals():
    rng = np.random.default_rng(6)
    x = walk(rng, 100, 3, 1e-3)
    box = np.eye(3) * 2.0
    growing = np.eye(3) * (2.0 + 0.01 * np.arange(100))[:, None, None]
    yield "weights have no meaning along a path", lambda: observables.msd(ensemble(x, log_weights=rng.random(100)))
    yield "evenly spaced in time", lambda: observables.msd(ensemble(x, times=np.sort(rng.random(100))))
    yield "evenly spaced in time", lambda: observables.msd(ensemble(x, times=np.arange(100.0)[::-1].copy()))
    yield "write frames more often", lambda: observables.msd(ensemble(2 * rng.random((100, 3, 3)), box))
    yield "the box changes", lambda: observables.msd(ensemble(x, growing))
    yield "too few to follow motion", lambda: observables.msd(ensemble(x[:20]))
    yield "no bead is of species 'X'", lambda: observables.msd(ensemble(x), species="X")
    yield "no finite-size correction", lambda: observables.diffusion(ensemble(x), viscosity=1.0)
    yield "carry no times", lambda: observables.msd(timeless(ensemble(x)))


def timeless(source):
    return source._replace(frames=source.frames.with_(time=None))


@pytest.mark.parametrize(("message", "call"), list(refusals()))
def test_what_cannot_be_followed_is_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call()
