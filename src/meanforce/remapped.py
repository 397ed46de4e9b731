"""Frames of a recipe by a second legal map from atoms to beads: its forces have the mean of those by the first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.data.errors import MappingError
from meanforce.data.mapping import Mapped, Mapping
from meanforce.material import beads
from meanforce.recipe import Recipe
from meanforce.reference.atoms import open_reference
from meanforce.runfolder import RunFolder

_COMPARED = 200  # frames
_LEARNED = 500  # frames, others, from which the map of least noise is found
_SAME = 1e-6  # relative difference of forces below which two maps are one


def two_maps(recipe: Recipe, folder: RunFolder, held: Dataset) -> tuple[Dataset, Dataset] | None:
    """A few of the frames held out at one temperature as the recipe maps them, and by another map.

    None where the recipe maps no stored atoms, or where their constraints leave no second map.
    """
    atoms_at = recipe.dataset or folder.atoms
    if recipe.mapping is None or recipe.trajectory is not None or not atoms_at.exists():
        return None
    every, atoms = beads(recipe, folder), open_reference(atoms_at)
    mapping = Mapping.from_json(every.provenance["mapping"])
    stored = [run for run in atoms.runs if isinstance(run, Dataset)]  # each a part of one file, in the order of beads
    order = np.concatenate([np.arange(len(run)) if run.rows is None else run.rows for run in stored])
    of_atoms = lambda rows: replace(atoms, runs=(replace(stored[0], rows=order[rows]),))
    known = np.arange(len(every)) if held.rows is None else held.rows
    chosen = _spread(known, _COMPARED)
    source = of_atoms(chosen)
    try:
        if recipe.mapping.forces in ("optimal", "response"):
            other = mapping(source, forces="sum")
        else:
            (kelvin,) = held.temperatures
            same = every.select(temperature=kelvin).rows
            assert same is not None  # a selection
            best = mapping(of_atoms(_spread(np.setdiff1d(same, chosen), _LEARNED)), forces="optimal")
            other = Mapped(mapping, source, best.forcemap)
    except MappingError:
        return None
    first, second = every.at(chosen), Dataset.from_frames(mapping.topology, next(iter(other.batches(_COMPARED))))
    ours, theirs = (np.asarray(data[:].forces, float) for data in (first, second))
    return None if np.abs(ours - theirs).max() < _SAME * np.abs(ours).max() else (first, second)


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
