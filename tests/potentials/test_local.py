"""What the fast network promises beyond the contract of all potentials."""

import equinox as eqx
import numpy as np

from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.potentials.local import LocalNetwork, Sizes
from meanforce.topology import Topology

TOPOLOGY = Topology.of(["A", "B"] * 6, masses={"A": 1.0, "B": 1.0})
FRAMES = Frames(np.random.default_rng(1).uniform(0, 0.8, (1, 12, 3)))


def test_no_bead_has_an_energy_beyond_the_bound():
    """Ten times the scale, however large the weights are: there is no deep hole where nothing was learned."""
    net = LocalNetwork(TOPOLOGY.types, cutoff=0.5, sizes=Sizes(6, 3, 4, 5, 3, 8, 2), scale=2.0)
    wild = eqx.tree_at(lambda n: n.layers[-1].weight, net, 1e4 * net.layers[-1].weight)
    graph = build(FRAMES, TOPOLOGY, wild.cutoffs)
    energies = np.abs(eqx.filter_jit(lambda net: net.energies(graph))(wild))
    assert energies.max() <= 20.0
    assert energies.max() > 19.0
