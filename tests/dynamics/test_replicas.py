"""What replicas that exchange their temperatures sample: exp(-A/kT) at each, at constant volume and pressure."""

import equinox as eqx
import numpy as np
import pytest
from liquids import Trap, model
from scipy import stats

import meanforce as mf
from meanforce.dynamics import setup
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.exchange import Ladder
from meanforce.dynamics.replicas import replica_exchange
from meanforce.dynamics.run import carry_out
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin, Rescaling
from meanforce.frames import Frames
from meanforce.potentials.base import Potential
from meanforce.units import BAR, KB

T0, WIDTH = 300.0, 0.2


class Wells(Potential):
    """Two wells at x = -0.2 and 0.2 nm; the entropy favours the one, the energy the other, and y and z are stiff."""

    barrier: float = eqx.field(static=True)  # kJ/mol
    tilt: float = eqx.field(static=True)  # kJ/mol, of A from well to well at T0
    entropy: float = eqx.field(static=True)  # kJ/mol, T0 times that of the right well over the left

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        u, side = graph.positions[:, 0] / WIDTH, (graph.positions[:, 1:] ** 2).sum(-1)
        return profile(self, u, graph.temperature[graph.frame]) + 1000.0 * side


def profile(wells, u, kelvin):
    well = wells.barrier * (u**2 - 1) ** 2
    return well + wells.tilt / 2 * u - (kelvin / T0 - 1) * wells.entropy / 2 * u


def exact(wells, kelvin, values):
    """The mean of values(x / WIDTH) by quadrature."""
    u = np.linspace(-3, 3, 20001)
    a = profile(wells, u, kelvin) / (KB * kelvin)
    weights = np.exp(-(a - a.min()))
    return weights @ values(u) / weights.sum()


