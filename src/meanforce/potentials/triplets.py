"""Sums over triplets by moments, with their gradient in closed form.

Layout, by measurement: (slots, functions, beads), beads on the fast axis, and every sum over slots or functions
written out as elementwise products. Compilers vectorise that; batches of small matrix products, one for each
bead, take twice as long. The gradient is stated rather than derived, for the compiler would pad every slice.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial, reduce
from operator import add
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from meanforce.numerics.harmonics import degrees, harmonics

_together = jax.lax.optimization_barrier  # or the compiler computes a factor anew for every product it is in


class Basis(NamedTuple):
    """Cubic B-splines that end, with two derivatives, where the last begins to vanish; Legendre polynomials."""

    start: float  # nm, where the innermost spline begins
    spacing: float  # nm, distance of the knots
    radial: int
    degree: int


def bumps(basis: Basis, distance: Float[Array, "rows columns"]) -> Float[Array, "rows radial columns"]:
    """Cubic B-splines at all knots: as differences of cut cubes, without a search for the interval."""
    u = jnp.abs(_knots_from(basis, distance))
    return (jnp.maximum(2 - u, 0) ** 3 - 4 * jnp.maximum(1 - u, 0) ** 3) / 6


def bump_slopes(basis: Basis, distance: Float[Array, "rows columns"]) -> Float[Array, "rows radial columns"]:
    """Their derivatives, 1/nm."""
    t = _knots_from(basis, distance)
    u = jnp.abs(t)
    return jnp.sign(t) * (4 * jnp.maximum(1 - u, 0) ** 2 - jnp.maximum(2 - u, 0) ** 2) / (2 * basis.spacing)


def masked(masks: tuple[Bool[Array, "rows columns"], ...], functions: Float[Array, "rows radial columns"]):
    """Radial functions of the neighbours of each species, one species after the other; no masks, one species."""
    if not masks:
        return functions
    return jnp.concatenate([jnp.where(mask[:, None], functions, 0) for mask in masks], 1)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def triplet_energies(
    basis: Basis,
    matrices: Float[Array, "degrees channels channels centres"],
    masks: tuple[Bool[Array, "slots beads"], ...],
    x: Float[Array, "slots beads"],
    y: Float[Array, "slots beads"],
    z: Float[Array, "slots beads"],
) -> Float[Array, "beads"]:
    """sum_{j != k} sum_{pql} matrices[l, p, q] R_p(r_j) R_q(r_k) P_l(cos jk) for the neighbours of each bead.

    The matrices are symmetric in p and q, which run over (species of the neighbour, spline); their last axis has
    one entry for all beads, or one for each.
    """
    return _energies(matrices, *_local(basis, masks, x, y, z)[:2])


def _triplet_energies_jvp(basis: Basis, primals, tangents):
    matrices, masks, *vectors = primals
    matrices_dot, _, *vectors_dot = tangents
    local = _local(basis, masks, *vectors)
    moving = [k for k, dot in enumerate(vectors_dot) if not _is_zero(dot)]
    change = jnp.zeros_like(vectors[0][0])
    if moving:
        gradient = _gradient(basis, matrices, masks, local, vectors)
        change += sum((gradient[k] * vectors_dot[k]).sum(0) for k in moving)
    if not _is_zero(matrices_dot):
        change += _energies(matrices_dot, local.radial, local.moments)
    return _energies(matrices, local.radial, local.moments), change


triplet_energies.defjvp(_triplet_energies_jvp, symbolic_zeros=True)


class _Local(NamedTuple):
    """Every neighbour's functions and, for every bead, their moments."""

    radial: Float[Array, "slots channels beads"]
    moments: Float[Array, "channels m beads"]
    angular: Float[Array, "slots m beads"]
    distance: Float[Array, "slots beads"]


def _local(basis: Basis, masks, x, y, z) -> _Local:
    distance = jnp.sqrt(x * x + y * y + z * z)
    radial = masked(masks, bumps(basis, distance))
    angular = harmonics(x / distance, y / distance, z / distance, basis.degree)
    radial, angular = _together((radial, angular))
    moments = _together(_sum(radial[k][:, None] * angular[k] for k in range(len(x))))
    return _Local(radial, moments, angular, distance)


def _met(matrices, moments: Float[Array, "channels m beads"]) -> Float[Array, "channels m beads"]:
    """For each moment what multiplies it: sum_q matrices[l(m), p, q] M_qm."""
    degree = matrices.shape[0] - 1
    by_moment = jnp.moveaxis(matrices[degrees(degree)], 0, 2)  # channels, channels, m, centres
    return _together(_sum(by_moment[:, q] * moments[q] for q in range(len(moments))))


def _paired(matrices, radial: Float[Array, "slots channels beads"]) -> Float[Array, "slots channels beads"]:
    """For each neighbour the same with itself, j = k, where every P_l is one."""
    total = matrices.sum(0)
    return _sum(total[:, q] * radial[:, q, None] for q in range(radial.shape[1]))


def _energies(matrices, radial, moments) -> Float[Array, "beads"]:
    return (_met(matrices, moments) * moments).sum((0, 1)) - (_paired(matrices, radial) * radial).sum((0, 1))


def _gradient(basis: Basis, matrices, masks, local: _Local, vectors):
    """The derivative of the energy of each bead by the vector to each of its neighbours."""
    radial, moments, angular, distance = local
    met = _met(matrices, moments)
    slope = masked(masks, bump_slopes(basis, distance))
    outward = _sum(met[:, m] * angular[:, m, None] for m in range(angular.shape[1])) - _paired(matrices, radial)
    along = _sum(slope[:, p] * value for p, value in enumerate(jnp.moveaxis(_together(outward), 1, 0)))
    across = _together(_sum(met[p] * radial[:, p, None] for p in range(len(met))))
    unit = [component / distance for component in vectors]
    turned = _together(jax.vjp(lambda x, y, z: harmonics(x, y, z, basis.degree), *unit)[1](across))
    along, distance, unit = _together((along, distance, unit))
    along -= _sum(t * n for t, n in zip(turned, unit, strict=True)) / distance  # harmonics here are polynomials in n
    return [_together(2 * (along * n + t / distance)) for t, n in zip(turned, unit, strict=True)]


def _sum(terms: Iterable[Array]) -> Array:
    return reduce(add, terms)


def _knots_from(basis: Basis, distance):
    """Distance from the middle of each radial function, in knots."""
    middle = jnp.arange(2, basis.radial + 2, dtype=distance.dtype)
    return (distance[:, None] - basis.start) / basis.spacing - middle[None, :, None]


def _is_zero(tangent) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)
