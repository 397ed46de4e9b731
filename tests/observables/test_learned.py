"""Ensembles carried over to other models, against moments that are known."""

from typing import NamedTuple

import numpy as np
import pytest

from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.base import Curve
from meanforce.observables.learned import learned_error, left_open
from meanforce.potentials.base import Potential
from meanforce.thermodynamics import reweighted
from meanforce.topology import Topology
from meanforce.units import KB

KELVIN = 300.0
KT = KB * KELVIN
TOPOLOGY = Topology.of(["A"], masses={"A": 10.0})


class Trap(Potential):
    """A = k x^2 / 2."""

    stiffness: float

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        return 0.5 * self.stiffness * graph.positions[:, 0] ** 2


class Held(NamedTuple):
    potential: Potential
    topology: Topology = TOPOLOGY


def sampled(stiffness: float, frames: int = 40_000) -> Ensemble:
    x = np.zeros((frames, 1, 3))
    x[:, 0, 0] = np.sqrt(KT / stiffness) * np.random.default_rng(0).standard_normal(frames)
    energy = 0.5 * stiffness * x[:, 0, 0] ** 2
    found = Frames(x, None, energy=energy, temperature=np.full(frames, KELVIN))
    return Ensemble(found, TOPOLOGY, State(KELVIN), energy / KT, np.zeros(frames), np.zeros(frames, int))


def spread(ensemble: Ensemble) -> Curve:
    """<x^2>, nm^2."""
    square = ensemble.weights() @ ensemble.frames.positions[:, 0, 0] ** 2
    return Curve("spread", np.zeros(1), np.array([square]), np.zeros(1), "", "x^2 / nm^2")


def test_a_trap_becomes_another():
    """<x^2> = kT/k; the effective share of Gaussian weights is exp(-KL) = sqrt(k'/k) exp((1 - k'/k) / 2)."""
    other = reweighted(sampled(100.0), Held(Trap(150.0)))
    assert spread(other).value[0] == pytest.approx(KT / 150.0, rel=0.02)
    entropy = 0.5 * (np.log(150.0 / 100.0) + 100.0 / 150.0 - 1)
    assert other.effective_frames() == pytest.approx(40_000 * np.exp(-entropy), rel=0.01)
    back = reweighted(other, Held(Trap(100.0)))
    assert back.log_weights == pytest.approx(np.zeros(40_000), abs=1e-12)
    assert back.effective_frames() == pytest.approx(40_000)


def test_one_frame_that_outweighs_all_counts_as_one():
    ensemble = sampled(100.0, 10)
    ensemble.log_weights[3] = 100.0
    assert ensemble.effective_frames() == pytest.approx(1.0)


class Stiffnesses(NamedTuple):
    values: tuple[float, ...]

    def sample(self, count, seed):
        return [Trap(value) for value in self.values[:count]]


def test_the_error_of_learning_is_the_scatter_of_the_models():
    ensemble, values = sampled(100.0), (90.0, 100.0, 110.0)
    others = left_open(ensemble, Stiffnesses(values), count=3)
    assert [spread(other).value[0] for other in others] == pytest.approx([KT / k for k in values], rel=0.02)
    found = learned_error(spread, ensemble, others)
    assert found.value == pytest.approx(spread(ensemble).value)
    assert found.error[0] == pytest.approx(np.std([KT / k for k in values], ddof=1), rel=0.03)
    assert found.blocks is None


def test_models_that_do_not_meet_the_ensemble_are_refused():
    with pytest.raises(ValueError, match="effective frames"):
        left_open(sampled(100.0, 200), Stiffnesses((1e6, 1e6)), count=2)
    with pytest.raises(ValueError, match="count=1"):
        left_open(sampled(100.0, 200), Stiffnesses((1e2,)), count=1)
