"""What the atoms' energies add to E(R; T) of a model: the part that no force knows, at every temperature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.numerics.statistics import weighted_mean
from meanforce.observables.base import Scalar
from meanforce.observables.consistency import Seen, heat_of_scatter

Values = Float[np.ndarray, "temperatures"]


class Gauge(NamedTuple):
    """Constants of the mean energy and their slopes where the atoms are known; cubic between, straight beyond.

    The constant is the mean of U - E at a temperature, its slope what the scatter of U - E says of the heat capacity.
    """

    kelvin: Values
    constant: Values  # kJ/mol
    constant_error: Values
    slope: Values  # kJ/(mol K)
    slope_error: Values

    @staticmethod
    def of(seen: list[Seen]) -> Gauge:
        """From one or more temperatures (ascending)."""
        rises = [weighted_mean(s.left(), None, s.chain) for s in seen]
        heats = [heat_of_scatter(s) for s in seen]
        columns = (
            [s.kelvin for s in seen], [float(r.mean) for r in rises], [float(r.error) for r in rises],
            [h.value for h in heats], [h.error for h in heats],
        )  # fmt: skip
        return Gauge(*(np.array(column) for column in columns))

    def energy(self, kelvin: float) -> Scalar:
        """The constant at a temperature, in kJ/mol."""
        weights, slopes = self._weights(kelvin)
        value = weights @ self.constant + slopes @ self.slope
        error = np.hypot(np.linalg.norm(weights * self.constant_error), np.linalg.norm(slopes * self.slope_error))
        return Scalar("energy beside the model's", float(value), float(error), "kJ/mol")

    def covariance(self, kelvins: Values) -> Float[np.ndarray, "temperatures temperatures"]:
        """Of the errors of the constants at several temperatures: beyond those that are known they go together."""
        weights, slopes = (np.stack(part) for part in zip(*(self._weights(t) for t in kelvins), strict=True))
        rows = np.concatenate([weights * self.constant_error, slopes * self.slope_error], axis=1)
        return rows @ rows.T

    def heat_capacity(self, kelvin: float) -> Scalar:
        """Its slope in temperature, in kJ/(mol K): straight between known temperatures, constant beyond."""
        weights = np.array([np.interp(kelvin, self.kelvin, unit) for unit in np.eye(len(self.kelvin))])
        error = np.linalg.norm(weights * self.slope_error)
        return Scalar("heat capacity beside the model's", float(weights @ self.slope), float(error), "kJ/(mol K)")

    def _weights(self, kelvin: float) -> tuple[Values, Values]:
        """Of constants and slopes in the value at a temperature: Hermite's."""
        constants, slopes = np.zeros_like(self.kelvin), np.zeros_like(self.kelvin)
        if kelvin <= self.kelvin[0] or kelvin >= self.kelvin[-1]:
            end = 0 if kelvin <= self.kelvin[0] else -1
            constants[end], slopes[end] = 1.0, kelvin - self.kelvin[end]
            return constants, slopes
        low = int(np.searchsorted(self.kelvin, kelvin)) - 1
        span = self.kelvin[low + 1] - self.kelvin[low]
        t = (kelvin - self.kelvin[low]) / span
        constants[low : low + 2] = 1 - 3 * t**2 + 2 * t**3, 3 * t**2 - 2 * t**3
        slopes[low : low + 2] = span * (t - 2 * t**2 + t**3), span * (t**3 - t**2)
        return constants, slopes
