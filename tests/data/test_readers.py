"""Every format is written here with known numbers, and read back in nm, ps and kJ/mol."""

import warnings

import h5py
import MDAnalysis as mda
import numpy as np
import pytest

from meanforce.data.errors import BrokenFrame, MissingLabel, ReadingError, SuspectUnits, TruncatedFile
from meanforce.data.readers import Atoms, read
from meanforce.units import EV, KCAL

WATERS, FRAMES = 8, 5
BOX = np.array([2.0, 2.1, 2.2])
TRICLINIC = np.array([[2.0, 0, 0], [0.4, 2.1, 0], [-0.3, 0.5, 2.2]])


def water(seed=0):
    """Positions (nm), forces (kJ/mol/nm) of a few rigid waters, and the frames' times (ps)."""
    rng = np.random.default_rng(seed)
    shape = np.array([[0, 0, 0], [0.1, 0, 0], [-0.0333, 0.0943, 0]])
    centres = rng.uniform(0.2, 1.8, (FRAMES, WATERS, 1, 3))
    positions = (centres + shape).reshape(FRAMES, -1, 3)
    return positions, rng.normal(0, 800, positions.shape), 2.0 * np.arange(FRAMES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A GRO topology and one trajectory in each format that MDAnalysis writes."""
    path = tmp_path_factory.mktemp("trajectories")
    positions, forces, times = water()
    n = 3 * WATERS
    u = mda.Universe.empty(
        n, WATERS, atom_resindex=np.repeat(np.arange(WATERS), 3), trajectory=True, velocities=True, forces=True
    )
    u.add_TopologyAttr("names", ["OW", "HW1", "HW2"] * WATERS)
    u.add_TopologyAttr("resnames", ["SOL"] * WATERS)
    u.add_TopologyAttr("resids", np.arange(1, WATERS + 1))
    u.dimensions = [*(10 * BOX), 90, 90, 90]
    u.trajectory.units = {"time": "ps", "length": "Angstrom", "velocity": "Angstrom/ps", "force": "kJ/(mol*Angstrom)"}
    u.atoms.positions = 10 * positions[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        u.atoms.write(str(path / "water.gro"))
        u.atoms.write(str(path / "water.pdb"))
        for name, options in {
            "trr": {},
            "ncdf": {"forces": True},
            "h5md": {"forces": True},
            "xtc": {},
            "dcd": {},
        }.items():
            with mda.Writer(str(path / f"water.{name}"), n_atoms=n, dt=2.0, **options) as writer:
                for frame in range(FRAMES):
                    ts = u.trajectory.ts
                    ts.positions, ts.forces, ts.velocities = (
                        10 * positions[frame],
                        forces[frame] / 10,
                        0 * forces[frame],
                    )
                    ts.time, ts.frame, ts.dt = times[frame], frame, 2.0
                    writer.write(u.atoms)
    return path


def whole(atoms: Atoms):
    return type(next(atoms.batches(1))).concatenate(list(atoms.batches(2)))


def write_dump(path, positions, forces, columns="id type x y z fx fy fz", box=None, origin=(0.0, 0.0, 0.0), seed=1):
    """A LAMMPS dump in the order of no particular atom; positions and forces in the units of the dump."""
    rng, origin = np.random.default_rng(seed), np.array(origin)
    box = np.diag(10 * BOX) if box is None else box
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = box
    low, high = origin, origin + np.array([lx, ly, lz])
    tilted = any((xy, xz, yz))
    lines = []
    for frame, (r, f) in enumerate(zip(positions, forces, strict=True)):
        lines += ["ITEM: TIMESTEP", str(1000 * frame), "ITEM: NUMBER OF ATOMS", str(len(r))]
        if tilted:
            lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp"]
            x = [0.0, xy, xz, xy + xz]
            lines += [f"{low[0] + min(x):.9f} {high[0] + max(x):.9f} {xy:.9f}"]
            lines += [
                f"{low[1] + min(0, yz):.9f} {high[1] + max(0, yz):.9f} {xz:.9f}",
                f"{low[2]:.9f} {high[2]:.9f} {yz:.9f}",
            ]
        else:
            lines += ["ITEM: BOX BOUNDS pp pp pp"] + [f"{a:.9f} {b:.9f}" for a, b in zip(low, high, strict=True)]
        lines += [f"ITEM: ATOMS {columns}"]
        scaled = (r - origin) @ np.linalg.inv(box)
        values = {"x": r[:, 0], "y": r[:, 1], "z": r[:, 2], "xu": r[:, 0], "yu": r[:, 1], "zu": r[:, 2],
                  "xs": scaled[:, 0], "ys": scaled[:, 1], "zs": scaled[:, 2],
                  "fx": f[:, 0], "fy": f[:, 1], "fz": f[:, 2]}  # fmt: skip
        for i in rng.permutation(len(r)):
            row = {"id": i + 1, "type": 1 + (i % 3 > 0), **{k: f"{v[i]:.9g}" for k, v in values.items()}}
            lines += [" ".join(str(row[c]) for c in columns.split())]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["trr", "ncdf", "h5md"])
def test_formats_with_forces_and_units_of_their_own(folder, name):
    positions, forces, times = water()
    atoms = read(folder / "water.gro", folder / f"water.{name}", temperature=300.0, require=("forces",))
    frames = whole(atoms)
    assert len(atoms) == FRAMES
    np.testing.assert_allclose(frames.positions, positions, atol=1e-6)
    np.testing.assert_allclose(frames.forces, forces, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(frames.box, np.broadcast_to(np.diag(BOX), (FRAMES, 3, 3)), atol=1e-6)
    np.testing.assert_allclose(frames.time, times)
    assert frames.temperature.tolist() == [300.0] * FRAMES
    assert atoms.labels == ("forces", "temperature", "time", "trajectory")


@pytest.mark.parametrize(("name", "precision"), [("xtc", 6e-4), ("dcd", 1e-6)])
def test_formats_without_forces_say_so_when_forces_are_wanted(folder, name, precision):
    atoms = read(folder / "water.gro", folder / f"water.{name}")
    assert whole(atoms).forces is None
    np.testing.assert_allclose(whole(atoms).positions, water()[0], atol=precision)
    with pytest.raises(MissingLabel, match=r"no forces \(XTC and DCD files never do\).*TRR"):
        read(folder / "water.gro", folder / f"water.{name}", require=["forces"])


@pytest.mark.parametrize("name", ["gro", "pdb"])
def test_a_topology_with_coordinates_is_one_frame(folder, name):
    atoms = read(folder / f"water.{name}")
    assert len(atoms) == 1
    np.testing.assert_allclose(whole(atoms).positions, water()[0][:1], atol=1e-3)
    assert set(atoms.topology.residues) == {"SOL"}
    assert atoms.topology.names[:3] == ("OW", "HW1", "HW2")
    assert atoms.elements[:3] == ("O", "H", "H")
    np.testing.assert_allclose(atoms.topology.masses[:3], [15.999, 1.008, 1.008])
    assert atoms.topology.molecules.tolist() == np.repeat(range(WATERS), 3).tolist()


@pytest.mark.parametrize(
    ("style", "length", "force"),
    [
        ("real", 10.0, 1 / (10 * KCAL)),
        ("metal", 10.0, 1 / (10 * EV)),
        ("electron", 1 / 0.0529177210903, 0.0529177210903 / 2625.4996394798254),
    ],
)
@pytest.mark.parametrize(
    "columns", ["id type x y z fx fy fz", "id type xs ys zs fx fy fz", "id xu yu zu type fx fy fz"]
)
def test_lammps_dump_is_converted_here(folder, tmp_path, style, length, force, columns):
    """MDAnalysis hands on the forces of a dump as they stand; so do we not."""
    positions, forces, _ = water()
    box = np.diag(BOX) * length
    path = write_dump(tmp_path / "run.dump", positions * length, forces * force, columns, box)
    frames = whole(read(folder / "water.gro", path, units=style, timestep=0.001, constraints="none"))
    np.testing.assert_allclose(frames.positions, positions, atol=1e-6)
    np.testing.assert_allclose(frames.forces, forces, rtol=1e-6, atol=1e-6 * 800)
    np.testing.assert_allclose(frames.box[0], np.diag(BOX), atol=1e-6)
    np.testing.assert_allclose(frames.time, np.arange(FRAMES))


@pytest.mark.parametrize("columns", ["id type x y z fx fy fz", "id type xs ys zs fx fy fz"])
def test_lammps_triclinic_box_with_an_origin(folder, tmp_path, columns):
    positions, forces, _ = water()
    origin = np.array([-3.0, 2.0, 1.0])
    path = write_dump(tmp_path / "run.dump", 10 * positions + origin, forces, columns, 10 * TRICLINIC, origin)
    frames = whole(read(folder / "water.gro", path, units="real"))
    np.testing.assert_allclose(frames.box[-1], TRICLINIC, atol=1e-6)
    shift = frames.positions - positions  # one vector a frame may remain: nothing depends on the origin of the box
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=2e-6)
    assert frames.time is None


def test_lammps_needs_units_and_refuses_reduced_ones(folder, tmp_path):
    positions, forces, _ = water()
    path = write_dump(tmp_path / "run.lammpstrj", 10 * positions, forces)
    with pytest.raises(ReadingError, match="units='real'"):
        read(folder / "water.gro", path)
    with pytest.raises(ReadingError, match="reduced numbers"):
        read(folder / "water.gro", path, units="lj")
    with pytest.raises(ReadingError, match="unknown units 'reel'"):
        read(folder / "water.gro", path, units="reel")
    path = write_dump(tmp_path / "noid.dump", 10 * positions, forces, "type x y z fx fy fz")
    with pytest.raises(ReadingError, match="column 'id'"):
        read(folder / "water.gro", path, units="real")


def test_lammps_data_file_brings_bonds_and_masses(tmp_path):
    positions, forces, _ = water()
    atoms = [f"{i + 1} {i // 3 + 1} {1 + (i % 3 > 0)} 0.0 {x} {y} {z}" for i, (x, y, z) in enumerate(10 * positions[0])]
    bonds = [f"{2 * w + k} 1 {3 * w + 1} {3 * w + 1 + k}" for w in range(WATERS) for k in (1, 2)]
    bounds = [f"0 {10 * length} {a}lo {a}hi" for a, length in zip("xyz", BOX, strict=True)]
    text = ["water", "", f"{len(atoms)} atoms", f"{len(bonds)} bonds", "2 atom types", "1 bond types", "", *bounds, "",
            "Masses", "", "1 15.999", "2 1.008", "",
            "Atoms # full", "", *atoms, "", "Bonds", "", *bonds, ""]  # fmt: skip
    (tmp_path / "water.data").write_text("\n".join(text))
    dump = write_dump(tmp_path / "run.dump", 10 * positions, forces)
    read_ = read(tmp_path / "water.data", dump, units="real", constraints="h-bonds")
    assert read_.elements[:3] == ("O", "H", "H")
    assert len(read_.topology.bonds) == 2 * WATERS
    assert len(read_.constraints) == 2 * WATERS
    assert read_.constraint_forces
    np.testing.assert_allclose(whole(read_).positions, positions, atol=1e-6)
    single = read(tmp_path / "water.data", units="real")
    np.testing.assert_allclose(whole(single).positions, positions[:1], atol=1e-6)


def extxyz(path):
    positions, forces, _ = water()
    cell = " ".join(f"{x:.9f}" for x in (10 * TRICLINIC).ravel())
    lines = []
    for r, f in zip(10 * positions, forces / (10 * EV), strict=True):
        lines += [str(len(r)), f'Lattice="{cell}" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T"']
        lines += [f"{'OHH'[i % 3]} " + " ".join(f"{x:.9f}" for x in (*r[i], *f[i])) for i in range(len(r))]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_extended_xyz_in_electronvolts(tmp_path):
    positions, forces, _ = water()
    frames = whole(read(extxyz(tmp_path / "water.xyz"), require=("forces", "energy")))
    np.testing.assert_allclose(frames.positions, positions, atol=1e-6)
    np.testing.assert_allclose(frames.forces, forces, atol=1e-5 * EV)
    np.testing.assert_allclose(frames.energy, -1.5 * EV)
    np.testing.assert_allclose(frames.box[0], TRICLINIC, atol=1e-9)


def test_extended_xyz_under_other_keys_is_not_read_as_if_nothing_were_there(tmp_path):
    path = extxyz(tmp_path / "water.xyz")
    path.write_text(path.read_text().replace("forces:R:3", "dft_forces:R:3"))
    assert read(path).labels == ("energy", "trajectory")
    with pytest.raises(MissingLabel, match="the key 'forces' of extended XYZ"):
        read(path, require=("forces",))


def test_forces_in_every_other_frame_only(folder, tmp_path):
    """GROMACS writes forces as often as nstfout says, positions as often as nstxout."""
    u = mda.Universe(str(folder / "water.gro"), str(folder / "water.trr"))
    with mda.Writer(str(tmp_path / "some.trr"), n_atoms=u.atoms.n_atoms) as writer:
        for ts in u.trajectory:
            ts.has_forces = ts.frame % 2 == 0
            writer.write(u.atoms)
    with pytest.raises(ReadingError, match=r"frame 1: it has positions, box, time, and the first one .*forces.*step"):
        read(folder / "water.gro", tmp_path / "some.trr")
    frames = whole(read(folder / "water.gro", tmp_path / "some.trr", frames=slice(None, None, 2)))
    np.testing.assert_allclose(frames.forces, water()[1][::2], rtol=1e-6, atol=1e-3)


def test_h5md_of_no_units_needs_them(folder, tmp_path):
    positions, forces, times = water()
    path = tmp_path / "plain.h5md"
    with h5py.File(path, "w") as file:
        file.create_group("h5md").attrs["version"] = (1, 1)
        file.create_group("h5md/author").attrs["name"] = "test"
        file.create_group("h5md/creator").attrs["name"] = "test"
        atoms = file.create_group("particles/trajectory")
        box = atoms.create_group("box")
        box.attrs["dimension"] = 3
        box.attrs["boundary"] = np.array([b"periodic"] * 3)
        for name, value in {
            "box/edges": np.broadcast_to(BOX, (FRAMES, 3)),
            "position": positions,
            "force": forces,
        }.items():
            atoms[f"{name}/value"], atoms[f"{name}/step"], atoms[f"{name}/time"] = value, np.arange(FRAMES), times
    with pytest.raises(ReadingError, match="states no units"):
        read(folder / "water.gro", path)
    frames = whole(read(folder / "water.gro", path, units=("nm", "ps", "kJ/mol")))
    np.testing.assert_allclose(frames.positions, positions, atol=1e-6)
    np.testing.assert_allclose(frames.forces, forces, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(frames.time, times)


@pytest.mark.parametrize("name", ["trr", "xtc", "ncdf", "dcd", "h5md", "dump", "xyz"])
@pytest.mark.parametrize("keep", [0.97, 0.5])
def test_a_truncated_trajectory_is_refused(folder, tmp_path, name, keep):
    source = folder / f"water.{name}"
    options = {}
    if name == "dump":
        source, options = write_dump(tmp_path / "whole.dump", 10 * water()[0], water()[1]), {"units": "real"}
    if name == "xyz":
        source = extxyz(tmp_path / "whole.xyz")
    data = source.read_bytes()
    cut = tmp_path / f"cut.{name}"
    cut.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(TruncatedFile, match=rf"cut\.{name}"):
        read(folder / "water.gro", cut, **options)


def test_a_dump_that_ends_after_a_whole_line_is_refused(folder, tmp_path):
    """MDAnalysis leaves the frame out without a word; the user would never know."""
    path = write_dump(tmp_path / "run.dump", 10 * water()[0], water()[1])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]))
    assert len(mda.coordinates.LAMMPS.DumpReader(str(path), dt=1.0)) == FRAMES - 1
    with pytest.raises(TruncatedFile, match=f"run.dump, frame {FRAMES - 1}: the file ends in the middle"):
        read(folder / "water.gro", path, units="real")


def test_a_frame_with_nan_is_named(folder, tmp_path):
    positions, forces, _ = water()
    forces[3, 7, 1] = np.nan
    path = write_dump(tmp_path / "run.dump", 10 * positions, forces)
    atoms = read(folder / "water.gro", path, units="real")
    with pytest.raises(BrokenFrame, match=r"run.dump, frame 3: forces of atom 7 is not a finite number"):
        list(atoms.batches(10))
    assert len(whole(read(folder / "water.gro", path, units="real", frames=slice(3)))) == 3


def test_angstrom_read_as_nm_is_suspect(folder, tmp_path):
    positions, forces, _ = water()
    path = write_dump(tmp_path / "run.dump", 100 * positions, forces, box=np.diag(100 * BOX))
    with pytest.raises(SuspectUnits, match=r"typically 1.* nm apart.*angstrom were read as nm"):
        read(folder / "water.gro", path, units="real")
    path = write_dump(tmp_path / "run2.dump", positions, forces, box=np.diag(BOX))
    with pytest.raises(SuspectUnits, match="nm were read as angstrom"):
        read(folder / "water.gro", path, units="real")


def test_wrong_number_of_atoms_absent_files_and_units_where_a_format_has_its_own(folder, tmp_path):
    positions, forces, _ = water()
    path = write_dump(tmp_path / "run.dump", 10 * positions[:, :-3], forces[:, :-3])
    with pytest.raises(ReadingError, match="21 atoms, and the topology has 24"):
        read(folder / "water.gro", path, units="real")
    with pytest.raises(ReadingError, match="there is no file"):
        read(folder / "water.gro", folder / "absent.trr")
    with pytest.raises(ReadingError, match="fix their own units"):
        read(folder / "water.gro", folder / "water.trr", units="real")
    with pytest.raises(ReadingError, match="H5MD files fix their own units"):
        read(folder / "water.gro", folder / "water.h5md", units=("nm", "ps", "kJ/mol"))
    with pytest.raises(ReadingError, match="none of them"):
        read(folder / "water.gro", folder / "water.trr", frames=slice(100, None))
    with pytest.raises(ReadingError, match=r"no atom .* is called 'OX'"):
        read(folder / "water.gro", masses={"OX": 16.0})


def test_several_trajectories_keep_their_number_and_temperature(folder):
    atoms = read(
        folder / "water.gro",
        folder / "water.trr",
        folder / "water.ncdf",
        temperature=[300.0, 350.0],
        frames=slice(0, None, 2),
    )
    frames = whole(atoms)
    assert len(atoms) == 6
    assert frames.trajectory.tolist() == [0, 0, 0, 1, 1, 1]
    assert frames.temperature.tolist() == [300.0] * 3 + [350.0] * 3
    with pytest.raises(ReadingError, match="read them apart"):
        read(folder / "water.gro", folder / "water.trr", folder / "water.xtc")
    with pytest.raises(ReadingError, match="temperature: 3 given for 2 trajectories"):
        read(folder / "water.gro", folder / "water.trr", folder / "water.ncdf", temperature=[300.0] * 3)


def test_virtual_sites_are_left_out(tmp_path):
    """A site has no mass and no freedom: its force already is on its atoms."""
    positions, forces, _ = water()
    site = positions.reshape(FRAMES, WATERS, 3, 3).mean(axis=2, keepdims=True)
    with_sites = np.concatenate([positions.reshape(FRAMES, WATERS, 3, 3), site], axis=2).reshape(FRAMES, -1, 3)
    on_sites = np.concatenate([forces.reshape(FRAMES, WATERS, 3, 3), 0 * site], axis=2).reshape(FRAMES, -1, 3)
    gro = ["water", str(4 * WATERS)]
    for i, (x, y, z) in enumerate(with_sites[0]):
        gro += [f"{i // 4 + 1:5d}{'SOL':<5s}{('OW', 'HW1', 'HW2', 'MW')[i % 4]:>5s}{i + 1:5d}{x:8.3f}{y:8.3f}{z:8.3f}"]
    (tmp_path / "water.gro").write_text("\n".join([*gro, "2.0 2.1 2.2"]) + "\n")
    dump = write_dump(tmp_path / "run.dump", 10 * with_sites, on_sites / (10 * KCAL))
    with pytest.raises(ReadingError, match="MW"):
        read(tmp_path / "water.gro", dump, units="real")
    frames = whole(read(tmp_path / "water.gro", dump, units="real", masses={"MW": 0.0}))
    np.testing.assert_allclose(frames.positions, positions, atol=1e-6)
    np.testing.assert_allclose(frames.forces, forces, rtol=1e-6, atol=1e-3)
    dump = write_dump(tmp_path / "bad.dump", 10 * with_sites, on_sites + 1.0)
    with pytest.raises(ReadingError, match="virtual sites carry forces"):
        list(read(tmp_path / "water.gro", dump, units="real", masses={"MW": 0.0}).batches(10))
