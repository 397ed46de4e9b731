"""Vectors along a neighbour list, one component at a time, with derivatives that gather."""

from __future__ import annotations

from functools import reduce
from operator import add

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from meanforce.numerics.linear import linear_map
from meanforce.numerics.neighbours import FAR, IMAGE_RANGE, SIDE

#: The lattice vector of each image code, in units of the box vectors; the last, for unused slots, is none.
IMAGES = np.zeros((FAR + 1, 3), np.int32)
IMAGES[:FAR] = np.stack(np.unravel_index(np.arange(FAR), (SIDE,) * 3), -1) - IMAGE_RANGE


def take(values: Array, index: Int[Array, "..."]) -> Array:
    """`values[index]` for an index known to lie inside."""
    return values.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def reverse(values: Float[Array, "beads capacity"], index, slot) -> Float[Array, "beads capacity"]:
    """The value at the reverse of every pair."""
    return take(values.reshape(-1), index * values.shape[1] + slot)


def moment(values: Float[Array, "beads capacity"], image: Int[Array, "beads capacity"]) -> Float[Array, "beads 3"]:
    """The sum of value times lattice vector over the neighbours of each bead."""
    return jnp.stack([(values * take(jnp.asarray(IMAGES[:, k], values.dtype), image)).sum(1) for k in range(3)], -1)


def _difference(x, index, slot):
    return take(x, index) - x[:, None]


def _collect(ct, index, slot):
    ct = lax.optimization_barrier(ct)  # or the compiler computes it anew at every place that is gathered
    return (reverse(ct, index, slot) - ct).sum(1)


def _shift(column, image, frames):
    table = (column @ jnp.asarray(IMAGES.T, column.dtype)).reshape(-1)
    first = jnp.repeat(jnp.arange(frames, dtype=image.dtype) * len(IMAGES), len(image) // frames)
    return take(table, image if frames == 1 else image + first[:, None])


def _shift_transpose(ct, image, frames):
    return moment(ct, image).reshape(frames, -1, 3).sum(1)


def _reversed(values, index, slot):
    return take(values.reshape(-1, values.shape[-1]), index * values.shape[1] + slot)


def _sent(values, index, slot):
    del slot
    flat, place = lax.optimization_barrier((values.reshape(-1), index.T))
    return take(flat, place[:, None] + _offsets(values))


def _received(ct, index, slot):
    flat, place = lax.optimization_barrier((ct.reshape(-1), (slot * ct[0].size + index).T))
    offsets = _offsets(ct[0])
    return reduce(add, (take(flat, row + offsets) for row in place))


def _offsets(values: Float[Array, "features beads"]) -> Int[Array, "features 1"]:
    """Where each feature begins in the flat array: one gather from it is the fastest."""
    features, beads = values.shape
    return (jnp.arange(features, dtype=jnp.int32) * beads)[:, None]


#: to_neighbours(values, index, slot): values (features, beads) of every neighbour, (capacity, features, beads).
to_neighbours = linear_map("meanforce_to_neighbours", _sent, _received)

#: reverse_rows(values, index, slot): rows of values (beads, capacity, f) at the reverse of every pair. It is its
#: own transpose, since unused slots are their own reverse.
reverse_rows = linear_map("meanforce_reverse_rows", _reversed, _reversed)

#: difference(x, index, slot): x of every neighbour less x of the bead, for one coordinate x of all beads.
difference = linear_map("meanforce_difference", _difference, _collect)

#: shift(column, image, frames=n): one coordinate of the lattice vectors of all neighbours, for that coordinate
#: (frames, 3) of the three box vectors.
shift = linear_map("meanforce_shift", _shift, _shift_transpose)
