"""Data of several numbers of molecules in one fit: one offset of the energy for each of them at each temperature."""

from dataclasses import replace

import numpy as np
import pytest
from networks import EDGE, SplineNetwork, truth

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.learn.result import Outcome
from meanforce.reference.liquids import DiatomicLiquid
from meanforce.topology import Topology

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

LARGE = DiatomicLiquid(molecules=24)
SMALL = replace(LARGE, molecules=10)
KELVIN = (300.0, 400.0)
POTENTIAL = mf.LinearThermal.of(
    mf.SplinePotential(LARGE.topology, cutoff=0.9, start=0.2, spacing=0.05, many_body=False), reference=350.0
)


def labelled(liquid, shift, seed, count=6):
    """Configurations around a lattice with exact labels; energies are shifted by anything at each temperature."""
    random, parts = np.random.default_rng(seed), []
    sites = 0.285 * np.stack(np.unravel_index(np.arange(343), (7, 7, 7)), -1)
    for t, offset in zip(KELVIN, shift, strict=True):
        chosen = np.stack([random.permutation(343)[: liquid.molecules] for _ in range(count)])
        centres = sites[chosen] + random.normal(0, 0.04, (count, liquid.molecules, 3))
        frames = liquid.noiseless(centres, t)
        parts.append(frames.with_(energy=frames.energy + offset))
    return Dataset.from_frames(liquid.topology, Frames.concatenate(parts))


def fitted(*sets):
    return mf.fit(POTENTIAL, [k(s) for s in sets for k in (mf.ForceMatching, mf.EnergyMatching)], blocks=4)


def forces(fit, liquid, kelvin=600.0):
    centres = labelled(liquid, (0.0, 0.0), 9)[:].positions
    model = replace(fit.model, topology=liquid.topology)
    return thermo.force(model, centres, np.eye(3) * liquid.edge, temperature=kelvin)


def test_offsets_of_compositions_and_temperatures_change_nothing():
    large, small = (labelled(liquid, (0.0, 0.0), 1) for liquid in (LARGE, SMALL))
    plain = fitted(large, small)
    shifted = fitted(labelled(LARGE, (-1e4, 300.0), 1), labelled(SMALL, (50.0, -7e3), 1))
    assert plain.outcome is Outcome.SOLVED
    for liquid in (LARGE, SMALL):
        np.testing.assert_allclose(forces(shifted, liquid), forces(plain, liquid), atol=1e-3)
    assert [score.name for score in plain.history.scores] == ["force", "energy"] * 2


def test_one_set_says_what_the_other_leaves_open():
    """Forces of many molecules at one temperature, and energies of few beside them: forces at twice the temperature."""
    large, small = (labelled(LARGE, (0.0, 1.0), 1).select(temperature=300.0), labelled(SMALL, (2.0, 3.0), 2, count=120))
    both = mf.fit(POTENTIAL, [mf.ForceMatching(large), mf.EnergyMatching(small)], blocks=4)
    alone = mf.fit(POTENTIAL, [mf.ForceMatching(large)], blocks=4)
    exact = LARGE.force(labelled(LARGE, (0.0, 0.0), 9)[:].positions, 600.0)
    error = lambda fit: np.sqrt(np.mean((forces(fit, LARGE) - exact) ** 2) / np.mean(exact**2))
    assert error(both) < 0.05
    assert error(alone) > 0.1


def test_networks_have_constants_for_each_set():
    """Labels of the network itself, 10 000 kJ/mol apart: before it learns anything there is no error in either set."""
    network = mf.Thermal(SplineNetwork(truth(1)), SplineNetwork(truth(2)), reference=300.0)
    sets = []
    for beads, offset in ((8, -1e4), (5, 300.0)):
        topology = Topology.of(["A"] * beads, masses={"A": 10.0})
        r, box = np.random.default_rng(beads).uniform(0, EDGE, (20, beads, 3)), np.eye(3) * EDGE
        model = mf.Model(network, topology)
        force, energy = (q(model, r, box, temperature=300.0) for q in (thermo.force, thermo.energy))
        labels = {"forces": force, "energies": energy + offset, "box": box, "temperature": 300.0}
        sets.append(Dataset.from_arrays(topology, positions=r, **labels))
    options = mf.Training(
        epochs=1, batch=5, learning_rate=1e-9, final_learning_rate=1e-10, precision="double", validation=0.2
    )
    wanted = [k(s) for s in sets for k in (mf.ForceMatching, mf.EnergyMatching)]
    for score in mf.fit(network, wanted, training=options).history.scores:
        assert score.held_out < 1e-5 * score.labels


def test_other_kinds_are_refused():
    """Parameters stand by kind: a chain with other bonds would be taken for this one."""

    def chain(species, bonds):
        topology = Topology.of(species, masses={"A": 1.0, "B": 1.0}, bonds=bonds)
        r = np.random.default_rng(0).normal(size=(4, len(species), 3))
        return topology, Dataset.from_arrays(topology, positions=r, forces=r, temperature=300.0)

    topology, one = chain(["A", "A", "B"], [(0, 1), (1, 2)])
    _, other = chain(["A", "B", "A", "B"], [(0, 1), (2, 3)])
    potential = mf.SplinePotential(topology, many_body=False)
    with pytest.raises(ValueError, match=r"different bonds \(A-A, A-B; A-B\).*fit the others apart"):
        mf.fit(potential, [mf.ForceMatching(one), mf.ForceMatching(other)])
