"""What the folder of a run holds to learn from and to judge by, and at which temperatures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meanforce.construction import reference_of
from meanforce.data.dataset import Dataset
from meanforce.recipe import Recipe, RecipeError
from meanforce.reference.held import evenly
from meanforce.runfolder import RunFolder


def split(recipe: Recipe, folder: RunFolder) -> tuple[Dataset, Dataset]:
    """Beads to learn from, which may be held ones, and beads to judge by: the ends of all runs."""
    taught, kept = at_temperature(recipe, folder).split(1.0 - recipe.train.held_out)
    return (Dataset.open(folder.held) if folder.held.exists() else taught), kept


def to_hold(recipe: Recipe, folder: RunFolder, count: int) -> list[int]:
    """Numbers of the frames of atoms whose beads are held: `count` at each temperature to learn from, by turns."""
    taught, _ = at_temperature(recipe, folder).split(1.0 - recipe.train.held_out)
    rows = np.arange(len(beads(recipe, folder))) if taught.rows is None else taught.rows
    known = np.asarray(taught.column("temperature"), float)
    parts = []
    for kelvin in np.unique(known):
        there = rows[known == kelvin]
        if count > len(there):
            raise RecipeError(f"hold.frames: at {kelvin:g} K there are {len(there)} frames to learn from; hold fewer")
        parts.append(evenly(there, count))
    return [row for turn in zip(*parts, strict=True) for row in turn]


def at_temperature(recipe: Recipe, folder: RunFolder) -> Dataset:
    """The beads at the temperatures of the training: one, or several where the potential depends on them."""
    data, options = beads(recipe, folder), recipe.train
    if len(data.temperatures) < 2 and options.temperature is None and options.temperatures is None:
        return data
    wanted = options.temperatures or ((options.temperature,) if options.temperature else None)
    if wanted is None:
        wanted = data.temperatures if recipe.potential.thermal is not None else data.temperatures[:1]
    rows = np.arange(len(data))
    known = np.asarray(data.column("temperature"), float)
    chosen = [rows[np.isclose(known, data.select(temperature=t).temperatures[0])] for t in wanted]
    return data.at(np.sort(np.concatenate(chosen)))


def temperatures(recipe: Recipe, folder: RunFolder) -> tuple[float, ...]:
    """Those of the simulations, in K: as asked, or the one that the model is made about."""
    options = recipe.simulate
    if options.temperatures is not None:
        return options.temperatures
    if options.temperature is not None:
        return (options.temperature,)
    data = at_temperature(recipe, folder)
    if not data.temperatures:
        raise RecipeError("simulate: the data have no temperature; give temperature: in K")
    return (_closest(recipe, data, data.temperatures),)


def judged_at(recipe: Recipe, folder: RunFolder) -> float:
    """The temperature at which structure and forces are judged in full: of those learned from, if it is simulated."""
    kelvins, data = temperatures(recipe, folder), at_temperature(recipe, folder)
    learned = [t for t in kelvins if among(t, data)]
    return _closest(recipe, data, learned or kelvins)


def _closest(recipe: Recipe, data: Dataset, kelvins: Sequence[float]) -> float:
    """The one nearest to T0; the first where the potential does not depend on temperature."""
    thermal = recipe.potential.thermal
    if thermal is None:
        return kelvins[0]
    middle = reference_of(thermal, data)
    return min(kelvins, key=lambda t: abs(t - middle))


def among(kelvin: float, data: Dataset) -> bool:
    return bool(np.isclose(data.temperatures, kelvin, rtol=1e-6).any()) if data.temperatures else False


def near(data: Dataset, kelvin: float) -> Dataset:
    """The frames at the temperature nearest to one."""
    if len(data.temperatures) < 2:
        return data
    return data.select(temperature=min(data.temperatures, key=lambda t: abs(t - kelvin)))


def beads(recipe: Recipe, folder: RunFolder) -> Dataset:
    """The mapped data of a run."""
    if recipe.dataset is not None and not recipe.dataset.exists():
        raise RecipeError(f"dataset: there is no file {recipe.dataset}; name one of beads, or of atoms with a mapping")
    path = recipe.dataset if recipe.dataset is not None and recipe.mapping is None else folder.beads
    if not path.exists():
        raise RecipeError(f"there are no beads yet in {folder.path}; begin with `meanforce map`")
    return Dataset.open(path)
