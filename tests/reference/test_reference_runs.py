"""Reference runs with OpenMM: what is stored, that it is right, and that stopping loses nothing."""

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from meanforce.data.dataset import Dataset
from meanforce.data.errors import DatasetError
from meanforce.reference.argon import Argon
from meanforce.reference.atoms import open_reference
from meanforce.reference.engine import BrokenSimulation, Probe, seeds
from meanforce.reference.openmm import run
from meanforce.reference.peptide import AlanineDipeptide
from meanforce.reference.recipe import ReferenceRun
from meanforce.reference.water import Water, molecule_geometry
from meanforce.units import BAR, KB

openmm = pytest.importorskip("openmm")

ARGON = Argon(atoms=32, density=0.7, cutoff=1.7)


def argon_run(**changes):
    options = {
        "system": ARGON, "temperatures": (120.0, 150.0), "time": 2.0, "interval": 0.1, "timestep": 0.01,
        "equilibration": 0.5, "platform": "Reference", "precision": "double", "seed": 3,
    }  # fmt: skip
    return ReferenceRun(**(options | changes))


class Stop(Exception):
    pass


def stop_at(frames):
    def watch(progress):
        if progress.frames >= frames:
            raise Stop

    return watch


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return Dataset.open(run(argon_run(), tmp_path_factory.mktemp("run") / "argon.h5"))


def test_a_run_stores_every_label(undisturbed):
    frames = undisturbed[:]
    assert frames.labels() == ("forces", "energy", "virial", "temperature", "time", "trajectory")
    np.testing.assert_array_equal(frames.temperature, np.repeat([120.0, 150.0], 20))
    np.testing.assert_array_equal(frames.trajectory, np.repeat([0, 1], 20))
    np.testing.assert_allclose(frames.time, np.tile(0.1 * np.arange(1, 21), 2))
    np.testing.assert_allclose(frames.box, np.broadcast_to(np.eye(3) * ARGON.edge, (40, 3, 3)))
    assert undisturbed.topology == ARGON.build().topology


def test_a_run_names_what_made_it(undisturbed):
    made = undisturbed.provenance
    assert made["engine"]["name"] == "OpenMM"
    assert made["engine"]["platform"] == "Reference"
    assert made["force_field"]["cutoff_nm"] == pytest.approx(1.7 * 0.3405)
    assert made["thermostat"] == {"name": "Langevin middle", "friction_per_ps": 1.0, "timestep_ps": 0.01}
    assert made["seeds"] == [list(seeds(3, 0)), list(seeds(3, 1))]
    assert made["temperatures_K"] == [120.0, 150.0]
    assert made["degrees_of_freedom"] == 93


