"""The simulations of a recipe: at each temperature, with exchange between them, or over a ramp; each can be resumed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.exchange import Ladder
from meanforce.dynamics.guard import Guard
from meanforce.dynamics.ramp import Ramp
from meanforce.dynamics.replicas import Replicas, replica_exchange
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin
from meanforce.ensemble import Ensemble
from meanforce.frames import Frames
from meanforce.learn.friction import Friction, match_diffusion
from meanforce.material import judged_at, split
from meanforce.model import Model
from meanforce.motion import diffusion_of_atoms, read
from meanforce.observables.transport import diffusion
from meanforce.recipe import Recipe
from meanforce.runfolder import RunFolder
from meanforce.runlog import Progress
from meanforce.stages import MatchFriction

_SILENT: Progress = lambda _: None


def sampled(
    recipe: Recipe, folder: RunFolder, path: Path, progress: Progress = _SILENT, guard: Guard | None = None, *,
    kelvin: float | None = None,
) -> Ensemble:  # fmt: skip
    """The ensemble of a model, without its equilibration; a finished simulation is read from the disk.

    `kelvin` is one of `temperatures`, by default the one at which the model is judged first.
    """
    options = recipe.simulate
    kelvin = judged_at(recipe, folder) if kelvin is None else kelvin
    if options.exchange is not None:
        return exchanged(recipe, folder, path, progress, guard).ensembles[_ladder(recipe).temperatures.index(kelvin)]
    output = _output(folder, path)
    if options.temperatures is not None:
        output = output.with_stem(f"{output.stem}-{kelvin:g}K")
    ensemble = simulate(
        Model.load(path), _start(recipe, folder, [kelvin] * options.replicas), temperature=kelvin,
        time=options.equilibration + options.time, timestep=options.timestep, seed=options.seed,
        thermostat=thermostat(recipe, folder), barostat=_barostat(recipe),
        settings=_settings(recipe, output, progress, guard),
    )  # fmt: skip
    return _after(ensemble, options.equilibration)


def matched(
    recipe: Recipe, folder: RunFolder, kelvin: float, progress: Progress = _SILENT, guard: Guard | None = None
) -> Friction:
    """The friction with which the model diffuses as the atoms do at `kelvin`; runs that are finished are read."""
    options, asked = recipe.simulate, recipe.simulate.friction
    assert isinstance(asked, MatchFriction)
    atoms = diffusion_of_atoms(recipe, folder, kelvin)
    settings = _settings(recipe, folder.friction.with_name(f"friction-{kelvin:g}K.h5"), progress, guard)
    seed = np.random.SeedSequence([options.seed, asked.match.index(kelvin)]).generate_state(1)[0]
    return match_diffusion(
        Model.load(folder.model), _start(recipe, folder, [kelvin] * options.replicas), atoms, kelvin,
        asked.time or options.time, options.timestep, int(seed), settings=replace(settings, trajectories=()),
        measure=partial(diffusion, window=atoms.window),
    )  # fmt: skip


def thermostat(recipe: Recipe, folder: RunFolder) -> Langevin:
    """The bath of every simulation of a recipe, of the friction it says or of that which was matched."""
    asked = recipe.simulate.friction
    return read(folder).thermostat if isinstance(asked, MatchFriction) else Langevin(asked)


def exchanged(
    recipe: Recipe, folder: RunFolder, path: Path, progress: Progress = _SILENT, guard: Guard | None = None
) -> Replicas:
    """All temperatures in one run, which exchange; one ensemble for each, without its equilibration."""
    options, ladder = recipe.simulate, _ladder(recipe)
    found = replica_exchange(
        Model.load(path), _start(recipe, folder, ladder.temperatures), ladder, options.equilibration + options.time,
        options.timestep, options.seed, thermostat=thermostat(recipe, folder), barostat=_barostat(recipe),
        settings=_settings(recipe, _output(folder, path), progress, guard),
    )  # fmt: skip
    return found._replace(ensembles=tuple(_after(one, options.equilibration) for one in found.ensembles))


def heated(
    recipe: Recipe, folder: RunFolder, path: Path, progress: Progress = _SILENT, guard: Guard | None = None
) -> Ensemble:
    """The model heated or cooled over the ramp, from beads that were in equilibrium at its beginning."""
    options = recipe.simulate
    assert options.ramp is not None
    low, high = options.ramp
    output = _output(folder, path).with_stem(f"{_output(folder, path).stem}-ramp")
    settings = _settings(recipe, output, progress, guard)
    start = _start(recipe, folder, [low] * options.replicas)
    run = lambda begun, temperature, time, settings: simulate(
        Model.load(path), begun, temperature, time, options.timestep, options.seed,
        thermostat=thermostat(recipe, folder), barostat=_barostat(recipe), settings=settings,
    )  # fmt: skip
    if options.equilibration:
        before = replace(settings, output=output.with_stem(f"{output.stem}-start"), trajectories=(), progress=None)
        frames = run(start, low, options.equilibration, before).frames
        start = frames[-options.replicas :].with_(
            temperature=None, time=None, trajectory=None, energy=None, virial=None
        )
    return run(start, Ramp(low, high), options.time, settings)


def _ladder(recipe: Recipe) -> Ladder:
    options = recipe.simulate
    assert options.exchange is not None and options.temperatures is not None
    return Ladder(tuple(sorted(options.temperatures)), options.exchange.every)


def _start(recipe: Recipe, folder: RunFolder, kelvins: list[float] | tuple[float, ...]) -> Frames:
    """A frame of the atoms for each replica, at the nearest temperature there is; evenly spread ones."""
    taught, _ = split(recipe, folder)
    parts = [_near(taught, kelvin) for kelvin in kelvins]
    spread = lambda n, part: np.linspace(0, len(part) - 1, len(parts)).astype(int)[n : n + 1]
    return Frames.concatenate([part.at(spread(n, part))[:] for n, part in enumerate(parts)])


def _near(data: Dataset, kelvin: float) -> Dataset:
    known = data.temperatures
    return data.select(temperature=min(known, key=lambda t: abs(t - kelvin))) if known else data


def _settings(recipe: Recipe, output: Path, progress: Progress, guard: Guard | None) -> Settings:
    options = recipe.simulate
    return Settings(
        save_every=options.save_every, replicas=1 if options.exchange else options.replicas,
        precision=options.precision, output=output, resume=True, trajectories=options.trajectories,
        progress=lambda seen: progress(seen.fraction), guard=guard,
    )  # fmt: skip


def _output(folder: RunFolder, path: Path) -> Path:
    return folder.simulation if path == folder.model else folder.pairs_simulation


def _barostat(recipe: Recipe) -> Barostat | None:
    return None if recipe.simulate.pressure is None else Barostat(recipe.simulate.pressure)


def _after(ensemble: Ensemble, equilibration: float) -> Ensemble:
    """The ensemble without its first ps."""
    time = ensemble.frames.time
    if time is None:
        raise ValueError("the ensemble has no times, so that no equilibration can be cut off; simulate it again")
    keep = np.flatnonzero(time > equilibration + 1e-9)
    return ensemble._replace(
        frames=ensemble.frames[keep],
        reduced=ensemble.reduced[keep],
        log_weights=ensemble.log_weights[keep],
        chain=ensemble.chain[keep],
    )
