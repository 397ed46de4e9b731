"""The state of a run as bytes: plain arrays, no pickle. Together with its settings it fixes every later step."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from meanforce.dynamics.exchange import Swaps
from meanforce.dynamics.integrators import Phase

_VERSION = 1


class Checkpoint(NamedTuple):
    """A phase between blocks, with what the next sums of forces depend on: order of beads, length of rows."""

    phase: Phase
    order: Int[np.ndarray, "beads"]
    capacities: tuple[int, ...]


def pack(checkpoint: Checkpoint) -> bytes:
    phase = checkpoint.phase
    arrays = {f"thermostat{k}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(phase.thermostat))}
    arrays |= {f"swaps{k}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(phase.swaps))}
    arrays |= {name: np.asarray(getattr(phase, name)) for name in ("step", "positions", "velocities")}
    if phase.box is not None:
        arrays["box"] = np.asarray(phase.box)
    arrays |= {"order": checkpoint.order, "capacities": np.array(checkpoint.capacities, np.int64)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, version=np.array(_VERSION), **arrays)
    return buffer.getvalue()


def unpack(state: bytes, like: Phase) -> Checkpoint:
    """Reads a checkpoint back; `like` gives the structure of thermostat and exchanges."""
    with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
        if int(arrays["version"]) > _VERSION:
            raise ValueError("this checkpoint was written by a newer meanforce; upgrade, or begin the run anew")
        thermostat, swaps = (_tree(arrays, name, getattr(like, name)) for name in ("thermostat", "swaps"))
        phase = Phase(
            jnp.asarray(arrays["positions"]), jnp.asarray(arrays["velocities"]),
            None if like.box is None else jnp.asarray(arrays["box"]), thermostat, jnp.asarray(arrays["step"]), swaps,
        )  # fmt: skip
        return Checkpoint(phase, arrays["order"], tuple(int(c) for c in arrays["capacities"]))


def swaps_of(state: bytes, like: Swaps) -> Swaps:
    """What a checkpoint says of exchanges."""
    with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
        return _tree(arrays, "swaps", like)


def _tree(arrays: Mapping[str, np.ndarray], name: str, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(structure, [jnp.asarray(arrays[f"{name}{k}"]) for k in range(len(leaves))])


def step_of(state: bytes) -> int:
    """How far a checkpoint has come."""
    with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
        return int(arrays["step"])


def fingerprint(tree: Any) -> str:
    """A hash of the structure and numbers of a potential: a run is not resumed with another model."""
    arrays, rest = eqx.partition(tree, lambda leaf: isinstance(leaf, jax.Array | np.ndarray))
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", repr(rest)).encode())  # functions bear their address
    for leaf in jax.tree.leaves(arrays):
        value = np.ascontiguousarray(leaf)
        digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    return digest.hexdigest()[:16]
