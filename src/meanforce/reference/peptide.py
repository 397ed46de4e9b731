"""Alanine dipeptide (ACE-ALA-NME) in vacuum, in implicit and in explicit water."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator

from meanforce.reference.atomistic import AtomisticSystem, atomistic_system, require_openmm

if TYPE_CHECKING:
    import openmm.app


class _Atom(NamedTuple):
    """One line of an internal-coordinate table: placed from three atoms placed before it."""

    residue: str
    name: str
    bond: int = 0
    angle: int = 0
    dihedral: int = 0
    length: float = 0.0  # nm
    bend: float = 0.0  # degrees
    turn: float = 0.0  # degrees


#: Standard peptide geometry near the C7eq basin (phi -80, psi 75 degrees), L-alanine.
GEOMETRY = (
    _Atom("ACE", "CH3"),
    _Atom("ACE", "C", length=0.1522),
    _Atom("ACE", "O", 1, 0, 0, 0.1229, 120.4),
    _Atom("ALA", "N", 1, 0, 2, 0.1335, 116.6, 180.0),
    _Atom("ALA", "CA", 3, 1, 0, 0.1449, 121.9, 180.0),
    _Atom("ALA", "C", 4, 3, 1, 0.1522, 110.1, -80.0),
    _Atom("ALA", "O", 5, 4, 3, 0.1229, 120.4, 75.0 - 180.0),
    _Atom("NME", "N", 5, 4, 3, 0.1335, 116.6, 75.0),
    _Atom("NME", "CH3", 7, 5, 4, 0.1449, 121.9, 180.0),
    _Atom("ALA", "CB", 4, 3, 1, 0.1526, 109.7, 160.0),
    _Atom("ALA", "HA", 4, 3, 1, 0.1090, 109.5, 40.0),
    _Atom("ALA", "H", 3, 4, 5, 0.1010, 118.0, 100.0),
    _Atom("NME", "H", 7, 8, 5, 0.1010, 118.0, 180.0),
    _Atom("ACE", "HH31", 0, 1, 2, 0.1090, 109.5, 0.0),
    _Atom("ACE", "HH32", 0, 1, 2, 0.1090, 109.5, 120.0),
    _Atom("ACE", "HH33", 0, 1, 2, 0.1090, 109.5, 240.0),
    _Atom("ALA", "HB1", 9, 4, 3, 0.1090, 109.5, 60.0),
    _Atom("ALA", "HB2", 9, 4, 3, 0.1090, 109.5, 180.0),
    _Atom("ALA", "HB3", 9, 4, 3, 0.1090, 109.5, 300.0),
    _Atom("NME", "HH31", 8, 7, 5, 0.1090, 109.5, 0.0),
    _Atom("NME", "HH32", 8, 7, 5, 0.1090, 109.5, 120.0),
    _Atom("NME", "HH33", 8, 7, 5, 0.1090, 109.5, 240.0),
)

#: The order in which the atoms of each residue are stored: heavy atoms and hydrogens as in PDB files.
ORDER = {
    "ACE": ("HH31", "CH3", "HH32", "HH33", "C", "O"),
    "ALA": ("N", "H", "CA", "HA", "CB", "HB1", "HB2", "HB3", "C", "O"),
    "NME": ("N", "H", "CH3", "HH31", "HH32", "HH33"),
}

_SOURCE = "Amber ff99SB (Hornak et al. 2006)"


class AlanineDipeptide(BaseModel):
    """Alanine dipeptide: 22 atoms, two dihedrals that matter; Amber ff99SB, hydrogens constrained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["alanine-dipeptide"] = "alanine-dipeptide"
    solvent: Literal["vacuum", "obc2", "tip3p"] = Field("vacuum", description="none, Onufriev-Bashford-Case, or TIP3P")
    edge: float = Field(2.6, gt=0, description="edge of the cubic box of water (nm); tip3p only")
    cutoff: float = Field(0.9, gt=0, description="Lennard-Jones and real-space Ewald cut-off (nm); tip3p only")
    ewald_tolerance: float = Field(5e-4, gt=0, description="relative error of the Ewald sum; tip3p only")

    @model_validator(mode="after")
    def _no_idle_options(self) -> AlanineDipeptide:
        for option in ("edge", "cutoff", "ewald_tolerance"):
            if not self.periodic and getattr(self, option) != type(self).model_fields[option].default:
                raise ValueError(f"{option} is for solvent: tip3p alone; leave it out with solvent: {self.solvent}")
        return self

    @property
    def periodic(self) -> bool:
        return self.solvent == "tip3p"

    @property
    def timestep(self) -> float:
        """ps; hydrogens are constrained."""
        return 0.002

    def build(self) -> AtomisticSystem:
        openmm = require_openmm()
        app = openmm.app
        explicit = self.periodic
        if explicit and 2 * self.cutoff > self.edge:
            raise ValueError(
                f"alanine-dipeptide: the cut-off of {self.cutoff:g} nm exceeds half the box edge of "
                f"{self.edge:g} nm; use a larger edge or a shorter cut-off"
            )
        # amber99_obc.xml makes OpenMM's own GBSAOBCForce: the same model as implicit/obc2.xml, far faster on CPUs
        files = {"vacuum": (), "obc2": ("amber99_obc.xml",), "tip3p": ("tip3p.xml",)}[self.solvent]
        field = app.ForceField("amber99sb.xml", *files)
        topology, positions = _molecule()
        box = None
        if explicit:
            modeller = app.Modeller(topology, positions * openmm.unit.nanometer)
            side = openmm.Vec3(self.edge, self.edge, self.edge) * openmm.unit.nanometer
            modeller.addSolvent(field, model="tip3p", boxSize=side)
            topology, box = modeller.topology, np.eye(3) * self.edge
            positions = np.array(modeller.positions.value_in_unit(openmm.unit.nanometer))
            system = field.createSystem(
                topology, nonbondedMethod=app.PME, nonbondedCutoff=self.cutoff, constraints=app.HBonds,
                rigidWater=True, ewaldErrorTolerance=self.ewald_tolerance, removeCMMotion=True,
            )  # fmt: skip
        else:
            system = field.createSystem(
                topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, removeCMMotion=True
            )
        return atomistic_system(topology, system, positions, box, self._description(explicit, files))

    def _description(self, explicit: bool, files: tuple[str, ...]) -> dict[str, object]:
        solvent = {"vacuum": None, "obc2": "OBC2 (Onufriev, Bashford and Case 2004)", "tip3p": "TIP3P"}[self.solvent]
        return {
            "force_field": "amber99sb", "file": ["amber99sb.xml", *files], "source": _SOURCE, "solvent": solvent,
            "electrostatics": "PME" if explicit else "no cut-off", "cutoff_nm": self.cutoff if explicit else None,
            "ewald_tolerance": self.ewald_tolerance if explicit else None, "tail_correction": explicit,
        }  # fmt: skip


