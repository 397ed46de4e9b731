"""Temperatures that change at a constant rate: in the bath, in the free energy and in the frames."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from liquids import MASS, Swelling, Trap, argon, lattice, model
from test_resume import Interrupted, interrupting

import meanforce as mf
from meanforce.dynamics import keep, setup
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.integrators import maxwell
from meanforce.dynamics.noise import normals
from meanforce.dynamics.ramp import Ramp
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import NVE, Langevin, NoseHoover, Rescaling
from meanforce.frames import Frames
from meanforce.units import KB


def test_every_step_has_its_temperature():
    """A bead in a well that stiffens with temperature, step by step against the same scheme written out."""
    ramp, steps, h, friction, stiffness = Ramp(200.0, 500.0), 60, 0.02, 3.0, 400.0
    start = Frames(np.full((1, 2, 3), 0.1))
    run = simulate(
        model(Swelling(stiffness), 2), start, ramp, steps * h, h, 5, thermostat=Langevin(friction),
        settings=Settings(save_every=h, precision="double"),
    )  # fmt: skip
    task = setup.task(model(Swelling(stiffness), 2), start, ramp, (steps * h, h), 5, Langevin(), None, Settings())
    system = setup.system(task, np.arange(2), False)
    x, v = start.positions[0], maxwell(system)
    kept = np.exp(-friction * h)
    for n in range(steps):
        kelvin = 200.0 + 300.0 * n / steps
        force = lambda x, kelvin=kelvin: -stiffness * kelvin / 300.0 * x
        noise = np.asarray(normals(system.keys, jnp.array(n), 6), float).reshape(2, 3)
        if n:
            v = v + h / 2 * force(x) / MASS
        v = v + h / 2 * force(x) / MASS
        x = x + h / 2 * v
        v = kept * v + np.sqrt((1 - kept**2) * KB * kelvin / MASS) * noise
        x = x + h / 2 * v
        np.testing.assert_allclose(run.frames.positions[n], x, rtol=0, atol=1e-12)
        now = 200.0 + 300.0 * (n + 1) / steps
        assert run.frames.temperature[n] == pytest.approx(now, rel=1e-12)
        assert run.frames.energy[n] == pytest.approx(0.5 * stiffness * now / 300.0 * (x**2).sum(), rel=1e-9)
    assert np.isnan(run.state.temperature)
    assert np.isnan(run.reduced).all()


@pytest.mark.parametrize("thermostat", [Langevin(5.0), NoseHoover(0.5), Rescaling(0.2)])
def test_a_slow_ramp_is_followed(thermostat):
    """3/2 kT for each of many wells all along, up and down; each replica warms alike."""
    for ramp in (Ramp(100.0, 400.0), Ramp(400.0, 100.0)):
        beads = 1000
        start = Frames(np.random.default_rng(0).normal(0, np.sqrt(KB * ramp.start / 400.0), (1, beads, 3)))
        run = simulate(
            model(Trap(400.0), beads), start, ramp, 40.0, 0.02, 2, thermostat=thermostat,
            settings=Settings(save_every=0.2),
        )  # fmt: skip
        ratio = run.frames.energy / (1.5 * beads * KB * run.frames.temperature)
        early, late = ratio[20:100].mean(), ratio[100:].mean()
        assert early == pytest.approx(1.0, abs=0.04)
        assert late == pytest.approx(1.0, abs=0.04)


def test_a_ramp_from_a_temperature_to_itself_is_a_run_at_it():
    run = lambda temperature: simulate(
        argon(27, cutoff=0.7), lattice(3, 0.6), temperature, 0.2, 0.005, 1, thermostat=Rescaling(0.1),
        barostat=Barostat(100.0, interval=5), settings=Settings(save_every=0.05, precision="double"),
    ).frames  # fmt: skip
    one, two = run(120.0), run(Ramp(120.0, 120.0))
    assert np.abs(one.positions - two.positions).max() < 1e-12
    assert np.abs(one.box - two.box).max() < 1e-12


def test_a_resumed_ramp_is_the_same_bit_by_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(keep, "_COMMIT_EVERY", 0.0)
    monkeypatch.setattr("meanforce.dynamics.run._TELL_EVERY", 0.0)
    settings = Settings(save_every=0.1, replicas=2, output=tmp_path / "run.h5")

    def go(settings, time=24.0):
        system, start = argon(27, cutoff=0.7), lattice(3, 0.6)
        return simulate(system, start, Ramp(60.0, 160.0), time, 0.005, 1, settings=settings).frames

    whole = go(replace(settings, output=tmp_path / "whole.h5"))
    with pytest.raises(Interrupted):
        go(replace(settings, progress=interrupting(0.4)))
    again = go(replace(settings, resume=True))
    for name in ("positions", "box", "energy", "temperature", "time"):
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name
    assert np.array_equal(go(replace(settings, resume=True)).positions, whole.positions)
    with pytest.raises(mf.data.errors.DatasetError, match="ramp_steps"):
        go(replace(settings, resume=True), time=48.0)


def test_what_makes_no_ramp_is_refused():
    with pytest.raises(ValueError, match="positive end"):
        Ramp(300.0, 0.0)
    with pytest.raises(ValueError, match="need a thermostat"):
        simulate(model(Trap(1.0), 1), Frames(np.zeros((1, 1, 3))), Ramp(1.0, 2.0), 1.0, 0.1, 1, thermostat=NVE())
