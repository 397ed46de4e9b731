"""Pressure by the virial: stored with reference data, by a derivative in the strain for a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanforce import thermodynamics, units
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.averages import average
from meanforce.observables.base import Scalar
from meanforce.observables.samples import Samples, measure, samples_of
from meanforce.thermodynamics import HasPotential
from meanforce.topology import Topology


@dataclass(frozen=True)
class Pressure:
    """(N kT + W/3)/V in bar, with the virial W = -dA/d(ln L) of `model`, all beads scaled as one with the box.

    Without a model, W is the virial stored with the frames, and N counts what it was made with: molecules.
    """

    model: HasPotential | None = None
    name: str = "pressure"
    unit: str = "bar"
    needs_time: bool = False

    @property
    def depends_on_potential(self) -> bool:
        return self.model is not None

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """Columns N/V and W/(3V): the ideal part is added at the temperature of the state."""
        if frames.box is None:
            raise ValueError("a pressure needs a box, and the frames have none")
        volume = np.abs(np.linalg.det(frames.box))
        if self.model is None:
            if frames.virial is None:
                raise ValueError("the frames carry no virial: give the model whose pressure is meant, or store virials "
                                 "with the reference data")  # fmt: skip
            moving, virial = int(topology.molecules.max()) + 1, np.asarray(frames.virial, float)
        else:
            moving, virial = len(topology), virials(self.model, frames)
        return np.stack([moving / volume, virial / (3 * volume)], axis=1)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Scalar:
        if not np.isfinite(state.temperature):
            raise ValueError("the ideal part of a pressure needs a temperature, and the frames carry none")
        rows = (units.KB * state.temperature * values[:, 0] + values[:, 1]) / units.BAR
        mean = average(rows, weights, chain)
        return Scalar(self.name, float(mean.value[0]), float(mean.error[0]), self.unit)


def pressure(source: Ensemble | Dataset | Samples, model: HasPotential | None = None) -> Scalar:
    """The mean pressure in bar: of `model` over the frames, or from the virials stored with them."""
    samples = samples_of(source)
    if model is None and samples.source == "ensemble":
        raise ValueError("an ensemble is sampled from a model: give it, as in pressure(ensemble, fit.model)")
    return measure(Pressure(model), samples)


def virials(model: HasPotential, frames: Frames) -> np.ndarray:
    """W = -dA/d(ln L) of each frame in kJ/mol, at the frames' own temperatures and parameters."""
    temperature = _temperature(frames)
    values = thermodynamics.virial(
        model, frames.positions, frames.box, temperature=temperature, parameters=frames.parameters
    )
    return np.asarray(values)


def _temperature(frames: Frames) -> np.ndarray:
    if frames.temperature is None:
        raise ValueError("the frames carry no temperature, on which a free energy depends: give temperature= "
                         "when the data set is made")  # fmt: skip
    return np.asarray(frames.temperature, float)
