"""Beads from CGsmiles: the string is resolved to its atoms, and these are found in the system by their bonds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import networkx as nx
import numpy as np
from networkx.algorithms.isomorphism import GraphMatcher

from meanforce.data.atomtopology import elements_of
from meanforce.data.beads import Bead
from meanforce.data.errors import MappingError
from meanforce.topology import Topology


def by_cgsmiles(topology: Topology, strings: Sequence[str], leave: Sequence[str]) -> list[Bead]:
    """Beads of every molecule that one of the strings describes; molecules of residues in `leave` have none."""
    if not strings:
        raise MappingError("by_cgsmiles needs a string for each kind of molecule")
    elements = elements_of(topology)
    patterns = [_pattern(string, "H" in elements) for string in strings]
    bonds = _bonds_by_molecule(topology)
    order = np.argsort(topology.molecules, kind="stable")
    known: dict[tuple, list[tuple[str, list[int]]]] = {}
    beads: list[Bead] = []
    for members in np.split(order, np.flatnonzero(np.diff(topology.molecules[order])) + 1):
        if all(topology.residues[a] in leave for a in members):
            continue
        start = int(members[0])
        links = [(int(i) - start, int(j) - start) for i, j in bonds.get(int(topology.molecules[start]), [])]
        key = (tuple(elements[a] for a in members), tuple((members - start).tolist()), tuple(links))
        if key not in known:
            known[key] = _match(key, patterns, strings, f"{topology.residues[start]} (atoms {start} to {members[-1]})")
        beads += [Bead(species, np.array(atoms) + start) for species, atoms in known[key]]
    return beads


def _pattern(string: str, with_hydrogen: bool) -> tuple[nx.Graph, dict]:
    """Heavy atoms with their number of hydrogens, and the bead of each: fragment number and name."""
    from cgsmiles import MoleculeResolver

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, atoms = MoleculeResolver.from_string(string).resolve()
    except (SyntaxError, ValueError, KeyError, IndexError, LookupError, TypeError) as error:
        raise MappingError(f"{string!r} is no CGsmiles string with fragments of atoms ({error})") from error
    beads = {}
    for node, data in atoms.nodes(data=True):
        if len(data["fragid"]) != 1:
            raise MappingError(f"{string!r}: an atom is shared by two beads; an atom belongs to one bead at most")
        beads[node] = (data["fragid"][0], data["fragname"])
    return _heavy(atoms, {n: d["element"] for n, d in atoms.nodes(data=True)}, with_hydrogen), beads


def _heavy(atoms: nx.Graph, elements: dict, with_hydrogen: bool) -> nx.Graph:
    """The graph of the heavy atoms; hydrogens are a number on each, where the system has any."""
    heavy = nx.Graph()
    for node in atoms:
        if elements[node] not in ("H", "D"):
            hydrogens = sum(elements[n] in ("H", "D") for n in atoms[node])
            heavy.add_node(node, kind=(elements[node], hydrogens if with_hydrogen else 0))
    heavy.add_edges_from((i, j) for i, j in atoms.edges if i in heavy and j in heavy)
    return heavy


def _match(key: tuple, patterns, strings: Sequence[str], name: str) -> list[tuple[str, list[int]]]:
    """The beads of one molecule as (species, atoms counted from its first), in the order of the string."""
    elements, offsets, links = key
    atoms = nx.Graph()
    atoms.add_nodes_from(offsets)
    atoms.add_edges_from(links)
    of = dict(zip(offsets, elements, strict=True))
    heavy = _heavy(atoms, of, "H" in elements)
    for pattern, bead_of in patterns:
        matcher = GraphMatcher(heavy, pattern, node_match=lambda a, b: a["kind"] == b["kind"])
        if not matcher.is_isomorphic():
            continue
        beads: dict[tuple[int, str], list[int]] = {}
        for offset in sorted(heavy):
            hydrogens = [n for n in atoms[offset] if n not in heavy]
            beads.setdefault(bead_of[matcher.mapping[offset]], []).extend([offset, *hydrogens])
        return [(species, sorted(beads[number, species])) for number, species in sorted(beads)]
    if len(offsets) > 1 and not links:
        raise MappingError(
            f"molecule {name} has no bonds, and CGsmiles are found by bonds: read a TPR, PSF or data file"
        )
    raise MappingError(
        f"molecule {name} of {len(offsets)} atoms ({''.join(sorted(elements))}) is described by none of "
        f"{', '.join(strings)}: add a string for it, or name its residues in leave="
    )


def _bonds_by_molecule(topology: Topology) -> dict[int, list]:
    found: dict[int, list] = {}
    for bond in topology.bonds.tolist():
        found.setdefault(int(topology.molecules[bond[0]]), []).append(bond)
    return found
