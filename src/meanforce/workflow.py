"""Carries a recipe out: atoms -> beads -> model -> simulation -> verdict. Every step resumes where it was stopped."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from meanforce import judgement
from meanforce.construction import construct
from meanforce.data.dataset import Dataset
from meanforce.data.inspect import inspect
from meanforce.data.inspection import Inspection
from meanforce.data.mapping import Mapping
from meanforce.data.readers import read
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.guard import Guard
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin
from meanforce.ensemble import Ensemble
from meanforce.learn.curve import TrainingHistory
from meanforce.learn.fit import fit
from meanforce.learn.result import Fit
from meanforce.learn.training import Training
from meanforce.model import Model, ModelFileError
from meanforce.objectives.base import Objective
from meanforce.objectives.matching import ForceMatching, PressureMatching
from meanforce.potentials.base import LinearPotential, Potential
from meanforce.potentials.validity import ExtrapolationWarning
from meanforce.recipe import Mapping as MappingOptions
from meanforce.recipe import PotentialOptions, Recipe, RecipeError, Spline
from meanforce.reference import exact_run
from meanforce.reference import openmm as atomistic
from meanforce.reference.atoms import open_reference
from meanforce.report import page
from meanforce.runfolder import RunFolder, write_whole
from meanforce.runlog import Bars, Progress, RunLog


def carry_out(recipe: Recipe, folder: RunFolder, *, last: str, bars: Bars) -> None:
    """Does the steps up to and including `last`; what is finished is left as it is."""
    with RunLog(folder.log, bars) as logged:
        for name, step in STEPS.items():
            with folder.timed(name):
                step(recipe, folder, logged)
            if name == last:
                return


def make_atoms(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """Atomistic data, where the recipe asks for them to be made here."""
    if folder.atoms.exists() or (recipe.reference is None and recipe.exact is None):
        return
    with bars.stage("Simulating the atoms") as progress:
        if recipe.reference is not None:
            watch = lambda seen: progress(seen.fraction)
            atomistic.run(recipe.reference, folder.atoms, resume=True, watcher=watch)
        elif recipe.exact is not None:
            exact_run.run(recipe.exact, folder.atoms, resume=True, progress=progress)


def make_beads(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """Beads from atoms: positions and forces."""
    if folder.beads.exists() or recipe.mapping is None:
        return
    with bars.stage("Mapping atoms to beads"):
        temperature = None
        if recipe.trajectory is not None:
            t = recipe.trajectory
            atoms = read(
                t.topology, *t.trajectories, energies=t.energies, units=t.units, constraints=t.constraints,
                require=("forces",),
            )  # fmt: skip
            temperature = t.temperature
        else:
            atoms = open_reference(recipe.dataset or folder.atoms)
        mapping = _mapping(recipe.mapping, atoms)
        mapped = mapping(atoms, forces=recipe.mapping.forces)
        provenance = {"mapping": mapping.to_json(), "atoms": getattr(atoms, "provenance", {})}
        Dataset.create(folder.beads, mapped, temperature=temperature, provenance=provenance, resume=True)


def learn(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """The model, and for comparison one of pairs alone."""
    if folder.training.exists():
        return
    taught, _ = split(recipe, folder)
    wanted: list[Objective] = [ForceMatching(taught)]
    if recipe.train.virial:
        wanted.append(PressureMatching(taught, weight=recipe.train.virial))
    scores = {}
    for path, options in models(recipe, folder).items():
        title = "Fitting the model" if path == folder.model else "Fitting pairs alone"
        with bars.stage(title) as progress:
            potential = construct(options, taught)
            found = _fitted(recipe, folder, potential, wanted, progress)
        found.model.with_(mapping=taught.provenance.get("mapping")).save(path)
        scores[path.stem] = {"outcome": str(found.outcome), "history": str(found.history)}
        bars.note(f"{path.stem}: {found.outcome}")
        if isinstance(found.history, TrainingHistory):
            found.history.to_csv(folder.curve)
    write_whole(folder.training, json.dumps(scores, indent=2))


def _fitted(
    recipe: Recipe, folder: RunFolder, potential: Potential, wanted: list[Objective], progress: Progress
) -> Fit:
    """Splines in closed form; a network by gradient, from its last checkpoint if there is one."""
    if isinstance(potential, LinearPotential):
        return fit(potential, wanted, regularisation=recipe.train.regularisation, progress=progress)
    training = Training(
        **recipe.gradient.model_dump(), checkpoint=folder.checkpoint,
        resume=folder.checkpoint.exists(),
    )  # fmt: skip
    return fit(potential, wanted, training=training, progress=progress)


def sample(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """Molecular dynamics with every model; kept frame by frame, so that a stop loses nothing."""
    for path in models(recipe, folder):
        title = "Sampling the model" if path == folder.model else "Sampling pairs alone"
        with bars.stage(title) as progress, warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ExtrapolationWarning)
            sampled(recipe, folder, path, progress, _guard(recipe, folder, path))
        for warning in told:
            bars.note(f"{path.stem}: {warning.message}")


def _guard(recipe: Recipe, folder: RunFolder, path: Path) -> Guard | None:
    """Watches that the beads stay where the model has learned."""
    if recipe.simulate.guard == "off":
        return None
    taught, _ = split(recipe, folder)
    return judgement.guard(taught, Model.load(path), stop=recipe.simulate.guard == "stop")


def sampled(
    recipe: Recipe,
    folder: RunFolder,
    path: Path,
    progress: Progress = lambda _: None,
    guard: Guard | None = None,
) -> Ensemble:
    """The ensemble of a model, without its equilibration; a finished simulation is read from the disk."""
    options = recipe.simulate
    taught, _ = split(recipe, folder)
    temperature = options.temperature or taught.temperatures[0]
    start = taught.at(np.linspace(0, len(taught) - 1, options.replicas).astype(int))[:]
    output = folder.simulation if path == folder.model else folder.pairs_simulation
    settings = Settings(
        save_every=options.save_every, replicas=options.replicas, precision=options.precision, output=output,
        resume=True, trajectories=options.trajectories, progress=lambda seen: progress(seen.fraction), guard=guard,
    )  # fmt: skip
    ensemble = simulate(
        Model.load(path), start, temperature=temperature, time=options.equilibration + options.time,
        timestep=options.timestep, seed=options.seed, thermostat=Langevin(options.friction),
        barostat=None if options.pressure is None else Barostat(options.pressure), settings=settings,
    )  # fmt: skip
    return _after(ensemble, options.equilibration)


def judge(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """The report with its verdicts."""
    if folder.verdicts.exists():
        return
    with bars.stage("Judging the model"):
        taught, kept = split(recipe, folder)
        evidence = judgement.Evidence(
            recipe, folder.recipe.read_text("utf-8"), at_temperature(recipe, folder), taught, kept,
            [_case(recipe, folder, path) for path in models(recipe, folder)],
            folder.timings(), folder.training.read_text("utf-8"), folder.curve,
        )  # fmt: skip
        found = judgement.report(evidence)
        page.write(found, folder.report)
        write_whole(folder.verdicts, judgement.summary(found))


def _case(recipe: Recipe, folder: RunFolder, path: Path) -> judgement.Case:
    return judgement.Case(path.stem, Model.load(path), sampled(recipe, folder, path))


def models(recipe: Recipe, folder: RunFolder) -> dict[Path, PotentialOptions]:
    """Files of the models of a recipe, and what each is made of; the first is the one judged."""
    found: dict[Path, PotentialOptions] = {folder.model: recipe.potential}
    if recipe.validate_.pair_only:
        own = recipe.potential
        reach = own.cutoff if isinstance(own, Spline) else own.reach
        found[folder.pairs_model] = Spline(cutoff=reach, spacing=own.spacing, many_body=False)
    return found


def split(recipe: Recipe, folder: RunFolder) -> tuple[Dataset, Dataset]:
    """Beads to learn from, and beads to judge by: the ends of all runs."""
    taught, kept = at_temperature(recipe, folder).split(1.0 - recipe.train.held_out)
    return taught, kept


def at_temperature(recipe: Recipe, folder: RunFolder) -> Dataset:
    """The beads at the temperature of the training."""
    data = beads(recipe, folder)
    if recipe.train.temperature is None and len(data.temperatures) < 2:
        return data
    return data.select(temperature=recipe.train.temperature or data.temperatures[0])


def beads(recipe: Recipe, folder: RunFolder) -> Dataset:
    """The mapped data of a run."""
    if recipe.dataset is not None and not recipe.dataset.exists():
        raise RecipeError(f"dataset: there is no file {recipe.dataset}; name one of beads, or of atoms with a mapping")
    path = folder.beads if recipe.mapping is not None else recipe.dataset
    if path is None or not path.exists():
        raise RecipeError(f"there are no beads yet in {folder.path}; begin with `meanforce map`")
    return Dataset.open(path)


def inspect_file(path: Path) -> Inspection | Model:
    """What `meanforce inspect` shows of a data set or a model, whatever their names."""
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; inspect reads data sets (.h5) and models (.mf)")
    if path.suffix == ".h5" or h5py.is_hdf5(path):
        return inspect(Dataset.open(path))
    try:
        return Model.load(path)
    except ModelFileError:
        if path.suffix == ".mf":
            raise
        raise RecipeError(
            f"{path} is neither a data set (.h5) nor a model (.mf), which are what inspect reads"
        ) from None


def _mapping(options: MappingOptions, atoms) -> Mapping:
    if options.residues is not None:
        return Mapping.by_residue(atoms, options.residues, position=options.position)
    if options.selections is not None:
        return Mapping.by_selection(atoms, options.selections, position=options.position)
    if options.cgsmiles is not None:
        return Mapping.by_cgsmiles(atoms, options.cgsmiles, position=options.position)
    raise RecipeError("mapping: give exactly one of residues, selections, cgsmiles")


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


#: The steps of a recipe, in order; each is also a verb of the command line.
STEPS: dict[str, Callable[[Recipe, RunFolder, Bars], None]] = {
    "reference": make_atoms,
    "map": make_beads,
    "train": learn,
    "simulate": sample,
    "validate": judge,
}
