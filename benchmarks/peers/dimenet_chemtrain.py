"""chemtrain's DimeNet++ on the frames of a file: forces of one frame, and one step of its force matching with Adam.

The set-up is that of the published examples (tummfm/relative-entropy): fractional coordinates, a list with 0.05 nm of
skin, edges and triplets capped from the first frame. The step is the one that its trainer `ForceMatching` makes.
"""

import sys

import chemtrain  # noqa: F401  (before jax_md, which it patches)
import jax
import jax.numpy as jnp
import numpy as np
import optax
from chemtrain.learn import force_matching, max_likelihood
from jax_md import partition, space
from jax_md_mod import custom_quantity
from jax_md_mod.model import neural_networks, sparse_graph
from serve import answer, serve

CUTOFF, SKIN = 0.5, 0.05  # nm


def prepare(frames):
    """Energy and force of the first frame, a step with the gradient of all, and what can be said of the network."""
    box = jnp.asarray(frames["box"], jnp.float32)
    species = jnp.asarray(frames["species"])
    positions = jnp.asarray(frames["positions"], jnp.float32) / jnp.diag(box)
    displacement, _ = space.periodic_general(box, fractional_coordinates=True)
    neighbour_fn = partition.neighbor_list(
        displacement, box, CUTOFF, dr_threshold=SKIN, capacity_multiplier=1.5, fractional_coordinates=True,
        disable_cell_list=True,
    )  # fmt: skip
    lists = neighbour_fn.allocate(positions[0])
    init, apply = neural_networks.dimenetpp_neighborlist(
        displacement, CUTOFF, int(species.max()) + 1, positions[0], lists, embed_size=32
    )
    weights = init(jax.random.PRNGKey(0), positions[0], neighbor=lists, species=species)

    def template(weights):
        return lambda R, neighbor, **more: apply(weights, R, neighbor, species=species, **more).sum()

    one = jax.jit(lambda weights, R, lists: jax.value_and_grad(template(weights))(R, neighbor=lists))
    quantities = {"F": custom_quantity.force_wrapper(None)}
    features = {"energy_and_force": custom_quantity.energy_force_wrapper(template)}
    model = force_matching.init_model(lists, quantities, feature_extract_fns=features)
    optimiser = optax.adam(1e-4)
    step = max_likelihood.shmap_update_fn(model, force_matching.init_loss_fn(), optimiser)
    batch = {"R": positions, "F": jnp.asarray(frames["forces"], jnp.float32)}
    moments = optimiser.init(weights)
    _refuse_overflow(displacement, positions, lists)

    said = {
        "weights": sum(leaf.size for leaf in jax.tree_util.tree_leaves(weights)),
        "beads": positions.shape[1],
        "frames": len(positions),
        "slots": lists.idx.shape[1],
    }
    force = lambda: jax.block_until_ready(one(weights, positions[0], lists))
    return force, lambda: jax.block_until_ready(step(weights, moments, batch)), said


def _refuse_overflow(displacement, positions, lists):
    """The network caps edges and triplets at 1.25 times those of the first frame, and does not say when more come."""

    def count(R):
        updated = lists.update(R)
        graph, _ = sparse_graph.sparse_graph_from_neighborlist(displacement, R, updated, CUTOFF)
        return graph.n_edges, graph.n_triplets, updated.did_buffer_overflow

    edges, triplets, full = (np.asarray(each) for each in zip(*map(jax.jit(count), positions), strict=True))
    assert not full.any() and edges.max() <= 1.25 * edges[0] and triplets.max() <= 1.25 * triplets[0]


if __name__ == "__main__":
    prepared, said = {}, {}
    for name, path in (item.split("=") for item in sys.argv[1:]):
        force, prepared[name, "step"], said[name] = prepare(np.load(path))
        prepared[name, "force"] = force
        energy, slope = jax.eval_shape(force)
        assert energy.shape == () and slope.shape == (said[name]["beads"], 3)
    answer(said | {"jax": jax.__version__})
    serve(prepared)
