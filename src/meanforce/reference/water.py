"""Water: SPC/E, TIP3P, TIP4P/2005 and the flexible SPC/Fw."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from scipy.spatial.transform import Rotation

from meanforce.reference.atomistic import AtomisticSystem, atomistic_system, cubic_lattice, require_openmm

if TYPE_CHECKING:
    import openmm.app

_TEMPLATE = """<ForceField>
 <AtomTypes>
  <Type name="O" class="OW" element="O" mass="15.99943"/>
  <Type name="H" class="HW" element="H" mass="1.007947"/>{site_type}
 </AtomTypes>
 <Residues><Residue name="HOH">
  <Atom name="O" type="O"/><Atom name="H1" type="H"/><Atom name="H2" type="H"/>{site}
  <Bond atomName1="O" atomName2="H1"/><Bond atomName1="O" atomName2="H2"/>
 </Residue></Residues>
 <HarmonicBondForce><Bond class1="OW" class2="HW" length="{length}" k="{bond}"/></HarmonicBondForce>
 <HarmonicAngleForce><Angle class1="HW" class2="OW" class3="HW" angle="{angle}" k="{bend}"/></HarmonicAngleForce>
 <NonbondedForce coulomb14scale="0.833333" lj14scale="0.5">
  <Atom type="O" charge="{oxygen}" sigma="{sigma}" epsilon="{epsilon}"/>
  <Atom type="H" charge="{hydrogen}" sigma="1" epsilon="0"/>{site_force}
 </NonbondedForce>
