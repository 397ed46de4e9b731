"""What the members of a committee leave open, against springs whose distributions are known."""

import numpy as np
import pytest
from scipy.stats import norm

from meanforce import judgement, recipe
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.model import Model
from meanforce.potentials.base import Potential
from meanforce.potentials.committee import Committee
from meanforce.topology import Topology
from meanforce.units import KB

KELVIN = 300.0
KT = KB * KELVIN
LENGTH = 0.3  # nm
TOPOLOGY = Topology.of(["A", "A"], masses={"A": 10.0}, bonds=[(0, 1)])
TEXT = "name: pairs\ndataset: beads.h5\npotential: local\ntrain: {gradient: {members: 3, bootstrap: 5}}\n"


class Spring(Potential):
    """A = k (x - 0.3 nm)^2 / 2 for two beads along x."""

    stiffness: float

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        x = graph.positions.reshape(-1, 2, 3)[:, 1, 0]
        return 0.25 * self.stiffness * ((x - LENGTH) ** 2).repeat(2)


def drawn(stiffness: float, seed: int, frames: int) -> np.ndarray:
    x = np.zeros((frames, 2, 3))
    x[:, 1, 0] = LENGTH + np.sqrt(KT / stiffness) * np.random.default_rng(seed).standard_normal(frames)
    return x


def evidence(stiffnesses, text=TEXT, frames=20_000) -> judgement.Evidence:
    """Atoms with a spring of 1000 kJ/(mol nm2), and a committee sampled as the mean of its members."""
    data = Dataset.from_arrays(TOPOLOGY, positions=drawn(1000.0, 0, 20_000), temperature=KELVIN)
    mean = float(np.mean(stiffnesses))
    positions, nothing = drawn(mean, 1, frames), np.zeros(frames)
    energy = 0.5 * mean * (positions[:, 1, 0] - LENGTH) ** 2
    sampled = Frames(positions, None, energy=energy, temperature=nothing + KELVIN)
    ensemble = Ensemble(sampled, TOPOLOGY, State(KELVIN), energy / KT, nothing, nothing.astype(int))
    case = judgement.Case("committee", Model(Committee(tuple(map(Spring, stiffnesses))), TOPOLOGY), ensemble)
    return judgement.Evidence(recipe.parse(text), text, data, data, data, [case], {}, "")


def test_a_committee_is_judged_with_what_its_members_leave_open():
    stiffnesses = (900.0, 1000.0, 1100.0)
    section = judgement._structure(evidence(stiffnesses))
    ((name, learning, sampling),) = section.tables[1].rows
    (compared,) = judgement.comparisons(evidence(stiffnesses))
    axis, own = compared.reference.axis, compared.models[0][1]
    density = [norm.pdf(axis, LENGTH, np.sqrt(KT / k)) for k in stiffnesses]
    wanted = np.sqrt(np.mean(np.var(density, axis=0, ddof=1)))
    assert (name, sampling.split()[1]) == ("bond A–A", "nm⁻¹")
    assert float(learning.split()[0]) == pytest.approx(wanted, rel=0.05)
    assert float(sampling.split()[0]) == pytest.approx(np.sqrt(np.mean(own.error**2)), rel=0.05)
    assert "error of learning" in section.tables[1].title and not section.text
    assert "sampling and learning together" in section.figures[0].caption


def test_members_that_saw_the_same_frames_are_no_error_bar():
    section = judgement._structure(evidence((900.0, 1100.0), TEXT.replace(", bootstrap: 5", "")))
    assert "no error bar" in section.tables[1].title
    assert "learning" not in section.figures[0].caption


def test_a_short_simulation_leaves_the_errors_of_learning_unresolved():
    section = judgement._structure(evidence((900.0, 1100.0), frames=49))
    (told,) = section.text
    assert told.startswith("The errors of learning are not resolved: a model drawn from the posterior shares")
    assert "effective frames" in told and told.endswith("one by one.")
    assert len(section.tables) == 1 and "learning" not in section.figures[0].caption


def test_one_network_says_nothing_of_learning():
    found = evidence((1000.0, 1000.0))
    (case,) = found.cases
    single = case._replace(model=Model(Spring(1000.0), TOPOLOGY))
    section = judgement._structure(found._replace(cases=[single]))
    assert len(section.tables) == 1 and not section.text


def test_a_solute_alone_in_a_box_has_no_pairs_of_molecules():
    """Water left without beads leaves the box, in which two beads of one molecule make no g(r)."""
    box, told = 3 * np.eye(3), recipe.parse("name: pairs\ndataset: beads.h5\n")
    for molecules, pairs in (([0, 0], 0), ([0, 1], 1)):
        topology = Topology(("A", "B"), np.ones(2), molecules=np.array(molecules))
        data = Dataset.from_frames(topology, Frames(np.zeros((1, 2, 3)), box=box[None]))
        seen = judgement.Evidence(told, "", data, data, data, [], {}, "")
        assert len(list(judgement._distributions(seen))) == pairs
