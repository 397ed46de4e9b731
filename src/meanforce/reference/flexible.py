"""Flexible water in a rectangular box: the energies of `RigidWater` between molecules, bonds and angles within."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from meanforce.reference.atomistic import AtomisticSystem, require_openmm
from meanforce.reference.ewald import Interaction, RigidWater
from meanforce.reference.ewald_kernels import COULOMB, Tables
from meanforce.reference.shape_kernels import Inside

_WIDEST = 1.4  # of the sum of a molecule's bonds: no thermal motion stretches bonds as far


@dataclass(frozen=True, eq=False)
class FlexibleWater:
    """Equal molecules with harmonic bonds and angles, and charges and Lennard-Jones sites as in `RigidWater`.

    The share of a molecule in the energy is that of `RigidWater`, with its own bonds, angles and exclusions. What is
    held is `between.weights` times its atoms: the centre of mass, or any other weights that sum to one.
    """

    between: RigidWater
    inside: Inside

    @staticmethod
    def of(system: AtomisticSystem, accuracy: float = 1e-5) -> FlexibleWater:
        """The parameters of a box of flexible water that was built for OpenMM."""
        if len(system.constraints):
            raise ValueError(
                f"{len(system.constraints)} distances in the molecules are constrained, and their shapes cannot be "
                "sampled as if they were free; use RigidWater, or build the water without constraints: spc-fw"
            )
        between = RigidWater.charged(system, accuracy)
        if not np.array_equal(between.sites, np.eye(len(between.weights))):
            raise ValueError(
                "flexible molecules with virtual sites are not supported; use a model whose sites are atoms"
            )
        return FlexibleWater(between, _inside(system, between))

    @property
    def cutoff(self) -> float:
        return self.between.cutoff

    def place(self, atoms: Float[np.ndarray, "molecules atoms 3"]) -> Float[np.ndarray, "molecules sites 3"]:
        """The sites are the atoms."""
        return self.between.place(atoms)

    def centres(self, atoms: Float[np.ndarray, "molecules atoms 3"]) -> Float[np.ndarray, "molecules 3"]:
        """What is held, of whole molecules."""
        return self.between.centres(atoms)

    def radius(self, bodies: Float[np.ndarray, "molecules sites 3"]) -> float:
        """How far sites are allowed from their centre."""
        found = self.between.radius(bodies)
        if found > self.inside.widest:
            raise ValueError(
                f"an atom is {found:.3g} nm from the centre of its molecule, more than its bonds allow "
                f"({self.inside.widest:.3g} nm); put the molecules together, each around its first atom"
            )
        return self.inside.widest

    def tables(self, sites: Float[np.ndarray, "molecules sites 3"], box: Float[np.ndarray, "3"]) -> Tables:
        """What the compiled loops read; exclusions change with the shapes and are counted inside of molecules."""
        tables = self.between.tables(sites, box)
        return tables._replace(constant=tables.constant - float(self.between.exclusions(sites)[0].mean()))

    def interaction(self, atoms: Float[np.ndarray, "molecules atoms 3"], box: Float[np.ndarray, "3"]) -> Interaction:
        """Of whole molecules, in nm, in a box with these edges (nm)."""
        found, (own, push) = self.between.interaction(atoms, box), self.bonded(atoms)
        return Interaction(found.energy + float(own.sum()), found.shares + own, found.forces + push)

    def bonded(
        self, atoms: Float[np.ndarray, "molecules atoms 3"]
    ) -> tuple[Float[np.ndarray, "molecules"], Float[np.ndarray, "molecules atoms 3"]]:
        """Energies of bonds and angles of each molecule, and their forces on its atoms."""
        inside, energies, forces = self.inside, np.zeros(len(atoms)), np.zeros(atoms.shape)
        for (i, j), length, stiffness in zip(inside.pairs, inside.lengths, inside.stiffness, strict=True):
            apart = atoms[:, i] - atoms[:, j]
            r = np.linalg.norm(apart, axis=1)
            energies += 0.5 * stiffness * (r - length) ** 2
            pull = (-stiffness * (r - length) / r)[:, None] * apart
            forces[:, i] += pull
            forces[:, j] -= pull
        for (i, j, k), rest, bending in zip(inside.triples, inside.angles, inside.bending, strict=True):
            angle, first, last = opened(atoms[:, i] - atoms[:, j], atoms[:, k] - atoms[:, j])
            energies += 0.5 * bending * (angle - rest) ** 2
            pull = (-bending * (angle - rest))[:, None]
            forces[:, i] += pull * first
            forces[:, k] += pull * last
            forces[:, j] -= pull * (first + last)
        return energies, forces

    @cached_property
    def star(self) -> bool:
        """Whether every bond begins at the first atom, as in water."""
        return bool((self.inside.pairs.min(1) == 0).all() and len(self.inside.pairs) == len(self.inside.weights) - 1)


def opened(
    first: Float[np.ndarray, "n 3"], last: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """The angle between two vectors (rad) and its slopes along both (rad/nm)."""
    a, b = np.linalg.norm(first, axis=1, keepdims=True), np.linalg.norm(last, axis=1, keepdims=True)
    u, v = first / a, last / b
    cosine = np.sum(u * v, axis=1, keepdims=True)
    sine = np.sqrt(np.maximum(1 - cosine**2, 1e-30))
    return np.arccos(cosine)[:, 0], (cosine * u - v) / (a * sine), (cosine * v - u) / (b * sine)


def _inside(system: AtomisticSystem, between: RigidWater) -> Inside:
    """Bonds and angles of the first molecule, which all others must share."""
    openmm = require_openmm()
    atoms = len(between.weights)
    molecules = len(system.topology) // atoms
    bonds, angles = [], []
    for force in system.system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            bonds += [force.getBondParameters(i) for i in range(force.getNumBonds())]
        elif isinstance(force, openmm.HarmonicAngleForce):
            angles += [force.getAngleParameters(i) for i in range(force.getNumAngles())]
        elif not isinstance(force, openmm.NonbondedForce | openmm.CMMotionRemover):
            raise ValueError(f"{force.getName()} is not sampled at fixed beads: harmonic bonds and angles are")
    own_bonds, own_angles = _of_one(bonds, 2, atoms, molecules), _of_one(angles, 3, atoms, molecules)
    if not own_bonds:
        raise ValueError("the molecules have no harmonic bonds to hold them together; give a flexible water: spc-fw")
    column = lambda rows, size, k: np.array([row[size + k]._value for row in rows], float)
    pairs = np.array([row[:2] for row in own_bonds], np.int64)
    lengths, stiffness = column(own_bonds, 2, 0), column(own_bonds, 2, 1)
    bending = column(own_angles, 3, 1)
    excluded = COULOMB * np.outer(between.charges, between.charges)
    soft = 1 / np.sqrt(bending.min()) if len(bending) else 0.1
    return Inside(
        between.weights, pairs, lengths, stiffness, np.array([row[:3] for row in own_angles], np.int64).reshape(-1, 3),
        column(own_angles, 3, 0), bending, excluded, between.screening, _WIDEST * float(lengths.max()),
        np.array([1 / np.sqrt(stiffness.min()), soft]),
    )  # fmt: skip


def _of_one(terms: list, size: int, atoms: int, molecules: int) -> list:
    """The terms of the first molecule, after a look at those of the others."""
    kinds: dict[int, list] = {}
    for term in terms:
        first = term[0] // atoms
        kinds.setdefault(first, []).append(
            (*(i - first * atoms for i in term[:size]), *(value._value for value in term[size:]))
        )
    rows = [sorted(kinds.get(m, [])) for m in range(molecules)]
    if any(row != rows[0] for row in rows):
        raise ValueError("the molecules differ in their bonds or angles; give a box of one kind of water")
    return [term for term in terms if term[0] // atoms == 0]
