"""Which atoms make a bead: by residue and atom names, or by selection strings."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping as Table
from collections.abc import Sequence

import numpy as np

from meanforce.data.atomtopology import residue_blocks, universe
from meanforce.data.beads import Bead
from meanforce.data.errors import MappingError
from meanforce.topology import Topology


def by_residue(
    topology: Topology, table: Table[str, Table[str, str | Sequence[str]]], leave: Sequence[str]
) -> list[Bead]:
    """Beads in the order of the residues, and within one in the order of the table."""
    _check_names(topology, table, leave)
    blocks = residue_blocks(topology.residues, topology.residue_ids)
    starts = np.append(np.unique(blocks, return_index=True)[1], len(blocks))
    beads = []
    for start, stop in itertools.pairwise(starts):
        residue = topology.residues[start]
        for species, names in table.get(residue, {}).items():
            members = np.arange(start, stop)
            if not isinstance(names, str):
                members = members[[topology.names[a] in names for a in members]]
            if not len(members):
                raise MappingError(
                    f"residue {residue} {topology.residue_ids[start]} has none of the atoms of its bead {species!r} "
                    f"({', '.join(names)}); it has {', '.join(topology.names[start:stop])}"
                )
            beads.append(Bead(species, members))
    return beads


def by_selection(topology: Topology, table: Table[str, str | Sequence[str]], per: str) -> list[Bead]:
    """Beads in the order of their first atoms."""
    if per not in ("residue", "molecule", "system"):
        raise MappingError(f"per={per!r}: give 'residue', 'molecule' or 'system'")
    labels = {
        "residue": residue_blocks(topology.residues, topology.residue_ids),
        "molecule": topology.molecules,
        "system": np.zeros(len(topology), int),
    }[per]
    atoms = universe(topology).atoms
    beads = []
    for species, selection in table.items():
        if isinstance(selection, str):
            members = _select(atoms, selection, species)
            beads += [Bead(species, members[labels[members] == k]) for k in dict.fromkeys(labels[members].tolist())]
        else:
            beads += [Bead(species, _select(atoms, one, species)) for one in selection]
    return sorted(beads, key=lambda bead: int(bead.atoms[0]))


def _select(atoms, selection: str, species: str) -> np.ndarray:
    from MDAnalysis.exceptions import NoDataError, SelectionError

    try:
        members = atoms.select_atoms(selection).indices
    except (NoDataError, AttributeError) as error:
        raise MappingError(
            f"bead {species!r}: {selection!r} needs more than names, types, elements, masses, residues, molnums and "
            f"bonds ({error}); positions change from frame to frame and cannot define a bead"
        ) from error
    except (SelectionError, ValueError) as error:
        raise MappingError(f"bead {species!r}: {selection!r} is no selection of MDAnalysis ({error})") from error
    if not len(members):
        raise MappingError(f"bead {species!r}: no atom is selected by {selection!r}")
    return members


def _check_names(topology: Topology, table: Table, leave: Sequence[str]) -> None:
    """Every residue is spoken of, and every name occurs: nothing is left out by a slip of the pen."""
    present = dict.fromkeys(topology.residues)
    for residue in (*table, *leave):
        if residue not in present:
            raise MappingError(
                f"no residue is called {residue!r}{_meant(residue, present)}; there are {', '.join(present)}"
            )
    missing = [residue for residue in present if residue not in table and residue not in leave]
    if missing:
        raise MappingError(
            f"nothing is said of the residues {', '.join(missing)}: give them beads, or leave={missing!r} to have none"
        )
    for residue, beads in table.items():
        names = dict.fromkeys(n for n, r in zip(topology.names, topology.residues, strict=True) if r == residue)
        for species, wanted in beads.items():
            if isinstance(wanted, str) and wanted != "all":
                raise MappingError(f"bead {species!r} of {residue}: give 'all' or a list of atom names, not {wanted!r}")
            for name in () if isinstance(wanted, str) else wanted:
                if name not in names:
                    raise MappingError(
                        f"bead {species!r}: no residue {residue} has an atom {name!r}{_meant(name, names)}; "
                        f"its atoms are {', '.join(names)}"
                    )


def _meant(name: str, known) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""
