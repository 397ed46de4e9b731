"""What is connected to what: particles, molecules, bonded terms, exclusions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import permutations

import numpy as np
from jaxtyping import Int

_BONDED = {"bonds": 2, "angles": 3, "dihedrals": 4}


@dataclass(frozen=True, eq=False)
class Topology:
    """Particles (atoms or beads) of one system, in order.

    `species` names the type of each particle; potentials see the index into `types`, the sorted names.
    Non-bonded terms skip pairs that are at most `exclude` bonds apart; pairs exactly three bonds apart are listed
    in `pairs14` when they are not excluded, and `scale14` is the factor of atomistic force fields for them: for
    `LennardJones`, which takes it when it is made; other terms count them in full. `residues` are residue names;
    `residue_ids` number the residues (unset: a new one wherever the residue name or the molecule changes).
    """

    species: tuple[str, ...]
    masses: np.ndarray
    names: tuple[str, ...] = ()
    molecules: np.ndarray = None  # type: ignore[assignment]  # unset: what the bonds connect
    residues: tuple[str, ...] = ()
    residue_ids: np.ndarray = None  # type: ignore[assignment]
    bonds: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    angles: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    dihedrals: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int32))
    exclude: int = 3
    scale14: float = 1.0

    @staticmethod
    def of(
        species: Sequence[str],
        masses: Mapping[str, float] | Sequence[float] | np.ndarray,
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

    @staticmethod
    def mixture(parts: Sequence[tuple[Topology, int]]) -> Topology:
        """Copies of whole molecules one after another: `Topology.mixture([(ethanol, 20), (water, 200)])`."""
        copies = [part for part, count in parts for _ in range(count)]
        if not copies:
            raise ValueError("a mixture needs at least one molecule")
        if len({(part.exclude, part.scale14) for part in copies}) > 1:
            raise ValueError("the parts of a mixture need the same exclude= and scale14=")
        particles = _offsets([len(part) for part in copies])
        molecules = _offsets([_count(part.molecules) for part in copies])
        residues = _offsets([_count(part.residue_ids) for part in copies])
        shifted = lambda name, offsets: np.concatenate(
            [_ranked(getattr(part, name)) + start for part, start in zip(copies, offsets, strict=True)]
        )
        terms = {
            name: np.concatenate([getattr(part, name) + start for part, start in zip(copies, particles, strict=True)])
            for name in _BONDED
        }
        return Topology(
            tuple(s for part in copies for s in part.species),
            np.concatenate([part.masses for part in copies]),
            names=tuple(s for part in copies for s in part.names),
            residues=tuple(s for part in copies for s in part.residues),
            molecules=shifted("molecules", molecules),
            residue_ids=shifted("residue_ids", residues),
            exclude=copies[0].exclude,
            scale14=copies[0].scale14,
            **terms,
        )

    def __post_init__(self):
        n = len(self.species)
        put = lambda name, value: object.__setattr__(self, name, value)
        put("species", tuple(self.species))
        put("masses", np.asarray(self.masses, float))
        if self.masses.shape != (n,) or not ((self.masses > 0) & np.isfinite(self.masses)).all():
            raise ValueError(f"masses: {n} particles need {n} positive masses in u")
        for name, width in _BONDED.items():
            put(name, _checked_terms(name, getattr(self, name), width, n))
        if self.exclude < 0 or self.exclude != int(self.exclude):
            raise ValueError(f"exclude={self.exclude}: give a number of bonds, 0 to exclude nothing")
        if not 0 <= self.scale14 < np.inf:
            raise ValueError(f"scale14={self.scale14}: give a factor, 1 to leave the pairs as they are")
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

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The names of the species, sorted: their order is the order of every parameter."""
        return tuple(sorted(set(self.species)))

    @cached_property
    def species_index(self) -> Int[np.ndarray, "particles"]:
        order = {name: i for i, name in enumerate(self.types)}
        return np.array([order[s] for s in self.species], np.int32)

    @cached_property
    def excluded(self) -> Int[np.ndarray, "pairs 2"]:
        """Pairs (i < j) at most `exclude` bonds apart, which non-bonded terms skip."""
        return _pairs(self._shells, range(1, int(self.exclude) + 1))

    @cached_property
    def pairs14(self) -> Int[np.ndarray, "pairs 2"]:
        """Pairs (i < j) exactly three bonds apart; none where these are excluded."""
        return _pairs(self._shells, [3] if self.exclude < 3 else [])

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of species of which some two beads interact: those that are not all excluded."""
        count = np.bincount(self.species_index, minlength=len(self.types))
        number = np.outer(count, count) - np.diag(count)
        number -= np.diag(np.diag(number) // 2)
        for i, j in self.species_index[self.excluded]:
            number[i, j] -= 1
            if i != j:
                number[j, i] -= 1
        return tuple(
            (a, b) for i, a in enumerate(self.types) for j, b in enumerate(self.types) if i <= j and number[i, j] > 0
        )

    @cached_property
    def impropers(self) -> Int[np.ndarray, "impropers 4"]:
        """Around every particle c with three bonds, its neighbours i, j, k as (i, c, j, k), in the order of species.

        The dihedral of these four is how far c stands out of the plane of the others, and on which side. Neighbours
        of one species stand in every order, so that nothing depends on how they are numbered.
        """
        rows = [
            (i, centre, j, k)
            for centre, near in sorted(_bonded_to(self.bonds).items())
            if len(near) == 3
            for i, j, k in permutations(sorted(near))
            if self.species[i] <= self.species[j] <= self.species[k]
        ]
        return np.array(rows, np.int32).reshape(-1, 4)

    def kinds(self, name: str) -> tuple[tuple[str, ...], ...]:
        """The distinct kinds of 'bonds', 'angles', 'dihedrals' or 'impropers', as species read from either end."""
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
        known = {f.name for f in fields(Topology)}
        if not isinstance(data, dict) or not {"species", "masses"} <= set(data) <= known:
            raise ValueError(f"this is no topology: it has species, masses and maybe {', '.join(sorted(known))}")
        return Topology(**data)

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def __eq__(self, other) -> bool:
        return self is other or (isinstance(other, Topology) and self.hash == other.hash)

    def __hash__(self) -> int:
        return hash(self.hash)

    def _kind(self, term) -> tuple[str, ...]:
        names = tuple(self.species[i] for i in term)
        return min(names, names[::-1])

    @cached_property
    def _shells(self) -> dict[int, list[set[int]]]:
        """For each bonded particle, the particles exactly 1, 2, 3, ... bonds away, as far as they matter."""
        neighbours = _bonded_to(self.bonds)
        shells = {}
        for start in neighbours:
            seen, shell, found = {start}, {start}, []
            for _ in range(max(3, int(self.exclude))):
                shell = set().union(*(neighbours[i] for i in shell)) - seen
                seen |= shell
                found.append(shell)
            shells[start] = found
        return shells


def _checked_terms(name: str, terms, width: int, n: int) -> np.ndarray:
    """Bonded terms as integers (terms, width); refuses what no molecule can have."""
    value = np.asarray(terms)
    if not value.size:
        return np.zeros((0, width), np.int32)
    if value.ndim != 2 or value.shape[1] != width:
        raise ValueError(f"{name} have shape {value.shape}; ({name}, {width}) particle numbers are needed")
    if not np.issubdtype(value.dtype, np.integer):
        raise ValueError(f"{name}: particle numbers are integers, not {value.dtype}")
    if value.min() < 0 or value.max() >= n:
        raise ValueError(f"{name}: an index lies outside the {n} particles, which are numbered from 0")
    ordered = np.where((value[:, :1] <= value[:, -1:]), value, value[:, ::-1])
    _, first, counts = np.unique(ordered, axis=0, return_index=True, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"{name}: {tuple(value[first[counts.argmax()]].tolist())} stands there twice, from either end")
    repeated = (np.diff(np.sort(value, axis=1), axis=1) == 0).any(axis=1)
    if repeated.any():
        raise ValueError(f"{name}: {tuple(value[repeated.argmax()].tolist())} holds one particle twice")
    return value.astype(np.int32)


def _pairs(shells: dict[int, list[set[int]]], distances: Iterable[int]) -> np.ndarray:
    pairs = [(i, j) for i, found in shells.items() for d in distances for j in found[d - 1] if j > i]
    return np.array(sorted(pairs), np.int32).reshape(-1, 2)


def _bonded_to(bonds: np.ndarray) -> dict[int, set[int]]:
    neighbours: dict[int, set[int]] = {}
    for i, j in bonds.tolist():
        neighbours.setdefault(i, set()).add(j)
        neighbours.setdefault(j, set()).add(i)
    return neighbours


def _residue_ids(residues: tuple[str, ...], molecules: np.ndarray) -> np.ndarray:
    new = [i == 0 or residues[i] != residues[i - 1] or molecules[i] != molecules[i - 1] for i in range(len(residues))]
    return np.cumsum(new) - 1


def _molecules(n: int, bonds: np.ndarray) -> np.ndarray:
    """Connected components, numbered in the order of their first particle."""
    neighbours = _bonded_to(bonds)
    label = np.full(n, -1, np.int32)
    count = 0
    for start in range(n):
        if label[start] >= 0:
            continue
        label[start] = count
        stack = [start]
        while stack:
            for other in neighbours.get(stack.pop(), ()):
                if label[other] < 0:
                    label[other] = count
                    stack.append(other)
        count += 1
    return label


def _ranked(values: np.ndarray) -> np.ndarray:
    """The same partition numbered 0, 1, 2, ... in ascending order."""
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def _count(values: np.ndarray) -> int:
    return len(np.unique(values))


def _offsets(counts: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
