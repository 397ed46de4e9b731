"""Gradient fits against closed forms, against themselves in other batches, and against what may go wrong."""

import csv
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import EDGE, KELVIN, PAIR, TOPOLOGY, WALL, SplineNetwork, data_of, growing, network, truth

import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.graph import build
from meanforce.learn import Outcome, Training, batches, fit, gradient, steps, trainable
from meanforce.model import Model
from meanforce.objectives.matching import ForceMatching, PressureMatching
from meanforce.potentials.splines import PairSpline
from meanforce.potentials.sums import Sum
from meanforce.thermodynamics import derivatives
from meanforce.topology import Topology

SHORT = Training(epochs=2, batch=4, learning_rate=1e-2)


def rms(history, of="held_out"):
    return np.array([getattr(point, of) for point in history.points])


def force_of(potential, data):
    return np.asarray(derivatives(potential, build(data[:], data.topology, potential.cutoffs)).forces).reshape(-1)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_linear_network_reaches_least_squares(weighted):
    """The closed form on the training frames has the answer; both objectives on noisy labels."""
    spline = PairSpline(("A",), cutoff=0.7, start=0.3, spacing=0.1)
    weights = {"weights": 1.0 + np.arange(30) % 3} if weighted else {}
    data = data_of(frames=30, noise=20.0, **weights)
    taught, _ = data.split((0.8, 0.2))
    exact = fit(spline, ForceMatching(taught), regularisation=0.0, core=False).model.potential.coefficients
    options = Training(
        epochs=1000, batch=24, learning_rate=1.0, final_learning_rate=1e-4, ema=0.0, validation=0.2,
        validate_every=1000, precision="double",
    )  # fmt: skip
    found = fit(SplineNetwork(spline), ForceMatching(data), training=options)
    assert found.history.points[-1].step == 1000
    assert np.asarray(found.model.potential.spline.coefficients) == pytest.approx(np.asarray(exact), rel=1e-4, abs=1e-3)


def task_of(potential, objectives, training):
    return gradient._task(potential, objectives, training)


def test_the_gradient_of_a_mixed_objective_is_the_analytic_one():
    """sum_o share_o/variance_o 2 <rows^T (rows c - labels)>, frames counted by their weights."""
    data = data_of(frames=8, noise=5.0, weights=1.0 + np.arange(8) % 3)
    objectives = [ForceMatching(data), PressureMatching(data, weight=2.5)]
    training = Training(batch=6, validation=0.25, precision="double")
    potential = SplineNetwork(truth(3))
    task = task_of(potential, objectives, training)
    divided = trainable.parts(potential)
    variances = np.array([30.0, 700.0])
    scale = steps.Scale.of(task.groups, task.sample.labels)
    drawn = next(batches.training_batches(task.groups, task.layout, task.sample.rooms, training, 0))
    errors = partial(steps._residuals, task.programs.unravel, divided.rest, task.groups[0])
    take = steps._divided(steps._gradient(errors), training, task.layout.mesh, steps._ALL)
    slope, _, squares, count = jax.jit(take)(
        task.learned, divided.fixed, drawn.batch, scale.share / variances / training.batch
    )

    taught, _ = data.split((0.75, 0.25))
    frames = taught[drawn.rows]
    design = PAIR.design(build(frames, TOPOLOGY, PAIR.cutoffs))
    weights = np.asarray(frames.weights) / np.mean(taught[:].weights)
    expected, n = 0.0, 3 * len(TOPOLOGY)
    for objective, labels, variance, factor in zip(objectives, (n, 1), variances, (n, 2.5), strict=True):
        rows = np.asarray(objective.rows(design)).reshape(len(frames), labels, -1)
        miss = rows @ np.asarray(potential.spline.coefficients) - objective.labels(frames, TOPOLOGY).reshape(6, -1)
        mean = np.einsum("f,fl,flk->k", weights, miss, rows) / labels / 6
        expected = expected + factor / (n + 2.5) / variance * 2 * mean
    assert np.allclose(slope, expected, rtol=1e-9, atol=1e-12)
    assert float(count) == pytest.approx(weights.sum())
    state, _ = gradient._begun(task)
    stepped = task.programs.train[0](state, task.fixed, drawn.batch, variances)
    assert float(stepped.norms) == pytest.approx(np.linalg.norm(expected), rel=1e-9)
    assert np.allclose(stepped.squares, squares, rtol=1e-12)
    assert squares[0] == pytest.approx(
        weights @ ((force_of(potential, taught.at(drawn.rows)) - frames.forces.reshape(-1)) ** 2).reshape(6, -1).mean(1)
    )