def with_error(series, blocks=25):
    each = series[: len(series) // blocks * blocks].reshape(blocks, -1).mean(1)
    return each.mean(), each.std(ddof=1) / np.sqrt(blocks)


ORIGIN = Frames(np.array([[[-WIDTH, 0.0, 0.0]]]))


@pytest.mark.parametrize("thermostat", [Langevin(5.0), Rescaling(0.1)])
def test_each_temperature_has_its_own_distribution(thermostat):
    """A(R; T) whose preferred well changes along the ladder: exp(-A/kT) at each, by quadrature."""
    wells, ladder = Wells(6.0, 0.0, 24.0), Ladder((250.0, 300.0, 360.0), every=0.04)
    found = replica_exchange(
        model(wells, 1), ORIGIN, ladder, 20_000.0, 0.02, 3, thermostat=thermostat, settings=Settings(save_every=0.2)
    )
    for ensemble, kelvin in zip(found.ensembles, ladder.temperatures, strict=True):
        u = ensemble.frames.positions[1000:, 0, 0] / WIDTH
        assert (ensemble.frames.temperature == kelvin).all()
        assert (np.diff(ensemble.frames.time) > 0).all()
        for values in (lambda u: u > 0, lambda u: u, lambda u: (u**2 - 1) ** 2):
            mean, error = with_error(values(u).astype(float))
            assert abs(mean - exact(wells, kelvin, values)) < 3 * error, (kelvin, mean, error)
            assert error < 0.03
    rights = [exact(wells, kelvin, lambda u: u > 0) for kelvin in ladder.temperatures]
    assert rights[0] < 0.25
    assert rights[2] > 0.75


def test_velocities_have_the_temperature_of_their_rung():
    """With hardly any friction: kinetic temperatures are right because exchange scales the velocities."""
    ladder = Ladder((200.0, 300.0, 450.0), every=0.1)
    task = setup.task(
        model(Trap(100.0), 3), Frames(np.zeros((1, 3, 3))), ladder, (2000.0, 0.02), 1, Langevin(0.2), None,
        Settings(save_every=0.2),
    )  # fmt: skip
    frames, trace = carry_out(task)
    kelvin = frames.temperature.reshape(-1, 3)
    assert (np.sort(kelvin, 1) == ladder.temperatures).all()
    for rung in ladder.temperatures:
        mean, error = with_error(trace.kinetic_temperature[kelvin == rung] / rung)
        assert abs(mean - 1) < 3 * error
        assert error < 0.02
    assert np.isnan(trace.conserved).all()


def test_the_cold_replica_leaves_its_well_only_by_exchange():
    wells = Wells(14.0, 0.0, 0.0)
    temperatures = tuple(np.geomspace(100.0, 700.0, 6))
    visited = {}
    for every in (None, 0.1):
        found = replica_exchange(
            model(wells, 1), ORIGIN, Ladder(temperatures, every=every), 400.0, 0.01, 2, thermostat=Langevin(5.0),
            settings=Settings(save_every=0.1),
        )  # fmt: skip
        visited[every] = (found.ensembles[0].frames.positions[:, 0, 0] > WIDTH / 2).mean()
    assert visited[None] == 0.0
    assert 0.2 < visited[0.1] < 0.8
    assert found.round_trips.sum() >= 6
    assert (found.acceptance > 0.3).all()
    assert (found.tried == 2000).all()
    assert len(np.unique(found.ensembles[0].chain)) == 6


def test_without_exchange_temperatures_run_side_by_side():
    found = replica_exchange(
        model(Trap(100.0), 20), Frames(np.zeros((1, 20, 3))), Ladder((100.0, 300.0), every=None), 20.0, 0.02, 1,
        thermostat=Langevin(5.0), settings=Settings(save_every=0.2),
    )  # fmt: skip
    cold, hot = found.ensembles
    assert (cold.state.temperature, hot.state.temperature) == (100.0, 300.0)
    ratio = (hot.frames.positions[20:] ** 2).mean() / (cold.frames.positions[20:] ** 2).mean()
    assert ratio == pytest.approx(3.0, rel=0.15)
    assert np.isnan(found.acceptance).all()
    assert not found.tried.any()


class Nothing(Potential):
    """An ideal gas with a gauge that depends on temperature."""

    @property
    def cutoffs(self):
        return ()

    def energies(self, graph):
        return graph.temperature[graph.frame] + 0 * graph.positions[:, 0]


def test_the_pressure_is_a_part_of_the_rule():
    """An ideal gas at one pressure: PV/kT is Gamma distributed with N + 1 at every temperature."""
    beads, pressure, kelvin = 12, 100.0, (200.0, 260.0)
    length = (beads * KB * 230.0 / (pressure * BAR)) ** (1 / 3)
    start = Frames(np.random.default_rng(0).random((1, beads, 3)) * length, np.eye(3)[None] * length)
    barostat = Barostat(pressure, time=2.0, compressibility=1 / pressure, interval=2)
    found = replica_exchange(
        model(Nothing(), beads), start, Ladder(kelvin, every=0.05), 7000.0, 0.01, 4, thermostat=Langevin(5.0),
        barostat=barostat, settings=Settings(save_every=5.0),
    )  # fmt: skip
    for ensemble, t in zip(found.ensembles, kelvin, strict=True):
        volume = np.linalg.det(ensemble.frames.box)[10:] * pressure * BAR / (KB * t)
        mean, error = with_error(volume)
        assert abs(mean - (beads + 1)) < 3 * error
        assert error < 0.18
        assert stats.kstest(volume[::2], "gamma", args=(beads + 1,)).pvalue > 1e-3
    assert 0.3 < found.acceptance[0] < 0.95


def test_motion_belongs_to_no_ensemble_of_an_exchange():
    found = replica_exchange(
        model(Trap(100.0), 1), Frames(np.zeros((1, 1, 3))), Ladder((300.0, 310.0), every=0.1), 200.0, 0.02, 1,
        settings=Settings(save_every=0.2),
    )  # fmt: skip
    with pytest.raises(ValueError, match="evenly spaced"):
        mf.observables.diffusion(found.ensembles[0])


def test_a_gap_in_the_ladder_is_named():
    with pytest.warns(RuntimeWarning, match="between 100 K and 1000 K"):
        replica_exchange(
            model(Trap(100.0), 40), Frames(np.zeros((1, 40, 3))), Ladder((100.0, 1000.0), every=0.1), 20.0, 0.02, 1,
            thermostat=Langevin(5.0), settings=Settings(save_every=0.2),
        )  # fmt: skip
