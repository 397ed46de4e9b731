"""JAX MD: the same liquid, NVT Langevin, single precision, cell list with skin. Prints steps/s as JSON."""

import json
import sys
import time

import jax
import jax.numpy as jnp
import jax_md
import numpy as np
from jax_md import energy, simulate, space

n, steps = int(sys.argv[1]), int(sys.argv[2])
side = (n / 0.8) ** (1 / 3)
cells = int(np.ceil(n ** (1 / 3)))
sites = (np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] + 0.5) * side / cells
displacement, shift = space.periodic(side)
neighbor_fn, energy_fn = energy.lennard_jones_neighbor_list(
    displacement, side, sigma=1.0, epsilon=1.0, r_onset=2.4, r_cutoff=2.5, dr_threshold=0.4
)
positions = jnp.asarray(sites, jnp.float32)
neighbours = neighbor_fn.allocate(positions, extra_capacity=16)
init, apply = simulate.nvt_langevin(energy_fn, shift, dt=0.005, kT=1.0, gamma=1.0)
state = init(jax.random.PRNGKey(0), positions, mass=1.0, neighbor=neighbours)


def block(state, neighbours, length):
    def body(_, carry):
        state, neighbours = carry
        neighbours = neighbours.update(state.position)
        return apply(state, neighbor=neighbours), neighbours

    return jax.lax.fori_loop(0, length, body, (state, neighbours))


run = jax.jit(block, static_argnums=2)
state, neighbours = jax.block_until_ready(run(state, neighbours, 500))
neighbours = neighbor_fn.allocate(state.position, extra_capacity=16)
jax.block_until_ready(run(state, neighbours, steps))
start = time.perf_counter()
state, neighbours = jax.block_until_ready(run(state, neighbours, steps))
seconds = time.perf_counter() - start
assert not bool(neighbours.did_buffer_overflow)
print(
    json.dumps(
        {
            "steps_per_s": steps / seconds,
            "precision": "single",
            "version": jax_md.__version__ if hasattr(jax_md, "__version__") else "?",
        }
    )
)