</ForceField>"""


def _tip4p_2005() -> str:
    """Abascal and Vega 2005: the charge of oxygen sits 0.1546 angstrom along the bisector (an exact average)."""
    length, angle = 0.09572, np.radians(104.52)
    weight = float(0.01546 / (2 * length * np.cos(angle / 2)))
    site = (
        '<Atom name="M" type="M"/><VirtualSite type="average3" siteName="M" atomName1="O" atomName2="H1" '
        f'atomName3="H2" weight1="{1 - 2 * weight!r}" weight2="{weight!r}" weight3="{weight!r}"/>'
    )
    return _TEMPLATE.format(
        site_type='<Type name="M" class="MW" mass="0"/>', site=site, length=length, bond=462750.4, angle=angle,
        bend=836.8, oxygen=0.0, hydrogen=0.5564, sigma=0.31589, epsilon=93.2 * 8.31446261815324e-3,
        site_force='<Atom type="M" charge="-1.1128" sigma="1" epsilon="0"/>',
    )  # fmt: skip


def _spc_fw() -> str:
    """Wu, Tepper and Voth 2006: flexible bonds and angle, fitted to diffusion and dielectric constant."""
    return _TEMPLATE.format(
        site_type="", site="", site_force="", length=0.1012, bond=1059.162 * 418.4, angle=np.radians(113.24),
        bend=75.90 * 4.184, oxygen=-0.82, hydrogen=0.41, sigma=0.3165492, epsilon=0.1554253 * 4.184,
    )  # fmt: skip


class Model(NamedTuple):
    """Where the parameters come from and how its molecules are handled."""

    file: str | None  # a force field that ships with OpenMM
    source: str
    flexible: bool
    timestep: float  # ps
    length: float  # nm, O-H
    angle: float  # degrees, H-O-H


MODELS = {
    "spce": Model("spce.xml", "Berendsen, Grigera and Straatsma 1987", False, 0.002, 0.1, 109.47),
    "tip3p": Model("tip3p.xml", "Jorgensen et al. 1983", False, 0.002, 0.09572, 104.52),
    "tip4p-2005": Model(None, "Abascal and Vega 2005", False, 0.002, 0.09572, 104.52),
    "spc-fw": Model(None, "Wu, Tepper and Voth 2006", True, 0.0005, 0.1012, 113.24),
}
_OWN_XML = {"tip4p-2005": _tip4p_2005, "spc-fw": _spc_fw}


class Water(BaseModel):
    """A box of water with particle-mesh Ewald electrostatics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["water"] = "water"
    model: Literal["spce", "tip3p", "tip4p-2005", "spc-fw"] = Field("spce", description="water model")
    molecules: int = Field(216, ge=1, description="number of molecules")
    density: float = Field(
        0.99655, gt=0, description="density (g/cm^3), when no edge is given; 0.99655 is 300 K, 1 bar"
    )
    edge: float | None = Field(None, gt=0, description="edge of the cubic box (nm)")
    cutoff: float = Field(0.9, gt=0, description="Lennard-Jones and real-space Ewald cut-off (nm)")
    ewald_tolerance: float = Field(5e-4, gt=0, description="relative error of the Ewald sum")
    tail: bool = Field(True, description="count the dispersion beyond the cut-off in energy and pressure")

    @property
    def periodic(self) -> bool:
        return True

    @property
    def flexible(self) -> bool:
        """Whether bonds and angles move."""
        return MODELS[self.model].flexible

    @property
    def timestep(self) -> float:
        return MODELS[self.model].timestep

    @property
    def box_edge(self) -> float:
        """Edge of the cubic box in nm."""
        if self.edge is not None:
            return self.edge
        mass = 15.99943 + 2 * 1.007947
        return (self.molecules * mass * 1.66053906660e-3 / self.density) ** (1 / 3)

    def build(self) -> AtomisticSystem:
        openmm = require_openmm()
        app, edge, model = openmm.app, self.box_edge, MODELS[self.model]
        if 2 * self.cutoff > edge:
            raise ValueError(
                f"water: the cut-off of {self.cutoff:g} nm exceeds half the box edge of {edge:.4g} nm; "
                "use more molecules or a shorter cut-off"
            )
        field = force_field(self.model)
        modeller = app.Modeller(*self._molecules(model, edge))
        modeller.addExtraParticles(field)
        system = field.createSystem(
            modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=self.cutoff, removeCMMotion=True,
            constraints=None if model.flexible else app.HBonds, rigidWater=not model.flexible,
            ewaldErrorTolerance=self.ewald_tolerance,
        )  # fmt: skip
        for force in system.getForces():
            if isinstance(force, openmm.NonbondedForce):
                force.setUseDispersionCorrection(self.tail)
        description = {
            "force_field": self.model, "file": model.file, "source": model.source, "flexible": model.flexible,
            "electrostatics": "PME", "cutoff_nm": self.cutoff, "ewald_tolerance": self.ewald_tolerance,
            "switch_nm": None, "tail_correction": self.tail,
        }  # fmt: skip
        positions = np.array(modeller.positions.value_in_unit(openmm.unit.nanometer))
        return atomistic_system(modeller.topology, system, positions, np.eye(3) * edge, description)

    def _molecules(self, model: Model, edge: float) -> tuple[openmm.app.Topology, object]:
        """Molecules on a lattice with random orientations, for the engine to relax."""
        openmm = require_openmm()
        app = openmm.app
        topology = app.Topology()
        topology.setPeriodicBoxVectors(np.eye(3) * edge * openmm.unit.nanometer)
        chain = topology.addChain()
        for _ in range(self.molecules):
            residue = topology.addResidue("HOH", chain)
            oxygen = topology.addAtom("O", app.element.oxygen, residue)
            for name in ("H1", "H2"):
                topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, residue))
        turns = Rotation.random(self.molecules, rng=np.random.default_rng(0)).as_matrix()
        shape = molecule_geometry(model.length, model.angle)
        positions = cubic_lattice(self.molecules, edge)[:, None] + np.einsum("nab,kb->nka", turns, shape)
        return topology, positions.reshape(-1, 3) * openmm.unit.nanometer


def force_field(model: str) -> openmm.app.ForceField:
    """OpenMM's force field of a water model."""
    app = require_openmm().app
    file = MODELS[model].file
    return app.ForceField(file if file is not None else io.StringIO(_OWN_XML[model]()))


def molecule_geometry(length: float, angle: float) -> Float[np.ndarray, "3 3"]:
    """O, H, H in a plane: O-H bond length in nm, H-O-H angle in degrees."""
    half = np.radians(angle) / 2
    side, along = length * np.sin(half), length * np.cos(half)
    return np.array([[0, 0, 0], [side, along, 0], [-side, along, 0]])
