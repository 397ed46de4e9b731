"""Beads that are non-linear functions of the atoms (V5): the force label needs the divergence of its force map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy.polynomial import Polynomial

from meanforce.reference.exact import ExactBead, Labels, draw_from
from meanforce.units import KB


@dataclass(frozen=True, eq=False)
class RadialDistance(ExactBead):
    """The distance R = |r| of a harmonic particle in space, U = k r^2 / 2: A = k R^2 / 2 - 2 kT ln R.

    The label f_B + kT D with B = r/|r| and D = 2/R has no noise at all, and misses half the physics without D.
    """

    spring: float = 1.0

    def free_energy(self, r, temperature):
        return 0.5 * self.spring * r**2 - 2 * KB * temperature * np.log(r) - KB * temperature * np.log(4 * np.pi)

    def energy(self, r, temperature):
        return 0.5 * self.spring * r**2

    def variance(self, r, temperature):
        return np.zeros_like(r)

    def force(self, r, temperature):
        return -self.spring * r + 2 * KB * temperature / r

    def response_force(self, r, temperature):
        return 2 * KB / r

    def covariance(self, r, temperature):
        return np.zeros_like(r)

    def force_variance(self, r, temperature):
        return np.zeros_like(r)

    def labels(self, r, temperature, rng):
        return Labels(self.force(r, temperature), self.energy(r, temperature))

    def draw(self, n, temperature, rng):
        return np.linalg.norm(rng.normal(0, (KB * temperature / self.spring) ** 0.5, (n, 3)), axis=1)


@dataclass(frozen=True, eq=False)
class SquaredDistance(ExactBead):
    """The squared distance xi = r^2 of a harmonic particle in space, U = k xi / 2.

    With the mass metric taken out the free energy is that of the distance: `metric_free_energy`.
    """

    spring: float = 1.0

    def free_energy(self, r, temperature):
        kt = KB * temperature
        return 0.5 * self.spring * r - 0.5 * kt * np.log(r) - kt * np.log(2 * np.pi)

    def energy(self, r, temperature):
        return 0.5 * self.spring * r

    def variance(self, r, temperature):
        return np.zeros_like(r)

    def force(self, r, temperature):
        return -0.5 * self.spring + 0.5 * KB * temperature / r

    def response_force(self, r, temperature):
        return 0.5 * KB / r

    def covariance(self, r, temperature):
        return np.zeros_like(r)

    def force_variance(self, r, temperature):
        return np.zeros_like(r)

    def metric_free_energy(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """W = A - (kT/2) ln G with G = 4 xi (unit mass): equal to that of any other function of the distance."""
        return self.free_energy(r, temperature) - 0.5 * KB * temperature * np.log(4 * r)

    def labels(self, r, temperature, rng):
        return Labels(self.force(r, temperature), self.energy(r, temperature))

    def draw(self, n, temperature, rng):
        return (rng.normal(0, (KB * temperature / self.spring) ** 0.5, (n, 3)) ** 2).sum(axis=1)


@dataclass(frozen=True, eq=False)
class CurvedValley(ExactBead):
    """A coordinate that follows a curved valley: xi = x + a y^2 / 2, U = V(xi) + k y^2 / 2, so that A = V + const.

    Constraint dynamics at fixed xi without its metric correction, or labels without kT D, are visibly wrong.
    """

    potential: Polynomial = field(default_factory=lambda: Polynomial([0.0, 0.0, 0.5]))
    curvature: float = 0.9
    spring: float = 1.3

    def free_energy(self, r, temperature):
        kt = KB * temperature
        return self.potential(r) - 0.5 * kt * np.log(2 * np.pi * kt / self.spring)

    def energy(self, r, temperature):
        return self.potential(r) + 0.5 * KB * temperature

    def variance(self, r, temperature):
        return np.full_like(r, 0.5 * (KB * temperature) ** 2)

    def force(self, r, temperature):
        return -self.potential.deriv()(r)

    def response_force(self, r, temperature):
        return np.zeros_like(r)

    def covariance(self, r, temperature):
        return np.full_like(r, -KB * temperature**2 * KB * self.mean_divergence(temperature))

    def force_variance(self, r, temperature):
        noise = lambda y: self._noise(y, temperature) ** 2
        return np.full_like(r, self._average(noise, temperature))

    def labels(self, r, temperature, rng):
        y = rng.normal(0, (KB * temperature / self.spring) ** 0.5, np.shape(r))
        return Labels(self.force(r, temperature) + self._noise(y, temperature), self.potential(r) + self._bath(y))

    def draw(self, n, temperature, rng):
        return draw_from(self.potential, temperature, n, rng)

    def mean_divergence(self, temperature: float) -> float:
        """<D>: what kT must be multiplied by to complete the projected force."""
        return self._average(self.divergence, temperature)

    def divergence(self, y: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """D of the force map B = (1, a y) / (1 + a^2 y^2)."""
        bent = (self.curvature * y) ** 2
        return self.curvature * (1 - bent) / (1 + bent) ** 2

    def mean_square(self, temperature: float, *, corrected: bool = True) -> float:
        """<y^2> at fixed xi; uncorrected, as constraint dynamics samples it: with the weight |G|^(1/2)."""
        if corrected:
            return KB * temperature / self.spring
        weight = lambda y: np.sqrt(1 + (self.curvature * y) ** 2)
        return self._average(lambda y: y**2 * weight(y), temperature) / self._average(weight, temperature)

    def _bath(self, y):
        return 0.5 * self.spring * y**2

    def _noise(self, y, temperature):
        """Projected force of the bath with its divergence; zero on average."""
        bent = (self.curvature * y) ** 2
        projected = -self.curvature * self.spring * y**2 / (1 + bent)
        return projected + KB * temperature * self.divergence(y)

    def _average(self, value, temperature: float) -> float:
        """Over y, Gaussian: the trapezoidal rule, which converges exponentially here."""
        y = np.linspace(-12, 12, 4001) * (KB * temperature / self.spring) ** 0.5
        weight = np.exp(-self._bath(y) / (KB * temperature))
        return float((value(y) * weight).sum() / weight.sum())
