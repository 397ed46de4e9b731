"""Every potential on the same frames of water, by recipe: errors, time of training, cost of a step. Prints JSON lines.

python benchmarks/potentials.py beads.h5 folder pairs spline local hipnn equivariant dimenet

Each potential has its own run folder; what is finished there is not done again. Costs are those of a quiet machine only
if nothing else runs.
"""

import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from meanforce import recipe as recipes
from meanforce import simulate, workflow
from meanforce.data.dataset import Dataset
from meanforce.data.inspect import inspect
from meanforce.dynamics.settings import Settings
from meanforce.model import Model
from meanforce.observables import curves
from meanforce.observables.compare import structure_error
from meanforce.observables.structure import adf, rdf
from meanforce.runfolder import RunFolder

POTENTIALS = {
    "pairs": "potential: {kind: spline, many_body: false}",
    "spline": "potential: spline",
    "local": "potential: local\ntrain: {gradient: {epochs: 12, batch: 4, learning_rate: 0.02, ema: 0.99}}",
    "hipnn": "potential: hipnn\ntrain: {gradient: {epochs: 30, batch: 4, ema: 0.99}}",
    "equivariant": "potential: equivariant\ntrain: {gradient: {epochs: 8, batch: 4, ema: 0.99}}",
    "dimenet": "potential: dimenet\ntrain: {gradient: {epochs: 2, batch: 4, learning_rate: 0.003, ema: 0.99}}",
}
RECIPE = """name: {name}
dataset: {data}
simulate: {{time: 100, equilibration: 5, timestep: 0.005, save_every: 0.2, replicas: 1}}
validate: {{adf_cutoff: 0.36, curves: {curves}}}
{potential}
"""
CURVES = Path(recipes.__file__).parent / "resources" / "water-curves.json"


class Quiet:
    """No bars."""

    @contextmanager
    def stage(self, title):
        yield lambda done: None

    def note(self, text):
        pass


def row(name: str, data: Path, home: Path) -> dict:
    """What the run of one potential shows; the run is carried out first, as far as it is not."""
    text = RECIPE.format(name=name, data=data.resolve(), curves=CURVES, potential=POTENTIALS[name])
    recipe = recipes.parse(text)
    folder = RunFolder.choose(name, text, folder=home / name, resume=True)
    workflow.carry_out(recipe, folder, last="validate", bars=Quiet())
    model = Model.load(folder.model)
    taught, kept = workflow.split(recipe, folder)
    label, said = kept[:].forces, np.asarray(workflow.judgement._predicted(model, kept))
    ensemble = workflow.sampled(recipe, folder, folder.model)
    reference = curves.load(CURVES)
    found = {"potential": name, "force_error": float(np.sqrt(np.mean((label - said) ** 2)))}
    found["noise_floor_at_most"] = inspect(taught, model_error=found["force_error"]).floor.rms[1]
    for curve in (rdf(ensemble, ("W", "W")), adf(ensemble, ("W",) * 3, cutoff=0.36)):
        error = structure_error(curve, reference[curve.name])
        found[curve.name] = {"mean_square": error.mean_square, "noise": error.noise, "error": error.error}
    found["train_seconds"] = folder.timings()["train"]
    found["us_per_bead_step"] = step_cost(model, taught)
    return found


def step_cost(model: Model, data: Dataset) -> float:
    """Microseconds of dynamics per bead and step, compilation left out: a longer run less a shorter one."""

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        simulate(model, data[0], 300.0, time=0.005 * steps, timestep=0.005, seed=3, settings=Settings(save_every=0.05))
        return time.perf_counter() - started

    few = 20
    seconds(few)
    many = few + 10 * int(np.clip(1.0 / seconds(few) * few, 4, 200))
    seconds(many)
    return (seconds(many) - seconds(few)) / (many - few) / len(data.topology) * 1e6


if __name__ == "__main__":
    data, home = Path(sys.argv[1]), Path(sys.argv[2])
    for name in sys.argv[3:] or POTENTIALS:
        print(json.dumps(row(name, data, home)), flush=True)