def test_stored_labels_belong_to_the_stored_positions(undisturbed):
    """Energy and forces recomputed; the virial against the direct pair sum of the truncated potential."""
    system = ARGON.build()
    context = openmm.Context(
        system.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    probe = Probe.create(system, context.getMolecules(), "Reference", None)
    for frame in undisturbed[::13]:
        context.setPositions(frame.positions[0])
        state = context.getState(energy=True, forces=True)
        np.testing.assert_allclose(frame.energy[0], state.getPotentialEnergy()._value, rtol=1e-9)
        np.testing.assert_allclose(frame.forces[0], state.getForces(asNumpy=True)._value, atol=1e-6)
        rigid = probe.virial(frame.positions[0], frame.box[0])
        np.testing.assert_allclose(frame.virial[0], rigid, rtol=1e-6)
        np.testing.assert_allclose(rigid, pair_virial(frame.positions[0], system), rtol=1e-4, atol=0.05)


def pair_virial(x, system):
    """sum r.f over pairs of the switched potential, plus what the attraction beyond the cut-off adds."""
    i, j = np.triu_indices(len(x), 1)
    apart = x[i] - x[j]
    apart -= ARGON.edge * np.round(apart / ARGON.edge)
    r = np.linalg.norm(apart, axis=1)
    cutoff, start = 1.7 * ARGON.sigma, 0.9 * 1.7 * ARGON.sigma

    def pair(r):
        s = np.clip((r - start) / (cutoff - start), 0, 1)
        bare = 4 * ARGON.epsilon * ((ARGON.sigma / r) ** 12 - (ARGON.sigma / r) ** 6)
        return bare * (1 - 10 * s**3 + 15 * s**4 - 6 * s**5)

    force = next(f for f in system.system.getForces() if isinstance(f, openmm.NonbondedForce))
    energy = {}
    for tail in (True, False):
        force.setUseDispersionCorrection(tail)
        context = openmm.Context(
            system.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
        )
        context.setPositions(x)
        energy[tail] = context.getState(energy=True).getPotentialEnergy()._value
    force.setUseDispersionCorrection(True)
    slope = -(pair(r + 1e-6) - pair(r - 1e-6)) / 2e-6
    return (r * slope).sum() + 3 * (energy[True] - energy[False])  # the tail goes as 1/V


def test_the_molecular_virial_moves_molecules_as_a_whole():
    """Two rigid waters far from their images: sum of R.F over their centres."""
    water = Water(molecules=2, edge=5.0, tail=False, ewald_tolerance=1e-5)
    system = water.build()
    shape = molecule_geometry(0.1, 109.47)[:, [1, 0, 2]]  # oxygens face each other: centres are farther apart
    x = 1.0 + np.concatenate([shape * [-1, 1, 1], shape + np.array([0.28, 0, 0])])
    copy = openmm.XmlSerializer.clone(system.system)
    for force in copy.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
    context = openmm.Context(copy, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(x)
    force = context.getState(forces=True).getForces(asNumpy=True)._value.reshape(2, 3, 3).sum(axis=1)
    probe = Probe.create(system, context.getMolecules(), "Reference", None)
    weights = system.topology.masses[:3] / system.topology.masses[:3].sum()
    centres = np.einsum("mad,a->md", x.reshape(2, 3, 3), weights)
    assert probe.virial(x, system.box) == pytest.approx((centres * force).sum(), rel=0.002)


@pytest.mark.parametrize(("platform", "pressure"), [("Reference", None), ("Reference", 300.0), ("CPU", None)])
def test_a_stopped_run_continues_without_gap_or_repeat(tmp_path, undisturbed, platform, pressure):
    """At constant volume on the Reference platform it continues bit for bit."""
    recipe, path = argon_run(platform=platform, pressure=pressure), tmp_path / "argon.h5"
    for frames in (4, 19, 33):
        with pytest.raises(Stop):
            run(recipe, path, resume=True, threads=1, watcher=stop_at(frames), commit_seconds=0)
    data = Dataset.open(run(recipe, path, resume=True, threads=1))
    np.testing.assert_allclose(data[:].time, undisturbed[:].time)
    np.testing.assert_array_equal(data[:].trajectory, undisturbed[:].trajectory)
    steps = np.abs(np.diff(data[:].positions, axis=0)).max(axis=(1, 2))
    assert steps[np.arange(39) != 19].max() < 0.2, "no jump where it was stopped"
    assert steps.min() > 1e-4, "and no frame twice"
    assert (data.hash == undisturbed.hash) == (platform == "Reference" and pressure is None)


def test_a_finished_run_is_left_as_it_is(tmp_path, undisturbed):
    path = tmp_path / "argon.h5"
    run(argon_run(), path)
    run(argon_run(), path, resume=True)
    assert Dataset.open(path).hash == undisturbed.hash
    with pytest.raises(DatasetError, match="exists"):
        run(argon_run(), path)
    with pytest.raises(DatasetError, match="begun with other settings: seed"):
        run(argon_run(seed=4), path, resume=True)


def test_progress_counts_frames_and_time(tmp_path):
    seen = []
    run(argon_run(), tmp_path / "argon.h5", watcher=seen.append)
    fractions = [p.fraction for p in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert seen[-1].frames == 40
    assert seen[-1].remaining == 0
    assert [p.phase for p in seen[:6]] == ["equilibration"] * 5 + ["production"]
    assert Counter(p.temperature for p in seen) == {120.0: 25, 150.0: 25}


def test_constant_pressure_is_the_pressure_of_the_virial(tmp_path):
    """The mean of (N kT + virial/3) / V is the pressure of the barostat, within its error."""
    recipe = argon_run(
        system=Argon(atoms=64, density=0.7, cutoff=1.7),
        temperatures=(150.0,),
        time=80.0,
        interval=0.2,
        equilibration=10.0,
        platform="CPU",
        pressure=800.0,
    )
    frames = Dataset.open(run(recipe, tmp_path / "argon.h5", threads=1))[:]
    volume = np.linalg.det(frames.box)
    assert volume.std() > 0.01
    pressure = (63 * KB * 150 + frames.virial / 3) / volume / BAR  # the centre of mass is at rest
    blocks = pressure.reshape(20, -1).mean(axis=1)
    assert abs(blocks.mean() - 800) < 3 * blocks.std(ddof=1) / 20**0.5


def test_forces_are_without_constraint_forces(tmp_path):
    """Alanine dipeptide: the stored forces are the gradient, not what keeps the bonds to hydrogen."""
    recipe = ReferenceRun(system=AlanineDipeptide(), temperatures=(300.0,), time=0.2, interval=0.1, equilibration=0)
    data = Dataset.open(run(recipe, tmp_path / "ala.h5"))
    assert data.provenance["engine"]["platform"] == "Reference"
    assert data[:].box is None
    assert data[:].virial is None
    assert data[:].positions.dtype == np.float32
    system = AlanineDipeptide().build()
    context = openmm.Context(
        system.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    for frame in data:
        context.setPositions(frame.positions[0].astype(float))
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
        np.testing.assert_allclose(frame.forces[0], forces, atol=0.5)
    i, j = system.constraints.T
    held = np.linalg.norm(data[0].positions[0][i] - data[0].positions[0][j], axis=1)
    np.testing.assert_allclose(
        held, np.linalg.norm(data[1].positions[0][i] - data[1].positions[0][j], axis=1), atol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": ()}, "at least 1"),
        ({"temperatures": (300.0, -1.0)}, "in K and positive"),
        ({"temperatures": (300.0, 300.0)}, "stands twice"),
        ({"system": AlanineDipeptide(), "pressure": 1.0}, "without a periodic box"),
        ({"interval": 0.105}, "no whole number of time steps"),
        ({"time": 0.25}, "no whole number of intervals"),
        ({"thermostat": "nose"}, "thermostat"),
        ({"platform": "cpu"}, "CPU"),
    ],
)
def test_wrong_recipes_are_refused_before_they_run(changes, message):
    with pytest.raises(ValidationError, match=message):
        argon_run(**changes)


def test_a_run_opens_as_atoms(tmp_path, undisturbed):
    atoms = open_reference(undisturbed.reader.path)
    assert [len(run) for run in atoms.runs] == [20, 20]
    assert atoms.elements == ("Ar",) * 32
    assert atoms.constraints.shape == (0, 2)
    times = np.concatenate([frames.time for frames in atoms.batches(7)])
    np.testing.assert_array_equal(times, undisturbed[:].time)
    Dataset.create(tmp_path / "other.h5", undisturbed[:2], topology=undisturbed.topology)
    with pytest.raises(ValueError, match="was not made by a reference run"):
        open_reference(tmp_path / "other.h5")


def test_a_platform_that_is_not_there_is_refused(tmp_path):
    absent = {"CUDA", "HIP", "OpenCL"} - {
        openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())
    }
    if not absent:
        pytest.skip("every platform is here")
    with pytest.raises(ValueError, match="has no platform"):
        run(argon_run(platform=absent.pop()), tmp_path / "argon.h5")


def test_a_time_step_too_long_stops_with_its_cause(tmp_path):
    with pytest.raises((BrokenSimulation, DatasetError), match=r"smaller time step|is nan|is inf"):
        run(argon_run(timestep=0.5, interval=0.5, time=50.0), tmp_path / "argon.h5", commit_seconds=0)


def test_the_time_step_divides_the_interval():
    assert ReferenceRun(system=Argon(), temperatures=(120.0,), time=1).step == pytest.approx(1 / 93)
    assert ReferenceRun(system=Water(), temperatures=(300.0,), time=1).step == 0.002


# Twenty kills. A parent without numerical libraries' threads forks the runs, so that each starts at once; a run
# that finishes before its turn to be killed is kept, and another begun.
KILLER = textwrap.dedent(
    """
    import os, random, signal, sys, time
    import meanforce.data.dataset, numpy, scipy.spatial.transform, openmm.app
    from meanforce.reference.openmm import run
    from meanforce.reference.recipe import ReferenceRun

    folder, recipe = sys.argv[1], ReferenceRun.model_validate_json(sys.argv[2])
    dice, killed, finished = random.Random(7), 0, 0
    while killed < 20 or finished == 0:
        child = os.fork()
        if child == 0:
            run(recipe, f"{folder}/{finished}.h5", resume=True, commit_seconds=0.0)
            os._exit(0)
        if killed < 20:
            time.sleep(dice.uniform(0.02, 0.35))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            killed += 1
        elif status == 0:
            finished += 1
        else:
            sys.exit(f"a run failed with status {status}")
    if any(name.startswith(f"{finished}.h5") for name in os.listdir(folder)):
        run(recipe, f"{folder}/{finished}.h5", resume=True)
    print(killed)
    """
)


@pytest.mark.skipif(not hasattr(os, "fork") or not hasattr(signal, "SIGKILL"), reason="needs fork and SIGKILL")
def test_twenty_kills_lose_nothing(tmp_path):
    """SIGKILL at seeded random instants; every finished file is bit for bit that of an undisturbed run."""
    recipe, folder = argon_run(time=15.0), tmp_path / "killed"
    command = [sys.executable, "-c", KILLER, str(folder), recipe.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 20
    whole = Dataset.open(run(recipe, tmp_path / "whole.h5"))
    paths = sorted(folder.iterdir())
    assert [p.suffix for p in paths] == [".h5"] * len(paths), "nothing is left beside the finished files"
    for path in paths:
        data = Dataset.open(path)
        np.testing.assert_allclose(data[:].time, np.tile(0.1 * np.arange(1, 151), 2))
        assert data.hash == whole.hash
