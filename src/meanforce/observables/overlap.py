"""What a model thinks of the atoms' frames and of its own: one distribution if it samples what they do.

The free energy A of the beads weighs every pair and every triplet at once, so two ensembles that share their
distribution functions may still differ here. Values are in kT per bead; the gauge of the model cancels in
every comparison of one model with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meanforce import thermodynamics, units
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.averages import average
from meanforce.observables.base import Curve, Scalar
from meanforce.observables.samples import Samples, measure, samples_of, values
from meanforce.thermodynamics import HasPotential
from meanforce.topology import Topology


@dataclass(frozen=True)
class FreeEnergy:
    """The mean of A/kT of `model` per bead, over whatever frames."""

    model: HasPotential
    name: str = "free energy of the beads"
    unit: str = "kT per bead"
    depends_on_potential: bool = True
    needs_time: bool = False

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        if frames.temperature is None:
            raise ValueError("the frames carry no temperature, on which a free energy depends")
        kelvin = np.asarray(frames.temperature, float)
        energies = thermodynamics.free_energy(
            self.model, frames.positions, frames.box, temperature=kelvin, parameters=frames.parameters
        )
        return np.asarray(energies) / (units.KB * kelvin) / len(topology)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Scalar:
        mean = average(values, weights, chain)
        return Scalar(self.name, float(mean.value[0]), float(mean.error[0]), self.unit)


def free_energy(source: Ensemble | Dataset | Samples, model: HasPotential) -> Scalar:
    """Mean free energy of the beads over the frames, in kT per bead, up to the model's gauge."""
    return measure(FreeEnergy(model), source)


def free_energy_distributions(
    sources: Sequence[Ensemble | Dataset | Samples], model: HasPotential, *, bins: int = 40
) -> tuple[Curve, ...]:
    """The distribution of the free energy over the frames of each source, on one common axis."""
    observable = FreeEnergy(model)
    samples = [samples_of(source) for source in sources]
    rows = [values(observable, s) for s in samples]
    low, high = min(r.min() for r in rows), max(r.max() for r in rows)
    room = 0.02 * (high - low) or 1e-6
    edges = np.linspace(low - room, high + room, bins + 1)
    return tuple(_histogram(r, edges, s) for r, s in zip(rows, samples, strict=True))


def _histogram(rows: np.ndarray, edges: np.ndarray, samples: Samples) -> Curve:
    bins = len(edges) - 1
    place = np.clip(np.searchsorted(edges, rows, side="right") - 1, 0, bins - 1)
    counted = np.zeros((len(rows), bins))
    counted[np.arange(len(rows)), place] = 1 / (edges[1] - edges[0])
    mean = average(counted, samples.weights, samples.chain)
    centres = (edges[1:] + edges[:-1]) / 2
    return Curve("free energy of the beads", centres, mean.value, mean.error, "A / (kT per bead)",
                 "probability density", mean.blocks)  # fmt: skip
