"""Two faults of JAX that make it unfit for this work; the requirements exclude the versions that have them."""

import time

import jax
import jax.numpy as jnp
import numpy as np

import meanforce.numerics.precision  # noqa: F401


def test_compiled_and_plain_agree_on_long_batches():
    """0.10.2 computes wrong numbers on CPU: jax-ml/jax#39103."""
    m = jnp.eye(3)
    f = jax.vmap(lambda r: jnp.sum((m @ r) ** 2))
    x = jnp.stack([jnp.arange(16385.0), jnp.zeros(16385), jnp.zeros(16385)], -1)
    plain, compiled = f(x), jax.jit(f)(x)
    np.testing.assert_array_equal(plain, compiled)
    assert float(compiled[-1]) == 16384.0**2


def test_scans_that_stack_small_arrays_are_linear():
    """0.11.1 copies the whole stack at every step: jax-ml/jax#40101."""

    def seconds(beads):
        start = jnp.zeros((beads, 3), jnp.float32)
        run = jax.jit(lambda r: jax.lax.scan(lambda r, _: (r + 1, r), r, None, length=20_000)[1])
        run(start).block_until_ready()
        best = []
        for _ in range(3):
            begin = time.perf_counter()
            run(start).block_until_ready()
            best.append(time.perf_counter() - begin)
        return min(best)

    assert seconds(6) < 20 * seconds(22) + 0.05
    assert seconds(22) < 20 * seconds(6) + 0.05
