"""Control variates of flexible molecules at fixed beads: what takes noise from energies and leaves their means.

For a field n that moves the atoms of a molecule and not its bead, v = n.f + kT div n has the mean zero at fixed
beads. Then <U + g v> = <U>, and <df (U + g v - E) + g kT (n.grad) f> = Cov(f, U) for every constant g.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.reference.ewald import Interaction, images
from meanforce.reference.ewald_kernels import Images, Tables, evaluate
from meanforce.reference.flexible import FlexibleWater, opened
from meanforce.reference.variate_kernels import stirred
from meanforce.units import KB

Kind = Literal["virial", "strain"]


class Field(NamedTuple):
    """A field within molecules: displacements (nm) of their atoms at fixed centre, and its divergence."""

    atoms: Float[np.ndarray, "molecules atoms 3"]
    divergence: Float[np.ndarray, "molecules"]


class Sample(NamedTuple):
    """Of one configuration: forces on the molecules, shares in the energy, and variates of each molecule.

    `slope` (ranges + 1, molecules, 3) is kT (n.grad) f, where the molecules within each range move, and last all:
    it goes with f times the variates of the same molecules.
    """

    forces: Float[np.ndarray, "molecules 3"]
    shares: Float[np.ndarray, "molecules"]
    variates: Float[np.ndarray, "molecules"]
    divergence: Float[np.ndarray, "molecules"]
    slope: Float[np.ndarray, "ranges molecules 3"]


def virial_field(water: FlexibleWater, atoms: Float[np.ndarray, "molecules atoms 3"]) -> Field:
    """All atoms away from their bead: the field of the internal virial, which stretches the bonds."""
    field = atoms - water.centres(atoms)[:, None]
    return Field(field, np.full(len(atoms), 3.0 * (atoms.shape[1] - 1)))


def strain_field(water: FlexibleWater, atoms: Float[np.ndarray, "molecules atoms 3"]) -> Field:
    """Bonds and angles away from their rest: what a harmonic molecule feels as twice its energy."""
    inside = water.inside
    if not water.star or len(inside.triples) > 1:
        raise ValueError("the strain field is that of molecules whose atoms are all bonded to the first, with one angle")
    field, divergence = np.zeros(atoms.shape), np.zeros(len(atoms))
    for (i, j), length in zip(inside.pairs, inside.lengths, strict=True):
        outer = max(i, j)
        arm = atoms[:, outer] - atoms[:, 0]
        r = np.linalg.norm(arm, axis=1)
        field[:, outer] += (1 - length / r)[:, None] * arm
        divergence += 3 - 2 * length / r
    for (i, j, k), rest in zip(inside.triples, inside.angles, strict=True):
        one, two = atoms[:, i] - atoms[:, j], atoms[:, k] - atoms[:, j]
        angle, first, last = opened(one, two)
        half = 0.5 * (angle - rest)[:, None]
        field[:, i] += half * np.sum(one**2, axis=1, keepdims=True) * first
        field[:, k] += half * np.sum(two**2, axis=1, keepdims=True) * last
        divergence += 1 + (angle - rest) / np.tan(angle)
    return Field(field - water.centres(field)[:, None], divergence)


FIELDS = {"virial": virial_field, "strain": strain_field}


class Observed(NamedTuple):
    """Flexible water at fixed centres, ready to be looked at again and again."""

    water: FlexibleWater
    tables: Tables
    around: Images
    shell: Int[np.ndarray, "molecules molecules"]
    ranges: int

    @staticmethod
    def of(
        water: FlexibleWater, atoms: Float[np.ndarray, "molecules atoms 3"], box: Float[np.ndarray, "3"],
        shell: Int[np.ndarray, "molecules molecules"],
    ) -> Observed:  # fmt: skip
        """`shell`: for each pair of molecules the first range that holds it; see `fixed.shells`."""
        centres = water.centres(atoms)
        around = images(centres, box, water.cutoff, water.radius(atoms - centres[:, None]))
        return Observed(water, water.tables(atoms, box), around, shell, int(shell.max()))

    def seen(self, atoms: Float[np.ndarray, "molecules atoms 3"]) -> Interaction:
        """Energies and forces at one configuration of whole molecules (nm), with the same centres."""
        shares, forces = evaluate(atoms, self.around, self.tables)
        excluded, push = self.water.between.exclusions(atoms)
        own, pull = self.water.bonded(atoms)
        shares = shares + excluded + own
        return Interaction(float(shares.sum()), shares, forces + push + pull)

    def sample(self, atoms: Float[np.ndarray, "molecules atoms 3"], temperature: float, kind: Kind) -> Sample:
        """With the variates of one kind of field at a temperature (K)."""
        found, (field, divergence) = self.seen(atoms), FIELDS[kind](self.water, atoms)
        kt = KB * temperature
        variates = np.sum(field * found.forces, axis=(1, 2)) + kt * divergence
        slope = kt * stirred(atoms, field, self.around, self.tables, self.shell, self.ranges)
        return Sample(found.forces.sum(1), found.shares, variates, divergence, slope)