def build_geometry(table: tuple[_Atom, ...]) -> Float[np.ndarray, "atoms 3"]:
    """Cartesian coordinates (nm) of a table of bond lengths, angles and dihedrals."""
    x = np.zeros((len(table), 3))
    x[1] = [table[1].length, 0, 0]
    for i, a in enumerate(table[2:], start=2):
        bend, turn = np.radians(a.bend), np.radians(a.turn)
        along = _unit(x[a.bond] - x[a.angle])
        # the third atom of a molecule has no dihedral: any plane will do
        reference = x[a.angle] - x[a.dihedral] if a.dihedral != a.angle else np.array([0.0, 1.0, 0.0])
        normal = _unit(np.cross(reference, along))
        across = np.cross(normal, along)
        x[i] = x[a.bond] + a.length * (
            -np.cos(bend) * along + np.sin(bend) * (np.cos(turn) * across + np.sin(turn) * normal)
        )
    return x


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _molecule() -> tuple[openmm.app.Topology, Float[np.ndarray, "22 3"]]:
    app = require_openmm().app
    place = {(a.residue, a.name): i for i, a in enumerate(GEOMETRY)}
    topology, order, atoms = app.Topology(), [], {}
    chain = topology.addChain()
    for residue_name, names in ORDER.items():
        residue = topology.addResidue(residue_name, chain)
        for name in names:
            element = app.Element.getBySymbol(name[0])
            order.append(place[residue_name, name])
            atoms[order[-1]] = topology.addAtom(name, element, residue)
    for i, a in enumerate(GEOMETRY[1:], start=1):
        topology.addBond(atoms[a.bond], atoms[i])
    return topology, build_geometry(GEOMETRY)[order]
