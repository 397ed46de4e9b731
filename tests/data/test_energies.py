"""Energies of every kind of log, with known numbers, and frames that have none."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_readers import FRAMES, folder, water, whole, write_dump  # noqa: F401  folder is a fixture

from meanforce.data.energies import Energies, read_energies
from meanforce.data.errors import MissingLabel, ReadingError, TruncatedFile, UnmatchedEnergies
from meanforce.data.formats import Units
from meanforce.data.readers import read
from meanforce.units import EV, KCAL

REAL = Units("angstrom", "fs", "kcal/mol")
METAL = Units("angstrom", "ps", "eV")


def written(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (
            '#"Step","Time (ps)","Potential Energy (kJ/mole)","Box (nm)"\n500,1.0,-10.5,3\n1000,2.0,-11.5,3\n',
            1.0,
        ),
        ('#"Time (ps)"\t"Potential Energy (kJ/mole)"\n1.0\t-10.5\n2.0\t-11.5\n', 1.0),
        ("time (fs),energy (kcal/mol)\n1000,-10.5\n2000,-11.5\n", KCAL),
        ("Time [ns]; Potential [eV]\n0.001; -10.5\n0.002; -11.5\n", EV),
    ],
)
def test_tables_state_their_units(tmp_path, text, unit):
    energies = read_energies(written(tmp_path / "log.csv", text))
    np.testing.assert_allclose(energies.time, [1.0, 2.0])
    np.testing.assert_allclose(energies.energy, np.array([-10.5, -11.5]) * unit)


def test_tables_that_do_not_are_refused(tmp_path):
    with pytest.raises(ReadingError, match="no known unit; write it in the header"):
        read_energies(written(tmp_path / "a.csv", "time (ps),energy\n1.0,2.0\n"))
    with pytest.raises(MissingLabel, match=r"no column of the potential energy .*; it has time, temperature"):
        read_energies(written(tmp_path / "b.csv", "time (ps),temperature (K)\n1.0,2.0\n"))
    with pytest.raises(ReadingError, match="no column of times"):
        read_energies(written(tmp_path / "c.csv", "step,energy (eV)\n1.0,2.0\n"))
    with pytest.raises(TruncatedFile, match="line 3: 1 columns"):
        read_energies(written(tmp_path / "d.csv", "time (ps),energy (eV)\n1.0,2.0\n2.0"))
    with pytest.raises(ReadingError, match="every row"):
        read_energies(written(tmp_path / "e.csv", "time (ps),energy (eV)\n1.0,--\n"))
    with pytest.raises(ReadingError, match="no header of a table"):
        read_energies(written(tmp_path / "f.log", "something else\n1 2 3\n"))
    with pytest.raises(ReadingError, match="there is no file"):
        read_energies(tmp_path / "absent.edr")


def write_edr(path, rows):
    """A GROMACS energy file of format version 5, single precision, with two terms."""
    text = lambda word: struct.pack(">i", len(word)) + word.encode().ljust(-(-len(word) // 4) * 4, b"\0")
    data = struct.pack(">iii", -55555, 5, 2)
    data += text("Potential") + text("kJ/mol") + text("Pressure") + text("bar")
    for step, (time, energy) in enumerate(rows):
        data += struct.pack(">fiidqiqd", -1e10, -7777777, 5, time, step, 0, 1, 0.002)
        data += struct.pack(">iii", 2, 0, 0) + struct.pack(">iii", 8, 0, 0) + struct.pack(">ff", energy, 1.0)
    path.write_bytes(data)
    return path


def test_gromacs_edr(tmp_path):
    pytest.importorskip("pyedr")
    energies = read_energies(write_edr(tmp_path / "ener.edr", [(0.0, -10.5), (2.0, -11.5)]))
    np.testing.assert_allclose(energies.time, [0.0, 2.0])
    np.testing.assert_allclose(energies.energy, [-10.5, -11.5])
    (tmp_path / "not.edr").write_bytes(b"something else entirely")
    with pytest.raises(ReadingError, match="not a GROMACS energy file"):
        read_energies(tmp_path / "not.edr")


def test_an_edr_without_pyedr_says_what_to_do(tmp_path, monkeypatch):
    from MDAnalysis.auxiliary import EDR

    monkeypatch.setattr(EDR, "HAS_PYEDR", False)
    with pytest.raises(ReadingError, match=r"pip install 'meanforce\[edr\]'"):
        read_energies(write_edr(tmp_path / "ener.edr", [(0.0, 1.0)]))


LAMMPS = """LAMMPS (2 Aug 2023)
units real
Per MPI rank memory allocation
   Step          Temp          PotEng         {time}
         0   300           -100.5       {t[0]}
      1000   301           -101.5       {t[1]}
