"""Sums of products with beads on the fast axis, written out term by term, in every derivative.

Compilers vectorise such sums over the beads; batches of small matrix products, one for each bead, take twice as
long.
"""

from __future__ import annotations

from functools import reduce
from operator import add

from jax.interpreters import ad
from jaxtyping import Array, Float

from meanforce.numerics.linear import primitive


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
