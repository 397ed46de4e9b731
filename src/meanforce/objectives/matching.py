"""Matching of labels that are instantaneous, noisy values of a derivative of the free energy.

Least squares on noisy labels has the conditional mean for its minimiser: forces give the mean force, virials
the mean virial, energies the mean energy d Phi/d beta.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.data.dataset import Dataset
from meanforce.ensemble import State
from meanforce.frames import Frames
from meanforce.potentials.base import Design, Potential
from meanforce.topology import Topology


@dataclass(frozen=True, eq=False)
class Matching:
    """What all of them have: labels in a data set, and a weight."""

    data: Dataset
    weight: float = 1.0
    order = 0
    centred = False

    def __post_init__(self):
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"{type(self).__name__}: weight is {self.weight}; it must be a positive number")

    @property
    def states(self) -> tuple[State, ...]:
        return tuple(State(temperature=float(t)) for t in self.data.temperatures)

    @property
    def parameters(self) -> tuple[str, ...]:
        return ()

    def variates(self, frames: Frames) -> Float[np.ndarray, "frames m"]:
        return np.zeros((len(frames), 0))


@dataclass(frozen=True, eq=False)
class ForceMatching(Matching):
    """Makes -dA/dR the mean of the instantaneous forces on the beads: multiscale coarse-graining.

    `data` holds forces already mapped to beads; frames with statistical weights count by them.
    """

    name = "force"
    unit = "kJ/(mol nm)"

    def check(self, potential: Potential) -> None:
        del potential
        if self.data[0].forces is None:
            raise ValueError(
                "ForceMatching: the data hold no forces. XTC and DCD files never do; read a TRR, a NetCDF or a "
                "LAMMPS dump with fx fy fz, and write the data set again"
            )

    @staticmethod
    def rows(design: Design) -> Float[Array, "labels k"]:
        return design.forces.reshape(-1, design.forces.shape[-1])

    def labels(self, frames: Frames, topology: Topology) -> Float[np.ndarray, "labels"]:
        del topology
        return np.asarray(frames.forces, float).reshape(-1)


@dataclass(frozen=True, eq=False)
class EnergyMatching(Matching):
    """Makes d Phi/d beta = A - T dA/dT the mean potential energy of the atoms at fixed beads.

    Energies count up to a constant at each temperature, which is fitted beside the coefficients: that is the gauge of
    Phi, and no zero of energy has to be agreed on. Data of other numbers of molecules are an objective of their own,
    with constants of its own. `data` holds the potential energy of all atoms, kinetic energy left
    out. A control variate in the data (`variate`) takes noise from the energies, as much of it as serves best.
    """

    name = "energy"
    unit = "kJ/mol"
    order = 1
    centred = True

    def check(self, potential: Potential) -> None:
        if self.data[0].energy is None:
            raise ValueError(
                "EnergyMatching: the data hold no energies; read them with mf.read(..., energies='ener.edr'), or give "
                "energies= when the data set is made"
            )
        needs_temperature(self, potential)

    @staticmethod
    def rows(design: Design) -> Float[Array, "labels k"]:
        return design.mean_energy

    def labels(self, frames: Frames, topology: Topology) -> Float[np.ndarray, "labels"]:
        del topology
        return np.asarray(frames.energy, float)

    def variates(self, frames: Frames) -> Float[np.ndarray, "frames m"]:
        none = np.zeros((len(frames), 0))
        return none if frames.variate is None else np.asarray(frames.variate, float)[:, None]


@dataclass(frozen=True, eq=False)
class PressureMatching(Matching):
    """Makes -dA/d(ln L) the mean of the instantaneous virials, so that the model has the pressure of the atoms.

    The stored virial scales molecules as a whole. A bead model scales every bead: for molecules of several
    beads the label adds the sum of (R - R_molecule).F over their beads, exactly, and N beads times kT is then
    the ideal part.
    """

    name = "virial"
    unit = "kJ/mol"

    def check(self, potential: Potential) -> None:
        del potential
        first = self.data[0]
        if first.virial is None:
            raise ValueError(
                "PressureMatching: the data hold no virials; give virial= when the data set is made, or map atoms that "
                "have them so that every atom is in a bead, no bead spans molecules and position='mass'"
            )
        if first.box is None:
            raise ValueError("PressureMatching: the data have no box, and a pressure needs one; use ForceMatching")
        if _has_internal(self.data.topology) and first.forces is None:
            raise ValueError(
                "PressureMatching: molecules of several beads need forces beside their virials, to turn the virial "
                "of whole molecules into that of beads; make the data set from a trajectory with forces"
            )

    @staticmethod
    def rows(design: Design) -> Float[Array, "labels k"]:
        return jnp.atleast_2d(design.virial)

    def labels(self, frames: Frames, topology: Topology) -> Float[np.ndarray, "labels"]:
        virial = np.asarray(frames.virial, float)
        if _has_internal(topology):
            inner = inner_positions(frames, topology)
            virial = virial + np.sum(inner * np.asarray(frames.forces, float), axis=(1, 2))
        return virial


def needs_temperature(objective: Matching, potential: Potential) -> None:
    """What says how A changes with temperature is lost on a potential that does not change, and on data without one."""
    name = type(objective).__name__
    if objective.data[0].temperature is None:
        raise ValueError(f"{name}: the data have no temperature; give temperature= when the set is made")
    if not potential.depends_on_temperature:
        raise ValueError(
            f"{name}: these labels say how A changes with temperature, and this potential does not change; use "
            "mf.LinearThermal.of(potential, reference=...), or mf.Thermal for networks"
        )


def inner_positions(frames: Frames, topology: Topology) -> Float[np.ndarray, "frames beads 3"]:
    """Positions relative to the centre of mass of the molecule, each molecule made whole across the box."""
    molecules = np.asarray(topology.molecules)
    whole = np.array(frames.positions, float)
    for bead, anchor in _walk(topology):
        step = whole[:, bead] - whole[:, anchor]
        whole[:, bead] = whole[:, anchor] + _nearest(step, frames.box)
    count = molecules.max() + 1
    masses = np.bincount(molecules, weights=topology.masses, minlength=count)
    centre = np.zeros((len(frames), count, 3))
    share = whole * topology.masses[:, None]
    np.add.at(centre, (slice(None), molecules), share)  # type: ignore[arg-type]  # the stubs know no tuples here
    return whole - (centre / masses[:, None])[:, molecules]


def _walk(topology: Topology) -> list[tuple[int, int]]:
    """Every bead but the first of its molecule with the bead it hangs on: by bonds, else the one before."""
    molecules = np.asarray(topology.molecules)
    bonded: list[list[int]] = [[] for _ in molecules]
    for i, j in topology.bonds.tolist():
        bonded[i].append(j)
        bonded[j].append(i)
    order, seen = [], set()
    last: dict[int, int] = {}
    for first in range(len(molecules)):
        if first in seen:
            continue
        if molecules[first] in last:
            order.append((first, last[molecules[first]]))
        seen.add(first)
        queue = [first]
        for bead in queue:
            last[molecules[bead]] = bead
            for other in bonded[bead]:
                if other not in seen and molecules[other] == molecules[bead]:
                    seen.add(other)
                    order.append((other, bead))
                    queue.append(other)
    return order


def _nearest(step: Float[np.ndarray, "frames 3"], box: Float[np.ndarray, "frames 3 3"] | None) -> np.ndarray:
    """The shortest periodic image, for steps well below half the box."""
    if box is None:
        return step
    for axis in (2, 1, 0):
        turns = np.round(step[:, axis] / box[:, axis, axis])
        step = step - turns[:, None] * box[:, axis]
    return step


def _has_internal(topology: Topology) -> bool:
    return len(np.unique(topology.molecules)) < len(topology)
