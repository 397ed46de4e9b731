"""Sums of products with beads on the fast axis, written out term by term, in every derivative.

Compilers vectorise such sums over the beads; batches of small matrix products, one for each bead, take twice as
long.
"""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from operator import add
from typing import NamedTuple

import jax.numpy as jnp
from jax.interpreters import ad
from jax.lax import optimization_barrier
from jaxtyping import Array, Float

from meanforce.numerics.linear import linear_map, primitive


class Table(NamedTuple):
    """Constants of a bilinear map, out_k = sum c x_i y_j: how many x, y and out there are, and each (i, j, k, c)."""

    sizes: tuple[int, int, int]
    terms: tuple[tuple[int, int, int, float], ...]

    def permuted(self, *order: int) -> Table:
        """The same numbers with x, y and out in other places."""
        terms = tuple((*(term[place] for place in order), term[3]) for term in self.terms)
        return Table(tuple(self.sizes[place] for place in order), terms)  # type: ignore[arg-type]


def summed(left: Float[Array, "a b beads"], right: Float[Array, "c d beads"], spec: str) -> Float[Array, "e f beads"]:
    """An einsum of two letters each, such as "kc,km->cm", for every bead: the letter both have is summed over."""
    return _summed.bind(left, right, spec=spec)


def _apply(left, right, *, spec: str):
    one, two, out = _letters(spec)
    (common,) = set(one) & set(two)
    first, second = one.index(common), two.index(common)
    pick = lambda array, axis, k: array[k] if axis == 0 else array[:, k]
    wide = lambda array, letter: array[:, None] if out[0] == letter else array[None]
    rest_one, rest_two = one[1 - first], two[1 - second]
    return reduce(
        add,
        (
            wide(pick(left, first, k), rest_one) * wide(pick(right, second, k), rest_two)
            for k in range(left.shape[first])
        ),
    )


def _letters(spec: str) -> tuple[str, str, str]:
    operands, out = spec.split("->")
    one, two = operands.split(",")
    return one, two, out


def _of_left(cotangent, left, right, *, spec: str):
    del left
    one, two, out = _letters(spec)
    return summed(cotangent, right, f"{out},{two}->{one}")


def _of_right(cotangent, left, right, *, spec: str):
    del right
    one, two, out = _letters(spec)
    return summed(left, cotangent, f"{one},{out}->{two}")


_summed = primitive("meanforce_summed", _apply)
ad.defbilinear(_summed, _of_left, _of_right)


def coupled(
    left: Float[Array, "channels i beads"], right: Float[Array, "channels j beads"], table: Table
) -> Float[Array, "channels k beads"]:
    """sum c left_i right_j for every channel and bead, over the terms of the table."""
    return _coupled.bind(left, right, table=table)


def _couple(left, right, *, table: Table):
    left, right = optimization_barrier((left, right))  # or they are computed anew for every term
    terms = defaultdict(list)
    for i, j, k, constant in table.terms:
        terms[k].append(constant * left[:, i] * right[:, j])
    return _stacked(terms, table.sizes[2], left)


def _stacked(terms, size: int, like):
    nothing = jnp.zeros_like(like[:, 0])
    return optimization_barrier(jnp.stack([reduce(add, terms[k]) if k in terms else nothing for k in range(size)], 1))


def _of_coupled_left(cotangent, left, right, *, table: Table):
    del left
    return coupled(cotangent, right, table.permuted(2, 1, 0))


def _of_coupled_right(cotangent, left, right, *, table: Table):
    del right
    return coupled(left, cotangent, table.permuted(0, 2, 1))


_coupled = primitive("meanforce_coupled", _couple)
ad.defbilinear(_coupled, _of_coupled_left, _of_coupled_right)


def _contract(pairs, *, table: Table):
    pairs, terms = optimization_barrier(pairs), defaultdict(list)
    for i, j, k, constant in table.terms:
        terms[k].append(constant * pairs[:, i * table.sizes[1] + j])
    return _stacked(terms, table.sizes[2], pairs)


def _expand(values, *, table: Table):
    values, terms = optimization_barrier(values), defaultdict(list)
    for i, j, k, constant in table.terms:
        terms[i * table.sizes[1] + j].append(constant * values[:, k])
    return _stacked(terms, table.sizes[0] * table.sizes[1], values)


#: contracted(pairs, table=table): the map of `coupled` for products x_i y_j that are there, (channels, i * j, beads).
contracted = linear_map("meanforce_contracted", _contract, _expand)
