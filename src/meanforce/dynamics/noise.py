"""Random numbers by counter: a pure function of key, step and place, with no state to carry or to lose.

Threefry-2x32 with 20 rounds (Salmon et al., SC 2011), written out flat because JAX's own is a loop on CPUs and
costs more than the forces of a small liquid. One stream per replica, so that a replica draws the same numbers
alone or among others, before and after a restart, in single and in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_ROUNDS = 20


def replica_keys(seed: int | Sequence[int], replicas: int) -> UInt32[np.ndarray, "replicas 2"]:
    """One key per replica: from one seed and the replica's number, or from a seed for each."""
    if isinstance(seed, int | np.integer):
        pairs = [(int(seed), r) for r in range(replicas)]
    elif len(seed) == replicas:
        pairs = [(int(s), 0) for s in seed]
    else:
        raise ValueError(f"{len(seed)} seeds are given for {replicas} replicas; give one seed, or one for each")
    if min(s for s, _ in pairs) < 0:
        raise ValueError("a seed is a whole number of at least zero")
    return np.array([np.random.SeedSequence(pair).generate_state(2, np.uint32) for pair in pairs])


def bits(
    key: tuple[UInt32[Array, "..."], UInt32[Array, "..."]], first: UInt32[Array, "..."], second: UInt32[Array, "..."]
) -> tuple[UInt32[Array, "..."], UInt32[Array, "..."]]:
    """Threefry-2x32: two random words for two counters."""
    schedule = (*key, key[0] ^ key[1] ^ _PARITY)
    x, y = first + schedule[0], second + schedule[1]
    for r in range(_ROUNDS):
        turn = _ROTATIONS[(r // 4) % 2][r % 4]
        x = x + y
        y = ((y << turn) | (y >> (32 - turn))) ^ x
        if r % 4 == 3:
            j = r // 4 + 1
            x = x + schedule[j % 3]
            y = y + schedule[(j + 1) % 3] + np.uint32(j)
    return x, y


def normals(
    keys: UInt32[Array, "replicas 2"], step: Int[Array, ""], count: int, first: int = 0
) -> Float[Array, "replicas count"]:
    """Standard normal numbers in single precision: inversion of 23 bits, within 5.3 standard deviations."""
    low, high = (step & 0xFFFFFFFF).astype(jnp.uint32), (step >> 32).astype(jnp.uint32)
    place = jax.lax.iota(jnp.uint32, count)[None, :] + np.uint32(first)
    word, _ = bits((keys[:, :1], keys[:, 1:] ^ high), place, low)
    # 23 bits and a half are exact in single precision; with one more the largest would round to 1, and to infinity.
    uniform = ((word >> 9).astype(jnp.float32) + np.float32(0.5)) * np.float32(2.0**-22) - np.float32(1.0)
    # Made once and as vectors: fused into what uses it, it would be computed there for each use and one by one.
    return jax.lax.optimization_barrier(np.float32(np.sqrt(2.0)) * jax.lax.erf_inv(uniform))


def uniforms(keys: UInt32[Array, "replicas 2"], step: Int[Array, ""], place: int) -> Float[Array, "replicas"]:
    """A number between 0 and 1 of each stream, in double precision, never 0."""
    low, high = (step & 0xFFFFFFFF).astype(jnp.uint32), (step >> 32).astype(jnp.uint32)
    word, _ = bits((keys[:, 0], keys[:, 1] ^ high), jnp.full(keys.shape[0], place, jnp.uint32), low)
    return (word.astype(float) + 0.5) * 2.0**-32


def chi_square(
    keys: UInt32[Array, "replicas 2"], step: Int[Array, ""], freedom: Float[Array, "replicas"]
) -> Float[Array, "replicas"]:
    """Sums of `freedom` squared standard normal numbers."""

    def draw(key, freedom):
        return 2 * jax.random.gamma(jax.random.fold_in(jax.random.wrap_key_data(key), step), freedom / 2)

    return jax.vmap(draw)(keys, freedom)
