"""Linear combinations against tensordot, in value and in derivatives to second order."""

import jax
import jax.numpy as jnp
import numpy as np

from meanforce.numerics.mixing import mixed


def test_values_and_derivatives_are_those_of_tensordot():
    rng = np.random.default_rng(3)
    matrix, arrays = jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray(rng.normal(size=(3, 2, 5)))
    plain = lambda a, b: jnp.tensordot(a, b, 1)
    np.testing.assert_allclose(mixed(matrix, arrays), plain(matrix, arrays), rtol=1e-13)
    curved = lambda product: lambda a, b: jnp.sum(jnp.sin(product(a, b)))
    for order in (jax.grad, jax.hessian):
        ours, theirs = (order(curved(product), argnums=(0, 1))(matrix, arrays) for product in (mixed, plain))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), ours, theirs)


def test_beads_stay_on_the_fast_axis():
    matrix, arrays = jnp.ones((4, 3)), jnp.ones((3, 2, 5))
    slopes = lambda product: jax.make_jaxpr(jax.grad(lambda b: (product(matrix, b) ** 2).sum()))(arrays)
    turned = "permutation=(2, 0, 1)"  # of the derivative after a product that ends with the summed axis
    assert turned in str(slopes(lambda a, b: jnp.tensordot(a, b, 1)))
    assert turned not in str(slopes(mixed))
