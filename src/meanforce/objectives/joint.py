"""The joint likelihood of forces and energies: both scatter with the same hidden coordinates of one frame.

At fixed beads the instantaneous force f and energy U have the covariance kT^2 dF/dT. If their noise is Gaussian,

    ln p(f, U) = ln p(f) + ln p(U | f),       <U | f> = E + w.(f - F),       w = Cov(f)^-1 Cov(f, U)

so that U - w.f is a label of E - w.F whose noise is independent of that of f, and smaller than that of U. For any
field w(R) that was settled before the fit this label has the mean E - w.F exactly, Gaussian or not: the choice of w
changes the noise alone. The model stands on both sides of the label through F, and its covariance never does: a
covariance that moves with the coefficients would trade noise for bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.objectives.matching import EnergyMatching, ForceMatching, Matching
from meanforce.potentials.base import Design, Potential
from meanforce.topology import Topology


@dataclass(frozen=True, eq=False)
class EnergyGivenForces(Matching):
    """Makes E - w.F the mean of U - w.f: what energies say beyond the forces of their frame."""

    name = "energy given forces"
    unit = "kJ/mol"
    order = 1
    centred = True

    def check(self, potential: Potential) -> None:
        EnergyMatching(self.data).check(potential)
        ForceMatching(self.data).check(potential)
        if self.data[0].displacement is None:
            raise ValueError(
                "JointMatching: the data hold no label 'displacement', which says how energies go with forces; make "
                "it with mf.cross_fit(potential, data)"
            )

    @staticmethod
    def rows(design: Design) -> Float[Array, "labels k"]:
        return design.displaced_energy

    def labels(self, frames: Frames, topology: Topology) -> Float[np.ndarray, "labels"]:
        del topology
        work = np.asarray(frames.displacement, float) * np.asarray(frames.forces, float)
        return np.asarray(frames.energy, float) - work.sum(axis=(1, 2))

    def variates(self, frames: Frames) -> Float[np.ndarray, "frames m"]:
        return EnergyMatching(self.data).variates(frames)


@dataclass(frozen=True, eq=False)
class JointMatching:
    """Forces and energies of the same frames by their joint likelihood, instead of as if they were independent.

    `data` come from `mf.cross_fit`, which settles beside its labels how energies go with forces. A control variate in
    the data counts as in `EnergyMatching`.
    """

    data: Dataset
    weight: float = 1.0

    @property
    def parts(self) -> tuple[ForceMatching, EnergyGivenForces]:
        """Two likelihoods with independent noise."""
        return ForceMatching(self.data, self.weight), EnergyGivenForces(self.data, self.weight)
