"""The topology of atoms, from whatever file MDAnalysis or ASE can read it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from meanforce.data.errors import ReadingError
from meanforce.data.formats import Units, format_of
from meanforce.topology import Topology


@dataclass(frozen=True, eq=False)
class AtomTable:
    """The atoms with mass (`kept`, among those in the file) and the residue block each belongs to."""

    topology: Topology
    elements: tuple[str, ...]
    kept: Int[np.ndarray, "atoms"]
    atoms_in_file: int
    blocks: Int[np.ndarray, "atoms"]


def atom_table(path: Path, units: Units | None, masses: Mapping[str, float] | None) -> AtomTable:
    """Names, residues, masses, elements and bonds; massless virtual sites are left out."""
    if not path.is_file():
        raise ReadingError(f"there is no file {path}")
    columns = _ase_columns(path) if format_of(path) == "EXTXYZ" else _mda_columns(path)
    weights = _masses(columns, masses, path)
    kept = np.flatnonzero(weights > 0)
    place = np.full(len(weights), -1)
    place[kept] = np.arange(len(kept))
    bonds = place[columns["bonds"]]
    bonds = bonds[(bonds >= 0).all(axis=1)]
    bonds = np.unique(np.sort(bonds, axis=1), axis=0)
    pick = lambda name: tuple(str(columns[name][i]) for i in kept)
    ids = columns["resids"][kept]
    blocks = residue_blocks(pick("residues"), ids)
    given = pick("elements")
    elements = tuple(_element(e, n, m) for e, n, m in zip(given, pick("names"), weights[kept], strict=True))
    species = elements if "X" not in elements else pick("names")
    topology = Topology(
        species, weights[kept], names=pick("names"), molecules=_molecules(bonds, blocks), residues=pick("residues"),
        residue_ids=ids, bonds=bonds,
    )  # fmt: skip
    return AtomTable(topology, elements, kept, len(weights), blocks)


def residue_blocks(names: tuple[str, ...], ids: np.ndarray) -> Int[np.ndarray, "atoms"]:
    """The residue of each atom, counted along the file: a new one wherever the name or the number changes."""
    new = np.array([i == 0 or names[i] != names[i - 1] or ids[i] != ids[i - 1] for i in range(len(names))])
    return np.cumsum(new) - 1


def elements_of(topology: Topology) -> tuple[str, ...]:
    """The element of each atom, from its species, its mass or its name; 'X' where none fits."""
    rows = zip(topology.species, topology.names, topology.masses, strict=True)
    return tuple(_element(species, name, mass) for species, name, mass in rows)


def universe(topology: Topology):
    """An MDAnalysis Universe of the topology alone, in which selection strings are resolved."""
    import MDAnalysis

    blocks = residue_blocks(topology.residues, topology.residue_ids)
    _, first = np.unique(blocks, return_index=True)
    u = MDAnalysis.Universe.empty(
        len(topology), n_residues=len(first), n_segments=1, atom_resindex=blocks,
        residue_segindex=np.zeros(len(first), int),
    )  # fmt: skip
    u.add_TopologyAttr("names", list(topology.names))
    u.add_TopologyAttr("types", list(topology.species))
    u.add_TopologyAttr("elements", list(elements_of(topology)))
    u.add_TopologyAttr("masses", topology.masses)
    u.add_TopologyAttr("resnames", [topology.residues[i] for i in first])
    u.add_TopologyAttr("resids", [int(topology.residue_ids[i]) for i in first])
    u.add_TopologyAttr("molnums", topology.molecules[first])
    u.add_TopologyAttr("bonds", [tuple(b) for b in topology.bonds.tolist()])
    return u


def _mda_columns(path: Path) -> dict:
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of attributes that are guessed: those used here are checked here
        try:
            atoms = MDAnalysis.Universe(str(path), topology_format=format_of(path), to_guess=()).atoms
        except (ValueError, OSError, EOFError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ReadingError(
                f"{path} cannot be read as a topology ({error}); give a TPR, PSF, PRMTOP, GRO, PDB, LAMMPS data or "
                "extended XYZ file"
            ) from error
    n = len(atoms)
    has = {a.attrname for a in atoms.universe._topology.attrs}
    column = lambda attribute, otherwise: np.array(getattr(atoms, attribute)) if attribute in has else otherwise
    types = column("types", np.full(n, "X"))
    return {
        "names": column("names", types),
        "types": types,
        "elements": column("elements", np.full(n, "")),
        "residues": column("resnames", np.full(n, "MOL")),
        "resids": column("resids", np.zeros(n, int)),
        "masses": column("masses", None),
        "bonds": np.array(atoms.bonds.indices if "bonds" in has and len(atoms.bonds) else [], int).reshape(-1, 2),
    }


def _ase_columns(path: Path) -> dict:
    from meanforce.data.trajectories import extxyz_atoms

    atoms = extxyz_atoms(path)
    n, symbols = len(atoms), np.array(atoms.get_chemical_symbols())
    arrays = atoms.arrays
    return {
        "names": np.asarray(arrays.get("names", symbols)),
        "types": symbols,
        "elements": symbols,
        "residues": np.asarray(arrays.get("residuenames", np.full(n, "MOL"))),
        "resids": np.asarray(arrays.get("residuenumbers", np.zeros(n, int))),
        "masses": atoms.get_masses(),
        "bonds": np.zeros((0, 2), int),
    }


def _masses(columns: dict, stated: Mapping[str, float] | None, path: Path) -> np.ndarray:
    """Stated masses first, then those in the file, then those of the elements."""
    n = len(columns["names"])
    masses = np.full(n, np.nan) if columns["masses"] is None else np.asarray(columns["masses"], float).copy()
    if columns["masses"] is None:
        for i in range(n):
            masses[i] = _standard_mass(str(columns["elements"][i]) or _by_name(str(columns["names"][i])))
    stated = dict(stated or {})
    for key, mass in stated.items():
        hit = (columns["names"].astype(str) == key) | (columns["types"].astype(str) == key)
        if not hit.any():
            names = ", ".join(sorted(set(columns["names"].astype(str)))[:20])
            raise ReadingError(f"masses: no atom of {path} is called {key!r}; there are {names}")
        masses[hit] = mass
    if np.isnan(masses).any():
        unknown = sorted(set(columns["names"][np.isnan(masses)].astype(str)))
        raise ReadingError(
            f"{path} has no masses, and none is known for {', '.join(unknown[:10])}: state them in u, such as "
            f"masses={{{unknown[0]!r}: 15.999}}; 0 for virtual sites"
        )
    if not (masses > 0).any():
        raise ReadingError(f"{path}: every mass is zero; state masses=")
    return masses


def _molecules(bonds: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Atoms joined by bonds; those without any belong to the molecule of their residue's first atom."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(blocks)
    bonded = np.zeros(n, bool)
    bonded[bonds] = True
    loose = np.flatnonzero(~bonded)
    _, first = np.unique(blocks, return_index=True)
    i, j = np.concatenate([bonds, np.stack([loose, first[blocks[loose]]], -1)]).T
    label = connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)[1]
    _, start, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(start))[inverse]


def _element(given: str, name: str, mass: float) -> str:
    from ase.data import atomic_masses, atomic_numbers, chemical_symbols

    symbol = given.strip().capitalize()
    if symbol in atomic_numbers and symbol != "X":
        return symbol
    nearest = int(np.argmin(np.abs(atomic_masses[1:] - mass))) + 1
    if abs(atomic_masses[nearest] - mass) < 0.05:
        return chemical_symbols[nearest]
    # repartitioned masses fit no element
    symbol = _by_name(name)
    return symbol if mass < 40 else "X"


def _by_name(name: str) -> str:
    """H, C, N, O, P, S from the first letter of a name, as in every force field; other elements in full."""
    from ase.data import atomic_numbers

    letters = "".join(c for c in name if c.isalpha())
    if letters[:1] in ("H", "C", "N", "O", "P", "S") and letters.upper() not in ("NA", "CL", "CS"):
        return letters[0]
    symbol = letters.capitalize()
    return symbol if symbol in atomic_numbers else "X"


def _standard_mass(symbol: str) -> float:
    from ase.data import atomic_masses, atomic_numbers

    symbol = symbol.strip().capitalize()
    return float(atomic_masses[atomic_numbers[symbol]]) if symbol in atomic_numbers and symbol != "X" else np.nan
