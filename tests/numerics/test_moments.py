"""Moments and their derivatives against plain products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanforce.numerics.moments import collect, functions, spread

RNG = np.random.default_rng(0)
ROWS, VALUES, MOMENTS = (jnp.asarray(RNG.normal(size=shape)) for shape in ((3, 5, 4), (3, 4, 2), (3, 5, 2)))
CASES = {
    "collect": (collect, "bmk,bkf->bmf", VALUES),
    "spread": (spread, "bmk,bmf->bkf", MOMENTS),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_to_third_order(name):
    product, formula, operand = CASES[name]

    def energy(multiply):
        return lambda rows, values: (jnp.sin(rows).sum() * multiply(rows, values) ** 3).sum()

    mine = energy(lambda rows, values: product(functions(rows), values))
    plain = energy(lambda rows, values: jnp.einsum(formula, rows, values))
    ways = [tuple(jnp.asarray(RNG.normal(size=a.shape)) for a in (ROWS, operand)) for _ in range(2)]
    for way in ways:

        def along(f, way=way):  # reverse over reverse
            return lambda *at: sum(jnp.vdot(d, w) for d, w in zip(jax.grad(f, (0, 1))(*at), way, strict=True))

        def ahead(f, way=way):  # forward
            return lambda *at: jax.jvp(f, at, way)[1]

        np.testing.assert_allclose(mine(ROWS, operand), plain(ROWS, operand))
        for derive in (along, ahead):
            for got, wanted in zip(*(jax.grad(derive(f), (0, 1))(ROWS, operand) for f in (mine, plain)), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
        mine, plain = along(mine), along(plain)


@pytest.mark.parametrize("name", CASES)
def test_batched(name):
    product, formula, operand = CASES[name]
    many = jnp.stack([operand, 2 * operand])
    got = jax.vmap(lambda v: product(functions(ROWS), v))(many)
    np.testing.assert_allclose(got, jnp.stack([jnp.einsum(formula, ROWS, v) for v in many]))
