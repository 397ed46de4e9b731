"""Linear maps whose transpose is stated: reverse mode then gathers where it would otherwise scatter."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def linear_map(name: str, apply: Callable, transpose: Callable) -> Callable:
    """`apply(x, *fixed, **static)`, linear in the array x, with `transpose(y, *fixed, **static)` as its transpose.

    The result is differentiable in x to any order, forwards and backwards; the transpose of the transpose is
    the map itself. Nothing is differentiated with respect to the `fixed` arrays. Under vmap the map is
    batched as plain JAX code, and its transpose is then whatever JAX finds.
    """
    forward, backward = primitive(name, apply), primitive(f"{name}_transpose", transpose)
    _relate(forward, backward)
    _relate(backward, forward)
    return forward.bind


def primitive(name: str, function: Callable) -> Primitive:
    """A primitive that is computed by plain JAX code; its derivatives are for the caller to state."""
    made = Primitive(name)
    made.def_impl(function)
    made.def_abstract_eval(lambda *args, **static: _abstract(function, args, static))
    mlir.register_lowering(made, mlir.lower_fun(function, multiple_results=False))

    def batch(args, axes, **static):
        return jax.vmap(lambda *a: function(*a, **static), in_axes=axes)(*args), 0

    batching.primitive_batchers[made] = batch
    return made


def _abstract(function: Callable, args, static):
    out = jax.eval_shape(lambda *a: function(*a, **static), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in args))
    return jax.core.ShapedArray(out.shape, out.dtype)


def _relate(primitive: Primitive, transposed: Primitive) -> None:
    def differentiate(primals, tangents, **static):
        tangent = ad.instantiate_zeros(tangents[0])
        return primitive.bind(*primals, **static), primitive.bind(tangent, *primals[1:], **static)

    def transpose(cotangent, _, *fixed, **static):
        if type(cotangent) is ad.Zero:
            return (cotangent, *(None for _ in fixed))
        return (transposed.bind(cotangent, *fixed, **static), *(None for _ in fixed))

    ad.primitive_jvps[primitive] = differentiate
    ad.primitive_transposes[primitive] = transpose
