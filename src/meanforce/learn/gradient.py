"""Training by gradient: mean squares on instantaneous labels, judged by frames that no step has seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from meanforce.learn import batches, checkpoint, steps
from meanforce.learn.asked import common_topology, model_of, named
from meanforce.learn.batches import Drawn, Group, Layout, Rooms, Sample, ahead
from meanforce.learn.checkpoint import Ledger
from meanforce.learn.curve import Point, TrainingHistory
from meanforce.learn.linear import Progress
from meanforce.learn.posterior import Spread
from meanforce.learn.result import Fit, Outcome
from meanforce.learn.score import Score
from meanforce.learn.steps import Learned, Programs, State
from meanforce.learn.trainable import parts, reinitialised, with_learned
from meanforce.learn.training import Training
from meanforce.model import Model
from meanforce.objectives.base import Quadratic
from meanforce.potentials.base import Potential
from meanforce.potentials.committee import Committee
from meanforce.potentials.networks import in_precision

#: A held-out mean square this many times the smallest, for so many validations in a row, is a divergence.
_FAR, _LONG = 10.0, 5
#: Variances are not taken below this part of the labels' own: what is left there is rounding.
_ROUNDING = 1e-14


class Task(NamedTuple):
    """Everything that stays the same over a run."""

    objectives: tuple[Quadratic, ...]
    groups: tuple[Group, ...]
    layout: Layout
    sample: Sample
    shares: Float[np.ndarray, "objectives"]  # of the likelihood: weight times labels
    training: Training
    programs: Programs
    fixed: Any
    learned: Array  # as it is before the first step
    each: int  # steps of an epoch

    @property
    def total(self) -> int:
        return self.each * self.training.epochs


def trained(
    potential: Potential,
    wanted: Sequence[Quadratic],
    known: Model | None,
    training: Training,
    *,
    blocks: int,
    progress: Progress | None,
) -> Fit:
    """See `fit`."""
    common_topology(wanted)
    path = None if training.checkpoint is None else Path(training.checkpoint)
    if path is not None:
        checkpoint.refuse_leftover(path, resume=training.resume)
    task = _task(potential, wanted, training)
    who = {} if path is None else checkpoint.identity(potential, wanted, training)
    state, ledger = _begun(task)
    if path is not None and path.exists():
        state, ledger = _placed(task, checkpoint.read(path, who, state))
    keep = (lambda *now: None) if path is None else lambda *now: checkpoint.write(path, who, *now)
    ledger = _carried_out(task, state, ledger, keep, progress)
    fitted = _fitted(potential, task, ledger)
    scores = _scores(*_to_score(task, ledger, fitted), blocks)
    assert ledger.outcome is not None
    history = TrainingHistory(
        ledger.points, scores, ledger.message, int(ledger.best_step[0]), ledger.seconds, ledger.waited,
        task.programs.compilations,
    )  # fmt: skip
    spread = Spread(fitted) if isinstance(fitted, Committee) else None
    note = f"gradient: {named(wanted)}, {training.epochs} epochs of {task.each} steps; {ledger.message}"
    return Fit(model_of(fitted, known, wanted, [note]), ledger.outcome, history, spread)


def _task(potential: Potential, wanted: Sequence[Quadratic], training: Training) -> Task:
    mesh = batches.mesh_of(training.devices)
    beads = len(wanted[0].data.topology)
    layout = Layout(training.batch, potential.cutoffs, training.dtype, mesh, batches.parts_of(training, beads, mesh))
    groups = batches.groups_of(wanted, training)
    sample = batches.look(groups, layout)
    divided = in_precision(parts(potential), training.dtype)
    each = len(batches.order_of(groups, training.batch, training.seed, 0))
    scale = steps.Scale.of(groups, sample.labels)
    begun = (Learned(divided.learned, _constants(potential, groups, training)), divided)
    programs = steps.programs(begun, groups, scale, mesh, training, each * training.epochs)
    everywhere = NamedSharding(mesh, PartitionSpec())
    learned, fixed = jax.device_put((_beginnings(potential, groups, training), divided.fixed), everywhere)
    return Task(tuple(wanted), groups, layout, sample, scale.likelihood, training, programs, fixed, learned, each)


def _constants(potential: Potential, groups: Sequence[Group], training: Training) -> tuple[Array, ...]:
    """The unknowns beside each objective, in the order of the objectives, that centre labels about the potential."""
    found = {
        number: jnp.asarray(gauge.begin(potential) / scales, training.dtype)
        for group in groups
        for number, gauge, scales in zip(group.numbers, group.gauges, group.scales, strict=True)
    }
    return tuple(found[number] for number in sorted(found))


def _beginnings(potential: Potential, groups: Sequence[Group], training: Training) -> Array:
    """What is learned, to begin with: the first member has the weights given, the others draw their own."""
    seeds = np.random.SeedSequence(training.seed).generate_state(training.members)[1:].tolist()
    each = [potential, *(reinitialised(potential, seed) for seed in seeds)]
    network = lambda member: in_precision(parts(member), training.dtype).learned
    begun = [Learned(network(member), _constants(member, groups, training)) for member in each]
    learned = [ravel_pytree(one)[0] for one in begun]
    return learned[0] if training.members == 1 else jnp.stack(learned)


def _begun(task: Task) -> tuple[State, Ledger]:
    """The run before its first step; nothing is validated yet."""
    members = task.training.members
    state = steps.begin(task.learned, task.programs.optimiser, members, len(task.objectives))
    none = np.zeros(members, np.int64)
    ledger = Ledger(
        np.tile(task.sample.variance, (members, 1)), state.mean, none, np.full(members, np.inf), none, none, (),
        task.sample.rooms, task.sample.rooms, 0.0, 0.0,
    )  # fmt: skip
    return state, ledger


def _placed(task: Task, left: tuple[State, Ledger]) -> tuple[State, Ledger]:
    """A run from a file on the devices of this one."""
    everywhere = NamedSharding(task.layout.mesh, PartitionSpec())
    state, ledger = left
    return jax.device_put(state, everywhere), ledger._replace(best=jax.device_put(ledger.best, everywhere))


def _carried_out(
    task: Task, state: State, ledger: Ledger, keep: Callable[[State, Ledger], None], progress: Progress | None
) -> Ledger:
    """Step after step to the end; whatever the end is, the ledger holds the best weights and the reason."""
    if ledger.outcome is not None:
        return ledger
    clock = _Clock(ledger.seconds, ledger.waited)
    if not ledger.points:
        ledger = _validated(task, state, ledger, clock)
        _refuse_not_finite(ledger)
    done = int(np.max(state.step))
    drawn = batches.training_batches(task.groups, task.layout, ledger.rooms, task.training, done)
    kept = time.monotonic()
    with closing(ahead(drawn)) as stream:
        while ledger.outcome is None:
            before, (state, now) = state, _step(task, state, ledger, stream, clock)
            ledger, done = ledger._replace(rooms=now.rooms), done + 1
            validate = done % (task.each * task.training.validate_every) == 0 or done == task.total
            if failed := _failure(task, state if validate else before):
                ledger = _validated(task, state, ledger, clock)._replace(outcome=Outcome.NOT_FINITE, message=failed)
            elif validate:
                ledger = _judged_run(task, _validated(task, state, ledger, clock), done)
                state = steps.cleared(state)
            ledger = ledger._replace(seconds=clock.seconds, waited=clock.waited)
            if ledger.outcome is not None or time.monotonic() - kept >= task.training.checkpoint_every:
                keep(state, ledger)
                kept = time.monotonic()
            if progress is not None:
                progress(done / task.total)
    return ledger


class _Clock:
    """Seconds of work over all lives of a run, and those in which the device waited for a batch."""

    def __init__(self, seconds: float, waited: float):
        self._started = time.perf_counter() - seconds
        self.waited = waited

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started


def _step(task: Task, state: State, ledger: Ledger, stream, clock: _Clock) -> tuple[State, Drawn]:
    """The next batch, and the step that it makes; the step before may still be running."""
    asked = time.perf_counter()
    drawn = next(stream)
    if state.step.is_ready():  # type: ignore[attr-defined]  # at most as long as this the device had nothing to do
        clock.waited += time.perf_counter() - asked
    variances = ledger.variances if task.training.members > 1 else ledger.variances[0]
    return task.programs.train[drawn.group](state, task.fixed, drawn.batch, variances), drawn


def _failure(task: Task, state: State) -> str:
    """Why the run cannot go on, or nothing. Waits for the step that made the state, not for the one after it."""
    failed = np.atleast_1d(np.asarray(state.failed))
    if (failed < 0).all():
        return ""
    step = int(failed[failed >= 0].min())
    member = "" if len(failed) == 1 else f" of member {int(np.argmax(failed == step))}"
    epoch = step // task.each
    group, rows = batches.order_of(task.groups, task.training.batch, task.training.seed, epoch)[step % task.each]
    taught = task.groups[group].training
    frames = np.sort(rows if taught.rows is None else taught.rows[rows]).tolist()
    return (
        f"the loss or its gradient{member} was not finite at step {step + 1} (epoch {epoch + 1}), in the batch of "
        f"frames {', '.join(map(str, frames[:20]))}{', ...' if len(frames) > 20 else ''}"
    )


def _validated(task: Task, state: State, ledger: Ledger, clock: _Clock) -> Ledger:
    """Held-out errors of the mean weights: new variances, a new point of the curve, and the best so far."""
    everything = [np.arange(len(group.held_out)) for group in task.groups]
    frames, rooms = judged(task, state.mean, ledger.judged_rooms, everything, held_out=True)
    weights = [task.groups[g].held_out_weights for g in _group_of(task)]
    squares = np.stack([f @ w / w.sum() for f, w in zip(frames, weights, strict=True)], 1)
    finite = np.isfinite(squares).all(1)
    floor = _ROUNDING * task.sample.square
    criterion = np.where(finite, np.log(np.maximum(squares, floor)) @ task.shares, np.inf)
    better = criterion < ledger.criterion
    far = criterion > ledger.criterion + np.log(_FAR)
    return ledger._replace(
        variances=np.where(finite[:, None], np.maximum(squares, floor), ledger.variances),
        best=_chosen(better, state.mean, ledger.best),
        best_step=np.where(better, np.atleast_1d(np.asarray(state.step)), ledger.best_step),
        criterion=np.minimum(criterion, ledger.criterion),
        idle=np.where(better, 0, ledger.idle + 1),
        astray=np.where(far, ledger.astray + 1, 0),
        points=(*ledger.points, _point(task, state, squares, clock)),
        judged_rooms=rooms,
    )


def _point(task: Task, state: State, squares: Float[np.ndarray, "members objectives"], clock: _Clock) -> Point:
    done = int(np.max(state.step))
    rate = float(task.programs.rate(max(done - 1, 0)))
    with np.errstate(invalid="ignore"):
        training = np.atleast_2d(state.squares) / np.atleast_2d(state.counts)
        norm = np.sum(state.norms) / np.sum(state.steps, dtype=float)
    root = lambda members: tuple(np.sqrt(members.mean(0)).tolist())
    return Point(
        done // task.each, done, root(training), root(squares), rate, float(norm), clock.seconds,
    )  # fmt: skip


def judged(
    task: Task, learned: Array, rooms: Rooms, rows: Sequence[np.ndarray], *, held_out: bool
) -> tuple[list[Float[np.ndarray, "members _"]], Rooms]:
    """The mean square residual of every frame, for each objective; of centred labels about the mean of their state."""
    found: list[list[np.ndarray]] = [[] for _ in task.objectives]
    drawn = batches.ordered_batches(task.groups, task.layout, rooms, rows, held_out=held_out)
    with closing(ahead(drawn)) as stream:
        for item in stream:
            told = task.programs.judge[item.group](learned, task.fixed, item.batch)
            rooms = item.rooms
            for number, value in zip(task.groups[item.group].numbers, told, strict=True):
                apart = np.asarray(value).reshape(task.layout.parts, task.training.members, -1)
                whole = apart.swapaxes(0, 1).reshape(task.training.members, -1)
                found[number].append(whole[:, : len(item.rows)])
    values = [np.concatenate(each, 1) for each in found]
    for group, chosen in zip(task.groups, rows, strict=True):
        data = group.held_out if held_out else group.training
        for number, gauge in zip(group.numbers, group.gauges, strict=True):
            if gauge.objective.centred:
                values[number] = gauge.centred(data, chosen, values[number])
    return values, rooms


def _judged_run(task: Task, ledger: Ledger, done: int) -> Ledger:
    """Ends the run at its last step, where it no longer learns, and where it went astray."""
    at = f"step {done} (epoch {done // task.each})"
    patience = task.training.patience
    best = ", ".join(map(str, sorted(set(ledger.best_step.tolist()))))
    if (ledger.astray >= _LONG).any():
        end = (
            Outcome.DIVERGED,
            f"the held-out mean square was more than {_FAR:g} times its smallest for {_LONG} validations, up to {at}",
        )
    elif done == task.total:
        end = (Outcome.TRAINED, f"trained to {at}; weights of step {best}")
    elif patience is not None and (ledger.idle >= patience).all():
        end = (
            Outcome.STOPPED,
            f"no smaller held-out error for {patience} validations, up to {at}; weights of step {best}",
        )
    else:
        return ledger
    return ledger._replace(outcome=end[0], message=end[1])


def _refuse_not_finite(ledger: Ledger) -> None:
    if not np.isfinite(ledger.criterion).all():
        raise ValueError(
            "fit: the potential gives forces that are not finite on the held-out frames before any training: "
            "begin with other weights, or look at the data with mf.inspect"
        )


def _chosen(better: Bool[np.ndarray, "members"], new: Array, old: Array) -> Array:
    """New weights for the members that are better."""
    if len(better) == 1:
        return new if better[0] else old
    return jnp.where(better[:, None], new, old)


def _group_of(task: Task) -> list[int]:
    """The group of each objective."""
    return [next(g for g, group in enumerate(task.groups) if k in group.numbers) for k in range(len(task.objectives))]


def _fitted(potential: Potential, task: Task, ledger: Ledger) -> Potential:
    """The potential with the best weights; several members make a committee."""
    if task.training.members == 1:
        return with_learned(potential, task.programs.unravel(ledger.best).network)
    member = lambda k: with_learned(potential, task.programs.unravel(ledger.best[k]).network)
    return Committee(tuple(member(k) for k in range(task.training.members)))


def _to_score(task: Task, ledger: Ledger, fitted: Potential) -> tuple[Task, Array, Rooms]:
    """The programs that score the model, its weights, and the room of its lists: a committee scores as a whole."""
    if task.training.members == 1:
        return task, ledger.best, ledger.judged_rooms
    whole = in_precision(parts(fitted), task.training.dtype)
    one = replace(task.training, members=1, bootstrap=0)
    scale = steps.Scale.of(task.groups, task.sample.labels)
    members = [task.programs.unravel(row).gauge for row in ledger.best]
    begun = Learned(whole.learned, jax.tree.map(lambda *each: jnp.mean(jnp.stack(each), axis=0), *members))
    programs = steps.programs((begun, whole), task.groups, scale, task.layout.mesh, one, task.total)
    everywhere = NamedSharding(task.layout.mesh, PartitionSpec())
    learned, fixed = jax.device_put((ravel_pytree(begun)[0], whole.fixed), everywhere)
    return task._replace(training=one, programs=programs, fixed=fixed), learned, ledger.judged_rooms


def _scores(task: Task, learned: Array, rooms: Rooms, blocks: int) -> tuple[Score, ...]:
    """Errors of the model: on held-out frames, in blocks, and on as many of those learned from."""
    held = [np.arange(len(group.held_out)) for group in task.groups]
    taught = [
        np.unique(np.linspace(0, len(group.training) - 1, len(rows)).astype(int))
        for group, rows in zip(task.groups, held, strict=True)
    ]
    apart, rooms = judged(task, learned, rooms, held, held_out=True)
    seen, _ = judged(task, learned, rooms, taught, held_out=False)
    scores = []
    for number, group in enumerate(_group_of(task)):
        weights = task.groups[group].held_out_weights
        parts = [p for p in np.array_split(np.arange(len(weights)), min(blocks, len(weights))) if weights[p].sum() > 0]
        mean = [np.average(apart[number][0][p], weights=weights[p]) for p in parts]
        used = task.groups[group].training_weights[taught[group]]
        scores.append(
            Score.of(
                task.objectives[number],
                np.array(mean),
                np.array([weights[p].sum() for p in parts]),
                labels=float(np.sqrt(task.sample.square[number])),
                training=float(np.sqrt(np.average(seen[number][0], weights=used))) if used.sum() else float("nan"),
            )
        )
    return tuple(scores)
