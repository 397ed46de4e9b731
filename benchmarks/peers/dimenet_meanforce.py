"""meanforce's DimeNet++ on the same frames: forces of one frame, and one step of training with the gradient of all.

The step begins from frames, as the peer's does: neighbour lists are built anew in every call.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from serve import answer, serve

from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.learn import batches, gradient
from meanforce.learn.training import Training
from meanforce.objectives.matching import ForceMatching
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.networks import in_precision
from meanforce.thermodynamics import derivatives
from meanforce.topology import Topology

CUTOFF, SKIN = 0.5, 0.05  # nm


@eqx.filter_jit
def energy_and_force(network, graph):
    known = derivatives(network, graph)
    return known.energy, known.forces


def prepare(frames):
    """Energy and force of the first frame, a step with the gradient of all, and what can be said of the network."""
    kinds = [f"{kind:02d}" for kind in frames["species"]]
    topology = Topology.of(kinds, masses=dict.fromkeys(kinds, 1.0))
    count, beads = frames["positions"].shape[:2]
    box = np.broadcast_to(frames["box"], (count, 3, 3)).copy()
    network = DimeNet(topology.types, cutoff=CUTOFF)
    last = np.random.default_rng(0).normal(size=network.readouts.last.weight.shape) / 8
    network = in_precision(eqx.tree_at(lambda n: n.readouts.last.weight, network, jnp.asarray(last)), np.float32)
    one = Frames(frames["positions"][:1], box=box[:1])
    graph = build(one, topology, network.cutoffs, skin=SKIN, dtype=np.float32)
    said = {
        "weights": sum(leaf.size for leaf in jax.tree.leaves(network) if eqx.is_inexact_array(leaf)),
        "beads": beads,
        "frames": count,
        "slots": graph.neighbours[0].capacity,
    }
    force = lambda: jax.block_until_ready(energy_and_force(network, graph))
    return force, training_step(network, topology, frames, box), said


def training_step(network, topology, frames, box):
    """The step that `fit` makes, with the assembly of its batch, which `fit` leaves to a thread beside it."""
    twice = lambda values: np.concatenate([values, values])  # the second half is what `fit` holds out
    arrays = {name: twice(frames[name]) for name in ("positions", "forces")}
    data = Dataset.from_arrays(topology, **arrays, box=twice(box), temperature=300.0)
    training = Training(epochs=1, batch=len(box), validation=0.5)
    task = gradient._task(network, (ForceMatching(data),), training)
    state, ledger = gradient._begun(task)

    def step():
        drawn = next(batches.training_batches(task.groups, task.layout, ledger.rooms, training, 0))
        return jax.block_until_ready(task.programs.train[0](state, task.fixed, drawn.batch, ledger.variances[0]))

    return step


if __name__ == "__main__":
    prepared, said = {}, {}
    for name, path in (item.split("=") for item in sys.argv[1:]):
        prepared[name, "force"], prepared[name, "step"], said[name] = prepare(np.load(path))
    answer(said | {"jax": jax.__version__})
    serve(prepared)
