"""RDF of 901 beads x 300 bins: milliseconds a frame and peak memory, ours. Prints JSON."""

import json
import resource
import time

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.observables.structure import RadialDistribution, rdf
from meanforce.topology import Topology

beads, bins, frames = 901, 300, 100
side = (beads / 33.3) ** (1 / 3)
rng = np.random.default_rng(0)
topology = Topology.of(["W"] * beads, masses={"W": 18.015})
data = Dataset.from_arrays(
    topology, positions=rng.uniform(0, side, (frames, beads, 3)), box=[side] * 3, temperature=300.0
)
width = side / 2 / bins
rdf(data, ("W", "W"), r_max=width * bins, bin_width=width)  # compiled now
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
observable = RadialDistribution(("W", "W"), width * bins, width)
for batch in data.batches(50):
    observable.per_frame(batch, topology)
seconds = time.perf_counter() - started
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps({"ms_per_frame": 1000 * seconds / frames, "bins": bins, "beads": beads, "memory_growth_MB": grown}))
