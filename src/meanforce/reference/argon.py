"""Lennard-Jones argon, or any Lennard-Jones fluid."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from meanforce.reference.atomistic import AtomisticSystem, atomistic_system, cubic_lattice, require_openmm
from meanforce.units import KB


class Argon(BaseModel):
    """Lennard-Jones argon: one atom, one bead; the test of everything that is not chemistry.

    `sigma=1, epsilon=1, mass=1` makes reduced units of the internal ones: temperatures T* in K are then
    T* / 0.00831446.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["argon"] = "argon"
    atoms: int = Field(500, ge=2, description="number of atoms")
    density: float = Field(0.8, gt=0, description="reduced density rho sigma^3")
    sigma: float = Field(0.3405, gt=0, description="Lennard-Jones diameter (nm)")
    epsilon: float = Field(119.8 * KB, gt=0, description="Lennard-Jones well depth (kJ/mol); argon is 119.8 K")
    mass: float = Field(39.948, gt=0, description="mass of an atom (u)")
    cutoff: float = Field(2.5, gt=1, description="cut-off in units of sigma")
    switch: float = Field(0.9, gt=0, le=1, description="where switching to zero starts, as a fraction of the cut-off")
    tail: bool = Field(True, description="count the attraction beyond the cut-off in energy and pressure")

    @property
    def periodic(self) -> bool:
        return True

    @property
    def edge(self) -> float:
        """Edge of the cubic box in nm."""
        return self.sigma * (self.atoms / self.density) ** (1 / 3)

    @property
    def timestep(self) -> float:
        """Half a per cent of the Lennard-Jones time, in ps."""
        return 0.005 * self.sigma * (self.mass / self.epsilon) ** 0.5

    def build(self) -> AtomisticSystem:
        openmm = require_openmm()
        app = openmm.app
        cutoff = self.cutoff * self.sigma
        if 2 * cutoff > self.edge:
            raise ValueError(
                f"argon: the cut-off of {cutoff:.3g} nm exceeds half the box edge of {self.edge:.4g} nm; "
                "use more atoms or a shorter cut-off"
            )
        system, topology = openmm.System(), app.Topology()
        force = openmm.NonbondedForce()
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(cutoff)
        force.setUseSwitchingFunction(self.switch < 1)
        force.setSwitchingDistance(self.switch * cutoff)
        force.setUseDispersionCorrection(self.tail)
        chain, element = topology.addChain(), app.element.argon
        for _ in range(self.atoms):
            system.addParticle(self.mass)
            force.addParticle(0.0, self.sigma, self.epsilon)
            topology.addAtom("Ar", element, topology.addResidue("AR", chain))
        system.addForce(force)
        system.addForce(openmm.CMMotionRemover())
        description = {
            "force_field": "Lennard-Jones 12-6",
            "source": "argon of Rahman 1964: sigma 0.3405 nm, epsilon/k 119.8 K, unless other values are given",
            "sigma_nm": self.sigma, "epsilon_kJ_mol": self.epsilon, "cutoff_nm": cutoff,
            "switch_nm": self.switch * cutoff if self.switch < 1 else None, "tail_correction": self.tail,
        }  # fmt: skip
        positions = cubic_lattice(self.atoms, self.edge)
        return atomistic_system(topology, system, positions, np.eye(3) * self.edge, description)
