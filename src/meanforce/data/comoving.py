"""Forces on beads along motions in which the atoms of a bead turn with the beads around it.

Where a bead moves and its atoms only follow, every angle between them and the next bead is strained: the stiff forces
of these angles are most of the noise of summed forces. Here the atoms of bead I also turn about it, by the angle
theta_I(dR) that fits the motion of the beads bonded to it best (least squares over d_J = R_J - R_I),

    T_I theta_I = sum_J w_J d_J x (dR_J - dR_I),    T_I = sum_J w_J (|d_J|^2 - d_J d_J^T),

and the torque tau_I of the forces on its atoms acts on the beads that turn it: w_J (T_I^-1 tau_I) x d_J on J, minus
the same on I. The motion takes R to R + dR, as M r = R asks, since the weighted arms of a bead sum to zero. It has no
divergence, since the turning depends on R alone and a turn has none, and keeps all distances within a bead. So the
conditional mean stays the mean force, without a further term, also where the bonds within beads are held rigid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from meanforce.data.beads import neighbour_lists
from meanforce.topology import Topology

#: Of beads two bonds away, beside those one bond away: they matter where a bead has one bond, and could turn about it.
_SECOND = 0.03
_STILL = 1e-9  # of the moment of inertia: a pair of beads does not turn about its bond


class Turning(NamedTuple):
    """The beads J around each bead I, by which it turns."""

    centre: Int[np.ndarray, "pairs"]
    other: Int[np.ndarray, "pairs"]
    weight: Float[np.ndarray, "pairs"]
    beads: int

    @staticmethod
    def of(topology: Topology) -> Turning:
        """Beads one and two bonds away."""
        near = neighbour_lists(topology)
        rows = []
        for bead, first in enumerate(near):
            second = {k for j in first for k in near[j]} - {bead, *first}
            rows += [(bead, j, 1.0) for j in first] + [(bead, k, _SECOND) for k in sorted(second)]
        centre, other, weight = zip(*rows, strict=True) if rows else ((), (), ())
        return Turning(np.array(centre, int), np.array(other, int), np.array(weight), len(topology))

    def forces(
        self,
        positions: Float[np.ndarray, "frames beads 3"],
        box: Float[np.ndarray, "frames 3 3"] | None,
        torques: Float[np.ndarray, "frames beads 3"],
    ) -> Float[np.ndarray, "frames beads 3"]:
        """What the torques on the beads add to the forces on them."""
        arms = positions[:, self.other] - positions[:, self.centre]
        if box is not None:
            arms = arms - np.round(arms @ np.linalg.inv(box)) @ box
        x, y, z = np.moveaxis(np.sqrt(self.weight)[:, None] * arms, 2, 0)
        products = np.stack([y * y + z * z, -x * y, -x * z, x * x + z * z, -y * z, x * x + y * y], axis=2)
        moments = (self._sum @ _flat(products)).reshape(self.beads, len(arms), 6)[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]]
        inertia = moments.reshape(*moments.shape[:2], 3, 3)
        spread = np.trace(inertia, axis1=2, axis2=3)
        inertia = inertia + (_STILL * spread + (spread == 0))[..., None, None] * np.eye(3)
        turn = np.linalg.solve(inertia, np.moveaxis(torques, 0, 1)[..., None])[..., 0]
        pull = self.weight[:, None] * np.cross(np.moveaxis(turn[self.centre], 0, 1), arms)
        return np.moveaxis(((self._receive - self._sum) @ _flat(pull)).reshape(self.beads, len(arms), 3), 0, 1)

    @property
    def _sum(self) -> csr_matrix:
        """Sums over the pairs of each centre."""
        return self._by(self.centre)

    @property
    def _receive(self) -> csr_matrix:
        return self._by(self.other)

    def _by(self, bead: np.ndarray) -> csr_matrix:
        count = len(bead)
        return csr_matrix((np.ones(count), (bead, np.arange(count))), shape=(self.beads, count))


def _flat(values: Float[np.ndarray, "frames pairs n"]) -> Float[np.ndarray, "pairs frames*n"]:
    return np.moveaxis(values, 0, 1).reshape(values.shape[1], len(values) * values.shape[2])
