"""Which atoms the simulation held at fixed distances: trajectories do not say, and force maps must know.

A force map is unbiased only if it gives atoms joined by a constraint the same coefficient.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int

from meanforce.data.errors import ReadingError
from meanforce.topology import Topology

WORDS = ("none", "h-bonds", "all-bonds", "rigid-water")


def constrained_pairs(
    topology: Topology, elements: tuple[str, ...], stated: str | np.ndarray | list | None
) -> Int[np.ndarray, "m 2"] | None:
    """Pairs of atoms from 'none', 'h-bonds', 'all-bonds', 'rigid-water' or the pairs themselves; None is unknown.

    'h-bonds' are all bonds with a hydrogen, as GROMACS and OpenMM mean it, and so hold water rigid too.
    """
    if stated is None:
        return None
    if not isinstance(stated, str):
        return _pairs(stated, len(topology))
    if stated not in WORDS:
        raise ReadingError(f"constraints={stated!r} is unknown; give {', '.join(WORDS)}, or pairs of atom indices")
    if stated == "none":
        return np.zeros((0, 2), np.int32)
    if stated == "rigid-water":
        return _rigid_water(topology, elements)
    if not len(topology.bonds):
        raise ReadingError(
            f"constraints={stated!r} needs the bonds, and this topology has none: read a TPR, PSF or LAMMPS data file, "
            "or give pairs of atom indices"
        )
    if stated == "all-bonds":
        return topology.bonds
    hydrogen = np.array([e in ("H", "D") for e in elements])
    return topology.bonds[hydrogen[topology.bonds].any(axis=1)]


def groups(atoms: int, pairs: Int[np.ndarray, "m 2"] | None) -> Int[np.ndarray, "atoms"]:
    """The rigidly connected group of each atom; an atom without constraints is a group of its own."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = np.zeros((0, 2), int) if pairs is None else pairs
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(atoms, atoms))
    return connected_components(links, directed=False)[1]


def tpr_constraints(path: Path) -> Int[np.ndarray, "m 2"]:
    """The constraints and SETTLE waters of a GROMACS run input; MDAnalysis merges them with the bonds."""
    from MDAnalysis.topology.tpr import setting, utils

    try:
        data = utils.TPXUnpacker(path.read_bytes())
        header = utils.read_tpxheader(data)
        if header.fver >= setting.tpxv_AddSizeField and header.fgen >= 27:
            data = utils.TPXUnpacker2020.from_unpacker(data)
        if header.bBox:
            utils.extract_box_info(data, header.fver)
        if header.ngtc > 0:
            for _ in range(2 if header.fver < 69 else 1):
                utils.ndo_real(data, header.ngtc)
        names = utils.do_symtab(data)
        utils.do_symstr(data, names)
        utils.do_ffparams(data, header.fver)
        kinds = [_molecule_kind(data, names, header.fver) for _ in range(data.unpack_int())]
        blocks = [utils.do_molblock(data) for _ in range(data.unpack_int())]
    except (EOFError, ValueError, OSError, IndexError, NotImplementedError) as error:
        raise ReadingError(
            f"{path}: its constraints cannot be read ({error}); state them, such as constraints='h-bonds'"
        ) from error
    pairs, start = [np.zeros((0, 2), int)], 0
    for block in blocks:
        count, held = kinds[block.molb_type]
        starts = start + count * np.arange(block.molb_nmol)
        pairs.append((starts[:, None, None] + held).reshape(-1, 2))
        start += count * block.molb_nmol
    return np.concatenate(pairs).astype(np.int32)


def _molecule_kind(data, names, version: int) -> tuple[int, np.ndarray]:
    """The number of atoms of a molecule and its constrained pairs, counted from its first atom."""
    from MDAnalysis.topology.tpr import utils

    utils.do_symstr(data, names)
    atoms = utils.do_atoms(data, names, version)
    pairs: list[tuple[int, int]] = []
    for terms in utils.do_ilists(data, version):
        kind, width = terms.ik[0], terms.ik[2]
        if terms.nr == 0 or kind not in ("CONSTR", "CONSTRNC", "SETTLE"):
            continue
        if kind == "SETTLE" and len(terms.iatoms) == 2:  # files before 2013 name the oxygen only
            members = [[terms.iatoms[1] + k for k in range(3)]]
        else:
            members = [terms.iatoms[i + 1 : i + 1 + width] for i in range(0, terms.nr, width + 1)]
        pairs += [(m[i], m[j]) for m in members for i in range(len(m)) for j in range(i + 1, len(m))]
    utils.do_block(data)
    utils.do_blocka(data)
    return atoms.nr, np.array(pairs, int).reshape(-1, 2)


def _pairs(stated, atoms: int) -> np.ndarray:
    pairs = np.asarray(stated)
    if pairs.size == 0:
        return np.zeros((0, 2), np.int32)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ReadingError(f"constraints have shape {pairs.shape}; give pairs of atom indices, counted from 0")
    if pairs.min() < 0 or pairs.max() >= atoms:
        raise ReadingError(f"constraints: atom {pairs.max()} is outside the {atoms} atoms; indices count from 0")
    return pairs.astype(np.int32)


def _rigid_water(topology: Topology, elements: tuple[str, ...]) -> np.ndarray:
    order = np.argsort(topology.molecules, kind="stable")
    starts = np.flatnonzero(np.diff(topology.molecules[order], prepend=-1))
    waters = [m for m in np.split(order, starts[1:]) if sorted(elements[a] for a in m) == ["H", "H", "O"]]
    if not waters:
        raise ReadingError("constraints='rigid-water': no molecule of one oxygen and two hydrogens is here")
    trios = np.array(waters)
    return np.concatenate([trios[:, [0, 1]], trios[:, [0, 2]], trios[:, [1, 2]]]).astype(np.int32)