@pytest.mark.parametrize("members", [1, 2])
def test_a_batch_worked_on_in_parts_teaches_the_same(monkeypatch, members):
    """Whole batches at once, or two frames after two others: the last batch of an epoch is short either way."""
    data = data_of(frames=22, noise=5.0, weights=1.0 + np.arange(22) % 3)
    wanted = [ForceMatching(data), PressureMatching(data, weight=0.5)]
    training = Training(epochs=3, batch=8, learning_rate=1e-2, precision="double", members=members)
    found = []
    for beads, parts in ((8 * len(TOPOLOGY), 1), (2 * len(TOPOLOGY), 4)):
        monkeypatch.setattr(batches, "_PART_BEADS", beads)
        assert task_of(network(), wanted, training).layout.parts == parts
        found.append(fit(network(), wanted, training=training))
    for one, other in zip(*(jax.tree.leaves(f.model.potential) for f in found), strict=True):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-12)
    scores = [[(s.held_out, s.training) for s in f.history.scores] for f in found]
    assert np.allclose(*scores, rtol=1e-9)


def test_every_training_frame_is_seen_once_an_epoch_and_no_other():
    data, other = data_of(frames=23), data_of(frames=11, seed=1)
    training = Training(batch=4, validation=0.2, epochs=3, seed=7)
    task = task_of(network(), [ForceMatching(data), ForceMatching(other)], training)
    seen = [[] for _ in range(3)]
    for k, drawn in enumerate(batches.training_batches(task.groups, task.layout, task.sample.rooms, training, 0)):
        frames = task.groups[drawn.group].training[drawn.rows]
        there = np.asarray(drawn.batch.graph.positions).reshape(4, -1, 3)[: len(drawn.rows)]
        assert np.allclose(there, frames.positions, atol=1e-6)
        assert np.allclose(
            drawn.batch.labels[0].reshape(4, -1)[: len(frames)], frames.forces.reshape(len(frames), -1), rtol=1e-6
        )
        assert (np.asarray(drawn.batch.weights).ravel() == [*np.ones(len(frames)), *np.zeros(4 - len(frames))]).all()
        seen[k // task.each] += [(drawn.group, int(task.groups[drawn.group].training.rows[r])) for r in drawn.rows]
    assert all(sorted(epoch) == [*((0, r) for r in range(18)), *((1, r) for r in range(9))] for epoch in seen)
    assert seen[0] != seen[1]


def test_batches_from_the_middle_are_those_of_the_whole_run():
    data = data_of(frames=23)
    training = Training(batch=4, epochs=3)
    task = task_of(network(), [ForceMatching(data)], training)
    go = lambda done: list(batches.training_batches(task.groups, task.layout, task.sample.rooms, training, done))
    whole, late = go(0), go(8)
    assert len(whole) == task.total == 18
    assert [w.rows.tolist() for w in whole[8:]] == [x.rows.tolist() for x in late]


def test_no_more_than_a_window_is_read_at_once(monkeypatch):
    data = data_of(frames=60)
    read, get = [], Dataset.__getitem__
    training = Training(batch=4, epochs=1)
    task = task_of(network(), [ForceMatching(data)], training)
    monkeypatch.setattr(Dataset, "__getitem__", lambda self, rows: read.append(np.size(rows)) or get(self, rows))
    monkeypatch.setattr(batches, "_WINDOW_BYTES", 3 * 4 * 8 * 72)
    drawn = list(batches.training_batches(task.groups, task.layout, task.sample.rooms, training, 0))
    assert len(drawn) == 14
    assert max(read) == 12


def test_rows_that_grow_change_nothing_but_the_number_of_compilations(monkeypatch):
    data, options = growing(), Training(epochs=2, batch=2, learning_rate=1e-2, validation=0.2, seed=2)
    wide = fit(network(), ForceMatching(data), training=options).history
    look = batches.look
    monkeypatch.setattr(batches, "look", lambda *a: look(*a)._replace(rooms=((8,),)))
    narrow = fit(network(), ForceMatching(data), training=options).history
    assert wide.compilations == 2
    assert narrow.compilations == 4
    assert np.allclose(rms(narrow), rms(wide), rtol=1e-5)


def test_each_data_set_is_compiled_once():
    few = Topology.of(["A"] * 5, masses={"A": 10.0})
    random = np.random.default_rng(2)
    other = Dataset.from_arrays(
        few, positions=random.uniform(0, EDGE, (9, 5, 3)), forces=random.normal(size=(9, 5, 3)), box=EDGE * np.eye(3)
    )
    found = fit(network(), [ForceMatching(data_of()), ForceMatching(other)], training=SHORT)
    assert found.history.compilations == 4
    assert [s.name for s in found.history.scores] == ["force", "force"]
    assert np.isfinite(rms(found.history)).all()


def test_the_network_moves_and_what_it_stands_on_stays():
    start = Sum((network(), WALL, PAIR))
    data = data_of(Sum((truth(), WALL)))
    found = fit(start, ForceMatching(data), training=SHORT).model.potential
    learned, wall, pair = found.terms
    for new, old in zip(jax.tree.leaves((wall, pair)), jax.tree.leaves((WALL, PAIR)), strict=True):
        assert np.array_equal(new, old)
    assert not np.allclose(learned.inner, start.terms[0].inner)
    assert learned.inner.dtype == pair.coefficients.dtype == np.float64
    under = fit(Sum.of(PAIR, network(), WALL), ForceMatching(data), training=SHORT).model.potential
    assert not np.allclose(under.prior.terms[0].inner, start.terms[0].inner)
    assert np.array_equal(jax.tree.leaves(under.prior.terms[1])[0], jax.tree.leaves(WALL)[0])


def test_scores_are_those_of_the_model_that_is_returned():
    data = data_of(frames=40, noise=3.0)
    found = fit(
        network(), [ForceMatching(data), PressureMatching(data)], training=Training(epochs=10, learning_rate=1e-2)
    )
    _, held = data.split((0.9, 0.1))
    force = thermo.force(found.model, held[:].positions, held[:].box, temperature=KELVIN)
    virial = thermo.virial(found.model, held[:].positions, held[:].box, temperature=KELVIN)
    scores = found.history.scores
    assert scores[0].held_out == pytest.approx(np.sqrt(np.mean((force - held[:].forces) ** 2)), rel=1e-5)
    assert scores[1].held_out == pytest.approx(np.sqrt(np.mean((virial - held[:].virial) ** 2)), rel=1e-5)
    assert scores[0].labels == pytest.approx(np.sqrt(np.mean(data[:].forces ** 2)), rel=1e-6)
    assert [s.held_out for s in scores] == pytest.approx(list(min(p.held_out for p in found.history.points)), rel=1e-5)
    assert scores[0].held_out_error > 0
    assert found.outcome is Outcome.TRAINED
    assert found.outcome.ok
    assert found.posterior is None
    assert "held-out error" in str(found.history)
    assert "noise" not in str(found.history)


def test_single_precision_follows_double():
    data = data_of(frames=30, noise=1.0)
    go = lambda precision: fit(
        network(), ForceMatching(data), training=Training(epochs=5, learning_rate=1e-2, precision=precision)
    )
    single, double = go("single"), go("double")
    assert np.allclose(rms(single.history), rms(double.history), rtol=1e-4)
    assert not np.array_equal(rms(single.history), rms(double.history))
    assert np.array_equal(single.model.potential.inner, single.model.potential.inner.astype(np.float32))


def test_the_variances_weigh_the_objectives_by_what_is_left_of_them():
    """Weights that follow the residuals make an objective in other units count the same."""
    data = data_of(frames=30, noise=1.0)
    large = Dataset.from_frames(TOPOLOGY, data[:].with_(virial=data[:].virial))
    go = lambda objectives: fit(network(), objectives, training=Training(epochs=4, learning_rate=1e-2))
    both = go([ForceMatching(data), PressureMatching(large, weight=1e-9)]).history
    alone = go([ForceMatching(data)]).history
    assert rms(both)[-1, 0] != rms(alone)[-1, 0]  # the steps on the other data set change the order
    same = go([ForceMatching(data), PressureMatching(data, weight=1e-9)]).history
    assert np.allclose(rms(same)[:, 0], rms(alone)[:, 0], rtol=1e-5)


def test_the_mean_of_the_weights_is_what_is_kept():
    data = data_of(frames=30, noise=1.0)
    slow = fit(network(), ForceMatching(data), training=Training(epochs=3, learning_rate=1e-2, ema=0.99)).history
    none = fit(network(), ForceMatching(data), training=Training(epochs=3, learning_rate=1e-2, ema=0.0)).history
    assert np.allclose(rms(slow, "training")[1:], rms(none, "training")[1:], rtol=1e-6)
    assert rms(slow)[-1] > rms(none)[-1]


def test_the_learning_rate_rises_and_decays():
    rate = steps.schedule(Training(learning_rate=1e-2, final_learning_rate=1e-4, warmup=0.1), 1000)
    assert float(rate(0)) == pytest.approx(1e-4)
    assert float(rate(99)) == pytest.approx(1e-2)
    assert float(rate(550)) == pytest.approx(1e-3)
    assert float(rate(1000)) == pytest.approx(1e-4)


def test_early_stopping_and_the_best_weights():
    """Frames of noise are memorised; the held-out error rises again, and its smallest value is kept."""
    data = data_of(frames=6, noise=300.0)
    options = Training(epochs=400, batch=4, learning_rate=0.1, validation=0.4, patience=5, ema=0.0)
    found = fit(network(), ForceMatching(data), training=options)
    held = rms(found.history)[:, 0]
    assert found.outcome is Outcome.STOPPED
    assert len(held) < 401
    assert held.argmin() == len(held) - 6
    assert found.history.best == found.history.points[held.argmin()].step
    assert found.history.scores[0].held_out == pytest.approx(held.min(), rel=1e-6)


def coincident(where):
    """Data in which two beads of one frame lie on one another."""
    data = data_of(frames=20)
    positions = np.array(data[:].positions)
    positions[where, 1] = positions[where, 0]
    return Dataset.from_frames(TOPOLOGY, data[:].with_(positions=positions))


def test_what_is_not_finite_ends_the_run_with_its_place():
    found = fit(
        network(), ForceMatching(coincident(3)), training=Training(epochs=5, batch=4, learning_rate=1e-2, seed=2)
    )
    order = batches.order_of(
        gradient._task(network(), [ForceMatching(coincident(3))], Training(batch=4)).groups, 4, 2, 0
    )
    step = next(k for k, (_, rows) in enumerate(order) if 3 in rows)
    assert found.outcome is Outcome.NOT_FINITE
    assert not found.outcome.ok
    assert f"not finite at step {step + 1} (epoch 1), in the batch of frames" in found.history.message
    assert " 3," in found.history.message or found.history.message.endswith(" 3")
    assert np.isfinite(rms(found.history)).all()  # the weights stayed what they were before that step
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.model.potential))
    assert "not finite" in found.model.notes[0]


