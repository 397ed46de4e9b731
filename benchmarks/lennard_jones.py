"""meanforce: the Lennard-Jones liquid of the peers' scripts in argon's units. Prints steps/s as JSON.

python benchmarks/lennard_jones.py 1000 20000 single
"""

import json
import sys
import time

import numpy as np

from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin
from meanforce.frames import Frames
from meanforce.model import Model
from meanforce.potentials.priors import LennardJones
from meanforce.topology import Topology
from meanforce.units import KB

n, steps, precision = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sigma, epsilon, mass = 0.34, 0.996, 39.948
tau = sigma * np.sqrt(mass / epsilon)
side = (n / 0.8) ** (1 / 3) * sigma
cells = int(np.ceil(n ** (1 / 3)))
sites = (np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] + 0.5) * side / cells
potential = LennardJones(("A",), sigma=[sigma], epsilon=[epsilon], cutoff=2.5 * sigma, truncation="truncated")
model = Model(potential, Topology.of(["A"] * n, masses={"A": mass}))


def run(start: Frames, steps: int, seed: int) -> tuple[float, Frames]:
    settings = Settings(save_every=500 * 0.005 * tau, precision=precision, skin=0.4 * sigma)
    begun = time.perf_counter()
    ensemble = simulate(
        model,
        start,
        epsilon / KB,
        steps * 0.005 * tau,
        0.005 * tau,
        seed,
        thermostat=Langevin(1 / tau),
        settings=settings,
    )
    return time.perf_counter() - begun, ensemble.frames[-1]


_, last = run(Frames(sites[None], box=np.eye(3)[None] * side), 1000, 1)
_, last = run(last, 1000, 2)
seconds, _ = run(last, steps, 3)
print(json.dumps({"steps_per_s": steps / seconds, "precision": precision}))
