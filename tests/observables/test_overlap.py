"""The free energy of the beads, over frames of one temperature and another."""

from typing import NamedTuple

import numpy as np
import pytest

from meanforce import observables
from meanforce.data.dataset import Dataset
from meanforce.potentials.base import Potential
from meanforce.topology import Topology
from meanforce.units import KB

SPRING = 500.0


class Wells(Potential):
    """Each bead in a harmonic well about the origin."""

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        return SPRING / 2 * (graph.positions**2).sum(-1)


class Model(NamedTuple):
    potential: Potential
    topology: Topology


TOPOLOGY = Topology.of(["A"] * 4, {"A": 10.0})


def frames_at(temperature, n, rng):
    """Frames of the wells at one temperature, said to be of 300 K."""
    x = rng.standard_normal((n, 4, 3)) * np.sqrt(KB * temperature / SPRING)
    return Dataset.from_arrays(TOPOLOGY, positions=x, temperature=300.0)


def test_equipartition_and_what_another_ensemble_costs():
    rng = np.random.default_rng(0)
    model = Model(Wells(), TOPOLOGY)
    own, other = (observables.free_energy(frames_at(t, 4000, rng), model) for t in (300.0, 360.0))
    assert abs(own.value - 1.5) < 4 * own.error
    assert abs(other.value - 1.5 * 1.2) < 4 * other.error
    assert other.value - own.value > 5 * np.hypot(own.error, other.error)


def test_distributions_share_an_axis_and_integrate_to_one():
    from scipy.stats import gamma

    rng = np.random.default_rng(1)
    model = Model(Wells(), TOPOLOGY)
    own, other = observables.free_energy_distributions([frames_at(t, 6000, rng) for t in (300.0, 390.0)], model)
    np.testing.assert_array_equal(own.axis, other.axis)
    width = own.axis[1] - own.axis[0]
    assert own.value.sum() * width == pytest.approx(1.0) and other.value.sum() * width == pytest.approx(1.0)
    edges = np.append(own.axis - width / 2, own.axis[-1] + width / 2)
    exact = np.diff(gamma(6, scale=1 / 4).cdf(edges)) / width
    filled = exact > 0.02
    assert np.abs((own.value - exact)[filled] / own.error[filled]).max() < 4.5
    assert np.abs((other.value - exact)[filled] / other.error[filled]).max() > 10


def test_a_temperature_is_needed():
    x = np.zeros((2, 4, 3))
    with pytest.raises(ValueError, match="carry no temperature"):
        observables.free_energy(Dataset.from_arrays(TOPOLOGY, positions=x), Model(Wells(), TOPOLOGY))
