"""Relations that a free energy obeys: a true model passes on frames of exact systems, a broken one does not."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

import meanforce as mf
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.model import Model
from meanforce.observables import consistency
from meanforce.observables.consistency import Seen
from meanforce.potentials.base import Potential
from meanforce.reference import exact_run
from meanforce.reference.analytic import ModulatedBath
from meanforce.reference.atoms import open_reference
from meanforce.reference.exact_run import ExactRun
from meanforce.reference.liquids import DiatomicLiquid
from meanforce.topology import Topology
from meanforce.units import KB

LIQUID = DiatomicLiquid(molecules=64)
LINE = Topology.of(["A"], masses={"A": 1.0})
KT = KB * 300.0
BATH = ModulatedBath()  # V2: A = R^4/4 - R^2/2 + 1.5 kT ln(1 + R^2/2)


class Bead(Potential):
    """V2 exactly, or with its entropy too large by a factor, or with a bend in temperature that is not there."""

    response: float = 1.0
    force: float = 1.0
    bend: float = 0.0

    @property
    def cutoffs(self):
        return ()

    @property
    def depends_on_temperature(self):
        return True

    def energies(self, graph):
        x, kelvin = graph.positions[:, 0], graph.temperature[graph.frame]
        entropic = 1.5 * KB * jnp.log(1 + x**2 / 2)
        tau = kelvin / 300.0 - 1
        there = x**4 / 4 - x**2 / 2 + 300.0 * entropic
        return self.force * (there + 300.0 * tau * self.response * entropic) + self.bend * KT * tau**2 * x**2


class Broken(Potential):
    """A model whose change with temperature from 300 K on is too large by a factor."""

    true: Potential
    response: Array

    @property
    def cutoffs(self):
        return self.true.cutoffs

    @property
    def depends_on_temperature(self):
        return True

    def energies(self, graph):
        still = eqx.tree_at(lambda g: g.temperature, graph, jnp.full_like(graph.temperature, 300.0))
        there, here = self.true.energies(graph), self.true.energies(still)
        return here + self.response * (there - here)


def broken(model, response: float) -> Model:
    return Model(Broken(getattr(model.potential, "true", model.potential), jnp.asarray(response)), LIQUID.topology)


def bead(kelvin=300.0, n=20_000, **broken) -> Seen:
    data = Dataset.from_frames(LINE, BATH.sample(n, kelvin, 5))
    return Seen.of(Model(Bead(**broken), LINE), data)


def away(check) -> float:
    return abs(check.value - check.expected) / check.error


RULES = (consistency.force_balance, consistency.response_balance, consistency.energy_balance, consistency.calibration)


@pytest.mark.parametrize("rule", [*RULES, consistency.label_balance])
def test_the_true_free_energy_of_a_bead_obeys_every_relation(rule):
    check = rule(bead())
    assert away(check) < 3
    assert check.error < 0.1 * check.expected


@pytest.mark.parametrize("rule", RULES[1:])
def test_a_wrong_entropy_breaks_what_speaks_of_it(rule):
    """One and a half times the entropy is found to be true by two thirds."""
    check = rule(bead(response=1.5))
    assert away(check) > 5
    assert abs(check.value - 2 / 3) < 3 * check.error


@pytest.mark.parametrize("response", [1.0, 1.5])
def test_the_divergence_of_the_field_counts_in_the_balance_of_responses(response):
    """Two beads by quadrature: the field between them has another divergence in every frame, and nothing is noisy.

    A = A(r; T0) - (T - T0) a S(r) with S linear in r and a = 1 for the atoms: their energies find 1/a of the response.
    """
    density = lambda r: np.exp(-60 * (r - 0.4) ** 2)  # of r: 4 pi r^2 exp(-A/kT)
    fine = np.linspace(1e-3, 1.2, 200_001)
    share = np.cumsum(density(fine)) / density(fine).sum()
    r = np.interp((np.arange(20_000) + 0.5) / 20_000, share, fine)
    force = -KT * (120 * (r - 0.4) + 2 / r)
    free_energy, entropy = KT * (60 * (r - 0.4) ** 2 + 2 * np.log(r)), -KB * r / 0.1
    pair = lambda size: np.stack([-size, size], 1)[..., None] * np.array([1.0, 0.0, 0.0])
    frames = Frames(pair(r / 2), energy=free_energy + 300.0 * entropy)
    covariance = pair(np.full(len(r), KB * 300.0**2 * response * -KB / 0.1))
    energy = free_energy + 300.0 * response * entropy
    seen = Seen(frames, np.arange(len(r)), 300.0, pair(force), free_energy, energy,
                covariance, 0 * r)  # fmt: skip
    assert np.ptp(seen.along_field(seen.force).divergence) > 1.0
    assert consistency.force_balance(seen).value == pytest.approx(300.0, rel=1e-3)
    assert consistency.response_balance(seen).value == pytest.approx(1 / response, rel=1e-3)


def test_a_force_too_large_is_seen_as_a_temperature_too_high():
    check = consistency.force_balance(bead(force=1.2))
    assert check.value == pytest.approx(360.0, rel=0.03)
    assert away(check) > 5


def test_forces_of_the_right_model_at_a_wrong_entropy_still_belong_to_the_configurations():
    assert away(consistency.force_balance(bead(response=1.5))) < 3


@pytest.fixture(scope="module")
def liquid():
    """Frames of the liquid at two temperatures: instantaneous labels, and the exact means in their place."""
    drawn = {t: LIQUID.sample(400, t, int(t)) for t in (300.0, 400.0)}
    exact = {
        t: LIQUID.noiseless(np.asarray(f.positions), t).with_(trajectory=f.trajectory, virial=None)
        for t, f in drawn.items()
    }
    of = lambda frames: Dataset.from_frames(LIQUID.topology, frames)
    every = Frames.concatenate([f[::4] for f in exact.values()])
    thermal = mf.LinearThermal.of(mf.SplinePotential(LIQUID.topology, cutoff=0.9, many_body=False), reference=350.0)
    model = mf.fit(thermal, [mf.ForceMatching(of(every)), mf.EnergyMatching(of(every))]).model
    return broken(model, 1.0), {t: of(f) for t, f in drawn.items()}, {t: of(f) for t, f in exact.items()}


def test_a_liquid_obeys_them_with_exact_means_for_labels(liquid):
    model, _, exact = liquid
    here = Seen.of(model, exact[300.0])
    for rule in RULES[:3]:
        check = rule(here)
        assert away(check) < 3 or check.value == pytest.approx(check.expected, rel=2e-3)
        assert check.error < 0.03 * check.expected


@pytest.mark.parametrize("rule", RULES[1:3])
def test_a_wrong_response_of_a_liquid_is_seen(liquid, rule):
    model, _, exact = liquid
    check = rule(Seen.of(broken(model, 1.3), exact[300.0]))
    assert away(check) > 5
    assert check.value == pytest.approx(1 / 1.3, abs=max(3 * check.error, 2e-3))


def test_scatter_of_instantaneous_labels_calibrates_the_response(liquid):
    model, drawn, _ = liquid
    assert away(consistency.calibration(Seen.of(model, drawn[300.0]))) < 3
    assert away(consistency.calibration(Seen.of(broken(model, 1.5), drawn[300.0]))) > 3


def test_heat_of_the_bath_is_found_in_the_scatter_and_in_the_rise_of_energies(liquid):
    """3 k/2 a molecule, known exactly, by both ways; a model whose energies are wrong scatters them too much."""
    model, drawn, _ = liquid
    low, high = (Seen.of(model, drawn[t]) for t in (300.0, 400.0))
    heat = consistency.heat_of_scatter(low)
    assert abs(heat.value - 1.5 * 64 * KB) < 3 * heat.error < 0.5 * heat.value
    assert away(consistency.total_variance(low, high)) < 3
    wrong = consistency.total_variance(*(Seen.of(broken(model, 12.0), drawn[t]) for t in (300.0, 400.0)))
    assert away(wrong) > 3 and wrong.value < 0.8


def test_heat_capacities_below_zero_are_counted():
    """c_v = 1.5 k - 2 k bend x^2 at 300 K: negative beyond x^2 = 0.75 / bend."""
    assert consistency.concavity(bead()).value == 0.0
    found = consistency.concavity(bead(bend=3.0))
    x = np.asarray(BATH.sample(20_000, 300.0, 5).positions)[:, 0, 0]
    gauge = consistency.heat_of_scatter(bead(bend=3.0)).value
    assert gauge == pytest.approx(1.5 * KB + 6 * KB * np.mean(x**2), rel=0.05)
    assert found.value == pytest.approx(np.mean(6 * KB * x**2 > gauge), abs=1e-3)
    assert away(found) > 5


def test_derivatives_of_one_free_energy_close(liquid):
    model, drawn, _ = liquid
    here = Seen.of(model, drawn[300.0].at(slice(20)))
    assert consistency.maxwell(model, here).value < 1e-6
    assert consistency.closure(model, here, 200.0, 700.0).value < 1e-9


def test_samples_of_several_temperatures_are_refused(liquid):
    model, drawn, _ = liquid
    both = Dataset.from_frames(LIQUID.topology, Frames.concatenate([d[:5] for d in drawn.values()]))
    with pytest.raises(ValueError, match="one temperature"):
        Seen.of(model, both)


def test_the_mean_force_does_not_depend_on_the_legal_map(tmp_path):
    """Flexible dimers: sums of forces, the map of least noise, and half the sum, which is not legal."""
    exact_run.run(ExactRun(molecules=64, frames=200, temperatures=(300.0,)), tmp_path / "atoms.h5")
    atoms = open_reference(tmp_path / "atoms.h5")
    mapping = mf.Mapping.by_residue(atoms, {"DIA": {"M": "all"}})
    summed, _ = of_map = [Dataset.create(tmp_path / f"{kind}.h5", mapping(atoms, forces=kind))
                          for kind in ("sum", "optimal")]  # fmt: skip
    frames = summed[:]
    assert np.std(of_map[1][:].forces - frames.forces) > 1e-3 * np.std(frames.forces), "the maps differ"
    check = consistency.map_invariance(*of_map)
    assert away(check) < 3 and check.error < 0.05
    half = Dataset.from_frames(summed.topology, frames.with_(forces=0.5 * frames.forces))
    assert consistency.map_invariance(summed, half).value == pytest.approx(0.5, rel=1e-6)
    with pytest.raises(ValueError, match="map the same atoms twice"):
        consistency.map_invariance(summed, half.at(slice(50)))
