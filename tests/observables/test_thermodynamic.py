"""Energy, density and heat capacity of systems known exactly."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from meanforce import observables
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.potentials.base import Potential
from meanforce.topology import Topology
from meanforce.units import KB

R_GAS = 8.31446261815324
SPRING = 500.0


class Wells(Potential):
    """Each bead in a well with an inner oscillator in three dimensions: A = k r^2/2 - (3/2) kT ln(kT)."""

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        kt = (KB * graph.temperature)[graph.frame]
        return SPRING / 2 * (graph.positions**2).sum(-1) - 1.5 * kt * jnp.log(kt)


class Model(NamedTuple):
    potential: Potential
    topology: Topology


def wells(n, beads, temperature, seed):
    rng = np.random.default_rng(seed)
    topology = Topology.of(["A"] * beads, {"A": 10.0})
    x = rng.standard_normal((n, beads, 3)) * np.sqrt(KB * temperature / SPRING)
    zero = np.zeros(n)
    return Ensemble(Frames(x), topology, State(temperature), zero, zero, np.zeros(n, int))


def test_energy_and_heat_capacity_of_a_model():
    """<E> = 3 kT and C = 3 R per bead: half of each is the beads', half what the atoms do at fixed beads."""
    source = wells(4000, 5, 300.0, 0)
    model = Model(Wells(), source.topology)
    energy = observables.energy(source, model)
    capacity = observables.heat_capacity(source, model)
    assert abs(energy.value - 3 * KB * 300.0) < 4 * energy.error and energy.error < 0.05
    assert abs(capacity.value - 3 * R_GAS) < 4 * capacity.error and 0 < capacity.error < 0.6
    assert capacity.unit == "J/(mol K)"


def test_stored_energies_have_the_fluctuations_of_the_beads_alone():
    source = wells(6000, 5, 300.0, 1)
    energies = SPRING / 2 * (source.frames.positions**2).sum((1, 2))
    data = Dataset.from_arrays(source.topology, positions=source.frames.positions, energies=energies, temperature=300.0)
    capacity = observables.heat_capacity(data)
    assert abs(capacity.value - 1.5 * R_GAS) < 4 * capacity.error
    energy = observables.energy(data)
    assert abs(energy.value - 1.5 * KB * 300.0) < 4 * energy.error


def test_the_heat_capacity_of_short_runs_is_not_too_small():
    """With few frames the mean follows the samples; averaged over many short runs the variance is still right."""
    rng = np.random.default_rng(2)
    topology = Topology.of(["A"], {"A": 1.0})
    found = []
    for _ in range(300):
        energies = rng.standard_normal(20) * KB * 300.0
        data = Dataset.from_arrays(topology, positions=np.zeros((20, 1, 3)), energies=energies, temperature=300.0)
        found.append(observables.heat_capacity(data).value)
    assert abs(np.mean(found) - R_GAS) < 3 * np.std(found) / np.sqrt(300)


def test_density_is_mass_over_mean_volume():
    rng = np.random.default_rng(3)
    lengths = 1.9 + 0.01 * rng.standard_normal(200)
    topology = Topology.of(["W"] * 216, {"W": 18.01528})
    box = np.eye(3) * lengths[:, None, None]
    data = Dataset.from_arrays(topology, positions=rng.random((200, 216, 3)), box=box, temperature=300.0)
    found = observables.density(data)
    by_hand = 216 * 18.01528 / 6.02214076e23 / (np.mean(lengths**3) * 1e-21)  # g/cm^3
    assert found.value == pytest.approx(1000 * by_hand, rel=1e-6) and found.unit == "kg/m³"
    relative = 3 * 0.01 / 1.9 / np.sqrt(200)
    assert found.error == pytest.approx(found.value * relative, rel=0.5)


def test_what_would_mislead_is_refused():
    source = wells(10, 2, 300.0, 4)
    with pytest.raises(ValueError, match="free energies A, which are not to be averaged"):
        observables.energy(source)
    data = Dataset.from_arrays(source.topology, positions=source.frames.positions, temperature=300.0)
    with pytest.raises(ValueError, match="carry no energy"):
        observables.energy(data)
    with pytest.raises(ValueError, match="needs a box"):
        observables.density(source)
    growing = np.eye(3) * (2 + 0.1 * np.arange(10))[:, None, None]
    wide = Dataset.from_arrays(source.topology, positions=source.frames.positions, box=growing, temperature=300.0,
                               energies=np.zeros(10))  # fmt: skip
    with pytest.raises(ValueError, match="the volume fluctuates"):
        observables.heat_capacity(wide)
