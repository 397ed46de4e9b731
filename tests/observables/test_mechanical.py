"""Pressure: ideal, by pairs, by the second virial coefficient, and from stored virials."""

from typing import NamedTuple

import numpy as np
import pytest

from meanforce import observables
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.mechanical import virials
from meanforce.potentials.base import Potential
from meanforce.potentials.priors import LennardJones
from meanforce.topology import Topology
from meanforce.units import BAR, KB

TRICLINIC = np.array([[2.0, 0.0, 0.0], [0.7, 1.9, 0.0], [-0.6, 0.5, 2.2]])


class Model(NamedTuple):
    potential: Potential
    topology: Topology


def argon(n, cutoff=0.7, truncation="switched"):
    topology = Topology.of(["Ar"] * n, {"Ar": 39.95})
    potential = LennardJones(
        ("Ar",), sigma=np.array([0.34]), epsilon=np.array([1.0]), cutoff=cutoff, truncation=truncation
    )
    return Model(potential, topology)


def ensemble(positions, box, topology, log_weights=None, temperature=300.0):
    n = len(positions)
    zero = np.zeros(n)
    return Ensemble(Frames(positions, np.broadcast_to(box, (n, 3, 3)).copy()), topology, State(temperature), zero,
                    zero if log_weights is None else log_weights, np.zeros(n, int))  # fmt: skip


def lattice(rng, box, per_side=5):
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 3, indexing="ij"), -1).reshape(-1, 3) / per_side
    return (grid + 0.02 * rng.standard_normal(grid.shape)) @ box


def pair_virial(x, box, cutoff):
    """The sum of r f(r) of one frame, over all images, with a plain truncation."""
    shifts = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3) @ box
    i, j = np.triu_indices(len(x), 1)
    r = np.linalg.norm((x[j] - x[i])[:, None] + shifts, axis=-1)
    r = r[r < cutoff]
    six = (0.34 / r) ** 6
    return (24 * (2 * six**2 - six)).sum()


@pytest.mark.parametrize("box", [np.eye(3) * 2.0, TRICLINIC], ids=["cube", "triclinic"])
def test_the_strain_derivative_is_the_pair_virial(box):
    rng = np.random.default_rng(0)
    x = np.stack([lattice(rng, box) for _ in range(3)])
    model = argon(x.shape[1], truncation="truncated")
    source = ensemble(x, box, model.topology)
    want = [pair_virial(frame, box, 0.7) for frame in x]
    frames = source.frames.with_(temperature=np.full(3, 300.0))
    np.testing.assert_allclose(virials(model, frames), want, rtol=1e-10)
    volume = abs(np.linalg.det(box))
    pressure = (125 * KB * 300.0 + np.mean(want) / 3) / volume / BAR
    assert observables.pressure(source, model).value == pytest.approx(pressure, rel=1e-10)


def test_ideal_gas():
    rng = np.random.default_rng(1)
    none = LennardJones(("Ar",), sigma=np.array([0.34]), epsilon=np.array([0.0]), cutoff=0.7)
    model = argon(20)._replace(potential=none)
    found = observables.pressure(ensemble(rng.random((5, 20, 3)) * 2.0, np.eye(3) * 2.0, model.topology), model)
    assert found.value == pytest.approx(20 * KB * 300.0 / 8.0 / BAR, rel=1e-12) and found.error < 1e-9
    assert found.unit == "bar"


def test_two_beads_have_the_pressure_of_the_second_virial_coefficient():
    """Z = V (V - 2 B) for two beads, so P = kT (1/V + 1/(V - 2 B)): exact, and far from ideal here."""
    rng = np.random.default_rng(2)
    n, length, kt = 12000, 1.5, KB * 100.0
    model = argon(2)
    x = np.zeros((n, 2, 3))
    x[:, 1] = rng.random((n, 3)) * length
    box = np.eye(3) * length
    energies = np.asarray(free_energies(model, x, box))
    found = observables.pressure(ensemble(x, box, model.topology, -energies / kt, 100.0), model)
    r = np.linspace(1e-3, 0.7, 200001)
    six = (0.34 / r) ** 6
    t = np.clip((r / 0.7 - 0.9) / 0.1, 0, 1)
    u = 4 * (six**2 - six) * (1 - t**3 * (10 - t * (15 - 6 * t)))
    coefficient = -2 * np.pi * np.trapezoid((np.exp(-u / kt) - 1) * r**2, r)
    volume = length**3
    exact = kt * (1 / volume + 1 / (volume - 2 * coefficient)) / BAR
    ideal = 2 * kt / volume / BAR
    assert abs(found.value - exact) < 4 * found.error
    assert abs(exact - ideal) > 5 * found.error


def free_energies(model, x, box):
    from meanforce import thermodynamics

    return thermodynamics.free_energy(model, x, box, temperature=100.0)


def test_stored_virials_count_molecules():
    """Two diatomic molecules in 8 nm^3: the ideal part is that of two particles."""
    topology = Topology.of(["A", "A"] * 2, {"A": 1.0}, bonds=[(0, 1), (2, 3)])
    x = np.random.default_rng(3).random((4, 4, 3))
    data = Dataset.from_arrays(topology, positions=x, box=[2.0, 2, 2], temperature=300.0, virial=np.full(4, 6.0))
    assert observables.pressure(data).value == pytest.approx((2 * KB * 300.0 + 2.0) / 8.0 / BAR, rel=1e-6)


def test_what_is_missing_is_named():
    model = argon(8)
    x = np.random.default_rng(4).random((2, 8, 3)) * 2
    source = ensemble(x, np.eye(3) * 2.0, model.topology)
    with pytest.raises(ValueError, match="sampled from a model: give it"):
        observables.pressure(source)
    with pytest.raises(ValueError, match="needs a box"):
        observables.pressure(source._replace(frames=source.frames.with_(box=None)), model)
    data = Dataset.from_arrays(model.topology, positions=x, box=[2.0, 2, 2], temperature=300.0)
    with pytest.raises(ValueError, match="carry no virial"):
        observables.pressure(data)
    unknown = Dataset.from_arrays(model.topology, positions=x, box=[2.0, 2, 2])
    with pytest.raises(ValueError, match="carry no temperature"):
        observables.pressure(unknown, model)
