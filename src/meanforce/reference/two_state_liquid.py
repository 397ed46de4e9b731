"""A many-body liquid that is not linear in temperature, known exactly: molecules of two states (V10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from meanforce.frames import Frames
from meanforce.reference.atomistic import cubic_lattice
from meanforce.reference.liquids import RELAXATION, PairFunction, PairSums, labelled, summed
from meanforce.reference.two_state_kernels import metropolis, slopes_squared
from meanforce.topology import Topology
from meanforce.units import KB


class StateConfigurations(NamedTuple):
    """Molecules of a liquid of two states: where they are, and which of them are in the upper one."""

    centres: Float[np.ndarray, "frames molecules 3"]
    excited: Bool[np.ndarray, "frames molecules"]
    chain: np.ndarray
    temperature: float


@dataclass(frozen=True, eq=False)
class TwoStateLiquid:
    """Molecules of two states s_i = 0 or 1, U = sum v(X_ij) + sum_i s_i Delta_i, Delta_i = D0 + sum_j g(X_ij).

    The upper state is g0-fold. Summing over the states leaves A = sum v - kT sum_i ln(1 + g0 exp(-Delta_i/kT)): a
    function of the density around each molecule, as in an embedded atom, and the Schottky anomaly of each, so that no
    expansion in temperature ends. Methods take centres of shape (frames, molecules, 3) in a cubic box and a
    temperature in K.
    """

    molecules: int = 64
    edge: float = 2.0  # nm
    energetic: PairFunction = field(default_factory=lambda: PairFunction.compact(60.0, 0.9, root=0.42))  # v, kJ/mol
    splitting: PairFunction = field(default_factory=lambda: PairFunction.compact(12.0, 0.9))  # g, kJ/mol
    gap: float = -4.0  # D0, kJ/mol
    degeneracy: float = 5.0  # g0
    mass: float = 28.0  # u

    def __post_init__(self):
        for function in (self.energetic, self.splitting):
            if function.breaks[0] != 0:
                raise ValueError("a pair function starts at distance 0; give its pieces from there")
        if 2 * self.cutoff > self.edge:
            raise ValueError(
                f"the cut-off of {self.cutoff:g} nm exceeds half the box edge of {self.edge:g} nm; use a larger box"
            )
        if not self.degeneracy > 0:
            raise ValueError(f"degeneracy={self.degeneracy}: the weight of the upper state is positive")

    @property
    def cutoff(self) -> float:
        return max(self.energetic.cutoff, self.splitting.cutoff)

    @property
    def topology(self) -> Topology:
        """Of the beads."""
        return Topology.of(["S"] * self.molecules, masses={"S": self.mass})

    # The truth at fixed centres

    def gaps(self, centres: Float[np.ndarray, "f n 3"]) -> Float[np.ndarray, "f n"]:
        """Delta_i in kJ/mol."""
        return self.gap + self._sums(centres, 0.0).stiffening

    def excited(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f n"]:
        """p_i, the probability of the upper state."""
        return _probability(self._reduced(self.gaps(centres), temperature))

    def free_energy(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        """A(X; T) in kJ/mol, in the gauge in which dPhi/dbeta is exactly the mean energy."""
        sums = self._sums(centres, 0.0)
        freed = np.logaddexp(0.0, self._reduced(self.gap + sums.stiffening, temperature))
        return (sums.potential - KB * temperature * freed).sum(axis=1)

    def energy(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        """<U>_X = sum v + sum_i p_i Delta_i."""
        sums = self._sums(centres, 0.0)
        gaps = self.gap + sums.stiffening
        return (sums.potential + gaps * _probability(self._reduced(gaps, temperature))).sum(axis=1)

    def entropy(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        return (self.energy(centres, temperature) - self.free_energy(centres, temperature)) / temperature

    def variance(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        """Var_X(U) = sum_i Delta_i^2 p_i (1 - p_i)."""
        gaps = self.gaps(centres)
        p = _probability(self._reduced(gaps, temperature))
        return (gaps**2 * p * (1 - p)).sum(axis=1)

    def force(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f n 3"]:
        """Mean force on each molecule."""
        return self._mean_sums(centres, temperature).forces

    def covariance(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f n 3"]:
        """Cov_X(f, U) = -sum_k Delta_k p_k (1 - p_k) grad Delta_k."""
        gaps = self.gaps(centres)
        p = _probability(self._reduced(gaps, temperature))
        return self._pull(centres, gaps * p * (1 - p))

    def third_cumulant(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f n 3"]:
        """kappa_X(f, U, U) = -sum_k Delta_k^2 p_k (1 - p_k) (1 - 2 p_k) grad Delta_k."""
        gaps = self.gaps(centres)
        p = _probability(self._reduced(gaps, temperature))
        return self._pull(centres, gaps**2 * p * (1 - p) * (1 - 2 * p))

    def response_force(
        self, centres: Float[np.ndarray, "f n 3"], temperature: float, order: int = 1
    ) -> Float[np.ndarray, "f n 3"]:
        """dF/dT, or d2F/dT2 for `order` 2, in kJ/(mol nm K^order)."""
        if order not in (1, 2):
            raise ValueError(f"order={order}: the first and the second response force are known here")
        first = self.covariance(centres, temperature) / (KB * temperature**2)
        if order == 1:
            return first
        return self.third_cumulant(centres, temperature) / (KB * temperature**2) ** 2 - 2 * first / temperature

    def virial(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Float[np.ndarray, "f"]:
        """Mean virial -dA/d(ln L) in kJ/mol."""
        return self._mean_sums(centres, temperature).virial

    def noise_floor(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> float:
        """Mean square noise of one component of a force label: the least loss any model can reach.

        Cov_X(f_i) = sum_k p_k (1 - p_k) (grad_i Delta_k)^2, over the molecule itself and its neighbours.
        """
        sums, g = self._sums(centres, 0.0), self.splitting
        p = _probability(self._reduced(self.gap + sums.stiffening, temperature))
        others = slopes_squared(np.ascontiguousarray(centres, float), p * (1 - p), self.edge, g.breaks, g.coefficients)
        return float((p * (1 - p) * (sums.response**2).sum(axis=-1) + others).mean() / 3)

    # Samples

    def draw(
        self, frames: int, temperature: float, seed: int, *, chains: int = 4, sweeps: int = 20
    ) -> StateConfigurations:
        """Canonical configurations by Metropolis moves on A(X; T), then exact states.

        `chains` start apart; frames of one chain are `sweeps` sweeps over all molecules apart.
        """
        rng = np.random.default_rng(seed)
        counts = [len(part) for part in np.array_split(np.arange(frames), max(1, min(chains, frames)))]
        start, (v, g) = cubic_lattice(self.molecules, self.edge), (self.energetic, self.splitting)
        tables = (v.breaks, v.coefficients, g.breaks, g.coefficients)
        states, sampling = (self.gap, float(np.log(self.degeneracy))), (sweeps, RELAXATION)
        parts = [
            metropolis(start, self.edge, tables, states, KB * temperature, count, sampling, rng) for count in counts
        ]
        centres = np.concatenate(parts)
        chain = np.repeat(np.arange(len(counts)), counts)
        return StateConfigurations(centres, self.draw_states(centres, temperature, rng), chain, temperature)

    def draw_states(
        self, centres: Float[np.ndarray, "f n 3"], temperature: float, rng: np.random.Generator
    ) -> Bool[np.ndarray, "f n"]:
        """Independent states at fixed centres: call it again for a replica."""
        p = self.excited(centres, temperature)
        return rng.random(p.shape) < p

    def beads(self, drawn: StateConfigurations) -> Frames:
        """Frames of the centres with instantaneous labels, and energies of the molecules."""
        sums = self._sums(drawn.centres, drawn.excited.astype(float))
        own = sums.potential + drawn.excited * (self.gap + sums.stiffening)
        energy = own.sum(axis=1)
        frames = labelled(self.edge, drawn.centres, sums.forces, energy, sums.virial, drawn.temperature, drawn.chain)
        return frames.with_(local_energy=own)

    def sample(self, frames: int, temperature: float, seed: int, *, chains: int = 4, sweeps: int = 20) -> Frames:
        """`draw`, then the frames of the beads."""
        return self.beads(self.draw(frames, temperature, seed, chains=chains, sweeps=sweeps))

    def noiseless(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> Frames:
        """Frames at given centres with the exact mean force, energy and virial as labels, and the cumulants beside."""
        sums, none = self._mean_sums(centres, temperature), np.zeros(len(centres), int)
        energy = self.energy(centres, temperature)
        return labelled(self.edge, centres, sums.forces, energy, sums.virial, temperature, none).with_(
            covariance=self.covariance(centres, temperature),
            variance=self.variance(centres, temperature),
            third_cumulant=self.third_cumulant(centres, temperature),
        )

    def _reduced(self, gaps: Float[np.ndarray, "f n"], temperature: float) -> Float[np.ndarray, "f n"]:
        """ln g0 - Delta/kT: the logarithm of the odds of the upper state."""
        return np.log(self.degeneracy) - gaps / (KB * temperature)

    def _mean_sums(self, centres: Float[np.ndarray, "f n 3"], temperature: float) -> PairSums:
        return self._sums(centres, self.excited(centres, temperature))

    def _pull(self, centres: Float[np.ndarray, "f n 3"], weights: Float[np.ndarray, "f n"]):
        """-sum_k w_k grad Delta_k."""
        return self._sums(centres, weights).forces - self._sums(centres, 0.0).forces

    def _sums(self, centres: Float[np.ndarray, "f n 3"], weights) -> PairSums:
        return summed(self.energetic, self.splitting, self.edge, centres, weights)


def _probability(odds: Float[np.ndarray, "f n"]) -> Float[np.ndarray, "f n"]:
    return 0.5 * (1 + np.tanh(0.5 * odds))
