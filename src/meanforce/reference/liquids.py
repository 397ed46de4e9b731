"""A liquid whose coarse-grained potential is known exactly: the diatomic liquid (V9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import factorial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.polynomial import Polynomial
from scipy.interpolate import BSpline, PPoly

from meanforce.frames import Frames
from meanforce.reference.atomistic import cubic_lattice
from meanforce.reference.liquid_kernels import metropolis, pair_sums
from meanforce.topology import Topology
from meanforce.units import KB

RELAXATION = 400  # sweeps from the lattice to the liquid
_FRAMES_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class PairFunction:
    """A function of distance in pieces of polynomials, zero from its last break on: exact in every program.

    Row k of `coefficients` belongs to the power (degree - k) of the distance from the start of the piece.
    """

    breaks: Float[np.ndarray, "pieces+1"]  # nm
    coefficients: Float[np.ndarray, "degree+1 pieces"]

    @staticmethod
    def compact(height: float, cutoff: float, root: float | None = None, smoothness: int = 6) -> PairFunction:
        """height (1 - x^2)^smoothness with x = r / cutoff, which changes sign at `root` (nm) where one is given."""
        x = Polynomial([0.0, 1.0 / cutoff])
        shape = height * (1 - x**2) ** smoothness
        if root is not None:
            shape = shape * (1 - (x * cutoff / root) ** 2)
        return PairFunction(np.array([0.0, cutoff]), shape.coef[::-1][:, None])

    @staticmethod
    def bump(height: float, cutoff: float) -> PairFunction:
        """One cubic B-spline from 0 to the cut-off: added up over neighbours, a smooth coordination number."""
        step = cutoff / 4
        pieces = np.array([[1, -3, 3, -1], [0, 3, -6, 3], [0, 3, 0, -3], [0, 1, 4, 1]]) / 6
        return PairFunction(step * np.arange(5), height * pieces / step ** np.array([3, 2, 1, 0])[:, None])

    @staticmethod
    def of_spline(spline: BSpline) -> PairFunction:
        """The same function as a B-spline that starts at distance zero."""
        pieces = PPoly.from_spline(spline)
        keep = np.flatnonzero(np.diff(pieces.x) > 0)
        return PairFunction(np.append(pieces.x[keep], pieces.x[keep[-1] + 1]), pieces.c[:, keep])

    def plus(self, other: PairFunction, factor: float) -> PairFunction:
        """self + factor * other, again in pieces of polynomials."""
        breaks = np.union1d(self.breaks, other.breaks)
        orders = range(max(len(self.coefficients), len(other.coefficients)))
        start = breaks[:-1]
        rows = [(self._evaluate(start, k) + factor * other._evaluate(start, k)) / factorial(k) for k in orders]
        return PairFunction(breaks, np.array(rows[::-1]))

    @property
    def cutoff(self) -> float:
        return float(self.breaks[-1])

    def __call__(self, r: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return self._evaluate(r, 0)

    def derivative(self, r: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return self._evaluate(r, 1)

    def _evaluate(self, r, order: int):
        return np.where(np.less(r, self.cutoff), PPoly(self.coefficients, self.breaks)(r, order), 0.0)


class Configurations(NamedTuple):
    """Molecules of a diatomic liquid: centres, and vectors from the second atom to the first."""

    centres: Float[np.ndarray, "frames molecules 3"]
    bonds: Float[np.ndarray, "frames molecules 3"]
    chain: np.ndarray
    temperature: float


class PairSums(NamedTuple):
    """What the pairs of each frame add up to."""

    potential: np.ndarray  # (frames, molecules) half of the sum of v over neighbours
    stiffening: np.ndarray  # (frames, molecules) sum of g over neighbours
    forces: np.ndarray  # (frames, molecules, 3)
    virial: np.ndarray  # (frames,)
    response: np.ndarray  # (frames, molecules, 3): -sum g' e_ij
    squares: np.ndarray  # (frames, molecules): sum g'^2


@dataclass(frozen=True, eq=False)
class DiatomicLiquid:
    """Molecules of two atoms, U = sum v(X_ij) + sum kappa_i |y_i|^2 / 2, kappa_i = k0 exp(sum_j g(X_ij)).

    With X the centre of a molecule and y its bond vector, integrating out the bonds leaves exactly a sum over
    pairs, w(r; T) = v(r) + 3 kT g(r): energetic and entropic part, linear in temperature. Nothing else is as
    close to a real liquid with the truth known for every quantity. Methods take centres of shape
    (frames, molecules, 3) in a cubic box and a temperature in K.
    """

    molecules: int = 64
    edge: float = 2.0  # nm
    energetic: PairFunction = field(default_factory=lambda: PairFunction.compact(60.0, 0.9, root=0.42))  # v, kJ/mol
    entropic: PairFunction = field(default_factory=lambda: PairFunction.compact(1.5, 0.9))  # g
    bond_spring: float = 2000.0  # k0, kJ/(mol nm^2)
    atom_mass: float = 14.0  # u

    def __post_init__(self):
        for function in (self.energetic, self.entropic):
            if function.breaks[0] != 0:
                raise ValueError("a pair function starts at distance 0; give its pieces from there")
        if 2 * self.cutoff > self.edge:
            raise ValueError(
                f"the cut-off of {self.cutoff:g} nm exceeds half the box edge of {self.edge:g} nm; use a larger box"
            )

    @property
    def cutoff(self) -> float:
        return max(self.energetic.cutoff, self.entropic.cutoff)

    @property
    def topology(self) -> Topology:
        """Of the beads."""
        return Topology.of(["D"] * self.molecules, masses={"D": 2 * self.atom_mass})

    @property
    def atom_topology(self) -> Topology:
        n = self.molecules
        return Topology(
            ("A",) * (2 * n), np.full(2 * n, self.atom_mass), names=("A1", "A2") * n, residues=("DIA",) * (2 * n),
            bonds=np.arange(2 * n).reshape(n, 2),
        )  # fmt: skip

    # The truth at fixed centres

    def mean_potential(self, temperature: float) -> PairFunction:
        """w(r; T) = v + 3 kT g as a function: each g stands in the stiffness of both molecules."""
        return self.energetic.plus(self.entropic, 3 * KB * temperature)

    def pair_potential(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """w(r; T) in kJ/mol."""
        return self.energetic(r) + 3 * KB * temperature * self.entropic(r)

    def pair_force(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """-dw/dr in kJ/(mol nm)."""
        return -self.energetic.derivative(r) - 3 * KB * temperature * self.entropic.derivative(r)

    def free_energy(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        """A(X; T) in kJ/mol, in the gauge in which dPhi/dbeta is exactly the mean energy."""
        kt = KB * temperature
        sums = self._sums(centres, 1.5 * kt)
        ideal = -1.5 * self.molecules * kt * np.log(2 * np.pi * kt / self.bond_spring)
        return sums.potential.sum(axis=1) + 1.5 * kt * sums.stiffening.sum(axis=1) + ideal

    def energy(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        """<U>_X = sum v + (3/2) N kT."""
        return self._sums(centres, 0.0).potential.sum(axis=1) + 1.5 * self.molecules * KB * temperature

    def entropy(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        return (self.energy(centres, temperature) - self.free_energy(centres, temperature)) / temperature

    def variance(self, temperature: float) -> float:
        """Var_X(U) = (3/2) N (kT)^2 at every X."""
        return 1.5 * self.molecules * (KB * temperature) ** 2

    def force(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f n 3"]:
        """Mean force on each molecule."""
        return self._sums(centres, 1.5 * KB * temperature).forces

    def response_force(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f n 3"]:
        """dF/dT = -3 k sum_j g'(X_ij) e_ij, the same at every temperature."""
        return 3 * KB * self._sums(centres, 0.0).response

    def virial(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        """Mean virial -dA/d(ln L) in kJ/mol."""
        return self._sums(centres, 1.5 * KB * temperature).virial

    def noise_floor(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> float:
        """Mean square noise of one component of a force label: the least loss any model can reach.

        Cov_X(f_i) = (3/2) (kT)^2 (G_i G_i^T + sum_j g'_ij^2 e_ij e_ij^T) with G_i = sum_j g'_ij e_ij: the energies
        of the bonds are independent, and each has the variance (3/2) (kT)^2.
        """
        sums = self._sums(centres, 0.0)
        trace = (sums.response**2).sum(axis=-1) + sums.squares
        return float(0.5 * (KB * temperature) ** 2 * trace.mean())

    # Samples

    def draw(self, frames: int, temperature: float, seed: int, *, chains: int = 4, sweeps: int = 20) -> Configurations:
        """Canonical configurations by Metropolis moves on w(r; T), then exact Gaussian bonds.

        `chains` start apart; frames of one chain are `sweeps` sweeps over all molecules apart, by default several
        times the correlation time of the energy.
        """
        rng = np.random.default_rng(seed)
        counts = [len(part) for part in np.array_split(np.arange(frames), max(1, min(chains, frames)))]
        w, start = self.mean_potential(temperature), cubic_lattice(self.molecules, self.edge)
        sampling = (sweeps, RELAXATION)
        parts = [
            metropolis(start, self.edge, w.breaks, w.coefficients, KB * temperature, count, sampling, rng)
            for count in counts
        ]
        centres = np.concatenate(parts)
        chain = np.repeat(np.arange(len(counts)), counts)
        return Configurations(centres, self.draw_bonds(centres, temperature, rng), chain, temperature)

    def draw_bonds(
        self, centres: Float[np.ndarray, "f n 3"], temperature: float, rng: np.random.Generator
    ) -> Float[np.ndarray, "f n 3"]:
        """Independent bond vectors at fixed centres: call it again for a replica."""
        width = np.sqrt(KB * temperature / self.stiffness(centres))
        return rng.standard_normal(centres.shape) * width[..., None]

    def stiffness(self, centres: Float[np.ndarray, "f n 3"]) -> Float[np.ndarray, "f n"]:
        """kappa_i in kJ/(mol nm^2)."""
        return self.bond_spring * np.exp(self._sums(centres, 0.0).stiffening)

    def beads(self, drawn: Configurations) -> Frames:
        """Frames of the centres with instantaneous labels, as mapped from the atoms, and energies of the molecules.

        The control variate is the internal virial sum y.f + 3 kT: half of it takes all noise from the energy.
        """
        bond_energy = 0.5 * self.stiffness(drawn.centres) * (drawn.bonds**2).sum(axis=-1)
        sums = self._sums(drawn.centres, bond_energy)
        still = self._sums(drawn.centres, 0.0).forces
        return self._frames(drawn, drawn.centres, sums, bond_energy, sums.forces).with_(
            local_energy=sums.potential + bond_energy,
            variate=3 * self.molecules * KB * drawn.temperature - 2 * bond_energy.sum(axis=1),
            variate_slope=2 * (sums.forces - still),
        )

    def atoms(self, drawn: Configurations, *, wrapped: bool = False) -> Frames:
        """Frames of the atoms, two for each molecule, with its energy shared; wrapped atom by atom if asked for."""
        stiffness = self.stiffness(drawn.centres)
        bond_energy = 0.5 * stiffness * (drawn.bonds**2).sum(axis=-1)
        sums = self._sums(drawn.centres, bond_energy)
        half, pull = 0.5 * drawn.bonds, -stiffness[..., None] * drawn.bonds
        pairs = lambda first, second: np.stack([first, second], axis=2).reshape(len(first), -1, 3)
        positions = pairs(drawn.centres + half, drawn.centres - half)
        if wrapped:
            positions = positions % self.edge
        forces = pairs(0.5 * sums.forces + pull, 0.5 * sums.forces - pull)
        return self._frames(drawn, positions, sums, bond_energy, forces).with_(
            local_energy=np.repeat(0.5 * (sums.potential + bond_energy), 2, axis=1)
        )

    def sample(
        self,
        frames: int,
        temperature: float,
        seed: int,
        level: Literal["beads", "atoms"] = "beads",
        *,
        chains: int = 4,
        sweeps: int = 20,
    ) -> Frames:
        """`draw`, then the frames of the beads or of the atoms."""
        drawn = self.draw(frames, temperature, seed, chains=chains, sweeps=sweeps)
        return self.beads(drawn) if level == "beads" else self.atoms(drawn)

    def noiseless(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Frames:
        """Frames at given centres with the exact mean force, energy and virial as labels, and the cumulants beside."""
        drawn = Configurations(centres, np.zeros_like(centres), np.zeros(len(centres), int), temperature)
        kt = KB * temperature
        bond_energy = np.full(centres.shape[:2], 1.5 * kt)
        sums = self._sums(centres, bond_energy)
        return self._frames(drawn, centres, sums, bond_energy, sums.forces).with_(
            covariance=kt * temperature * self.response_force(centres, temperature),
            variance=np.full(len(centres), self.variance(temperature)),
            third_cumulant=2 * kt**3 / KB * self.response_force(centres, temperature),
        )

    def _frames(self, drawn: Configurations, positions, sums: PairSums, bond_energy, forces) -> Frames:
        energy = (sums.potential + bond_energy).sum(axis=1)
        return labelled(self.edge, positions, forces, energy, sums.virial, drawn.temperature, drawn.chain)

    def _sums(self, centres, bond_energy) -> PairSums:
        """Pair sums with the energy of each bond given: instantaneous, or its mean for the mean force."""
        return summed(self.energetic, self.entropic, self.edge, centres, bond_energy)


def summed(
    v: PairFunction,
    g: PairFunction,
    edge: float,
    centres: Float[np.ndarray, "f n 3"],
    weights: Float[np.ndarray, "..."] | float,
) -> PairSums:
    """Sums over pairs of v and of (w_i + w_j) g, with the weights w of the molecules; forces and virial are theirs."""
    centres = np.ascontiguousarray(centres, float)
    weights = np.broadcast_to(np.asarray(weights, float), centres.shape[:2])
    tables = (v.breaks, v.coefficients, g.breaks, g.coefficients)
    parts = [
        pair_sums(centres[i : i + _FRAMES_AT_ONCE], weights[i : i + _FRAMES_AT_ONCE], edge, tables)
        for i in range(0, len(centres), _FRAMES_AT_ONCE)
    ]
    return PairSums(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def labelled(edge: float, positions, forces, energy, virial, temperature: float, chain) -> Frames:
    """Frames of a cubic box at one temperature."""
    n = len(positions)
    return Frames(
        positions=positions,
        box=np.broadcast_to(np.eye(3) * edge, (n, 3, 3)).copy(),
        forces=forces,
        energy=energy,
        virial=virial,
        temperature=np.full(n, float(temperature)),
        trajectory=chain,
    )
