"""From groups of atoms to beads: weights, the walk that makes a bead whole, and the topology of the beads."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping as Table
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.data.errors import MappingError
from meanforce.topology import Topology


class Bead(NamedTuple):
    """A bead of some species and the atoms it stands for."""

    species: str
    atoms: Int[np.ndarray, "members"]


class Walks(NamedTuple):
    """How each bead is put together, atom by atom: rows of bead b are start[b]:start[b + 1].

    The first row of a bead is its root; every other names the earlier row (`parent`) next to which its atom
    stands. Rows that are no members carry no weight: they are the way to a member.
    """

    start: Int[np.ndarray, "beads+1"]
    atom: Int[np.ndarray, "rows"]
    parent: Int[np.ndarray, "rows"]
    weight: Float[np.ndarray, "rows"]
    member: np.ndarray


def walks(topology: Topology, beads: Sequence[Bead], position: str | Table[str, str]) -> Walks:
    """Positions are weighted sums of atoms: by 'mass', 'geometry' or one atom's name, for all or by species."""
    near = neighbour_lists(topology)
    parts: list[tuple] = []
    for bead in beads:
        rule = position if isinstance(position, str) else position.get(bead.species)
        if rule is None:
            raise MappingError(
                f"position= says nothing of bead {bead.species!r}; give 'mass', 'geometry' or an atom's name"
            )
        weight = dict(zip(bead.atoms.tolist(), _weights(topology, bead, rule), strict=True))
        order, before = _walk(bead.atoms.tolist(), near)
        parts.append((order, before, [weight.get(a, 0.0) for a in order], [a in weight for a in order]))
    start = np.cumsum([0] + [len(p[0]) for p in parts])
    atoms, parents, weights, members = (np.concatenate([np.asarray(p[k]) for p in parts]) for k in range(4))
    rows = np.repeat(start[:-1], np.diff(start))
    parents = np.where(parents < 0, -1, parents + rows)
    return Walks(start, atoms.astype(np.int64), parents, weights.astype(float), members)


def bead_topology(
    topology: Topology, beads: Sequence[Bead], bonds: Sequence[tuple[int, int]] | np.ndarray | None
) -> Topology:
    """Bonds between beads where atoms of both are bonded, also through atoms in no bead; then angles, dihedrals."""
    bead_of = membership(topology, beads)
    pairs = _bead_bonds(topology, bead_of) if bonds is None else _stated(bonds, len(beads))
    first = np.array([b.atoms[0] for b in beads])
    masses = np.array([topology.masses[b.atoms].sum() for b in beads])
    angles, dihedrals = _chains(pairs, len(beads))
    species = tuple(b.species for b in beads)
    return Topology(
        species, masses, names=species, molecules=_bead_molecules(topology, bead_of, pairs, len(beads)),
        residues=tuple(topology.residues[i] for i in first), residue_ids=topology.residue_ids[first],
        bonds=pairs, angles=angles, dihedrals=dihedrals,
    )  # fmt: skip


def membership(topology: Topology, beads: Sequence[Bead]) -> Int[np.ndarray, "atoms"]:
    """The bead of each atom, -1 for none; an atom in two beads is refused."""
    if not beads:
        raise MappingError("the mapping has no beads")
    bead_of = np.full(len(topology), -1)
    for number, bead in enumerate(beads):
        taken = bead_of[bead.atoms] >= 0
        if taken.any() or len(set(bead.atoms.tolist())) < len(bead.atoms):
            atom = int(bead.atoms[np.argmax(taken)])
            other = beads[bead_of[atom]].species
            raise MappingError(
                f"atom {atom} ({topology.residues[atom]} {topology.names[atom]}) is in bead {bead.species!r} and in "
                f"{other!r}: an atom belongs to one bead at most, or mapped forces are no mean forces"
            )
        bead_of[bead.atoms] = number
    return bead_of


def neighbour_lists(topology: Topology) -> list[list[int]]:
    near: list[list[int]] = [[] for _ in range(len(topology))]
    for i, j in topology.bonds.tolist():
        near[i].append(j)
        near[j].append(i)
    return near


