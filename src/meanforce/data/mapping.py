"""From atoms to beads: R = M r with weights that sum to one, whatever the periodic images of the atoms.

M is linear and no atom belongs to two beads, so that mapped forces are samples of the mean force with no further
term (see `forcemap`). A bead is put together along bonds: its position is that of its first atom plus weighted
sums of minimum-image vectors between neighbours, one sparse product for all frames of a batch.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Table
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from meanforce.data import selections
from meanforce.data.atomtopology import elements_of
from meanforce.data.beads import Bead, Walks, bead_topology, walks
from meanforce.data.comoving import Turning
from meanforce.data.constraints import constrained_pairs
from meanforce.data.errors import MappingError, MissingLabel
from meanforce.data.forcemap import ForceMap, apply, optimal_force_map, sum_force_map
from meanforce.data.readers import Atoms, Source
from meanforce.frames import Frames
from meanforce.topology import Topology
from meanforce.units import KB

FORMAT = 1
_Position = str | Table[str, str]
_Bonds = Sequence[tuple[int, int]] | np.ndarray | None


@dataclass(frozen=True, eq=False)
class Mapping:
    """Beads of one system of atoms; make one with `by_residue`, `by_selection` or `by_cgsmiles`, then call it."""

    topology: Topology
    atoms: int
    walks: Walks

    @staticmethod
    def by_residue(
        atoms: Source,
        beads: Table[str, Table[str, str | Sequence[str]]],
        *,
        position: _Position = "mass",
        leave: Sequence[str] = (),
        bonds: _Bonds = None,
    ) -> Mapping:
        """Beads named for each residue: `{"SOL": {"W": "all"}, "ALA": {"BB": ["N", "CA", "C", "O"], "SC": ["CB"]}}`.

        Residues that are to have no beads are named in `leave`. `position` is 'mass', 'geometry' or the name of an
        atom, for all beads or by species. Bonds between beads follow those of the atoms unless stated.
        """
        return Mapping.of(atoms, selections.by_residue(atoms.topology, beads, leave), position=position, bonds=bonds)

    @staticmethod
    def by_selection(
        atoms: Source,
        beads: Table[str, str | Sequence[str]],
        *,
        per: str = "residue",
        position: _Position = "mass",
        bonds: _Bonds = None,
    ) -> Mapping:
        """Beads by MDAnalysis selections: `{"W": "resname SOL", "P": ["index 0 to 4", "index 5 to 9"]}`.

        One string is split into one bead `per` 'residue', 'molecule' or 'system'; of a list, every selection is one
        bead, which may span residues and molecules. Atoms in no selection are left out.
        """
        return Mapping.of(atoms, selections.by_selection(atoms.topology, beads, per), position=position, bonds=bonds)

    @staticmethod
    def by_cgsmiles(
        atoms: Source,
        *strings: str,
        position: _Position = "mass",
        leave: Sequence[str] = (),
        bonds: _Bonds = None,
    ) -> Mapping:
        """Beads by CGsmiles, one string for each kind of molecule: `"{[#A][#B]}.{#A=CC[$],#B=[$]CO}"`."""
        from meanforce.data.cgsmiles_beads import by_cgsmiles

        return Mapping.of(atoms, by_cgsmiles(atoms.topology, strings, leave), position=position, bonds=bonds)

    @staticmethod
    def of(atoms: Source, beads: Sequence[Bead], *, position: _Position = "mass", bonds: _Bonds = None) -> Mapping:
        """Beads of stated atoms."""
        topology = bead_topology(atoms.topology, beads, bonds)
        return Mapping(topology, len(atoms.topology), walks(atoms.topology, beads, position))

    def __len__(self) -> int:
        return len(self.topology)

    def __call__(
        self, atoms: Source, *, forces: str = "sum", constraints: str | np.ndarray | None = None, variate: bool = False
    ) -> Mapped:
        """Frames of beads, mapped while they are read.

        forces       'sum' of the atoms of a bead; 'optimal': the linear map of least noise, found from the data;
                     'response': the one of least noise for products of forces and energies, which say how forces
                     change with temperature; or 'comoving': the sum, with the atoms of a bead turning with the beads
                     bonded to it, if any are
        constraints  of the simulation, where `atoms` does not know them: see `read`
        variate      keep the virial inside of the beads beside the energies: a control variate, which takes noise from
                     them; for flexible molecules, since bonds of fixed length do not stretch with their bead
        """
        if len(atoms.topology) != self.atoms:
            raise MappingError(
                f"the mapping is for {self.atoms} atoms, and these are {len(atoms.topology)}: make it anew"
            )
        if forces not in ("sum", "optimal", "response", "comoving"):
            raise MappingError(f"forces={forces!r}: give 'sum', 'optimal', 'response' or 'comoving'")
        first = next(iter(atoms.batches(1)))
        held = _constraints(atoms, constraints)
        if first.forces is None and forces != "sum":
            raise MissingLabel(f"forces={forces!r} needs forces on the atoms, and these frames have none")
        if forces == "response" and first.energy is None:
            raise MissingLabel("forces='response' needs energies of the atoms beside their forces; there are none")
        if variate:
            _check_variate(first, held)
        if first.forces is None:
            return Mapped(self, atoms, None)
        if held is None:
            self._warn_of_unknown_constraints(atoms)
        species = self.topology.species
        if forces in ("optimal", "response"):
            of_product = forces == "response"
            best = optimal_force_map(atoms, self.matrix, self.bead_of, held, species, response=of_product)
            return Mapped(self, atoms, best, variate=variate)
        summed = sum_force_map(self.matrix, self.bead_of, held, species)
        turning = Turning.of(self.topology) if forces == "comoving" else None
        return Mapped(self, atoms, summed, turning, variate)

    def positions(self, frames: Frames) -> Float[np.ndarray, "frames beads 3"]:
        """Positions of the beads; each stands at the image of its first atom."""
        roots = frames.positions[:, self.walks.atom[self.walks.start[:-1]]]
        return roots + apply(self._assembly, self._steps(frames))

    def torques(self, frames: Frames) -> Float[np.ndarray, "frames beads 3"]:
        """Of the forces on the atoms of each bead about its position."""
        arms, forces = self._arms(frames)
        rows = self._bead_of_row[self.walks.member]
        return apply(csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows))))), np.cross(arms, forces))

    def inner_virial(self, frames: Frames) -> Float[np.ndarray, "frames"]:
        """Sum of (r - R).f over the atoms of all beads, and 3 kT for each atom but one of a bead: zero on average."""
        arms, forces = self._arms(frames)
        free = 3 * (arms.shape[1] - len(self))
        return np.sum(arms * forces, axis=(1, 2)) + free * KB * np.asarray(frames.temperature, float)

    def _arms(
        self, frames: Frames
    ) -> tuple[Float[np.ndarray, "frames members 3"], Float[np.ndarray, "frames members 3"]]:
        """From the position of its bead to each atom, and the force on the atom."""
        rows = np.flatnonzero(self.walks.member)
        arms = apply(self._paths[rows] - self._assembly[self._bead_of_row[rows]], self._steps(frames))
        return arms, np.asarray(frames.forces, float)[:, self.walks.atom[rows]]

    @cached_property
    def matrix(self) -> csr_matrix:
        """M: the weight of each atom in the position of each bead, (beads, atoms); rows sum to one."""
        w, bead = self.walks, self._bead_of_row
        shape = (len(self), self.atoms)
        return csr_matrix((w.weight[w.member], (bead[w.member], w.atom[w.member])), shape=shape)

    @cached_property
    def bead_of(self) -> Int[np.ndarray, "atoms"]:
        """The bead each atom belongs to, -1 for none."""
        bead_of = np.full(self.atoms, -1)
        bead_of[self.walks.atom[self.walks.member]] = self._bead_of_row[self.walks.member]
        return bead_of

    def to_json(self) -> str:
        """The mapping as text, as it is kept in model files: beads of one shape are written once."""
        shapes: dict[str, int] = {}
        beads = []
        for start, stop in zip(self.walks.start[:-1], self.walks.start[1:], strict=True):
            rows = slice(start, stop)
            parent = np.where(self.walks.parent[rows] < 0, -1, self.walks.parent[rows] - start)
            first = int(self.walks.atom[start])
            shape = json.dumps([
                (self.walks.atom[rows] - first).tolist(), parent.tolist(), self.walks.weight[rows].tolist(),
                self.walks.member[rows].astype(int).tolist(),
            ])  # fmt: skip
            beads.append((shapes.setdefault(shape, len(shapes)), first))
        data = {"format": FORMAT, "atoms": self.atoms, "shapes": [json.loads(s) for s in shapes], "beads": beads,
                "topology": json.loads(self.topology.to_json())}  # fmt: skip
        return json.dumps(data)

    @staticmethod
    def from_json(text: str) -> Mapping:
        data = json.loads(text)
        if data.get("format", 0) > FORMAT:
            raise MappingError(f"this mapping has format {data['format']}, newer than {FORMAT}: update meanforce")
        parts, start = [], 0
        for shape, first in data["beads"]:
            atom, parent, weight, member = (np.array(column) for column in data["shapes"][shape])
            parts.append((atom + first, np.where(parent < 0, -1, parent + start), weight, member.astype(bool)))
            start += len(atom)
        starts = np.cumsum([0] + [len(p[0]) for p in parts])
        columns = [np.concatenate([p[k] for p in parts]) for k in range(4)]
        return Mapping(Topology.from_json(json.dumps(data["topology"])), data["atoms"], Walks(starts, *columns))

    @cached_property
    def _bead_of_row(self) -> np.ndarray:
        return np.repeat(np.arange(len(self)), np.diff(self.walks.start))

    @cached_property
    def _links(self) -> tuple[np.ndarray, np.ndarray]:
        children = np.flatnonzero(self.walks.parent >= 0)
        return children, self.walks.parent[children]

    @cached_property
    def _paths(self) -> csr_matrix:
        """The steps that lead from the root of a bead to each row, (rows, links)."""
        steps: list[list[int]] = []
        for row, parent in enumerate(self.walks.parent.tolist()):  # parents come before children
            steps.append([] if parent < 0 else [*steps[parent], row])
        link = np.cumsum(self.walks.parent >= 0) - 1
        rows = np.repeat(np.arange(len(steps)), [len(s) for s in steps])
        columns = link[np.array([step for s in steps for step in s], int)]
        return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(steps), len(self._links[0])))

    @cached_property
    def _assembly(self) -> csr_matrix:
        """What each step adds to the position of the bead: the weight of all atoms behind it."""
        rows = np.arange(len(self.walks.atom))
        return csr_matrix((self.walks.weight, (self._bead_of_row, rows))) @ self._paths

    def _steps(self, frames: Frames) -> Float[np.ndarray, "frames links 3"]:
        """The vectors from atom to atom along which beads are put together."""
        children, parents = self._links
        vectors = frames.positions[:, self.walks.atom[children]] - frames.positions[:, self.walks.atom[parents]]
        return vectors if frames.box is None or not len(children) else self._nearest(vectors, frames.box)

    def _nearest(self, vectors: np.ndarray, box: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(box)
        vectors = vectors - np.round(vectors @ inverse) @ box
        # rounding in the box's own coordinates is the nearest image for all that is shorter than this
        half = 0.5 / np.linalg.norm(inverse, axis=1).max(axis=1)
        length = np.linalg.norm(vectors, axis=2)
        if (length > half[:, None]).any():
            frame, link = np.argwhere(length > half[:, None])[0]
            children, parents = self._links
            a, b = self.walks.atom[parents[link]], self.walks.atom[children[link]]
            species = self.topology.species[self._bead_of_row[children[link]]]
            raise MappingError(
                f"atoms {a} and {b} of a bead {species!r} are {length[frame, link]:.3g} nm apart, more than half of "
                f"the box ({2 * half[frame]:.3g} nm): which image belongs to the bead cannot be told. Make the bead "
                "smaller, or give a topology with bonds"
            )
        return vectors

    def _warn_of_unknown_constraints(self, atoms: Source) -> None:
        if whole_molecules(atoms.topology, self.bead_of):
            return
        if isinstance(atoms, Atoms) and atoms.constraint_forces:
            what = "the forces of a LAMMPS dump hold those of fix shake, if the run had one"
        else:
            what = "it is not known which bonds the simulation held fixed"
        warnings.warn(
            f"{what}, and molecules are split or left out in part: the mapped forces may be biased. State "
            "constraints='none', 'h-bonds', 'all-bonds', 'rigid-water' or the pairs of atoms",
            stacklevel=3,
        )


@dataclass(frozen=True, eq=False)
class Mapped:
    """Frames of beads over frames of atoms, mapped batch by batch. `forcemap` reports on the noise."""

    mapping: Mapping
    source: Source
    forcemap: ForceMap | None
    turning: Turning | None = None
    variate: bool = False

    @property
    def topology(self) -> Topology:
        return self.mapping.topology

    @property
    def labels(self) -> tuple[str, ...]:
        return next(self.batches(1)).labels()

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, size: int = 100) -> Iterator[Frames]:
        """Beads in pieces of at most `size` frames; every label but the positions and forces stays what it is.

        A virial scales the centres of mass of molecules. It is left out where these cannot be told from the beads:
        where atoms are in no bead, a bead spans molecules, or stands elsewhere than at its centre of mass. Energies of
        single atoms add up in their beads if every atom is in one; what else belongs to atoms held still says nothing
        of the beads.
        """
        keeps_virial = shows_centres(self.source.topology, self.mapping)
        for frames in self.source.batches(size):
            forces = None
            if self.forcemap is not None:
                if frames.forces is None:
                    raise MissingLabel("some frames have forces and others have none: map them apart")
                forces = apply(self.forcemap.matrix, frames.forces)
            positions = self.mapping.positions(frames)
            if self.turning is not None:
                forces = forces + self.turning.forces(positions, frames.box, self.mapping.torques(frames))
            yield frames.with_(
                positions=positions, forces=forces, virial=frames.virial if keeps_virial else None,
                local_energy=self._of_beads(frames.local_energy),
                variate=self.mapping.inner_virial(frames) if self.variate else None, variate_slope=None,
                displacement=None, covariance=None, variance=None, third_cumulant=None,
            )  # fmt: skip

    def _of_beads(self, energies: Float[np.ndarray, "frames atoms"] | None) -> Float[np.ndarray, "frames beads"] | None:
        bead_of = self.mapping.bead_of
        if energies is None or (bead_of < 0).any():
            return None
        return np.stack([np.bincount(bead_of, row, len(self.topology)) for row in energies])


def _check_variate(first: Frames, constraints: np.ndarray | None) -> None:
    missing = [name for name in ("forces", "energy", "temperature") if getattr(first, name) is None]
    if missing:
        raise MissingLabel(
            f"variate=True needs forces, energies and temperatures of the atoms; there is no {missing[0]}"
        )
    if constraints is None:
        raise MappingError(
            "variate=True stretches the molecules, and it is not known which bonds the simulation held fixed: state "
            "constraints='none' if there were none"
        )
    if len(constraints):
        raise MappingError(
            f"variate=True stretches the molecules, and {len(constraints)} bonds were held fixed: the virial inside of "
            "rigid molecules holds forces of constraint, and is no control variate. Leave variate out"
        )


def whole_molecules(topology: Topology, bead_of: Int[np.ndarray, "atoms"]) -> bool:
    """Whether every molecule lies wholly in one bead or in none."""
    order = np.lexsort((bead_of, topology.molecules))
    molecule, bead = topology.molecules[order], bead_of[order]
    return not ((molecule[1:] == molecule[:-1]) & (bead[1:] != bead[:-1])).any()


def shows_centres(topology: Topology, mapping: Mapping) -> bool:
    """Whether the centres of mass of all molecules of atoms are those of the molecules of beads."""
    bead_of, molecules = mapping.bead_of, mapping.topology.molecules
    if (bead_of < 0).any():
        return False
    shared = np.unique(np.stack([topology.molecules, molecules[bead_of]]), axis=1).shape[1]
    if not shared == len(np.unique(topology.molecules)) == len(np.unique(molecules)):
        return False
    share = topology.masses / np.bincount(bead_of, topology.masses)[bead_of]
    return bool(np.allclose(mapping.matrix.sum(0), share, rtol=1e-6, atol=0))


def _constraints(atoms: Source, stated: str | np.ndarray | None) -> np.ndarray | None:
    if stated is not None:
        return constrained_pairs(atoms.topology, elements_of(atoms.topology), stated)
    return atoms.constraints if isinstance(atoms, Atoms) else None
