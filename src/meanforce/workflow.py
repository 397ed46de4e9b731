"""Carries a recipe out: atoms -> beads -> model -> simulation -> verdict. Every step resumes where it was stopped."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py

from meanforce import judgement
from meanforce.construction import construct, linear
from meanforce.data.dataset import Dataset, Source
from meanforce.data.inspect import inspect
from meanforce.data.inspection import Inspection
from meanforce.data.joined import Joined
from meanforce.data.mapping import Mapping
from meanforce.data.readers import read
from meanforce.data.writer import part_folder
from meanforce.dynamics.guard import Guard
from meanforce.learn.crossfit import cross_fit
from meanforce.learn.curve import TrainingHistory
from meanforce.learn.fit import fit
from meanforce.learn.friction import Friction
from meanforce.learn.result import Fit
from meanforce.learn.training import Training
from meanforce.material import among, at_temperature, beads, judged_at, near, split, temperatures, to_hold
from meanforce.model import Model, ModelFileError
from meanforce.motion import check_motion, motion
from meanforce.objectives.base import Objective
from meanforce.objectives.cumulants import ResponseMatching, SecondResponseMatching, VarianceMatching
from meanforce.objectives.joint import EnergyGivenForces
from meanforce.objectives.matching import EnergyMatching, ForceMatching, PressureMatching
from meanforce.potentials.base import LinearPotential, Potential
from meanforce.potentials.validity import ExtrapolationWarning
from meanforce.recipe import Mapping as MappingOptions
from meanforce.recipe import PotentialOptions, Recipe, RecipeError, Spline, Trajectory
from meanforce.reference import exact_run
from meanforce.reference import openmm as atomistic
from meanforce.reference.atoms import open_reference
from meanforce.reference.held import hold
from meanforce.remapped import two_maps
from meanforce.report import page
from meanforce.runfolder import RunFolder, write_whole
from meanforce.runlog import Bars, Progress, RunLog
from meanforce.sampling import exchanged, heated, matched, sampled
from meanforce.stages import MatchFriction, check_temperatures
from meanforce.transferability import AtTemperature, Changes


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
    path = made(recipe, folder)
    if path.exists() or (recipe.reference is None and recipe.exact is None):
        return
    with bars.stage("Simulating the atoms") as progress:
        if recipe.reference is not None:
            watch = lambda seen: progress(seen.fraction)
            atomistic.run(recipe.reference, path, resume=True, watcher=watch)
        elif recipe.exact is not None:
            exact_run.run(recipe.exact, path, resume=True, progress=progress)


def made(recipe: Recipe, folder: RunFolder) -> Path:
    """Where the data go that are made here: atoms, or beads where nothing is left to map."""
    return folder.beads if recipe.exact is not None and recipe.exact.of_beads else folder.atoms


def make_beads(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """Beads from atoms: positions and forces."""
    if folder.beads.exists() or recipe.mapping is None:
        return
    with bars.stage("Mapping atoms to beads"):
        if recipe.trajectory is not None:
            runs = [_read(run) for run in recipe.trajectory]
        else:
            runs = [open_reference(recipe.dataset or folder.atoms)]
        atoms = runs[0]
        mapping = _mapping(recipe.mapping, atoms)
        mapped = [mapping(run, forces=recipe.mapping.forces) for run in runs]
        source: Source = mapped[0]
        if recipe.trajectory is not None:
            kelvins = [run.temperature for run in recipe.trajectory]
            source = Joined(tuple(zip(mapped, kelvins, strict=True)))
        provenance = {"mapping": mapping.to_json(), "atoms": getattr(atoms, "provenance", {})}
        Dataset.create(folder.beads, source, provenance=provenance, resume=True)


def hold_beads(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """Means and cumulants at held beads, where the recipe asks for them to learn from."""
    if recipe.hold is None or folder.held.exists():
        return
    with bars.stage("Sampling the atoms at held beads") as progress:
        hold(
            recipe.dataset or folder.atoms, folder.held, to_hold(recipe, folder, recipe.hold.frames), recipe.hold,
            bead=beads(recipe, folder).topology.types[0], resume=True,
            watcher=lambda done, of: progress(done / of),
        )  # fmt: skip


def learn(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """The model, and for comparison one of pairs alone."""
    if folder.training.exists():
        return
    taught, _ = split(recipe, folder)
    check_temperatures(recipe.potential.thermal, recipe.train, taught.temperatures or None)
    check_motion(recipe, folder)
    taught = _with_responses(recipe, folder, taught, bars)
    wanted = _objectives(recipe, taught)
    scores: dict[str, dict] = {}
    for path, options in models(recipe, folder).items():
        title = "Fitting the model" if path == folder.model else "Fitting pairs alone"
        with bars.stage(title) as progress:
            under = () if options.thermal is None else [o for o in wanted if getattr(o, "order", 0) < 2]
            potential = construct(options, taught, under)
            found = _fitted(recipe, folder, potential, wanted, progress)
        found.model.with_(mapping=taught.provenance.get("mapping")).save(path)
        scores[path.stem] = {"outcome": str(found.outcome), "history": str(found.history)}
        bars.note(f"{path.stem}: {found.outcome}{_left_open(found)}")
        if isinstance(found.history, TrainingHistory):
            found.history.to_csv(folder.curve)
        else:
            known = found.history.identifiability
            scores[path.stem]["determined"] = [known.rank + known.gauge, known.size]
    write_whole(folder.training, json.dumps(scores, indent=2))


def _left_open(found: Fit) -> str:
    """Where no frame has been, in a sentence."""
    unseen = "" if isinstance(found.history, TrainingHistory) else found.history.identifiability.unseen
    return f" No frame has: {unseen}. The report says so under Training." if unseen else ""


def _objectives(recipe: Recipe, data: Dataset) -> list[Objective]:
    """Forces, and what else the recipe gives a weight."""
    wanted: list[Objective] = [ForceMatching(data)]
    for name, objective in OBJECTIVES.items():
        if weight := getattr(recipe.train, name):
            wanted.append(objective(data, weight=weight))
    return wanted


def _with_responses(recipe: Recipe, folder: RunFolder, taught: Dataset, bars: Bars) -> Dataset:
    """The data with covariances and what else is asked, made by cross-fitting where the data hold none."""
    asked = [name for name in recipe.train.asked if name in CROSS_FITTED and CROSS_FITTED[name] not in taught.labels()]
    if not asked:
        return taught
    if not folder.responses.exists():
        options = recipe.train.cross_fit
        shutil.rmtree(part_folder(folder.responses), ignore_errors=True)
        with bars.stage("Making labels of the response to temperature") as progress:
            cross_fit(
                linear(recipe.potential, taught), taught, folds=options.folds, local=options.local,
                third="second_response" in asked, path=folder.responses, progress=progress,
            )  # fmt: skip
    return Dataset.open(folder.responses)


def _fitted(
    recipe: Recipe, folder: RunFolder, potential: Potential, wanted: list[Objective], progress: Progress
) -> Fit:
    """Splines and kernels in closed form; a network by gradient, from its last checkpoint if there is one."""
    if isinstance(potential, LinearPotential):
        return fit(potential, wanted, regularisation=recipe.train.regularisation, progress=progress)
    training = Training(
        **recipe.gradient.model_dump(), checkpoint=folder.checkpoint,
        resume=folder.checkpoint.exists(),
    )  # fmt: skip
    return fit(potential, wanted, training=training, progress=progress)


def sample(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """Molecular dynamics with every model at every temperature; kept frame by frame, so that a stop loses nothing."""
    _match(recipe, folder, bars)
    for path in models(recipe, folder):
        guard = _guard(recipe, folder, path)
        for what, run in _runs(recipe, folder).items():
            title = ("Sampling the model" if path == folder.model else "Sampling pairs alone") + what
            with bars.stage(title) as progress, _told(path, bars):
                run(recipe, folder, path, progress, guard)


@contextmanager
def _told(path: Path, bars: Bars) -> Iterator[None]:
    """Warnings of a model that is simulated, as notes."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ExtrapolationWarning)
        yield
    for warning in told:
        bars.note(f"{path.stem}: {warning.message}")