def test_held_out_frames_that_are_not_finite_are_refused_at_once():
    with pytest.raises(ValueError, match="before any training"):
        fit(network(), ForceMatching(coincident(19)), training=SHORT)


def test_a_run_that_goes_astray_is_ended():
    options = Training(epochs=50, batch=8, learning_rate=10.0, final_learning_rate=10.0, ema=0.0, warmup=0.0)
    found = fit(network(), ForceMatching(data_of(frames=20)), training=options)
    assert found.outcome is Outcome.DIVERGED
    assert "10 times its smallest" in found.history.message
    assert found.history.points[-1].epoch < 50
    assert found.history.scores[0].held_out == pytest.approx(rms(found.history).min(), rel=1e-6)


def test_the_curve_is_written_as_a_table(tmp_path):
    found = fit(network(), ForceMatching(data_of()), training=SHORT)
    lines = list(csv.reader(found.history.to_csv(tmp_path / "curve.csv").read_text().splitlines()))
    assert lines[0][:4] == ["epoch", "step", "training force [kJ/(mol nm)]", "held-out force [kJ/(mol nm)]"]
    assert [line[:2] for line in lines[1:]] == [["0", "0"], ["1", "9"], ["2", "18"]]
    assert float(lines[2][3]) == found.history.points[1].held_out[0]


