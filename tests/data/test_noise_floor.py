"""The interval for the irreducible noise holds the closed form, with replicas tightly."""

import numpy as np
import pytest

from meanforce.data import noise
from meanforce.data.dataset import Dataset
from meanforce.data.errors import DatasetError
from meanforce.data.inspect import inspect
from meanforce.reference.analytic import ExponentialBath, ModulatedBath
from meanforce.reference.liquids import Configurations, DiatomicLiquid
from meanforce.topology import Topology

LIQUID = DiatomicLiquid(molecules=40, edge=1.9)
KELVIN = 300.0
BEAD = Topology.of(["B"], {"B": 1.0})


def with_replicas(drawn: Configurations, copies: int, seed: int) -> Dataset:
    centres = np.repeat(drawn.centres, copies, axis=0)
    bonds = LIQUID.draw_bonds(centres, KELVIN, np.random.default_rng(seed))
    again = Configurations(centres, bonds, np.zeros(len(centres), int), KELVIN)
    return Dataset.from_frames(LIQUID.topology, LIQUID.beads(again))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_liquid_lies_in_its_interval(seed):
    """Diatomic liquid: the variance of the force label is known at every configuration."""
    drawn = LIQUID.draw(240, KELVIN, seed, sweeps=6)
    truth = LIQUID.noise_floor(drawn.centres, KELVIN)
    data = Dataset.from_frames(LIQUID.topology, LIQUID.beads(drawn))
    floor = inspect(data).floor
    assert floor.lower <= truth <= floor.upper
    assert floor.upper < 1.6 * truth, "a pair fit comes close to a truth made of pairs"
    assert floor.upper < 0.1 * (data[:].forces ** 2).mean()
    assert floor.upper_from == "a quick fit of pair forces"


def test_replicas_give_the_floor_itself():
    drawn = LIQUID.draw(60, KELVIN, 4, sweeps=6)
    truth = LIQUID.noise_floor(drawn.centres, KELVIN)
    data = with_replicas(drawn, 8, seed=5)
    mean, error = noise.replica_variance(data[:])
    assert abs(mean - truth) < 3 * error < 0.25 * truth
    floor = noise.noise_floor(data, cutoff=1.0)
    assert floor.lower_from == floor.upper_from == "replicas at fixed positions"
    assert 0 < floor.lower < floor.upper
    plain = Dataset.from_frames(LIQUID.topology, LIQUID.beads(drawn))
    assert inspect(plain, replicas=data).floor == floor
    with pytest.raises(DatasetError, match="no configuration twice"):
        inspect(data, replicas=plain)


def test_replica_errors_are_honest():
    """Two standard errors hold the truth in about 95 of 100 cases: at least 32 of 40 here."""
    drawn = LIQUID.draw(30, KELVIN, 6, sweeps=6)
    truth = LIQUID.noise_floor(drawn.centres, KELVIN)
    inside = 0
    for seed in range(40):
        mean, error = noise.replica_variance(with_replicas(drawn, 3, seed)[:])
        inside += abs(mean - truth) < 2 * error
    assert inside >= 32


@pytest.mark.parametrize("system", [ModulatedBath(), ExponentialBath()], ids=["V2", "V6"])
def test_one_bead_by_its_nearest_frames(system):
    frames = system.sample(3000, KELVIN, 7)
    truth = system.force_variance(frames.positions[:, 0, 0], KELVIN).mean() / 3  # of the three components one moves
    floor = inspect(Dataset.from_frames(BEAD, frames)).floor
    assert floor.lower <= truth <= floor.upper
    assert floor.upper < 1.35 * truth
    assert floor.upper_from == "differences of nearest frames"


def test_labels_without_noise_have_no_floor():
    system = ModulatedBath()
    r = np.sort(system.draw(2000, KELVIN, np.random.default_rng(1)))
    clean = system.noiseless(r, KELVIN)
    floor = inspect(Dataset.from_frames(BEAD, clean)).floor
    assert floor.upper < 1e-2 * (clean.forces**2).mean()


def test_the_error_of_a_better_model_lowers_the_upper_end():
    drawn = LIQUID.draw(100, KELVIN, 8, sweeps=4)
    data = Dataset.from_frames(LIQUID.topology, LIQUID.beads(drawn))
    truth = LIQUID.noise_floor(drawn.centres, KELVIN)
    floor = inspect(data, model_error=np.sqrt(1.001 * truth)).floor
    assert floor.upper_from == "the model's held-out error"
    assert floor.rms[1] == pytest.approx(np.sqrt(1.001 * truth))
    known = inspect(data, model_error=0.5 * np.sqrt(truth), replicas=with_replicas(drawn, 4, seed=9))
    assert any("lies below the noise floor" in warning for warning in known.warnings)
