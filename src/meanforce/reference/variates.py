"""Control variates of molecules at fixed beads: what takes noise from energies and leaves their means.

For a field n that moves the atoms of a molecule and not its bead, v = n.f + kT div n has the mean zero at fixed
beads. Then <U + g v> = <U>, and <df (U + g v - E) + g kT (n.grad) f> = Cov(f, U) for every constant g. Fields that
stretch a molecule are for flexible ones; the one that turns it along its torque is for rigid ones as well.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.reference.ewald import Interaction, RigidWater, images
from meanforce.reference.ewald_kernels import Images, Tables, evaluate
from meanforce.reference.fixed import shells
from meanforce.reference.flexible import FlexibleWater, opened
from meanforce.reference.variate_kernels import stirred, turned
from meanforce.units import KB

Kind = Literal["virial", "strain", "turn"]


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
        raise ValueError(
            "the strain field is that of molecules whose atoms are all bonded to the first, with one angle"
        )
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


_STRETCHING = {"virial": virial_field, "strain": strain_field}


class Observed(NamedTuple):
    """Water at fixed centres, ready to be looked at again and again."""

    water: RigidWater | FlexibleWater
    centres: Float[np.ndarray, "molecules 3"]
    tables: Tables
    around: Images
    shell: Int[np.ndarray, "molecules molecules"]
    ranges: int

    @staticmethod
    def of(
        water: RigidWater | FlexibleWater, atoms: Float[np.ndarray, "molecules atoms 3"], box: Float[np.ndarray, "3"],
        ranges: tuple[float, ...] = (),
    ) -> Observed:  # fmt: skip
        """Of whole molecules (nm) in a box with these edges (nm); `ranges` (nm) as in `FixedSampling`."""
        centres, sites = water.centres(atoms), water.place(atoms)
        around = images(centres, box, water.cutoff, water.radius(sites - centres[:, None]))
        shell = shells(centres, box, ranges)
        return Observed(water, centres, water.tables(sites, box), around, shell, len(ranges))

    def seen(self, sites: Float[np.ndarray, "molecules sites 3"]) -> Interaction:
        """Energies and forces at one configuration (nm), with the same centres."""
        shares, forces = evaluate(sites, self.around, self.tables)
        if isinstance(self.water, FlexibleWater):
            excluded, push = self.water.between.exclusions(sites)
            own, pull = self.water.bonded(sites)
            shares, forces = shares + excluded + own, forces + push + pull
        return Interaction(float(shares.sum()), shares, forces)

    def field(
        self, kind: Kind, sites: Float[np.ndarray, "molecules sites 3"], forces: Float[np.ndarray, "molecules sites 3"]
    ) -> Field:
        """'virial', 'strain', or 'turn': about the torque, by as much as it is, in kJ/mol for rad."""
        if kind == "turn":
            arms = sites - self.centres[:, None]
            torque = np.cross(arms, forces).sum(1)
            return Field(np.cross(torque[:, None], arms), turned(sites, self.centres, self.around, self.tables))
        if isinstance(self.water, RigidWater):
            raise ValueError(
                f"the field {kind!r} stretches bonds, and those of rigid water have fixed lengths: the forces of "
                "constraint in it are no control variate; use 'turn'"
            )
        return _STRETCHING[kind](self.water, sites)

    def sample(self, sites: Float[np.ndarray, "molecules sites 3"], temperature: float, kind: Kind) -> Sample:
        """At one configuration, with the variates of one kind of field at a temperature (K)."""
        found, kt = self.seen(sites), KB * temperature
        field, divergence = self.field(kind, sites, found.forces)
        variates = np.sum(field * found.forces, axis=(1, 2)) + kt * divergence
        slope = kt * stirred(sites, field, self.around, self.tables, self.shell, self.ranges)
        return Sample(found.forces.sum(1), found.shares, variates, divergence, slope)
