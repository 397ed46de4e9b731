"""A run that is interrupted and gone on with is the run that was not: bit by bit."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from liquids import argon, lattice

from meanforce.data.errors import DatasetError, UnfinishedDataset
from meanforce.dynamics import keep
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin, NoseHoover, Rescaling

T = 120.0


class Interrupted(Exception):
    pass


def interrupting(after):
    """A progress callback that stops the run, as a user's Ctrl-C would."""

    def progress(seen):
        if seen.fraction >= after:
            raise Interrupted

    return progress


@pytest.mark.parametrize(
    ("thermostat", "barostat"), [(NoseHoover(0.5), None), (Rescaling(0.5), Barostat(100.0, compressibility=3e-4))]
)
def test_a_resumed_run_is_the_same_bit_by_bit(tmp_path, monkeypatch, thermostat, barostat):
    monkeypatch.setattr(keep, "_COMMIT_EVERY", 0.0)
    monkeypatch.setattr("meanforce.dynamics.run._TELL_EVERY", 0.0)
    settings = Settings(save_every=0.1, replicas=2, output=tmp_path / "run.h5")

    def go(settings, time=24.0):
        return simulate(
            argon(27, cutoff=0.7), lattice(3, 0.6), T, time, 0.005, 1, thermostat=thermostat, barostat=barostat,
            settings=settings,
        ).frames  # fmt: skip

    whole = go(replace(settings, output=tmp_path / "whole.h5"))
    with pytest.raises(Interrupted):
        go(replace(settings, progress=interrupting(0.4)))
    with pytest.raises(UnfinishedDataset, match="resume=True"):
        go(settings)
    again = go(replace(settings, resume=True))
    for name in ("positions", "box", "energy", "virial", "time", "trajectory"):
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name
    assert np.array_equal(go(replace(settings, resume=True)).positions, whole.positions)
    assert len(go(replace(settings, resume=True), time=12.0)) == len(whole) // 2
    longer = go(replace(settings, resume=True), time=36.0)
    assert np.array_equal(longer.positions[: len(whole)], whole.positions)
    assert len(longer) == len(whole) * 3 // 2


def test_trajectories_are_written_at_the_end_or_after_a_late_kill(tmp_path):
    settings = Settings(save_every=0.05, output=tmp_path / "run.h5", replicas=2, trajectories=("dcd",), resume=True)
    for _ in range(2):
        simulate(argon(27, cutoff=0.7), lattice(3, 0.6), T, 0.1, 0.005, 1, settings=settings)
        names = sorted(p.name for p in tmp_path.iterdir())
        assert names == ["run-0.dcd", "run-1.dcd", "run-topology.pdb", "run.h5"]
        (tmp_path / "run-1.dcd").unlink()


def test_another_run_is_not_resumed(tmp_path):
    settings = Settings(save_every=0.05, output=tmp_path / "run.h5", resume=True)
    run = lambda temperature: simulate(
        argon(27, cutoff=0.7), lattice(3, 0.6), temperature, 0.1, 0.005, 1, settings=settings
    )
    run(T)
    with pytest.raises(DatasetError, match="other settings: temperatures"):
        run(T + 1)


# A parent that has imported everything, but started no threads yet, forks the runs, so that each begins at once.
KILLER = textwrap.dedent(
    """
    import os, random, signal, sys, time
    sys.path.insert(0, sys.argv[1])
    from liquids import argon, lattice
    from meanforce.dynamics import keep, run
    from meanforce.dynamics.settings import Settings
    from meanforce.dynamics.thermostats import Langevin

    output, kills, steps = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    keep._COMMIT_EVERY = 0.0

    def go():
        settings = Settings(save_every=0.25, output=output, resume=True)
        run.simulate(SYSTEM(), START, 120.0, steps * 0.005, 0.005, 1, thermostat=Langevin(1.0), settings=settings)

    SYSTEM, START = lambda: argon(27, cutoff=0.7), lattice(3, 0.6)
    dice, killed, committed = random.Random(11), 0, 0
    part = output + ".part"
    segments = lambda: len([f for f in os.listdir(part) if f.endswith(".h5")]) if os.path.isdir(part) else 0
    while True:
        before = segments()
        child = os.fork()
        if child == 0:
            go()
            os._exit(0)
        if killed < kills:
            # A random instant after the first block is done, so that every life brings the run forward.
            while segments() == before and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.01)
            time.sleep(dice.uniform(0.0, 0.15))
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                sys.exit("the run ended before it was killed")
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            killed += 1
        elif status == 0:
            break
        else:
            sys.exit(f"a run failed with status {status}")
    print(killed)
    """
)


@pytest.mark.skipif(not hasattr(os, "fork") or not hasattr(signal, "SIGKILL"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_run_loses_nothing(tmp_path, kills):
    """SIGKILL to a real process at seeded random instants; the frames are those of an undisturbed run."""
    steps = 20_000 * kills
    command = [
        sys.executable,
        "-c",
        KILLER,
        str(Path(__file__).parent),
        str(tmp_path / "killed.h5"),
        str(kills),
        str(steps),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == kills, "the run must be long enough for all the kills"
    settings = Settings(save_every=0.25, output=tmp_path / "killed.h5", resume=True)
    run = lambda settings: (
        simulate(
            argon(27, cutoff=0.7),
            lattice(3, 0.6),
            T,
            steps * 0.005,
            0.005,
            1,
            thermostat=Langevin(1.0),
            settings=settings,
        ).frames
    )
    killed = run(settings)
    whole = run(Settings(save_every=0.25))
    assert np.array_equal(killed.positions, whole.positions)
    assert np.array_equal(killed.energy, whole.energy)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed.h5"]
