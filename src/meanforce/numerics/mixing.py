"""Linear combinations of arrays that end with the beads, which stay on the fast axis in every derivative.

Derived by JAX, the derivative of a product of matrices has its axes exchanged, and whatever reads it elementwise along
the beads takes several times as long.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.interpreters import ad
from jaxtyping import Array, Float

from meanforce.numerics.linear import primitive


def mixed(
    matrix: Float[Array, "outputs inputs"], arrays: Float[Array, "inputs *rest"]
) -> Float[Array, "outputs *rest"]:
    """sum_k matrix[n, k] arrays[k] for each n."""
    return _mixed.bind(matrix, arrays)


def _overlaps(one, two):
    """The scalar products of two lists of arrays."""
    return one.reshape(len(one), -1) @ two.reshape(len(two), -1).T


_mixed = primitive("meanforce_mixed", lambda matrix, arrays: jnp.tensordot(matrix, arrays, 1))
_overlap = primitive("meanforce_overlaps", _overlaps)
ad.defbilinear(
    _mixed,
    lambda cotangent, matrix, arrays: _overlap.bind(cotangent, arrays),
    lambda cotangent, matrix, arrays: _mixed.bind(matrix.T, cotangent),
)
ad.defbilinear(
    _overlap,
    lambda cotangent, one, two: _mixed.bind(cotangent, two),
    lambda cotangent, one, two: _mixed.bind(cotangent.T, one),
)
