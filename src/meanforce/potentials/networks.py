"""Layers that networks share: dense ones with swish, residual pairs, and how their weights begin."""

from __future__ import annotations

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Weights = TypeVar("Weights")


class Dense(eqx.Module):
    """x W + b. Axes before the last two of W count layers of one kind, which a scan or a batch goes through."""

    weight: Float[Array, "*layers inputs outputs"]
    bias: Float[Array, "*layers outputs"] | None

    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias[..., None, :]

    def __check_init__(self):
        if self.weight.ndim < 2:
            raise ValueError(f"a dense layer needs a matrix of weights, not an array of shape {self.weight.shape}")
        expected = (*self.weight.shape[:-2], self.weight.shape[-1])
        if self.bias is not None and self.bias.shape != expected:
            raise ValueError(f"weights of shape {self.weight.shape} need biases of shape {expected}")


class Residual(eqx.Module):
    """x + s(s(x W + b) W' + b') with the swish s."""

    first: Dense
    second: Dense

    def __call__(self, x: Float[Array, "... size"]) -> Float[Array, "... size"]:
        return x + swish(self.second(swish(self.first(x))))


@jax.custom_jvp
def swish(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x / (1 + e^-x).

    Its slope is kept from the forward pass, and the barrier keeps the compiler from computing the hyperbolic
    tangent anew inside the loops of the backward pass, where it is not vectorised: five times faster on CPUs.
    """
    return x * _logistic(x)


@swish.defjvp
def _(primals, tangents):
    value, slope = jax.lax.optimization_barrier((swish(*primals), _slope(*primals)))
    return value, tangents[0] * slope


@jax.custom_jvp
def _slope(x):
    s = _logistic(x)
    return s * (1 + x * (1 - s))


@_slope.defjvp
def _(primals, tangents):
    slope, curvature = jax.lax.optimization_barrier((_slope(*primals), _curvature(*primals)))
    return slope, tangents[0] * curvature


def _curvature(x):
    s = _logistic(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def _logistic(x):
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


def dense(
    rng: np.random.Generator, inputs: int, outputs: int, *, layers: tuple[int, ...] = (), bias: bool = True
) -> Dense:
    """A dense layer, or several of one kind, with orthogonal weights and biases of zero."""
    weight = np.stack([orthogonal(rng, inputs, outputs) for _ in range(int(np.prod(layers)))])
    weight = weight.reshape(*layers, inputs, outputs)
    return Dense(jnp.asarray(weight), jnp.zeros((*layers, outputs)) if bias else None)


def residual(rng: np.random.Generator, size: int, *, layers: tuple[int, ...] = ()) -> Residual:
    """A residual pair of dense layers."""
    return Residual(dense(rng, size, size, layers=layers), dense(rng, size, size, layers=layers))


def orthogonal(rng: np.random.Generator, inputs: int, outputs: int) -> Float[np.ndarray, "inputs outputs"]:
    """Orthogonal columns or rows, scaled to the variance 2 / (inputs + outputs)."""
    size = max(inputs, outputs)
    matrix, triangle = np.linalg.qr(rng.normal(size=(size, min(inputs, outputs))))
    matrix = matrix * np.sign(np.diag(triangle))
    matrix = matrix if inputs >= outputs else matrix.T
    return matrix * np.sqrt(2 / (inputs + outputs)) / np.sqrt(np.mean(matrix**2))


def in_precision(weights: Weights, dtype: np.dtype) -> Weights:
    """Floating-point arrays in another precision, such as that of the positions."""
    cast = lambda a: jnp.asarray(a, dtype) if eqx.is_inexact_array(a) else a
    return jax.tree.map(cast, weights)
