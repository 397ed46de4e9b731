"""What an exactly solvable bead is: closed forms on one side, independent samples on the other."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.frames import Frames
from meanforce.units import KB

_CELLS = 4096
_HEADROOM = 1.05  # of the staircase over the density; far more than a smooth density rises within one cell
_NEGLIGIBLE = 40.0  # kT above the lowest free energy


class Labels(NamedTuple):
    """What a frame of atoms says of the bead: instantaneous force (kJ/(mol nm)) and potential energy (kJ/mol)."""

    force: Float[np.ndarray, "*n"]
    energy: Float[np.ndarray, "*n"]


class ExactBead(abc.ABC):
    """One bead on a line, R in nm, with bath coordinates that are integrated out exactly.

    Subclasses are final. All take positions R and one temperature in K and return one number for each position;
    numbers in brackets are those of the problems in the documentation. With `kT` written in kJ/mol the
    closed forms are those with k_B = 1, a temperature of kT / KB.
    """

    @abc.abstractmethod
    def free_energy(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """A(R; T) in kJ/mol, in the gauge in which dPhi/dbeta is exactly the mean energy."""

    @abc.abstractmethod
    def energy(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """Mean potential energy at R, <U>_R, in kJ/mol."""

    @abc.abstractmethod
    def variance(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """Var_R(U) in (kJ/mol)^2."""

    @abc.abstractmethod
    def force(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """Mean force -dA/dR in kJ/(mol nm)."""

    @abc.abstractmethod
    def response_force(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """dF/dT in kJ/(mol nm K)."""

    @abc.abstractmethod
    def covariance(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """Cov_R(force label, U)."""

    @abc.abstractmethod
    def force_variance(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """Var_R(force label): the irreducible noise of force matching at R."""

    @abc.abstractmethod
    def labels(self, r: Float[np.ndarray, "*n"], temperature: float, rng: np.random.Generator) -> Labels:
        """Independent instantaneous labels at fixed R: call it again for a replica."""

    @abc.abstractmethod
    def draw(self, n: int, temperature: float, rng: np.random.Generator) -> Float[np.ndarray, "n"]:
        """Independent positions of the canonical ensemble."""

    def entropy(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """S = (E - A) / T in kJ/(mol K)."""
        return (self.energy(r, temperature) - self.free_energy(r, temperature)) / temperature

    def third_cumulant(self, r: Float[np.ndarray, "*n"], temperature: float) -> Float[np.ndarray, "*n"]:
        """d2F/d beta2, kappa_R(f, U, U) under a linear map: here of a force that is linear in temperature."""
        return 2 * (KB * temperature) ** 3 / KB * self.response_force(r, temperature)

    def sample(self, n: int, temperature: float, seed: int) -> Frames:
        """Independent canonical frames with instantaneous force and energy labels."""
        rng = np.random.default_rng(seed)
        r = self.draw(n, temperature, rng)
        return line_frames(r, self.labels(r, temperature, rng), temperature)

    def noiseless(self, r: Float[np.ndarray, "n"], temperature: float) -> Frames:
        """Frames at given positions that carry exact labels: mean force and energy, and the cumulants beside them.

        The covariance is kT^2 dF/dT, which under a map that is not linear holds the part k T^2 k <D> of the map.
        """
        r, kt = np.asarray(r, float), KB * temperature
        frames = line_frames(r, Labels(self.force(r, temperature), self.energy(r, temperature)), temperature)
        return frames.with_(
            covariance=_along(kt * temperature * self.response_force(r, temperature)),
            variance=self.variance(r, temperature),
            third_cumulant=_along(self.third_cumulant(r, temperature)),
        )


def _along(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 1 3"]:
    return np.stack([values, np.zeros_like(values), np.zeros_like(values)], axis=-1)[:, None]


def line_frames(r: Float[np.ndarray, "n"], labels: Labels, temperature: float) -> Frames:
    """One bead along x; y and z are zero."""
    return Frames(
        positions=_along(r),
        forces=_along(labels.force),
        energy=np.asarray(labels.energy, float),
        temperature=np.full(len(r), float(temperature)),
    )


def draw_from(
    free_energy: Callable[[np.ndarray], np.ndarray],
    temperature: float,
    n: int,
    rng: np.random.Generator,
    start: tuple[float, float] = (-1.0, 1.0),
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Float[np.ndarray, "n"]:
    """Independent draws from exp(-A(R)/kT) on a line: rejection from a staircase above the density.

    The interval grows from `start` until the density at its ends is negligible or a bound is reached.
    """
    reduced = lambda r: free_energy(r) / (KB * temperature)
    low, high = _interval(reduced, start, bounds)
    edges = np.linspace(low, high, _CELLS + 1)
    floor = reduced(edges).min()
    density = np.exp(floor - reduced(edges))
    stairs = _HEADROOM * np.maximum(density[1:], density[:-1])
    drawn: list[np.ndarray] = []
    missing = n
    while missing > 0:
        cell = rng.choice(_CELLS, 2 * missing + 16, p=stairs / stairs.sum())
        r = edges[cell] + rng.random(len(cell)) * (edges[1] - edges[0])
        ratio = np.exp(floor - reduced(r)) / stairs[cell]
        if ratio.max() > 1 and density[cell[ratio.argmax()]] > 1e-12:
            raise ValueError("the free energy is too rough to draw from: it varies within a 4096th of its range")
        drawn.append(r[rng.random(len(r)) < ratio][:missing])
        missing -= len(drawn[-1])
    return np.concatenate(drawn) if drawn else np.zeros(0)


def _interval(reduced: Callable, start: tuple[float, float], bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = start
    for _ in range(64):
        inside = reduced(np.linspace(low, high, 257))
        edge = reduced(np.array([low, high])) - inside.min()
        wide_low = low <= bounds[0] or edge[0] > _NEGLIGIBLE
        wide_high = high >= bounds[1] or edge[1] > _NEGLIGIBLE
        if wide_low and wide_high:
            return low, high
        span = 0.5 * (high - low)
        low = low if wide_low else max(low - span, bounds[0])
        high = high if wide_high else min(high + span, bounds[1])
    raise ValueError("the free energy does not confine the bead: add a term that grows with distance")
