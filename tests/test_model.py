"""One file, whole or not at all; a file that was touched is refused, and so is a later format."""

import json
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import meanforce.numerics.precision  # noqa: F401
import meanforce.thermodynamics as thermo
from meanforce.model import FORMAT, FORMAT_VERSION, Model, ModelFileError, NewerModelFile
from meanforce.potentials.priors import HarmonicBond
from meanforce.potentials.splines import PairSpline
from meanforce.potentials.sums import Sum
from meanforce.topology import Topology


@pytest.fixture
def model():
    topology = Topology.of(["A", "B", "A"], masses={"A": 12.0, "B": 14.0}, bonds=[(0, 1)])
    pair = PairSpline(("A", "B"), cutoff=0.9)
    pair = pair.with_coefficients(np.random.default_rng(0).standard_normal(pair.coefficients.shape))
    bond = HarmonicBond(topology.kinds("bonds"), length=np.array([0.3]), stiffness=np.array([5000.0]))
    return Model(
        potential=Sum.of(pair, bond),
        topology=topology,
        mapping={"SOL": {"W": "all"}},
        temperature=(280, 320.0),
        data=("0123abcd",),
        notes=("for a test",),
    )


R = np.array([[0.0, 0, 0], [0.31, 0, 0], [0.1, 0.4, 0.2]])


def metadata_of(path):
    with safe_open(path, framework="numpy") as file:
        return file.metadata()


def envelope_of(path):
    return json.loads(metadata_of(path)[FORMAT])


def rewritten(path, **changes):
    save_file(load_file(path), path, metadata={FORMAT: json.dumps({**envelope_of(path), **changes})})
    return path


def test_what_is_saved_comes_back(model, tmp_path):
    again = Model.load(model.save(tmp_path / "model.mf"))
    assert again.topology == model.topology
    assert again.mapping == {"SOL": {"W": "all"}}
    assert again.temperature == (280.0, 320.0)
    assert (again.data, again.notes, again.versions) == (model.data, model.notes, model.versions)
    force = thermo.force(model, R, temperature=300.0)
    assert np.array_equal(thermo.force(again, R, temperature=300.0), force)
    assert np.abs(force).max() > 1


def test_saving_twice_gives_the_same_bytes(model, tmp_path):
    first, second = model.save(tmp_path / "a.mf"), model.save(tmp_path / "b.mf")
    assert first.read_bytes() == second.read_bytes()
    assert Model.load(first).save(tmp_path / "c.mf").read_bytes() == first.read_bytes()


def test_the_summary_says_what_it_is(model):
    text = model.summary()
    for part in ("2 A, 1 B", "280 to 320 K", "0123abcd", "kJ/mol", "0.9 nm", "for a test", "meanforce"):
        assert part in text


def test_an_edited_header_is_refused(model, tmp_path):
    path = model.save(tmp_path / "model.mf")
    header = json.loads(envelope_of(path)["header"])
    header["temperature"] = [100.0, 1000.0]
    with pytest.raises(ModelFileError, match="changed after it was saved"):
        Model.load(rewritten(path, header=json.dumps(header, sort_keys=True)))


def test_a_single_flipped_bit_is_refused(model, tmp_path):
    path = model.save(tmp_path / "model.mf")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="changed after it was saved"):
        Model.load(path)


def test_an_edited_array_is_refused(model, tmp_path):
    path = model.save(tmp_path / "model.mf")
    arrays = load_file(path)
    name = sorted(arrays)[0]
    arrays[name] = arrays[name] * 2
    save_file(arrays, path, metadata=metadata_of(path))
    with pytest.raises(ModelFileError, match="changed after it was saved"):
        Model.load(path)


def test_a_later_format_is_its_own_error(model, tmp_path):
    path = rewritten(model.save(tmp_path / "model.mf"), format_version=FORMAT_VERSION + 1)
    with pytest.raises(NewerModelFile, match="newer than this meanforce"):
        Model.load(path)


@pytest.mark.parametrize("keep", [0, 5, 200, -3])
def test_a_truncated_file_is_refused(model, tmp_path, keep):
    path = model.save(tmp_path / "model.mf")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match="no whole model file"):
        Model.load(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="no meanforce model"):
        Model.load(path)
    with pytest.raises(ModelFileError, match="no such model file"):
        Model.load(tmp_path / "nowhere.mf")


def test_a_missing_folder_is_named(model, tmp_path):
    with pytest.raises(ModelFileError, match="no folder"):
        model.save(tmp_path / "not" / "there.mf")


def test_a_full_disk_leaves_the_old_file(model, tmp_path):
    """With files limited to 200 bytes the write fails; the model that was there is still whole."""
    path = model.save(tmp_path / "model.mf")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit[1]))
    try:
        with pytest.raises(ModelFileError, match="could not be written"):
            model.with_(notes=("new",)).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert Model.load(path).notes == ("for a test",)
    assert [p.name for p in tmp_path.iterdir()] == ["model.mf"]


def test_reading_needs_no_memory_of_the_writer(model, tmp_path):
    """A fresh process loads the file and finds the same force."""
    path = model.save(tmp_path / "model.mf")
    code = (
        "import meanforce.numerics.precision, numpy as np, sys\n"
        "import meanforce.thermodynamics as thermo\n"
        "from meanforce.model import Model\n"
        f"R = np.array({R.tolist()})\n"
        "print(repr(float(thermo.force(Model.load(sys.argv[1]), R, temperature=300.0)[0, 0])))\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert float(out.stdout) == thermo.force(model, R, temperature=300.0)[0, 0]


@pytest.mark.parametrize("bad", [(320.0, 280.0), (0.0, 300.0), (300.0, float("inf"))])
def test_temperature_ranges_make_sense(model, bad):
    with pytest.raises(ValueError, match="temperature range"):
        model.with_(temperature=bad)


def test_mappings_are_plain(model):
    with pytest.raises(ValueError, match="plain JSON"):
        model.with_(mapping={"a": object()})