def test_items_made_ahead_come_in_order_with_their_errors():
    def items():
        yield from range(10)
        raise OSError("the disk is gone")

    stream, seen = batches.ahead(items()), []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(stream)
    assert seen == list(range(10))
    first = batches.ahead(iter(range(1000)))
    assert [next(first) for _ in range(3)] == [0, 1, 2]
    first.close()


@cache
def refused():
    data = data_of(frames=4)
    wanted = ForceMatching(data)
    go = lambda **options: lambda: fit(network(), wanted, training=Training(**options))
    return {
        "regularisation= is for closed forms": lambda: fit(network(), wanted, regularisation=0.0),
        "core= is for closed forms": lambda: fit(network(), wanted, core=True),
        "training= is for networks": lambda: fit(PAIR, wanted, training=SHORT),
        "nothing in it to learn": lambda: fit(WALL, wanted, training=SHORT),
        "conditional median": go(loss="mae"),
        "root of the mean square of a small batch is biased": go(loss="RMSE"),
        "loss='huber' is not offered": go(loss="huber"),
        "epochs=0": go(epochs=0),
        "batch=2.5": go(batch=2.5),
        "learning_rate=-1": go(learning_rate=-1.0),
        "final_learning_rate=1.0": go(final_learning_rate=1.0),
        "warmup=1.5": go(warmup=1.5),
        "gradient_clip=0": go(gradient_clip=0.0),
        "ema=1.0": go(ema=1.0),
        "validation=0": go(validation=0.0),
        "patience=0": go(patience=0),
        "precision='half'": go(precision="half"),
        "checkpoint_every=-1": go(checkpoint_every=-1.0),
        "not divided evenly among 3": go(devices=3),
        "devices=64, and JAX sees": go(devices=64, batch=64),
        "resume=True needs checkpoint": go(resume=True),
        "there is no folder": go(checkpoint="nowhere/at/all/run.ckpt"),
        "validation=0.1 of 4 frames": go(),
        "every label looked at is zero": lambda: fit(
            network(),
            ForceMatching(Dataset.from_frames(TOPOLOGY, data[:].with_(forces=0 * data[:].forces))),
            training=Training(validation=0.5),
        ),
    }


@pytest.mark.parametrize("message", list(refused()))
def test_refusals_name_what_is_wrong(message):
    with pytest.raises(ValueError, match=message):
        refused()[message]()


def test_a_model_can_be_trained_further():
    data = data_of(frames=30, noise=1.0)
    first = fit(Model(network(), TOPOLOGY, mapping={"by": "hand"}), ForceMatching(data), training=SHORT)
    again = fit(first.model, ForceMatching(data), training=SHORT)
    assert again.model.mapping == {"by": "hand"}
    assert again.history.points[0].held_out == pytest.approx(first.history.points[-1].held_out, rel=1e-5)
    assert jnp.asarray(again.model.potential.inner).dtype == jnp.float64
