"""From a finished reference run to atoms that can be mapped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meanforce.data.atomtopology import elements_of
from meanforce.data.dataset import Dataset
from meanforce.data.readers import Atoms


def open_reference(path: str | Path) -> Atoms:
    """The atoms of a reference run: each temperature a trajectory of its own, with the constraints it was run with."""
    data = Dataset.open(path)
    if "constraints" not in data.provenance:
        raise ValueError(
            f"{path} was not made by a reference run: it does not name its constraints. Read trajectories of other "
            "programs with meanforce.read"
        )
    trajectory = data.reader.column("trajectory")
    runs = tuple(replace(data, rows=np.flatnonzero(trajectory == run)) for run in np.unique(trajectory))
    constraints = np.array(data.provenance["constraints"], np.int32).reshape(-1, 2)
    return Atoms(data.topology, elements_of(data.topology), runs, constraints)
