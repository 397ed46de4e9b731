"""meanforce: many-body spline water from a model file, 901 beads by default. Prints steps/s as JSON.

    python benchmarks/water.py model.mf 901 5000 [table.txt]

With a last argument the pair splines are also written as a table for the LAMMPS script beside it.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from meanforce import thermodynamics
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin
from meanforce.frames import Frames
from meanforce.model import Model
from meanforce.topology import Topology
from meanforce.units import KCAL

path, n, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
learned = Model.load(path)
model = learned.with_(topology=Topology.of(["W"] * n, masses={"W": 18.015}))
side = (n / 33.3) ** (1 / 3)
cells = int(np.ceil(n ** (1 / 3)))
sites = (np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] + 0.5) * side / cells


def run(start: Frames, steps: int, seed: int) -> tuple[float, Frames]:
    settings = Settings(save_every=0.5, precision="single", skin=0.1)
    begun = time.perf_counter()
    ensemble = simulate(model, start, 300.0, steps * 0.005, 0.005, seed, thermostat=Langevin(1.0), settings=settings)
    return time.perf_counter() - begun, ensemble.frames[-1]


def write_table(path: Path) -> None:
    """The pair splines alone, as energy and force of two beads, in kcal/mol and angstrom."""
    pairs = learned.potential.terms[0]
    two = learned.with_(potential=pairs, topology=Topology.of(["W"] * 2, masses={"W": 18.015}))
    r = np.linspace(0.15, max(pairs.cutoffs), 2000)
    R = np.zeros((len(r), 2, 3))
    R[:, 1, 0] = r
    energy = thermodynamics.free_energy(two, R, temperature=300.0) / KCAL
    force = thermodynamics.force(two, R, temperature=300.0)[:, 1, 0] / KCAL / 10
    rows = "\n".join(
        f"{i + 1} {10 * x:.8f} {u:.8f} {f:.8f}" for i, (x, u, f) in enumerate(zip(r, energy, force, strict=True))
    )
    path.write_text(
        f"# pair splines of {sys.argv[1]}\n\nPAIR\nN {len(r)} R {10 * r[0]:.8f} {10 * r[-1]:.8f}\n\n{rows}\n"
    )


if len(sys.argv) > 4:
    write_table(Path(sys.argv[4]))
_, last = run(Frames(sites[None], box=np.eye(3)[None] * side), 1000, 1)
_, last = run(last, 200, 2)
seconds, _ = run(last, steps, 3)
cutoffs = learned.potential.cutoffs
print(json.dumps({"steps_per_s": steps / seconds, "precision": "single", "cutoffs_nm": cutoffs}))
