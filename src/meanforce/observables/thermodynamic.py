"""Energy, density and heat capacity: averages and fluctuations of the configurations alone, without momenta."""

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
class Energy:
    """Mean potential energy per molecule in kJ/mol.

    Of a model it is E = A - T dA/dT, the mean atomistic energy at fixed beads, never A itself; E is known up
    to the model's gauge. Without a model it is the energy stored with reference data.
    """

    model: HasPotential | None = None
    name: str = "potential energy per molecule"
    unit: str = "kJ/mol"
    needs_time: bool = False

    @property
    def depends_on_potential(self) -> bool:
        return self.model is not None

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        return _energies(self.model, frames) / _molecules(topology)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Scalar:
        mean = average(values, weights, chain)
        return Scalar(self.name, float(mean.value[0]), float(mean.error[0]), self.unit)


@dataclass(frozen=True)
class Density:
    """Mass density in kg/m^3: the mass over the mean volume."""

    name: str = "density"
    unit: str = "kg/m³"
    depends_on_potential: bool = False
    needs_time: bool = False

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        if frames.box is None:
            raise ValueError("a density needs a box, and the frames have none")
        return np.abs(np.linalg.det(frames.box)) / (topology.masses.sum() * units.DENSITY)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Scalar:
        mean = average(values, weights, chain)
        volume, error = float(mean.value[0]), float(mean.error[0])
        return Scalar(self.name, 1 / volume, error / volume**2, self.unit)


@dataclass(frozen=True)
class HeatCapacity:
    """Configurational heat capacity at constant volume per molecule in J/(mol K), by fluctuations.

    Var(E)/(k T^2), and for a model also the mean of Var(U | R)/(k T^2), the fluctuation of the atoms at fixed
    beads, which the model knows if it was taught energies: k beta^2 {Var(Phi_b) - <Phi_bb>}. Each momentum
    adds k/2.
    """

    model: HasPotential | None = None
    name: str = "configurational heat capacity per molecule"
    unit: str = "J/(mol K)"
    needs_time: bool = False

    @property
    def depends_on_potential(self) -> bool:
        return self.model is not None

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """Columns: energy, variance at fixed beads, molecules."""
        energy = _energies(self.model, frames)
        inner = np.zeros_like(energy) if self.model is None else _inner_variance(self.model, frames)
        if frames.box is not None and np.ptp(np.linalg.det(frames.box)) > 1e-6 * np.abs(np.linalg.det(frames.box[0])):
            raise ValueError("the volume fluctuates: this is the heat capacity at constant volume")
        return np.stack([energy, inner, np.full(len(energy), _molecules(topology))], axis=1)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Scalar:
        energy, inner, molecules = values.T
        # The mean costs the variance 1/n_eff of itself, and n_eff is known from the error of the mean.
        mean = average(energy, weights, chain)
        square = (energy - mean.value[0]) ** 2 + inner
        spread = average(square, weights, chain)
        lost = np.nan_to_num(mean.error[0]) ** 2
        scale = 1e3 / (units.KB * state.temperature**2) / molecules[0]
        return Scalar(self.name, float(spread.value[0] + lost) * scale, float(spread.error[0]) * scale, self.unit)


def energy(source: Ensemble | Dataset | Samples, model: HasPotential | None = None) -> Scalar:
    """Mean potential energy per molecule in kJ/mol."""
    return measure(Energy(model), _with_energy(source, model))


def density(source: Ensemble | Dataset | Samples) -> Scalar:
    """Mass density in kg/m^3."""
    return measure(Density(), source)


def heat_capacity(source: Ensemble | Dataset | Samples, model: HasPotential | None = None) -> Scalar:
    """Configurational heat capacity at constant volume per molecule in J/(mol K), by fluctuations."""
    return measure(HeatCapacity(model), _with_energy(source, model))


def _with_energy(source, model: HasPotential | None) -> Samples:
    samples = samples_of(source)
    if model is None and samples.source == "ensemble":
        raise ValueError("the energies in an ensemble are free energies A, which are not to be averaged: give the "
                         "model, as in energy(ensemble, fit.model)")  # fmt: skip
    return samples


def _energies(model: HasPotential | None, frames: Frames) -> np.ndarray:
    if model is None:
        if frames.energy is None:
            raise ValueError("the frames carry no energy: give the model, or store energies with the reference data")
        return np.asarray(frames.energy, float)
    if frames.temperature is None:
        raise ValueError("the frames carry no temperature, on which a free energy depends")
    values = thermodynamics.energy(
        model, frames.positions, frames.box, temperature=frames.temperature, parameters=frames.parameters
    )
    return np.asarray(values)


def _inner_variance(model: HasPotential, frames: Frames) -> np.ndarray:
    """Var(U | R) = k T^2 dE/dT at fixed beads, by a central difference of E, which is exact to (dT)^2."""
    step = 1e-3
    at = lambda factor: thermodynamics.energy(
        model, frames.positions, frames.box, temperature=frames.temperature * factor, parameters=frames.parameters
    )
    return units.KB * np.asarray(frames.temperature) * (at(1 + step) - at(1 - step)) / (2 * step)


def _molecules(topology: Topology) -> int:
    return int(topology.molecules.max()) + 1