Loop time of 1.2 on 1 procs
Step Temp PotEng {time}
1000 301 -101.5 {t[1]}
2000 299 -102.5 {t[2]}
Loop time of 1.1 on 1 procs
"""


def test_lammps_log(tmp_path):
    timed = written(tmp_path / "log.lammps", LAMMPS.format(time="Time", t=[0, 1000, 2000]))
    energies = read_energies(timed, REAL)
    np.testing.assert_allclose(energies.time, [0, 1, 2])
    np.testing.assert_allclose(energies.energy, np.array([-100.5, -101.5, -102.5]) * KCAL)
    np.testing.assert_allclose(read_energies(timed, METAL).time, [0, 1000, 2000])
    steps = written(tmp_path / "steps.lammps", LAMMPS.format(time="Press", t=[1, 2, 3]))
    np.testing.assert_allclose(read_energies(steps, METAL, timestep=0.002).time, [0, 2, 4])
    np.testing.assert_allclose(read_energies(steps, METAL, timestep=0.002).energy[2], -102.5 * EV)
    with pytest.raises(ReadingError, match="state timestep="):
        read_energies(steps, METAL)
    with pytest.raises(ReadingError, match="no units"):
        read_energies(timed)


def test_amber_mdout(tmp_path):
    step = (
        " NSTEP = {0}   TIME(PS) = {1}  TEMP(K) = 300.00  PRESS = 0.0\n Etot   = 1.0  EKtot   = 2.0  EPtot      = {2}\n"
    )
    text = step.format(500, "1.000", "-10.5") + step.format(1000, "2.000", "-11.5")
    text += "      A V E R A G E S   O V E R       2 S T E P S\n" + step.format(1000, "2.000", "-11.0")
    energies = read_energies(written(tmp_path / "md.out", text))
    np.testing.assert_allclose(energies.time, [1.0, 2.0])
    np.testing.assert_allclose(energies.energy, [-10.5 * KCAL, -11.5 * KCAL])


def test_energies_of_a_run_are_matched_by_time(folder, tmp_path):  # noqa: F811
    table = "".join(f"{t},{100 * t}\n" for t in np.arange(0, 9, 0.5))
    path = written(tmp_path / "log.csv", "time (ps),potential energy (kJ/mol)\n" + table)
    frames = whole(read(folder / "water.gro", folder / "water.trr", energies=path, require=("forces", "energy")))
    np.testing.assert_allclose(frames.energy, 100 * frames.time)
    assert len(frames) == FRAMES


def test_energies_of_another_run_are_refused_by_time(folder, tmp_path):  # noqa: F811
    path = written(tmp_path / "log.csv", "time (ps),energy (kJ/mol)\n0,1\n2,1\n4,1\n6,1\n")
    with pytest.raises(UnmatchedEnergies, match=r"no energy at 8 ps.*from 0 to 6 ps.*from 0 to 8 ps"):
        read(folder / "water.gro", folder / "water.trr", energies=path)
    path = written(tmp_path / "log.csv", "time (ps),energy (kJ/mol)\n0,1\n2,1\n4.1,1\n6,1\n8,1\n")
    atoms = read(folder / "water.gro", folder / "water.trr", energies=path)
    with pytest.raises(UnmatchedEnergies, match="no energy at 4 ps"):
        whole(atoms)
    with pytest.raises(UnmatchedEnergies, match="one file of energies for each"):
        read(folder / "water.gro", folder / "water.trr", folder / "water.ncdf", energies=path)
    dump = write_dump(tmp_path / "run.dump", 10 * water()[0], water()[1])
    with pytest.raises(UnmatchedEnergies, match="state timestep="):
        read(folder / "water.gro", dump, units="real", energies=Energies(np.arange(5.0), np.arange(5.0)))


def test_one_file_of_energies_for_each_trajectory(folder):  # noqa: F811
    tables = [Energies(2.0 * np.arange(5), np.arange(5.0) + 10 * k) for k in range(2)]
    frames = whole(read(folder / "water.gro", folder / "water.trr", folder / "water.ncdf", energies=tables))
    np.testing.assert_allclose(frames.energy, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40, unique=True), st.randoms(use_true_random=False))
def test_every_time_finds_its_own_energy(stamps, random):
    times = 0.02 * np.sort(stamps)
    energies = Energies(times, np.sin(times))
    wanted = np.float32(random.sample(list(times), k=random.randint(1, len(times)))).astype(float)
    np.testing.assert_allclose(energies.at(wanted, "a test"), np.sin(np.round(wanted / 0.02) * 0.02), atol=1e-9)
    with pytest.raises(UnmatchedEnergies):
        energies.at(np.array([times[0] + 0.01]), "a test")


def test_restarts_repeat_a_frame():
    energies = Energies([0.0, 1.0, 1.0, 2.0], [5.0, 6.0, 6.0, 7.0])
    assert energies.time.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(ReadingError, match="not finite"):
        Energies([0.0, 1.0], [5.0, np.nan]).at(np.array([1.0]), "a test")
