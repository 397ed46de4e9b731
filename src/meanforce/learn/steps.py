"""One step of training and one of validation, compiled once each, on any number of devices.

The loss is  sum_o weight_o n_o <(label - prediction)^2>_o / variance_o  over  sum_o weight_o n_o,  with n_o the
labels of a frame: minus twice the logarithm of the likelihood, scaled to one where the residuals are noise. Frames
are one disjoint graph on each device and gradients are summed over devices; members are mapped over their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from meanforce.learn.batches import AXIS, Batch, Group
from meanforce.learn.rows import asked, column_of
from meanforce.learn.trainable import Parts
from meanforce.learn.training import Training

_ALL, _DIVIDED = PartitionSpec(), PartitionSpec(AXIS)


class State(NamedTuple):
    """Everything a step changes; with members every array has a leading axis of them."""

    learned: Array  # all weights in one row: the optimiser compiles once, not for each array of them
    moments: Any  # of the optimiser
    mean: Array  # running mean of what is learned
    step: Array
    failed: Array  # the first step whose loss or gradient was not finite, -1: none; nothing moves from there on
    squares: Array  # per objective: sums over frames since the last validation
    counts: Array  # per objective: weights of those frames
    norms: Array  # sum of the norms of the gradient since the last validation
    steps: Array  # since the last validation


class Learned(NamedTuple):
    """What a step moves."""

    network: Any  # as in `Parts`
    gauge: tuple[Array, ...]  # the unknowns beside each objective, in units of `Gauge.scales`


class Scale(NamedTuple):
    """What turns mean squares into the loss: weight times labels of a frame."""

    share: Float[np.ndarray, "objectives"]  # of one step of the objective's data set
    likelihood: Float[np.ndarray, "objectives"]  # of all frames; sums to one

    @staticmethod
    def of(groups: Sequence[Group], labels: np.ndarray) -> Scale:
        weights, parts = np.zeros(len(labels)), np.zeros(len(labels))
        total = sum(len(group.training) for group in groups)
        for group in groups:
            for number, objective in zip(group.numbers, group.objectives, strict=True):
                weights[number] = objective.weight * labels[number]
                parts[number] = weights[number] * len(group.training) / total
        return Scale(weights / parts.sum(), parts / parts.sum())


class Programs(NamedTuple):
    """Compiled functions, one of each for every group."""

    train: tuple[Callable[[State, Any, Batch, np.ndarray], State], ...]
    judge: tuple[Callable[[Any, Any, Batch], tuple[Array, ...]], ...]
    optimiser: optax.GradientTransformation
    rate: optax.Schedule
    unravel: Callable[[Array], Learned]  # from a row of numbers

    @property
    def compilations(self) -> int:
        """How often something was compiled: for training and for validation once, unless lists outgrow their rows."""
        return sum(function._cache_size() for function in (*self.train, *self.judge))  # type: ignore[attr-defined]


def schedule(training: Training, steps: int) -> optax.Schedule:
    """The learning rate by step: a rise from zero, then an exponential decay to the end."""
    rise = round(training.warmup * steps)
    decay = training.final_learning_rate / training.learning_rate
    fall = optax.exponential_decay(training.learning_rate, max(steps - rise, 1), decay)
    if not rise:
        return fall
    climb = lambda step: training.learning_rate * (step + 1) / rise
    return optax.join_schedules([climb, fall], [rise])


def programs(
    divided: tuple[Learned, Parts], groups: Sequence[Group], scale: Scale, mesh: Mesh, training: Training, steps: int
) -> Programs:
    begun, parts = divided
    rate = schedule(training, steps)
    clip = [] if training.gradient_clip is None else [optax.clip_by_global_norm(training.gradient_clip)]
    optimiser = optax.chain(*clip, optax.scale_by_adam(), optax.scale_by_learning_rate(rate))
    unravel, train, judge = ravel_pytree(begun)[1], [], []
    for group in groups:
        residuals = partial(_residuals, unravel, parts.rest, group)
        share = scale.share[list(group.numbers)] / training.batch
        gradient = _divided(_gradient(residuals), training, mesh, out=_ALL)
        train.append(jax.jit(partial(_advance, gradient, optimiser, training, np.array(group.numbers), share)))
        judge.append(jax.jit(_divided(_judged(residuals, group), training, mesh, out=_DIVIDED)))
    return Programs(tuple(train), tuple(judge), optimiser, rate, unravel)


def begin(learned: Array, optimiser: optax.GradientTransformation, members: int, objectives: int) -> State:
    """The state before the first step."""

    def one(weights):
        count = jnp.zeros(objectives)
        return State(
            weights, optimiser.init(weights), weights, jnp.int32(0), jnp.int32(-1), count, count, jnp.zeros(()),
            jnp.int32(0),
        )  # fmt: skip

    return jax.jit(one if members == 1 else jax.vmap(one))(learned)


def cleared(state: State) -> State:
    """The state with the sums since the last validation at zero."""
    zero = lambda name: jnp.zeros_like(getattr(state, name))
    return state._replace(**{name: zero(name) for name in ("squares", "counts", "norms", "steps")})


def _residuals(
    unravel: Callable[[Array], Learned], rest: Any, group: Group, learned: Array, fixed: Any, batch: Batch
) -> list[Array]:
    """The residuals of all labels of each frame, in double precision, for every objective."""
    now = unravel(learned)
    design = column_of(eqx.combine(now.network, fixed, rest), batch.graph, *asked(group.objectives), batch.displaced)
    found = []
    for number, objective, labels, beside in zip(
        group.numbers, group.objectives, batch.labels, batch.beside, strict=True
    ):
        residual = objective.rows(design)[:, 0].reshape(labels.shape) - labels
        if beside.shape[-1]:
            residual = residual + (beside @ now.gauge[number])[:, None]
        found.append(residual.astype(jnp.float64))
    return found


def _gradient(residuals: Callable) -> Callable:
    """(learned, fixed, batch, factors) -> sums over the frames of the batch: gradient, loss, squares, weights."""

    def loss(learned, fixed, batch, factors):
        found = residuals(learned, fixed, batch)
        squares = jnp.stack([batch.weights @ jnp.mean(left**2, axis=1) for left in found])
        return factors @ squares, squares

    def gradient(learned, fixed, batch, factors):
        (value, squares), slope = jax.value_and_grad(loss, has_aux=True)(learned, fixed, batch, factors)
        return slope, value, squares, batch.weights.sum()

    return gradient


def _judged(residuals: Callable, group: Group) -> Callable:
    """(learned, fixed, batch) -> the mean square of each frame; of centred labels, one a frame, the residual."""

    def judged(learned, fixed, batch):
        found = residuals(learned, fixed, batch)
        pairs = zip(group.objectives, found, strict=True)
        return tuple(left[:, 0] if o.centred else jnp.mean(left**2, axis=1) for o, left in pairs)

    return judged


def _divided(function: Callable, training: Training, mesh: Mesh, out: PartitionSpec) -> Callable:
    """The function over all parts of a batch: summed where `out` is the same for all devices, else side by side."""

    def local(learned, fixed, batch, *more):
        mapped = function
        if training.members > 1:
            own = Batch(None, None, 1 if batch.weights.ndim == 3 else None, None, None)  # type: ignore[arg-type]
            mapped = jax.vmap(function, in_axes=(0, None, own, *(0 for _ in more)))
        each = jax.jit(lambda part: mapped(learned, fixed, part, *more))  # traced once, however often it is asked
        return jax.lax.psum(_summed(each, batch), AXIS) if out == _ALL else _mapped(each, batch)

    def divided(learned, fixed, batch, *more):
        specs = (_ALL, _ALL, _DIVIDED, *(_ALL for _ in more))
        # custom linear maps know no varying axes, and everything that is summed is summed here
        return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)(
            learned, fixed, batch, *more
        )

    return divided


def _summed(each: Callable, batch: Batch) -> Any:
    """The sum over the parts of a device, one after the other."""
    if len(batch.weights) == 1:
        return each(_first(batch))
    add = lambda sums, part: (jax.tree.map(jnp.add, sums, each(part)), None)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(each, _first(batch)))
    return jax.lax.scan(add, nothing, batch)[0]


def _mapped(each: Callable, batch: Batch) -> Any:
    """What is found for each part of a device, one after the other."""
    if len(batch.weights) == 1:
        return jax.tree.map(lambda leaf: leaf[None], each(_first(batch)))
    return jax.lax.map(each, batch)


def _first(batch: Batch) -> Batch:
    return jax.tree.map(lambda leaf: leaf[0], batch)


def _advance(
    gradient: Callable,
    optimiser: optax.GradientTransformation,
    training: Training,
    numbers: np.ndarray,
    share: np.ndarray,
    state: State,
    fixed: Any,
    batch: Batch,
    variances: Float[Array | np.ndarray, "... objectives"],
) -> State:
    """One step of Adam. `variances` are those of all objectives, of each member."""
    each = jnp.asarray(variances)[..., numbers]
    slope, loss, squares, count = gradient(state.learned, fixed, batch, jnp.broadcast_to(share, each.shape) / each)

    def move(state: State, slope, loss, squares, count) -> State:
        norm = jnp.sqrt(jnp.sum(slope**2))
        good = jnp.isfinite(loss) & jnp.isfinite(norm) & (state.failed < 0)
        updates, moments = optimiser.update(slope, state.moments, state.learned)
        learned = optax.apply_updates(state.learned, updates)
        decay = jnp.minimum(training.ema, (1.0 + state.step) / (10.0 + state.step)) if training.ema else 0.0
        mean = (decay * state.mean + (1 - decay) * learned).astype(learned.dtype)
        moved = State(
            learned, moments, mean, state.step + 1, state.failed, state.squares.at[numbers].add(squares),
            state.counts.at[numbers].add(count), state.norms + norm, state.steps + 1,
        )  # fmt: skip
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), moved, state)
        return kept._replace(failed=jnp.where(good | (state.failed >= 0), state.failed, state.step))

    return (move if training.members == 1 else jax.vmap(move))(state, slope, loss, squares, count)
