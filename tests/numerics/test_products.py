"""Sums and couplings of products against einsum, in value and in derivatives to second order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanforce.numerics.products import Table, contracted, coupled, summed

SPECS = ["kc,km->cm", "kc,cm->km", "cm,km->kc", "km,cm->kc", "km,kc->cm"]
SIZES = {"k": 3, "c": 2, "m": 4}


def operands(spec):
    rng = np.random.default_rng(3)
    one, two = spec.split("->")[0].split(",")
    draw = lambda letters: jnp.asarray(rng.normal(size=(*(SIZES[x] for x in letters), 5)))
    return draw(one), draw(two)


def plain(left, right, spec):
    one, two, out = spec.replace("->", ",").split(",")
    return jnp.einsum(f"{one}i,{two}i->{out}i", left, right)


@pytest.mark.parametrize("spec", SPECS)
def test_values_and_derivatives_are_those_of_einsum(spec):
    left, right = operands(spec)
    np.testing.assert_allclose(summed(left, right, spec), plain(left, right, spec), rtol=1e-13)

    def curved(product):
        return lambda a, b: jnp.sum(jnp.sin(product(a, b, spec)))

    for order in (jax.grad, jax.hessian):
        ours = order(curved(summed), argnums=(0, 1))(left, right)
        theirs = order(curved(plain), argnums=(0, 1))(left, right)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), ours, theirs)


def test_no_derivative_multiplies_matrices():
    left, right = operands("kc,km->cm")
    loss = lambda a, b: jnp.sum(jax.grad(lambda x: jnp.sum(summed(x, b, "kc,km->cm") ** 3))(a) ** 2)
    text = jax.jit(jax.grad(loss, argnums=1)).lower(left, right).as_text()
    assert "dot_general" not in text


TABLE = Table((3, 2, 4), ((0, 0, 0, 0.5), (2, 1, 0, -2.0), (1, 0, 3, 1.5), (2, 0, 2, 0.7), (0, 1, 2, 3.0)))


def dense(table):
    constants = np.zeros(table.sizes)
    for i, j, k, value in table.terms:
        constants[i, j, k] = value
    return constants


def by_einsum(left, right):
    return jnp.einsum("cib,cjb,ijk->ckb", left, right, dense(TABLE))


def by_pairs(left, right):
    pairs = (left[:, :, None] * right[:, None]).reshape(2, 6, 5)
    return contracted(pairs, table=TABLE)


@pytest.mark.parametrize("product", [lambda a, b: coupled(a, b, TABLE), by_pairs], ids=["coupled", "contracted"])
def test_couplings_are_those_of_einsum_in_every_derivative(product):
    rng = np.random.default_rng(4)
    left, right = (jnp.asarray(rng.normal(size=(2, size, 5))) for size in TABLE.sizes[:2])
    np.testing.assert_allclose(product(left, right), by_einsum(left, right), atol=1e-14)
    curved = lambda f: lambda a, b: jnp.sum(jnp.sin(f(a, b)))
    for order in (jax.grad, jax.hessian):
        ours, theirs = (order(curved(f), argnums=(0, 1))(left, right) for f in (product, by_einsum))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), ours, theirs)
