"""Rigid water in a rectangular box: energy, its share of each molecule, and forces, as OpenMM defines them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.polynomial import Chebyshev, Polynomial
from scipy.special import erf

from meanforce.reference.atomistic import AtomisticSystem, require_openmm
from meanforce.reference.ewald_kernels import COULOMB, DEGREE, Images, Tables, evaluate
from meanforce.reference.shape_kernels import Inside, rigid

_ROUND = 1e-9
_POLYNOMIAL = 1e-6  # largest error of the smeared charges' potential, 1/nm


class Interaction(NamedTuple):
    """U (kJ/mol), its shares that sum to it, and the forces on the sites (kJ/(mol nm))."""

    energy: float
    shares: Float[np.ndarray, "molecules"]
    forces: Float[np.ndarray, "molecules sites 3"]


@dataclass(frozen=True, eq=False)
class RigidWater:
    """Equal rigid molecules: charges on all sites, Lennard-Jones between the first ones, Ewald's sum.

    Pair terms end at the cut-off without a switch. The share of a molecule in the energy is half of its pair
    terms, its charges times the potential of the waves, and an equal part of what is constant at fixed box:
    self energy, exclusions within molecules and the dispersion beyond the cut-off.
    """

    charges: Float[np.ndarray, "sites"]  # e
    sites: Float[np.ndarray, "sites atoms"]  # the place of each site from those of the atoms
    weights: Float[np.ndarray, "atoms"]  # of the atoms in the centre of mass
    sigma: float  # nm
    epsilon: float  # kJ/mol
    cutoff: float  # nm
    screening: float  # alpha, 1/nm
    accuracy: float = 1e-5  # of the waves: exp(-k^2 / 4 alpha^2) at the shortest one left out
    tail: bool = True

    @staticmethod
    def of(system: AtomisticSystem, accuracy: float = 1e-5) -> RigidWater:
        """The parameters of a box of water that was built for OpenMM, with the same screening of the charges."""
        topology = system.topology
        atoms = int(np.sum(topology.molecules == 0))
        molecules = len(topology) // atoms
        if len(system.constraints) < molecules * (3 * atoms - 6):
            raise ValueError("the molecules are flexible; use FlexibleWater, or give spce, tip3p or tip4p-2005")
        return RigidWater.charged(system, accuracy)

    @staticmethod
    def charged(system: AtomisticSystem, accuracy: float) -> RigidWater:
        """The same, whatever holds the molecules together: one does not look inside of them."""
        openmm = require_openmm()
        engine, topology = system.system, system.topology
        force = next(f for f in engine.getForces() if isinstance(f, openmm.NonbondedForce))
        atoms = int(np.sum(topology.molecules == 0))
        molecules = len(topology) // atoms
        particles = engine.getNumParticles() // molecules
        if not np.array_equal(topology.molecules, np.repeat(np.arange(molecules), atoms)):
            raise ValueError("the molecules differ in their number of atoms; give a box of one kind of water")
        given = [[p._value for p in force.getParticleParameters(i)] for i in range(particles)]
        if any(epsilon != 0 for _, _, epsilon in given[1:]):
            raise ValueError("only the first atom of a molecule may carry a Lennard-Jones site, as in water")
        masses = topology.masses[:atoms]
        cutoff = force.getCutoffDistance()._value
        alpha = force.getPMEParameters()[0]
        screening = alpha._value if alpha._value else np.sqrt(-np.log(2 * force.getEwaldErrorTolerance())) / cutoff
        return RigidWater(
            np.array([charge for charge, _, _ in given]), _site_weights(engine, particles, atoms),
            masses / masses.sum(), given[0][1], given[0][2], cutoff, float(screening), accuracy,
            force.getUseDispersionCorrection(),
        )  # fmt: skip

    def place(self, atoms: Float[np.ndarray, "molecules atoms 3"]) -> Float[np.ndarray, "molecules sites 3"]:
        """The sites of whole molecules."""
        return np.einsum("sa,mad->msd", self.sites, atoms)

    def centres(self, atoms: Float[np.ndarray, "molecules atoms 3"]) -> Float[np.ndarray, "molecules 3"]:
        """Centres of mass of whole molecules."""
        return np.einsum("a,mad->md", self.weights, atoms)

    @property
    def inside(self) -> Inside:
        """Nothing: what is constant needs no sampling."""
        return rigid(np.zeros(len(self.charges)))

    def radius(self, bodies: Float[np.ndarray, "molecules sites 3"]) -> float:
        """How far sites can be from their centre, however molecules of these shapes are turned."""
        return float(np.linalg.norm(bodies, axis=2).max())

    def interaction(self, atoms: Float[np.ndarray, "molecules atoms 3"], box: Float[np.ndarray, "3"]) -> Interaction:
        """Of whole molecules, in nm, in a box with these edges (nm)."""
        centres, sites = self.centres(atoms), self.place(atoms)
        radius = self.radius(sites - centres[:, None])
        shares, forces = evaluate(sites, images(centres, box, self.cutoff, radius), self.tables(sites, box))
        excluded, push = self.exclusions(sites)
        shares += excluded - excluded.mean()
        return Interaction(float(shares.sum()), shares, forces + push)

    def tables(self, sites: Float[np.ndarray, "molecules sites 3"], box: Float[np.ndarray, "3"]) -> Tables:
        """What the compiled loops read, for these molecules (rigid, so that exclusions are constant)."""
        if abs(self.charges.sum()) > _ROUND:
            raise ValueError(f"a molecule has the charge {self.charges.sum():g} e; Ewald's sum needs neutral molecules")
        if 2 * self.cutoff > box.min():
            raise ValueError(f"the cut-off of {self.cutoff:g} nm exceeds half the shortest edge of {box.min():.4g} nm")
        columns, vectors = self._waves(box)
        square = (vectors**2).sum(0)
        strength = 4 * np.pi * COULOMB / np.prod(box) * np.exp(-square / 4 / self.screening**2) / square
        sixth = 4 * self.epsilon * self.sigma**6
        constant = -COULOMB * self.screening / np.sqrt(np.pi) * (self.charges**2).sum()
        constant += self.exclusions(sites)[0].mean() + self._tail(len(sites), float(np.prod(box)))
        return Tables(
            self.charges, np.array([sixth * self.sigma**6, sixth]), np.asarray(box, float), self.cutoff**2,
            self._smeared(), columns, vectors, strength, float(constant),
        )  # fmt: skip

    def _smeared(self) -> Float[np.ndarray, "powers"]:
        """C erf(alpha r) / r as a polynomial in r^2 up to the cut-off: that function is smooth, 1 / r is left exact."""
        square = lambda x: np.sqrt((x + 1) / 2) * self.cutoff
        function = lambda x: COULOMB * erf(self.screening * square(x)) / square(x)
        fit = Chebyshev.interpolate(function, DEGREE)
        x = np.linspace(-0.9999, 1, 1001)
        error = abs(fit(x) - function(x)).max() / COULOMB
        if error > _POLYNOMIAL:
            raise ValueError(
                f"a screening of {self.screening:g}/nm up to {self.cutoff:g} nm is beyond a polynomial of degree "
                f"{DEGREE} (error {error:.1e}/nm); use a larger ewald_tolerance"
            )
        return fit.convert(kind=Polynomial).coef[::-1].copy()

    def _waves(self, box: Float[np.ndarray, "3"]) -> tuple[np.ndarray, np.ndarray]:
        """Half of the waves k = 2 pi n / L up to the accuracy asked for, in columns along z, with their strength."""
        longest = 2 * self.screening * np.sqrt(-np.log(self.accuracy))
        scale = 2 * np.pi / np.asarray(box, float)
        columns, vectors = [], []
        for nx in range(int(longest / scale[0]) + 1):
            reach = int(longest / scale[1])
            for ny in range(-reach if nx else 0, reach + 1):
                left = longest**2 - (nx * scale[0]) ** 2 - (ny * scale[1]) ** 2
                if left < 0:
                    continue
                high = int(np.sqrt(left) / scale[2])
                low = -high if nx or ny else 1
                if high < low:
                    continue
                columns.append((nx, ny, low, high))
                n = np.stack([np.full(high - low + 1, nx), np.full(high - low + 1, ny), np.arange(low, high + 1)], 1)
                vectors.append(n * scale)
        return np.array(columns, np.int64).reshape(-1, 4), np.concatenate(vectors).T.copy()

    def exclusions(self, sites: Float[np.ndarray, "m s 3"]) -> tuple[np.ndarray, np.ndarray]:
        """What the waves count within each molecule, taken off: energies and forces on the sites."""
        a, b = np.triu_indices(len(self.charges), 1)
        both = (self.charges[a] != 0) & (self.charges[b] != 0)
        a, b = a[both], b[both]
        apart = sites[:, a] - sites[:, b]
        r = np.linalg.norm(apart, axis=2)
        strength = COULOMB * self.charges[a] * self.charges[b]
        bare = erf(self.screening * r) / r
        gauss = 2 * self.screening / np.sqrt(np.pi) * np.exp(-((self.screening * r) ** 2))
        push = (strength * (gauss - bare) / r**2)[:, :, None] * apart
        forces = np.zeros(sites.shape)
        for pair, (i, j) in enumerate(zip(a, b, strict=True)):
            forces[:, i] += push[:, pair]
            forces[:, j] -= push[:, pair]
        return -(strength * bare).sum(1), forces

    def _tail(self, molecules: int, volume: float) -> float:
        """OpenMM's dispersion correction, a molecule's part; it counts n (n + 1) / 2 pairs among n particles."""
        if not self.tail:
            return 0.0
        particles = molecules * len(self.charges)
        share = molecules * (molecules + 1) / (particles * (particles + 1))
        sixth = self.epsilon * self.sigma**6
        ends = sixth * self.sigma**6 / (9 * self.cutoff**9) - sixth / (3 * self.cutoff**3)
        return 8 * np.pi * particles**2 * share * ends / volume / molecules


def images(
    centres: Float[np.ndarray, "molecules 3"], box: Float[np.ndarray, "3"], cutoff: float, radius: float
) -> Images:
    """The images that can have sites within the cut-off, however molecules of this radius (nm) are turned."""
    reach = cutoff + 2 * radius
    if reach > np.min(box):
        raise ValueError(
            f"a molecule would meet its own image: the cut-off of {cutoff:g} nm and the molecule's size need an edge "
            f"of {reach:.4g} nm and the box has {np.min(box):.4g} nm; use a larger box or a shorter cut-off"
        )
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    first, others, shifts = [0], [], []
    for i, centre in enumerate(centres):
        apart = centre - centres
        nearest = np.round(apart / box)
        shift = (nearest[:, None] + steps) * box  # (molecules, steps, 3)
        near = np.linalg.norm(apart[:, None] - shift, axis=2) < reach
        near[i] = False
        j, step = np.nonzero(near)
        others.append(j)
        shifts.append(shift[j, step])
        first.append(first[-1] + len(j))
    return Images(np.array(first), np.concatenate(others), np.concatenate(shifts))


def _site_weights(engine, particles: int, atoms: int) -> Float[np.ndarray, "sites atoms"]:
    """Each site of the first molecule as a weighted sum of its atoms; virtual sites follow their atoms."""
    out = np.zeros((particles, atoms))
    real = 0
    place = {}
    for i in range(particles):
        if not engine.isVirtualSite(i):
            place[i] = real
            out[i, real] = 1.0
            real += 1
    for i in set(range(particles)) - set(place):
        site = engine.getVirtualSite(i)
        for k in range(site.getNumParticles()):
            out[i, place[site.getParticle(k)]] = site.getWeight(k)
    return out
