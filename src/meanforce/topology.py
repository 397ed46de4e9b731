"""What is connected to what: particles, molecules, bonded terms, exclusions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_BONDED = {"bonds": 2, "angles": 3, "dihedrals": 4}


@dataclass(frozen=True, eq=False)
class Topology:
    """Particles (atoms or beads) of one system, in order.

    `species` names the type of each particle; potentials see the index into `types`, the sorted names.
    Non-bonded terms skip pairs that are at most `exclude` bonds apart; pairs exactly three bonds apart
    are listed in `pairs14` when they are not excluded, and scaled by `scale14`. `residues` are residue names;
    `residue_ids` number the residues (unset: a new one wherever the residue name or the molecule changes).
    """

    species: tuple[str, ...]
    masses: np.ndarray
    names: tuple[str, ...] = ()
    molecules: np.ndarray | None = None
    residues: tuple[str, ...] = ()
    residue_ids: np.ndarray | None = None
    bonds: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    angles: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    dihedrals: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int32))
    exclude: int = 3
    scale14: float = 1.0

    @staticmethod
    def of(
        species: Sequence[str],
        masses: Mapping[str, float] | Sequence[float],
        *,
        bonds=(),
        angles=(),
        dihedrals=(),
        exclude: int = 3,
        scale14: float = 1.0,
    ) -> Topology:
        """A topology from names and masses (u): `Topology.of(["W"] * 216, masses={"W": 18.015})`."""
        species = tuple(species)
        if isinstance(masses, Mapping):
            missing = sorted(set(species) - set(masses))
            if missing:
                raise ValueError(f"no mass is given for {', '.join(missing)}; add it to masses=")
            masses = [masses[s] for s in species]
        return Topology(
            species, np.asarray(masses, float), bonds=bonds, angles=angles, dihedrals=dihedrals,
            exclude=exclude, scale14=scale14,
        )  # fmt: skip

    def __post_init__(self):
        n = len(self.species)
        put = lambda name, value: object.__setattr__(self, name, value)
        put("masses", np.asarray(self.masses, float))
        if self.masses.shape != (n,) or not (self.masses > 0).all():
            raise ValueError(f"masses: {n} particles need {n} positive masses in u")
        for name, width in _BONDED.items():
            value = np.asarray(getattr(self, name), np.int32).reshape(-1, width)
            if value.size and (value.min() < 0 or value.max() >= n):
                raise ValueError(f"{name}: an index lies outside the {n} particles")
            put(name, value)
        put("names", tuple(self.names) or self.species)
        put("molecules", _molecules(n, self.bonds) if self.molecules is None else np.asarray(self.molecules, np.int32))
        put("residues", tuple(self.residues) or ("MOL",) * n)
        ids = _residue_ids(self.residues, self.molecules) if self.residue_ids is None else self.residue_ids
        put("residue_ids", np.asarray(ids, np.int32))
        for name in ("names", "residues", "molecules", "residue_ids"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name}: {n} particles need {n} values, not {len(getattr(self, name))}")

    def __len__(self) -> int:
        return len(self.species)

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the species, sorted: their order is the order of every parameter."""
        return tuple(sorted(set(self.species)))

    @property
    def species_index(self) -> np.ndarray:
        order = {name: i for i, name in enumerate(self.types)}
        return np.array([order[s] for s in self.species], np.int32)

    @property
    def excluded(self) -> np.ndarray:
        """Pairs (i < j) at most `exclude` bonds apart, which non-bonded terms skip."""
        return self._pairs_within(self.exclude)

    @property
    def pairs14(self) -> np.ndarray:
        """Pairs exactly three bonds apart."""
        near = {tuple(p) for p in self._pairs_within(2)}
        return np.array([p for p in self._pairs_within(3).tolist() if tuple(p) not in near], np.int32).reshape(-1, 2)

    def kinds(self, name: str) -> tuple[tuple[str, ...], ...]:
        """The distinct kinds of 'bonds', 'angles' or 'dihedrals', as species read from either end."""
        return tuple(sorted({self._kind(term) for term in getattr(self, name)}))

    def kind_index(self, name: str) -> np.ndarray:
        order = {kind: i for i, kind in enumerate(self.kinds(name))}
        return np.array([order[self._kind(term)] for term in getattr(self, name)], np.int32)

    def to_json(self) -> str:
        data = {
            "species": self.species, "masses": self.masses.tolist(), "names": self.names,
            "molecules": self.molecules.tolist(), "residues": self.residues, "residue_ids": self.residue_ids.tolist(),
            **{name: getattr(self, name).tolist() for name in _BONDED},
            "exclude": self.exclude, "scale14": self.scale14,
        }  # fmt: skip
        return json.dumps(data, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Topology:
        data = json.loads(text)
        data.update({name: tuple(data[name]) for name in ("species", "names", "residues")})
        return Topology(**data)

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def __eq__(self, other) -> bool:
        return isinstance(other, Topology) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def _kind(self, term) -> tuple[str, ...]:
        names = tuple(self.species[i] for i in term)
        return min(names, names[::-1])

    def _pairs_within(self, distance: int) -> np.ndarray:
        if distance < 1 or not len(self.bonds):
            return np.zeros((0, 2), np.int32)
        neighbours: list[set[int]] = [set() for _ in range(len(self))]
        for i, j in self.bonds:
            neighbours[i].add(int(j))
            neighbours[j].add(int(i))
        pairs = set()
        for start in range(len(self)):
            seen, shell = {start}, {start}
            for _ in range(distance):
                shell = set().union(*(neighbours[i] for i in shell)) - seen
                seen |= shell
            pairs |= {(start, j) for j in seen if j > start}
        return np.array(sorted(pairs), np.int32).reshape(-1, 2)


def _residue_ids(residues: tuple[str, ...], molecules: np.ndarray) -> np.ndarray:
    new = [i == 0 or residues[i] != residues[i - 1] or molecules[i] != molecules[i - 1] for i in range(len(residues))]
    return np.cumsum(new) - 1


def _molecules(n: int, bonds: np.ndarray) -> np.ndarray:
    """Connected components, numbered in the order of their first particle."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n, n))
    _, label = connected_components(links, directed=False)
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int32)
