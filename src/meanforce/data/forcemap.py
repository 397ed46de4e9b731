"""Forces on beads from forces on atoms: f_B = B^T f with M B = I.

Every constant B with M B = I has the same conditional mean, the mean force; only the noise differs. The sum of the
forces is one; the map of least noise minimises mean |B^T f|^2, a least-squares problem with equality constraints
that falls apart into one for each kind of molecule. Atoms joined by a rigid constraint carry the same coefficient:
then the map moves no atom against a constraint, and what the constraint force would add cancels.

Labels of the response are products (B^T f - F)(U - E). Every B gives them the same mean, too, and the map of least
noise for them minimises mean (U - E)^2 |B^T f|^2, since what F adds to it is the same for every B. The mean energy of
the frames in place of E makes the map no less legal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import lstsq, null_space
from scipy.sparse import coo_matrix, csr_matrix, identity
from scipy.sparse.csgraph import connected_components

from meanforce.data.constraints import groups
from meanforce.data.errors import IllegalForceMap, MappingError

_MOST_GROUPS = 3000  # of one molecule: its second moments are held as a dense matrix
_RIDGE = 1e-10


@dataclass(frozen=True)
class Noise:
    """Mean square of the mapped forces of one kind of molecule, kJ2/(mol2 nm2), summed over its beads.

    Of a map for responses every force is multiplied by U less its mean, over its standard deviation.
    `optimal` is cross-validated: the coefficients come from one half of the frames, the mean square from the other.
    """

    beads: tuple[str, ...]
    molecules: int
    summed: float
    optimal: float

    @property
    def reduction(self) -> float:
        """The part of the mean square force that is gone; noise and mean force together are what it is of."""
        return 1.0 - self.optimal / self.summed if self.summed else 0.0


@dataclass(frozen=True, eq=False)
class ForceMap:
    """B^T, (beads, atoms), and what the noise was before and after where it was optimised."""

    matrix: csr_matrix
    noise: tuple[Noise, ...] = ()

    @property
    def reduction(self) -> float:
        """The part of the mean square force that the optimal map takes away, over all molecules."""
        before = sum(n.molecules * n.summed for n in self.noise)
        return 1.0 - sum(n.molecules * n.optimal for n in self.noise) / before if before else 0.0


def apply(matrix: csr_matrix, vectors: Float[np.ndarray, "frames n 3"]) -> Float[np.ndarray, "frames m 3"]:
    """A sparse matrix on the middle axis of every frame at once."""
    frames, n, _ = vectors.shape
    flat = np.ascontiguousarray(vectors.transpose(1, 0, 2), float).reshape(n, 3 * frames)
    return np.ascontiguousarray((matrix @ flat).reshape(matrix.shape[0], frames, 3).transpose(1, 0, 2))


def sum_force_map(
    weights: csr_matrix,
    bead_of: Int[np.ndarray, "atoms"],
    constraints: Int[np.ndarray, "m 2"] | None,
    species: Sequence[str],
) -> ForceMap:
    """The sum of the forces on the atoms of each bead; refused where a constraint leaves a bead."""
    if constraints is not None:
        i, j = constraints.T
        leaving = bead_of[i] != bead_of[j]
        if leaving.any():
            a, b = constraints[np.argmax(leaving)]
            names = [f"bead {species[bead_of[x]]!r}" if bead_of[x] >= 0 else "no bead" for x in (a, b)]
            raise IllegalForceMap(
                f"atoms {a} (in {names[0]}) and {b} (in {names[1]}) are held at a fixed distance: their summed forces "
                "would be biased. Put both into one bead, or use forces='optimal', which gives them one coefficient"
            )
    mapped = np.flatnonzero(bead_of >= 0)
    matrix = csr_matrix((np.ones(len(mapped)), (bead_of[mapped], mapped)), shape=weights.shape)
    _check_legal(weights, matrix)
    return ForceMap(matrix)


def optimal_force_map(
    atoms,
    weights: csr_matrix,
    bead_of: Int[np.ndarray, "atoms"],
    constraints: Int[np.ndarray, "m 2"] | None,
    species: Sequence[str],
    *,
    response: bool = False,
) -> ForceMap:
    """The map of least noise for the frames of `atoms` (anything with topology, batches and a length).

    With `response` the noise is that of forces times energies: frames count by the square of U less its mean.
    """
    sizes = _energy_scatter(atoms) if response else np.ones(len(atoms))
    kinds = _kinds(atoms.topology, weights, bead_of, groups(len(bead_of), constraints), species)
    moments = [np.zeros((2, kind.groups, kind.groups)) for kind in kinds]
    samples, seen, half = np.zeros(2), 0, max(len(atoms) // 2, 1)
    for frames in atoms.batches(50):
        side = (seen + np.arange(len(frames)) >= half).astype(int)
        size = sizes[seen : seen + len(frames), None, None]
        for part in set(side.tolist()):
            forces = (size * np.asarray(frames.forces, float))[side == part]
            samples[part] += len(forces)
            for kind, moment in zip(kinds, moments, strict=True):
                moment[part] += kind.second_moment(forces)
        seen += len(frames)
    rows, columns, values, noise = [], [], [], []
    for kind, moment in zip(kinds, moments, strict=True):
        kind.check(int(samples.sum()))
        coefficients = least_noise(moment.sum(axis=0), kind.constraint)
        beads = np.repeat(kind.beads[:, :, None], kind.atoms.shape[1], axis=2)
        rows.append(beads.ravel())
        columns.append(np.broadcast_to(kind.atoms[:, None, :], beads.shape).ravel())
        values.append(np.broadcast_to(coefficients[kind.group].T, beads.shape).ravel())
        noise.append(kind.noise(moment, samples))
    matrix = csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=weights.shape)
    _check_legal(weights, matrix)
    return ForceMap(matrix, tuple(noise))


def _energy_scatter(atoms) -> Float[np.ndarray, "frames"]:
    """U less its mean at the temperature of the frame, over its standard deviation there."""
    parts = [(frames.energy, frames.temperature) for frames in atoms.batches(500)]
    energy = np.concatenate([np.asarray(energy, float) for energy, _ in parts])
    kelvin = np.concatenate([np.zeros(len(e)) if t is None else np.asarray(t, float) for e, t in parts])
    scatter = np.zeros(len(energy))
    for t in np.unique(kelvin):
        of = kelvin == t
        spread = energy[of].std()
        if not spread > 0:
            raise MappingError(
                f"forces='response': the energies of the frames at {t:g} K are all the same, or there is one frame "
                "only; give more frames, or forces='optimal'"
            )
        scatter[of] = (energy[of] - energy[of].mean()) / spread
    return scatter


def least_noise(moment: Float[np.ndarray, "n n"], weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "n b"]:
    """B that minimises tr B^T G B subject to M B = I, for second moments G of the forces and weights M."""
    particular = np.linalg.pinv(weights)
    free = null_space(weights)
    if not free.shape[1]:
        return particular
    curvature = free.T @ moment @ free
    curvature[np.diag_indices_from(curvature)] += _RIDGE * max(np.trace(curvature) / len(curvature), 1e-300)
    return particular - free @ lstsq(curvature, free.T @ moment @ particular)[0]


@dataclass(frozen=True, eq=False)
class _Kind:
    """Molecules (or molecules joined by a bead) that are the same: one least-squares problem."""

    species: tuple[str, ...]
    atoms: Int[np.ndarray, "copies n"]
    beads: Int[np.ndarray, "copies b"]
    group: Int[np.ndarray, "n"]  # of each atom: those joined by constraints share a coefficient
    constraint: Float[np.ndarray, "b groups"]
    summed: Float[np.ndarray, "groups b"]  # the sum of forces; where a constraint leaves a bead, the nearest to it

    @property
    def groups(self) -> int:
        return self.constraint.shape[1]

    def second_moment(self, forces: np.ndarray) -> np.ndarray:
        """Sum over frames and copies of the products of the forces on the groups."""
        of_group = coo_matrix((np.ones(len(self.group)), (np.arange(len(self.group)), self.group))).tocsr()
        rows = forces[:, self.atoms].transpose(0, 1, 3, 2).reshape(-1, len(self.group)) @ of_group
        return rows.T @ rows

    def check(self, frames: int) -> None:
        if 3 * frames * len(self.atoms) < 2 * self.groups:
            raise MappingError(
                f"{frames} frames cannot determine {self.groups} coefficients of the force map of "
                f"{', '.join(self.species[:5])}: give more frames, or forces='sum'"
            )

    def noise(self, moments: np.ndarray, samples: np.ndarray) -> Noise:
        count = samples * len(self.atoms)
        summed = np.trace(self.summed.T @ moments.sum(axis=0) @ self.summed) / count.sum()
        if samples.min() == 0:
            return Noise(self.species, len(self.atoms), summed, summed)
        tested = 0.0
        for one, other in ((0, 1), (1, 0)):
            b = least_noise(moments[one], self.constraint)
            tested += 0.5 * np.trace(b.T @ moments[other] @ b) / count[other]
        return Noise(self.species, len(self.atoms), float(summed), float(tested))


def _kinds(topology, weights: csr_matrix, bead_of: np.ndarray, group: np.ndarray, species) -> list[_Kind]:
    n, mapped = len(bead_of), np.flatnonzero(bead_of >= 0)
    # atoms of one molecule, of one bead or of one rigid body stand or fall together
    nodes = [topology.molecules, n + bead_of, n + len(bead_of) + group]
    joined = [np.stack([nodes[0], nodes[2]], -1), np.stack([nodes[0][mapped], nodes[1][mapped]], -1)]
    i, j = np.concatenate(joined).T
    cluster = connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(3 * n, 3 * n)), directed=False)[1]
    cluster = cluster[topology.molecules]
    order = np.argsort(cluster, kind="stable")
    found: dict[tuple, list[np.ndarray]] = {}
    weight = np.asarray(weights.sum(axis=0)).ravel()  # an atom has a weight in one bead only
    for members in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1):
        if (bead_of[members] < 0).all():
            continue
        key = (
            tuple(topology.names[a] for a in members), tuple(topology.residues[a] for a in members),
            _local(bead_of[members]), _local(group[members]), tuple(np.round(weight[members], 12)),
        )  # fmt: skip
        found.setdefault(key, []).append(members)
    return [_kind(np.array(copies), weights, bead_of, group, species) for copies in found.values()]


def _kind(copies: np.ndarray, weights: csr_matrix, bead_of: np.ndarray, group: np.ndarray, species) -> _Kind:
    first = copies[0]
    local_group = np.array(_local(group[first]))
    bead = np.array(_local(bead_of[first]))
    beads = np.array([list(dict.fromkeys(row[row >= 0].tolist())) for row in bead_of[copies]])
    count = local_group.max() + 1
    if count > _MOST_GROUPS:
        raise MappingError(f"a molecule of {count} rigid groups is too large for forces='optimal'; use forces='sum'")
    of_group = np.zeros((len(first), count))
    of_group[np.arange(len(first)), local_group] = 1.0
    constraint = weights[beads[0]][:, first].toarray() @ of_group
    if np.linalg.matrix_rank(constraint) < len(beads[0]):
        raise IllegalForceMap(
            f"beads {beads[0].tolist()} are held rigid against each other by the constraints of the simulation: no map "
            "of the forces gives their mean force. Put the atoms joined by constraints into one bead"
        )
    numbers = {b: k for k, b in enumerate(dict.fromkeys(bead[bead >= 0].tolist()))}
    member = np.zeros((len(first), len(numbers)))
    for atom, b in enumerate(bead.tolist()):
        if b >= 0:
            member[atom, numbers[b]] = 1.0
    summed = of_group.T @ member / of_group.sum(axis=0)[:, None]
    return _Kind(tuple(species[b] for b in beads[0]), copies, beads, local_group, constraint, summed)


def _local(labels: np.ndarray) -> tuple[int, ...]:
    """Labels renumbered in the order in which they occur; negative ones stay -1."""
    order: dict[int, int] = {}
    return tuple(-1 if x < 0 else order.setdefault(x, len(order)) for x in labels.tolist())


def _check_legal(weights: csr_matrix, matrix: csr_matrix) -> None:
    error = np.abs(weights @ matrix.T - identity(weights.shape[0], format="csr")).max()
    if error > 1e-8:
        raise IllegalForceMap(f"M B differs from the identity by {error:.2g}: the mapped forces are no mean forces")