def _match(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """The friction of all simulations, where beads of the model are to diffuse as the atoms do."""
    asked = recipe.simulate.friction
    if not isinstance(asked, MatchFriction) or folder.friction.exists():
        return
    check_motion(recipe, folder)
    guard, found = _guard(recipe, folder, folder.model), []
    for kelvin in asked.match:
        with bars.stage(f"Matching the friction at {kelvin:g} K") as progress, _told(folder.model, bars):
            found.append(matched(recipe, folder, kelvin, progress, guard))
    friction = Friction.through(*found)
    write_whole(folder.friction, friction.to_json())
    for match in friction.matches:
        bars.note(f"model: {match.value} at {match.kelvin:g} K, where the atoms have a {match.reference}")


def _runs(recipe: Recipe, folder: RunFolder) -> dict[str, Callable[..., object]]:
    """The simulations of one model, by what is said of them."""
    kelvins, ramp = temperatures(recipe, folder), recipe.simulate.ramp
    if recipe.simulate.exchange is not None:
        return {f" at {', '.join(f'{t:g}' for t in kelvins)} K with exchange": exchanged}
    found: dict[str, Callable[..., object]] = {
        f" at {t:g} K" if len(kelvins) > 1 else "": partial(sampled, kelvin=t) for t in kelvins
    }
    return found if ramp is None else {**found, f" from {ramp[0]:g} to {ramp[1]:g} K": heated}


def _guard(recipe: Recipe, folder: RunFolder, path: Path) -> Guard | None:
    """Watches that the beads stay where the model has learned."""
    if recipe.simulate.guard == "off":
        return None
    taught, _ = split(recipe, folder)
    return judgement.guard(taught, Model.load(path), stop=recipe.simulate.guard == "stop")


def judge(recipe: Recipe, folder: RunFolder, bars: Bars) -> None:
    """The report with its verdicts."""
    if folder.verdicts.exists():
        return
    with bars.stage("Judging the model"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)  # the simulations have told
        taught, kept = split(recipe, folder)
        kelvin = judged_at(recipe, folder)
        here, states = near(at_temperature(recipe, folder), kelvin), _states(recipe, folder)
        evidence = judgement.Evidence(
            recipe, folder.recipe.read_text("utf-8"), here, taught, near(kept, kelvin),
            [_case(recipe, folder, path) for path in models(recipe, folder)],
            folder.timings(), folder.training.read_text("utf-8"), folder.curve,
            states, _changes(recipe, folder, states, bars),
        )  # fmt: skip
        found = judgement.report(evidence)
        page.write(found, folder.report)
        write_whole(folder.verdicts, judgement.summary(found))


def _states(recipe: Recipe, folder: RunFolder) -> tuple[AtTemperature, ...]:
    """What atoms and model do at each temperature; none where A does not change and is seen at one alone."""
    kelvins, thermal = temperatures(recipe, folder), recipe.potential.thermal
    if thermal is None and len(kelvins) == 1 and recipe.simulate.ramp is None:
        return ()
    data, (taught, kept) = beads(recipe, folder), split(recipe, folder)
    pick = lambda part, kelvin: part.select(temperature=kelvin) if among(kelvin, part) else None
    middle = judged_at(recipe, folder)
    maps = two_maps(recipe, folder, held) if (held := pick(kept, middle)) is not None else None
    return tuple(
        AtTemperature(
            kelvin, pick(data, kelvin), pick(kept, kelvin), among(kelvin, taught),
            sampled(recipe, folder, folder.model, kelvin=kelvin), maps if kelvin == middle else None,
        )
        for kelvin in sorted({*kelvins})
    )  # fmt: skip


def _changes(recipe: Recipe, folder: RunFolder, states: Sequence[AtTemperature], bars: Bars) -> Changes:
    options, path = recipe.simulate, folder.model
    return Changes(
        None if options.ramp is None else heated(recipe, folder, path),
        options.ramp,
        None if options.exchange is None else exchanged(recipe, folder, path),
        motion(recipe, folder, [(state.kelvin, state.ensemble) for state in states], bars.note),
    )


def _case(recipe: Recipe, folder: RunFolder, path: Path) -> judgement.Case:
    return judgement.Case(path.stem, Model.load(path), sampled(recipe, folder, path))


def models(recipe: Recipe, folder: RunFolder) -> dict[Path, PotentialOptions]:
    """Files of the models of a recipe, and what each is made of; the first is the one judged."""
    found: dict[Path, PotentialOptions] = {folder.model: recipe.potential}
    if recipe.validate_.pair_only:
        own = recipe.potential
        reach = own.cutoff if isinstance(own, Spline) else own.reach
        found[folder.pairs_model] = Spline(cutoff=reach, spacing=own.spacing, many_body=False, thermal=own.thermal)
    return found


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


def _read(run: Trajectory):
    return read(
        run.topology, *run.trajectories, energies=run.energies, units=run.units, constraints=run.constraints,
        require=("forces",),
    )  # fmt: skip


def _mapping(options: MappingOptions, atoms) -> Mapping:
    if options.residues is not None:
        return Mapping.by_residue(atoms, options.residues, leave=options.leave, position=options.position)
    if options.selections is not None:
        return Mapping.by_selection(atoms, options.selections, position=options.position)
    if options.cgsmiles is not None:
        return Mapping.by_cgsmiles(atoms, options.cgsmiles, leave=options.leave, position=options.position)
    raise RecipeError("mapping: give exactly one of residues, selections, cgsmiles")


#: Objectives beside the forces, by the key of their weight under `train`.
OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "virial": PressureMatching,
    "energy": EnergyMatching,
    "joint": EnergyGivenForces,
    "response": ResponseMatching,
    "variance": VarianceMatching,
    "second_response": SecondResponseMatching,
}
#: The labels of those that are made from forces and energies.
CROSS_FITTED = {
    "joint": "displacement",
    "response": "covariance",
    "variance": "variance",
    "second_response": "third_cumulant",
}

#: The steps of a recipe, in order; each is also a verb of the command line.
STEPS: dict[str, Callable[[Recipe, RunFolder, Bars], None]] = {
    "reference": make_atoms,
    "map": make_beads,
    "hold": hold_beads,
    "train": learn,
    "simulate": sample,
    "validate": judge,
}
