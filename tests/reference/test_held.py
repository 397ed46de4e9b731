"""Labels at fixed beads of a reference run: what is written, and that a kill at any moment costs one row."""

import numpy as np
import pytest

from meanforce.data.dataset import Dataset
from meanforce.data.errors import DatasetError
from meanforce.data.mapping import Mapping
from meanforce.data.writer import Writer
from meanforce.reference import ReferenceRun, Water, open_reference, run
from meanforce.reference.fixed import FixedSampling
from meanforce.reference.held import errors_path, evenly, hold, read_errors

pytest.importorskip("openmm")

FEW = FixedSampling(replicas=3, burn_in=10, samples=20, stride=1, seed=2)
ROWS = [3, 0, 4]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("held") / "atoms.h5"
    system = Water(molecules=32, density=1.0, cutoff=0.45)
    recipe = ReferenceRun(system=system, temperatures=(300.0,), time=0.1, interval=0.02, equilibration=0.2, seed=4)
    return run(recipe, path, threads=1)


@pytest.fixture(scope="module")
def undisturbed(source):
    path = source.with_name("undisturbed.h5")
    return hold(source, path, ROWS, FEW), read_errors(path)


def same(one, two):
    assert one.hash == two[0].hash
    return all(np.array_equal(v, two[1][k]) for k, v in read_errors(one.reader.path).items())


def test_beads_are_those_of_the_mapping(source, undisturbed):
    data, errors = undisturbed
    atoms = open_reference(source)
    mapping = Mapping.by_residue(atoms, {"HOH": {"W": "all"}})
    mapped = np.concatenate([batch.positions for batch in mapping(atoms).batches(10)])
    np.testing.assert_allclose(data[:].positions, mapped[ROWS], atol=1e-6)
    assert data.topology == mapping.topology
    assert data.temperatures == (300.0,) and set(errors["row"]) == set(ROWS)
    np.testing.assert_allclose(data.column("time"), Dataset.open(source).column("time")[ROWS])


def test_labels_and_errors_are_there(source, undisturbed):
    data, errors = undisturbed
    frames = data[:]
    for name in ("forces", "energy", "local_energy", "covariance", "variance", "third_cumulant"):
        value = getattr(frames, name)
        assert value.dtype == np.float64 and errors[name].shape == value.shape and (errors[name] > 0).all()
    np.testing.assert_allclose(frames.local_energy.sum(1), frames.energy, rtol=1e-12)
    np.testing.assert_allclose(errors["replica_energy"].mean(1), frames.energy, rtol=1e-12)
    assert errors["near_covariance"].shape == (3, 4, 32, 3)


def test_a_stopped_call_goes_on_to_the_same_bits(source, undisturbed):
    path = source.with_name("stopped.h5")

    def stop(done, of):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hold(source, path, ROWS, FEW, watcher=stop)
    assert not path.exists()
    assert same(hold(source, path, ROWS, FEW, resume=True), undisturbed)


def test_a_kill_between_errors_and_labels_loses_nothing(source, undisturbed, monkeypatch):
    path = source.with_name("between.h5")
    commit, count = Writer.commit, []

    def die(self, state=None):
        count.append(1)
        if len(count) == 2:
            raise SystemExit
        commit(self, state)

    monkeypatch.setattr(Writer, "commit", die)
    with pytest.raises(SystemExit):
        hold(source, path, ROWS, FEW)
    monkeypatch.undo()
    assert len(read_errors(path)["row"]) == 2
    assert same(hold(source, path, ROWS, FEW, resume=True), undisturbed)


def test_rows_can_be_added_to_a_finished_file(source, undisturbed):
    path = source.with_name("grown.h5")
    hold(source, path, ROWS[:1], FEW)
    assert same(hold(source, path, ROWS, FEW, resume=True), undisturbed)


def test_each_temperature_gives_a_frame(source):
    path = source.with_name("ladder.h5")
    several = FEW.model_copy(update={"temperatures": (300.0, 400.0)})
    data = hold(source, path, [1, 2], several)
    np.testing.assert_array_equal(data.column("temperature"), [300, 400, 300, 400])
    grown = hold(source, path, [1, 2, 3], several, resume=True)
    np.testing.assert_array_equal(read_errors(path)["row"], [1, 1, 2, 2, 3, 3])
    assert len(grown) == 6


def test_what_does_not_fit_is_refused(source, undisturbed):
    path = source.with_name("other.h5")
    hold(source, path, ROWS[:2], FEW)
    with pytest.raises(DatasetError, match="exists"):
        hold(source, path, ROWS, FEW)
    with pytest.raises(ValueError, match="other rows"):
        hold(source, path, [0, 3, 4], FEW, resume=True)
    with pytest.raises(DatasetError, match="other settings"):
        hold(source, path, ROWS, FEW.model_copy(update={"seed": 9}), resume=True)
    with pytest.raises(ValueError, match="reference run"):
        hold(path, source.with_name("never.h5"), ROWS, FEW)
    errors_path(path).unlink()
    with pytest.raises(ValueError, match="missing"):
        hold(source, path, ROWS, FEW, resume=True)


def test_every_beginning_of_the_order_is_even():
    rows = np.arange(100, 150)
    order = evenly(rows, 50)
    assert sorted(order) == rows.tolist() and order[0] == 100
    for count in (2, 4, 8, 16):
        gaps = np.diff([*sorted(order[:count]), 150])
        assert gaps.max() - gaps.min() <= 1
    with pytest.raises(ValueError, match="rows"):
        evenly(rows, 51)
