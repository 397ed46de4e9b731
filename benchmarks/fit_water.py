"""Closed-form fit of the spline water potential: seconds, from a data set of beads, compilation included. Prints JSON.

python benchmarks/fit_water.py beads.h5 500
"""

import json
import sys
import time

from meanforce.data.dataset import Dataset
from meanforce.learn.fit import fit
from meanforce.objectives.matching import ForceMatching
from meanforce.potentials.sums import SplinePotential

data = Dataset.open(sys.argv[1])
data = data.select(temperature=data.temperatures[0]).at(slice(0, int(sys.argv[2])))
started = time.perf_counter()
potential = SplinePotential(data.topology, cutoff=0.9, many_body=True)
found = fit(potential, [ForceMatching(data)])
seconds = time.perf_counter() - started
print(
    json.dumps(
        {
            "seconds": seconds,
            "frames": len(data),
            "beads": len(data.topology),
            "coefficients": len(potential.coefficients),
            "held_out": str(found.history.scores[0]),
        }
    )
)