def _weights(topology: Topology, bead: Bead, rule: str) -> np.ndarray:
    if rule == "mass":
        weight = topology.masses[bead.atoms]
    elif rule == "geometry":
        weight = np.ones(len(bead.atoms))
    else:
        weight = np.array([topology.names[a] == rule for a in bead.atoms], float)
        if weight.sum() != 1:
            names = ", ".join(topology.names[a] for a in bead.atoms)
            raise MappingError(
                f"position={rule!r}: bead {bead.species!r} has {int(weight.sum())} atoms of this name among {names}; "
                "give 'mass', 'geometry' or the name of one atom in the bead"
            )
    return weight / weight.sum()


def _walk(members: list[int], near: list[list[int]]) -> tuple[list[int], list[int]]:
    """Atoms in an order in which each stands next to an earlier one, and that one's place in the order.

    Along bonds inside the bead first; then along bonds through other atoms; a member of another molecule
    follows the member named before it.
    """
    inside = set(members)
    place: dict[int, int] = {}
    order: list[int] = []
    parent: list[int] = []

    def add(atom: int, before: int) -> None:
        place[atom] = len(order)
        order.append(atom)
        parent.append(before)

    def spread(atom: int) -> None:
        queue = deque([atom])
        while queue:
            here = queue.popleft()
            for other in near[here]:
                if other in inside and other not in place:
                    add(other, place[here])
                    queue.append(other)

    previous = -1
    for member in members:
        if member not in place:
            way = _way(member, place, near)
            for here, other in itertools.pairwise(way):
                add(other, place[here])
            if not way:
                add(member, -1 if previous < 0 else place[previous])
            spread(member)
        previous = member
    return order, parent


def _way(member: int, place: dict[int, int], near: list[list[int]]) -> list[int]:
    """The shortest way along bonds from an atom already placed to this one; empty when there is none."""
    came, queue = {member: member}, deque([member])
    while queue:
        here = queue.popleft()
        if here in place:
            way = [here]
            while way[-1] != member:
                way.append(came[way[-1]])
            return way
        for other in near[here]:
            if other not in came:
                came[other] = here
                queue.append(other)
    return []


def _bead_bonds(topology: Topology, bead_of: np.ndarray) -> np.ndarray:
    label, (i, j) = bead_of.copy(), topology.bonds.T
    while True:  # atoms in no bead go with the nearest one along the bonds, all at one distance at a time
        reach = np.concatenate([np.stack([i, j]), np.stack([j, i])], axis=1)
        reach = reach[:, (label[reach[0]] >= 0) & (label[reach[1]] < 0)]
        if not reach.shape[1]:
            break
        atoms, first = np.unique(reach[1], return_index=True)
        label[atoms] = label[reach[0][first]]
    pairs = np.sort(np.stack([label[i], label[j]], -1), axis=1)
    pairs = pairs[(pairs[:, 0] >= 0) & (pairs[:, 0] != pairs[:, 1])]
    return np.unique(pairs, axis=0).reshape(-1, 2)


def _stated(bonds, beads: int) -> np.ndarray:
    pairs = np.sort(np.asarray(bonds, int).reshape(-1, 2), axis=1)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= beads or (pairs[:, 0] == pairs[:, 1]).any()):
        raise MappingError(f"bonds= must be pairs of two different beads, counted from 0 to {beads - 1}")
    return np.unique(pairs, axis=0)


def _chains(bonds: np.ndarray, beads: int) -> tuple[np.ndarray, np.ndarray]:
    """Every angle and every dihedral along the bonds, each once."""
    near: list[list[int]] = [[] for _ in range(beads)]
    for i, j in bonds.tolist():
        near[i].append(j)
        near[j].append(i)
    angles = [(i, j, k) for j in range(beads) for i in near[j] for k in near[j] if i < k]
    dihedrals = [
        (i, j, k, m) for j, k in bonds.tolist() for i in near[j] for m in near[k] if i != k and m not in (j, i)
    ]
    return np.array(angles, int).reshape(-1, 3), np.array(dihedrals, int).reshape(-1, 4)


def _bead_molecules(topology: Topology, bead_of: np.ndarray, bonds: np.ndarray, beads: int) -> np.ndarray:
    """Beads of one molecule of atoms, or bonded to each other, are one molecule."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    mapped = np.flatnonzero(bead_of >= 0)
    i = np.concatenate([bead_of[mapped], bonds[:, 0]])
    j = np.concatenate([beads + topology.molecules[mapped], bonds[:, 1]])
    size = beads + int(topology.molecules.max()) + 1
    label = connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(size, size)), directed=False)[1][:beads]
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]
