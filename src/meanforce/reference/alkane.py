"""A liquid of n-alkanes of united atoms: TraPPE, with bonds that stretch."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from meanforce.reference.atomistic import AtomisticSystem, atomistic_system, require_openmm
from meanforce.units import KB

_MASS = {"CH3": 15.0347, "CH2": 14.0266}  # u
_LENNARD_JONES = {"CH3": (0.375, 98.0 * KB), "CH2": (0.395, 46.0 * KB)}  # nm, kJ/mol
_BOND, _STRETCH = 0.154, 96500.0 * KB * 100  # nm, kJ/(mol nm^2): 96,500 K per square angstrom, k/2 (r - r0)^2
_ANGLE, _BEND = np.radians(114.0), 62500.0 * KB  # rad, kJ/(mol rad^2)
#: U = c1 (1 + cos phi) + c2 (1 - cos 2 phi) + c3 (1 + cos 3 phi), phi = pi in trans; kJ/mol
_TORSION = (355.03 * KB, -68.19 * KB, 791.32 * KB)
_GAP = 0.35  # nm between the ends of stretched chains, to begin with


class Alkane(BaseModel):
    """n-alkanes of united atoms (TraPPE-UA), a flexible chain liquid; hexane unless said otherwise.

    TraPPE holds bonds fixed; here they stretch as in the NERD force field, so that nothing is constrained.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["alkane"] = "alkane"
    carbons: int = Field(6, ge=3, le=30, description="carbon atoms of a molecule")
    molecules: int = Field(64, ge=1, description="number of molecules")
    density: float = Field(0.655, gt=0, description="density (g/cm^3); 0.655 is hexane at 298 K, 1 bar")
    cutoff: float = Field(1.0, gt=0, description="Lennard-Jones cut-off (nm)")
    tail: bool = Field(True, description="count the attraction beyond the cut-off in energy and pressure")

    @property
    def periodic(self) -> bool:
        return True

    @property
    def timestep(self) -> float:
        """In ps: a fifteenth of the period of a bond between CH2 groups."""
        return 0.0015

    @property
    def kinds(self) -> tuple[str, ...]:
        """The united atoms of a molecule."""
        return ("CH3", *("CH2",) * (self.carbons - 2), "CH3")

    @property
    def edge(self) -> float:
        """Edge of the cubic box in nm."""
        mass = self.molecules * sum(_MASS[kind] for kind in self.kinds)
        return (mass * 1.66053906660e-3 / self.density) ** (1 / 3)

    def build(self) -> AtomisticSystem:
        openmm = require_openmm()
        app = openmm.app
        if 2 * self.cutoff > self.edge:
            raise ValueError(
                f"alkane: the cut-off of {self.cutoff:g} nm exceeds half the box edge of {self.edge:.4g} nm; "
                "use more molecules or a shorter cut-off"
            )
        system, topology = openmm.System(), app.Topology()
        topology.setPeriodicBoxVectors(np.eye(3) * self.edge * openmm.unit.nanometer)
        chain = topology.addChain()
        for _ in range(self.molecules):
            residue = topology.addResidue("ALK", chain)
            atoms = [topology.addAtom(f"C{k + 1}", app.element.carbon, residue) for k in range(self.carbons)]
            for first, second in pairwise(atoms):
                topology.addBond(first, second)
            for kind in self.kinds:
                system.addParticle(_MASS[kind])
        for force in (*self._inside(), self._between(), openmm.CMMotionRemover()):
            system.addForce(force)
        description = {
            "force_field": "TraPPE-UA with harmonic bonds",
            "source": "Martin and Siepmann 1998; bonds of Nath, Escobedo and de Pablo 1998",
            "bond_kJ_mol_nm2": _STRETCH, "cutoff_nm": self.cutoff, "tail_correction": self.tail,
        }  # fmt: skip
        return atomistic_system(topology, system, self._positions(), np.eye(3) * self.edge, description)

    def _inside(self) -> list:
        """Bonds, angles and dihedrals; atoms up to three bonds apart do not interact otherwise."""
        openmm = require_openmm()
        stretch, bend = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
        turn = openmm.PeriodicTorsionForce()
        c1, c2, c3 = _TORSION
        for first in range(0, self.molecules * self.carbons, self.carbons):
            at = range(first, first + self.carbons)
            for i, j in pairwise(at):
                stretch.addBond(i, j, _BOND, _STRETCH)
            for i, j, k in zip(at, at[1:], at[2:], strict=False):
                bend.addAngle(i, j, k, _ANGLE, _BEND)
            for i, j, k, m in zip(at, at[1:], at[2:], at[3:], strict=False):
                turn.addTorsion(i, j, k, m, 1, 0.0, c1)
                turn.addTorsion(i, j, k, m, 2, np.pi, c2)
                turn.addTorsion(i, j, k, m, 3, 0.0, c3)
        for force in (stretch, bend, turn):
            force.setUsesPeriodicBoundaryConditions(True)
        return [stretch, bend, turn]

    def _between(self):
        openmm = require_openmm()
        force = openmm.NonbondedForce()
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        force.setCutoffDistance(self.cutoff)
        force.setUseDispersionCorrection(self.tail)
        for molecule in range(self.molecules):
            first = molecule * self.carbons
            for kind in self.kinds:
                force.addParticle(0.0, *_LENNARD_JONES[kind])
            for i in range(self.carbons):
                for j in range(i + 1, min(i + 4, self.carbons)):
                    force.addException(first + i, first + j, 0.0, 1.0, 0.0)
        return force

    def _positions(self) -> Float[np.ndarray, "atoms 3"]:
        """Stretched chains side by side, for the engine to relax."""
        along = _BOND * np.sin(_ANGLE / 2)
        aside = _BOND * np.cos(_ANGLE / 2)
        chain = np.zeros((self.carbons, 3))
        chain[:, 0] = along * np.arange(self.carbons)
        chain[:, 1] = aside * (np.arange(self.carbons) % 2)
        lengthwise = max(1, int(self.edge / (chain[-1, 0] + _GAP)))
        sideways = int(np.ceil(np.sqrt(self.molecules / lengthwise)))
        cells = np.stack(np.meshgrid(*[np.arange(n) for n in (sideways, sideways, lengthwise)], indexing="ij"), -1)
        spacing = self.edge / np.array([sideways, sideways, lengthwise])
        starts = (cells.reshape(-1, 3)[: self.molecules] * spacing)[:, ::-1]
        return (starts[:, None] + chain).reshape(-1, 3)
