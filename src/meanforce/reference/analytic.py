"""Beads with a bath that is integrated out in closed form: truth for every quantity, samples for every method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.polynomial import Polynomial

from meanforce.reference.curvilinear import CurvedValley, RadialDistance, SquaredDistance
from meanforce.reference.exact import ExactBead, Labels, draw_from
from meanforce.units import KB

_X = Polynomial([0.0, 1.0])

__all__ = [
    "CurvedValley",
    "EnsembleTruth",
    "ExactBead",
    "ExponentialBath",
    "Labels",
    "ModulatedBath",
    "PowerBath",
    "RadialDistance",
    "SquaredDistance",
    "TwoStateBath",
]


@dataclass(frozen=True, eq=False)
class ModulatedBath(ExactBead):
    """A harmonic bath whose stiffness changes with R (V2): U = V(R) + kappa(R) |q|^2 / 2, q in d dimensions.

    The bath makes the force depend linearly on temperature: F = -V' - (d/2) kT kappa'/kappa.
    """

    potential: Polynomial = field(default_factory=lambda: _X**4 / 4 - _X**2 / 2)
    stiffness: Polynomial = field(default_factory=lambda: 1 + _X**2 / 2)
    dimensions: int = 3

    def free_energy(self, r, temperature):
        kt = KB * temperature
        return self.potential(r) + 0.5 * self.dimensions * kt * np.log(self.stiffness(r) / (2 * np.pi * kt))

    def energy(self, r, temperature):
        return self.potential(r) + 0.5 * self.dimensions * KB * temperature

    def variance(self, r, temperature):
        return np.full_like(r, 0.5 * self.dimensions * (KB * temperature) ** 2)

    def force(self, r, temperature):
        return -self.potential.deriv()(r) - 0.5 * KB * temperature * self.dimensions * self._slope(r)

    def response_force(self, r, temperature):
        return -0.5 * KB * self.dimensions * self._slope(r)

    def covariance(self, r, temperature):
        return -0.5 * (KB * temperature) ** 2 * self.dimensions * self._slope(r)

    def force_variance(self, r, temperature):
        return 0.5 * self.dimensions * (KB * temperature * self._slope(r)) ** 2

    def labels(self, r, temperature, rng):
        bath = rng.gamma(0.5 * self.dimensions, KB * temperature, np.shape(r))
        return Labels(-self.potential.deriv()(r) - self._slope(r) * bath, self.potential(r) + bath)

    def draw(self, n, temperature, rng):
        return draw_from(lambda r: self.free_energy(r, temperature), temperature, n, rng)

    def _slope(self, r):
        return self.stiffness.deriv()(r) / self.stiffness(r)


@dataclass(frozen=True, eq=False)
class TwoStateBath(ExactBead):
    """An internal state with an energy gap (V3): U = V(R) + s Delta(R), s = 0 or 1, the latter g-fold.

    The Schottky anomaly: nothing is linear in temperature.
    """

    potential: Polynomial = field(default_factory=lambda: (_X**2 - 1) ** 2)
    gap: Polynomial = field(default_factory=lambda: 1.5 + _X)
    degeneracy: float = 5.0

    def free_energy(self, r, temperature):
        kt = KB * temperature
        return self.potential(r) - kt * np.logaddexp(0.0, np.log(self.degeneracy) - self.gap(r) / kt)

    def energy(self, r, temperature):
        return self.potential(r) + self.gap(r) * self.excited(r, temperature)

    def variance(self, r, temperature):
        p = self.excited(r, temperature)
        return self.gap(r) ** 2 * p * (1 - p)

    def force(self, r, temperature):
        return -self.potential.deriv()(r) - self.gap.deriv()(r) * self.excited(r, temperature)

    def response_force(self, r, temperature):
        return self.covariance(r, temperature) / (KB * temperature**2)

    def covariance(self, r, temperature):
        p = self.excited(r, temperature)
        return -self.gap.deriv()(r) * self.gap(r) * p * (1 - p)

    def third_cumulant(self, r, temperature):
        p = self.excited(r, temperature)
        return -self.gap.deriv()(r) * self.gap(r) ** 2 * p * (1 - p) * (1 - 2 * p)

    def force_variance(self, r, temperature):
        p = self.excited(r, temperature)
        return self.gap.deriv()(r) ** 2 * p * (1 - p)

    def labels(self, r, temperature, rng):
        state = rng.random(np.shape(r)) < self.excited(r, temperature)
        return Labels(-self.potential.deriv()(r) - state * self.gap.deriv()(r), self.potential(r) + state * self.gap(r))

    def draw(self, n, temperature, rng):
        return draw_from(lambda r: self.free_energy(r, temperature), temperature, n, rng)

    def excited(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """Probability of the upper state."""
        return 1 / (1 + np.exp(self.gap(r) / (KB * temperature)) / self.degeneracy)


@dataclass(frozen=True, eq=False)
class PowerBath(ExactBead):
    """A bath of any power (V4): U = V(R) + a(R) |q|^p, q in d dimensions; skewed label noise.

    The mean absolute error is minimised by the conditional median, `median_force`, and not by the force.
    """

    potential: Polynomial = field(default_factory=lambda: _X**4 / 4 - _X**2 / 2)
    prefactor: Polynomial = field(default_factory=lambda: 1 + _X**2 / 2)
    dimensions: int = 2
    power: float = 2.0

    def free_energy(self, r, temperature):
        kt = KB * temperature
        return self.potential(r) + self._shape * kt * np.log(self.prefactor(r) / kt)

    def energy(self, r, temperature):
        return self.potential(r) + self._shape * KB * temperature

    def variance(self, r, temperature):
        return np.full_like(r, self._shape * (KB * temperature) ** 2)

    def force(self, r, temperature):
        return -self.potential.deriv()(r) - self._shape * KB * temperature * self._slope(r)

    def response_force(self, r, temperature):
        return -self._shape * KB * self._slope(r)

    def covariance(self, r, temperature):
        return -self._shape * (KB * temperature) ** 2 * self._slope(r)

    def force_variance(self, r, temperature):
        return self._shape * (KB * temperature * self._slope(r)) ** 2

    def median_force(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """The conditional median of the force label."""
        from scipy.special import gammaincinv

        median = gammaincinv(self._shape, 0.5) * KB * temperature
        return -self.potential.deriv()(r) - median * self._slope(r)

    def labels(self, r, temperature, rng):
        bath = rng.gamma(self._shape, KB * temperature, np.shape(r))
        return Labels(-self.potential.deriv()(r) - self._slope(r) * bath, self.potential(r) + bath)

    def draw(self, n, temperature, rng):
        return draw_from(lambda r: self.free_energy(r, temperature), temperature, n, rng)

    @property
    def _shape(self) -> float:
        return self.dimensions / self.power

    def _slope(self, r):
        return self.prefactor.deriv()(r) / self.prefactor(r)


class EnsembleTruth(NamedTuple):
    """Averages over the whole ensemble at one temperature, energies in kJ/mol."""

    log_partition: float
    mean_energy: float
    variance_within: float  # E_R[Var_R(U)]
    variance_between: float  # Var_R(<U>_R)


@dataclass(frozen=True, eq=False)
class ExponentialBath(ExactBead):
    """The whole ensemble in closed form (V6): U = K R^2 / 2 + (k0/2) exp(a R) |q|^2, q in d dimensions.

    R is Gaussian, and the force is linear in R and in T: F = -K R - (d a / 2) kT.
    """

    spring: float = 2.0
    growth: float = 0.8
    bath_spring: float = 1.5
    dimensions: int = 3

    def free_energy(self, r, temperature):
        kt, half = KB * temperature, 0.5 * self.dimensions
        bath = np.log(self.bath_spring / (2 * np.pi * kt)) + self.growth * r
        return 0.5 * self.spring * r**2 + half * kt * bath

    def energy(self, r, temperature):
        return 0.5 * self.spring * r**2 + 0.5 * self.dimensions * KB * temperature

    def variance(self, r, temperature):
        return np.full_like(r, 0.5 * self.dimensions * (KB * temperature) ** 2)

    def force(self, r, temperature):
        return -self.spring * r - 0.5 * self.dimensions * self.growth * KB * temperature

    def response_force(self, r, temperature):
        return np.full_like(r, -0.5 * self.dimensions * self.growth * KB)

    def covariance(self, r, temperature):
        return np.full_like(r, -0.5 * self.dimensions * self.growth * (KB * temperature) ** 2)

    def force_variance(self, r, temperature):
        return np.full_like(r, 0.5 * self.dimensions * (self.growth * KB * temperature) ** 2)

    def labels(self, r, temperature, rng):
        bath = rng.gamma(0.5 * self.dimensions, KB * temperature, np.shape(r))
        return Labels(-self.spring * r - self.growth * bath, 0.5 * self.spring * r**2 + bath)

    def draw(self, n, temperature, rng):
        mean, variance = self.position_moments(temperature)
        return rng.normal(mean, variance**0.5, n)

    def position_moments(self, temperature: float) -> tuple[float, float]:
        """Mean and variance of R."""
        kt = KB * temperature
        return -0.5 * self.dimensions * self.growth * kt / self.spring, kt / self.spring

    def ensemble(self, temperature: float) -> EnsembleTruth:
        kt, d = KB * temperature, self.dimensions
        tilt = d**2 * self.growth**2 * kt / (8 * self.spring)
        log_bath = 0.5 * d * np.log(2 * np.pi * kt / self.bath_spring)
        return EnsembleTruth(
            log_partition=float(log_bath + 0.5 * np.log(2 * np.pi * kt / self.spring) + tilt),
            mean_energy=0.5 * (d + 1) * kt + tilt * kt,
            variance_within=0.5 * d * kt**2,
            variance_between=0.5 * kt**2 + 2 * tilt * kt**2,
        )
