"""An atomistic system ready to run: what every builder hands to the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from meanforce.topology import Topology

if TYPE_CHECKING:
    import openmm
    import openmm.app


class MissingEngine(ImportError):
    """OpenMM is not installed."""


def require_openmm() -> Any:
    """OpenMM itself, or one sentence on how to get it."""
    try:
        import openmm
        import openmm.app
    except ImportError as error:
        raise MissingEngine(
            'making atomistic reference data needs OpenMM; install it with: pip install "meanforce[reference]"'
        ) from error
    return openmm


@dataclass(frozen=True, eq=False)
class AtomisticSystem:
    """An OpenMM system with a start configuration.

    Its particles are the atoms and, in some water models, massless virtual sites. Only atoms are stored:
    OpenMM hands the force on a site on to the atoms that define it, so the forces on the atoms of a
    molecule sum to the whole force on it.
    """

    system: openmm.System
    topology: Topology  # of the atoms
    atoms: Int[np.ndarray, "atoms"]  # their indices among the particles
    positions: Float[np.ndarray, "particles 3"]  # nm
    box: Float[np.ndarray, "3 3"] | None  # nm, rows are the box vectors
    constraints: Int[np.ndarray, "constraints 2"]  # pairs of atoms held at a fixed distance
    description: dict[str, Any]  # force field, its sources and cut-offs, for the file's provenance

    @property
    def degrees_of_freedom(self) -> int:
        """Quadratic momenta: three per atom, less constraints, less a centre-of-mass motion that is removed."""
        openmm = require_openmm()
        removed = any(isinstance(f, openmm.CMMotionRemover) for f in self.system.getForces())
        return 3 * len(self.topology) - len(self.constraints) - 3 * removed


def atomistic_system(
    app_topology: openmm.app.Topology,
    system: openmm.System,
    positions: Float[np.ndarray, "particles 3"],
    box: Float[np.ndarray, "3 3"] | None,
    description: dict[str, Any],
) -> AtomisticSystem:
    """Reads names, masses, bonds and constraints from what OpenMM built."""
    unit = require_openmm().unit
    particles = list(app_topology.atoms())
    masses = np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(len(particles))])
    atoms = np.flatnonzero(masses > 0)
    place = np.full(len(particles), -1)
    place[atoms] = np.arange(len(atoms))
    real = [particles[i] for i in atoms]
    bonds = [(place[b.atom1.index], place[b.atom2.index]) for b in app_topology.bonds()]
    held = [system.getConstraintParameters(i)[:2] for i in range(system.getNumConstraints())]
    topology = Topology(
        species=tuple(a.element.symbol for a in real),
        masses=masses[atoms],
        names=tuple(a.name for a in real),
        residues=tuple(a.residue.name for a in real),
        bonds=np.array(sorted(bonds), np.int32).reshape(-1, 2),
    )
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    return AtomisticSystem(
        system, topology, atoms, np.asarray(positions, float), box,
        place[np.array(held, int).reshape(-1, 2)], description,
    )  # fmt: skip


def cubic_lattice(count: int, edge: float) -> Float[np.ndarray, "count 3"]:
    """The first `count` points of a simple cubic lattice that fills a box of this edge (nm)."""
    side = int(np.ceil(round(count ** (1 / 3), 9)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return (grid[:count] + 0.5) * edge / side
