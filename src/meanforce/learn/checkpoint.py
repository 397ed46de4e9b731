"""The state of a training run in one file: safetensors with a JSON header, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from meanforce.data.storage import sync_folder
from meanforce.dynamics.checkpoint import fingerprint
from meanforce.learn.batches import Rooms
from meanforce.learn.curve import Point
from meanforce.learn.result import Outcome
from meanforce.learn.steps import State
from meanforce.learn.training import Training
from meanforce.objectives.base import Quadratic
from meanforce.potentials.base import Potential

_FORMAT = "meanforce-training"
_VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on with; the message says why and what to do."""


class Ledger(NamedTuple):
    """What a run knows beside the state of its steps. Arrays have a leading axis of members."""

    variances: Float[np.ndarray, "members objectives"]
    best: Array  # the weights of the smallest criterion
    best_step: Int[np.ndarray, "members"]
    criterion: Float[np.ndarray, "members"]  # smallest so far
    idle: Int[np.ndarray, "members"]  # validations since
    astray: Int[np.ndarray, "members"]  # validations in a row that were far above it
    points: tuple[Point, ...]
    rooms: Rooms  # of the batch of the last step
    judged_rooms: Rooms
    seconds: float
    waited: float
    outcome: Outcome | None = None
    message: str = ""


_ARRAYS = ("variances", "best_step", "criterion", "idle", "astray")


def identity(potential: Potential, objectives: Sequence[Quadratic], training: Training) -> dict[str, Any]:
    """What a run is: with the same data, options and potential it goes on to the same numbers."""
    return {
        "potential": fingerprint(potential),
        "data": [objective.data.hash for objective in objectives],
        "objectives": [[type(objective).__name__, objective.name, objective.weight] for objective in objectives],
        "options": training.binding(),
    }


def write(path: Path, who: dict[str, Any], state: State, ledger: Ledger) -> None:
    """Writes beside the checkpoint, to the disk, and renames: a kill leaves the old one or the new one."""
    arrays = {f"state.{k}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(state))}
    arrays |= {f"best.{k}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(ledger.best))}
    arrays |= {name: np.asarray(getattr(ledger, name)) for name in _ARRAYS}
    arrays = {name: np.array(value, order="C") for name, value in arrays.items()}
    told = {
        "identity": who, "points": ledger.points, "rooms": ledger.rooms, "judged_rooms": ledger.judged_rooms,
        "seconds": ledger.seconds, "waited": ledger.waited, "message": ledger.message,
        "outcome": None if ledger.outcome is None else ledger.outcome.name,
    }  # fmt: skip
    text = json.dumps(told, sort_keys=True)
    envelope = {"version": _VERSION, "checksum": _checksum(text, arrays), "header": text}
    content = save(arrays, metadata={_FORMAT: json.dumps(envelope)})
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read(path: Path, who: dict[str, Any], like: State) -> tuple[State, Ledger]:
    """The run that was left; `like` is its state before the first step, for the structure."""
    told, arrays = _opened(path)
    _refuse_another(path, told["identity"], who)
    fill = lambda tree, name: jax.tree.unflatten(
        jax.tree.structure(tree), [jnp.asarray(arrays[f"{name}.{k}"]) for k in range(len(jax.tree.leaves(tree)))]
    )
    points = tuple(
        Point(epoch, step, tuple(training), tuple(held_out), *rest)
        for epoch, step, training, held_out, *rest in told["points"]
    )
    rooms = lambda name: tuple(tuple(room) for room in told[name])
    ledger = Ledger(
        best=fill(like.learned, "best"), points=points, rooms=rooms("rooms"), judged_rooms=rooms("judged_rooms"),
        seconds=told["seconds"], waited=told["waited"], message=told["message"],
        outcome=None if told["outcome"] is None else Outcome[told["outcome"]],
        **{name: arrays[name] for name in _ARRAYS},
    )  # fmt: skip
    return fill(like, "state"), ledger


def refuse_leftover(path: Path, *, resume: bool) -> None:
    """A checkpoint that is there is gone on with, or taken away by hand: it may be worth days."""
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: there is no folder {path.parent}; make it first")
    if path.exists() and not resume:
        raise CheckpointError(
            f"{path} holds a run that was begun before: go on with it by resume=True, or delete it to begin anew"
        )


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no whole checkpoint ({error}); delete it to begin anew") from None
    if _FORMAT not in metadata:
        raise CheckpointError(f"{path} is no checkpoint of a training run; choose another name for checkpoint=")
    envelope = json.loads(metadata[_FORMAT])
    if envelope["version"] > _VERSION:
        raise CheckpointError(f"{path} was written by a newer meanforce; update it (pip install -U meanforce)")
    if envelope["checksum"] != _checksum(envelope["header"], arrays):
        raise CheckpointError(f"{path} is damaged: its checksum does not match; delete it to begin anew")
    return json.loads(envelope["header"]), arrays


def _refuse_another(path: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Names what differs between the run of the checkpoint and this one."""
    was, now = there["options"], here["options"]
    differing = [
        f"{name}={was.get(name)!r} there, {now.get(name)!r} here"
        for name in sorted({*was, *now})
        if was.get(name) != now.get(name)
    ]
    words = {
        "potential": "another potential or other initial weights",
        "data": "other data",
        "objectives": "other objectives",
    }
    differing += [what for name, what in words.items() if there[name] != json.loads(json.dumps(here[name]))]
    if differing:
        raise CheckpointError(
            f"{path} is of another run: {'; '.join(differing)}. Go on with what it was begun with, or choose another "
            "name"
        )


def _checksum(text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes())
    return digest.hexdigest()
