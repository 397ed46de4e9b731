"""Judges models against the atoms: what is measured, which sections the report has, in which order."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from meanforce import thermodynamics, transferability
from meanforce.data.dataset import Dataset
from meanforce.data.inspect import inspect
from meanforce.dynamics.guard import Guard
from meanforce.ensemble import Ensemble
from meanforce.learn.posterior import Spread
from meanforce.model import Model
from meanforce.observables import curves
from meanforce.observables.base import Curve
from meanforce.observables.bonded import angle_distribution, bond_distribution, dihedral_distribution
from meanforce.observables.ends import chains, end_to_end_distribution
from meanforce.observables.learned import learned_error, left_open
from meanforce.observables.mechanical import pressure
from meanforce.observables.overlap import free_energy, free_energy_distributions
from meanforce.observables.structure import adf, rdf
from meanforce.observables.surface import free_energy_surface
from meanforce.potentials.committee import Committee
from meanforce.recipe import Recipe
from meanforce.report import verdicts
from meanforce.report.energies import Overlap, energies
from meanforce.report.forces import HeldOut, forces
from meanforce.report.provenance import facts, provenance
from meanforce.report.provenance import recipe as recipe_section
from meanforce.report.quantities import Pair, quantities
from meanforce.report.sections import Report, Section
from meanforce.report.structure import Comparison, Kind, structure
from meanforce.report.surfaces import surfaces
from meanforce.report.training import training
from meanforce.transferability import AtTemperature, Changes


class Case(NamedTuple):
    """A model with what was sampled from it."""

    name: str
    model: Model
    ensemble: Ensemble


class Evidence(NamedTuple):
    """Everything a report is made of."""

    recipe: Recipe
    text: str  # of the recipe
    data: Dataset  # at the temperature of the model
    taught: Dataset  # the part of it to learn from
    kept: Dataset  # the rest
    cases: Sequence[Case]  # the first is judged, the others stand beside
    seconds: dict[str, float]
    training: str
    curve: Path | None = None  # of a training by gradient
    states: Sequence[AtTemperature] = ()  # the judged model at each temperature, where it is about several
    changes: Changes = Changes()  # its simulations over temperatures


def report(evidence: Evidence) -> Report:
    """The page, with its verdicts."""
    first = evidence.cases[0]
    state = first.ensemble.state
    sections = (
        _structure(evidence),
        *_surfaces(evidence),
        _forces(evidence),
        _energies(evidence),
        *_over_temperatures(evidence),
        *_pressures(evidence),
        _data(evidence),
        training(_told(evidence.training), evidence.curve),
        recipe_section(evidence.text),
        _provenance(evidence),
    )
    return Report(
        title=f"{evidence.recipe.name}: coarse-grained model against atoms",
        subtitle=f"{len(first.model.topology)} beads at {_kelvins(evidence, state.temperature)} K",
        sections=sections,
        facts=(
            ("frames learned from", str(len(evidence.taught))),
            ("frames held out", str(len(evidence.kept))),
            ("frames sampled", str(len(first.ensemble.frames))),
        ),
        model=first.name,
    )


def summary(page: Report) -> str:
    """The verdicts, for programs."""
    rows = [vars(verdict) for verdict in page.verdicts]
    return json.dumps({"title": page.title, "verdicts": rows}, indent=2)


def guard(taught: Dataset, model: Model, *, stop: bool = False) -> Guard:
    """What knows the training data of a model: their ranges and, for a committee, the spread of its members."""
    potential = model.potential
    return Guard.of(taught, Spread(potential) if isinstance(potential, Committee) else None, stop=stop)


def _structure(evidence: Evidence) -> Section:
    """Distributions; where a committee is judged, with what its members leave open in them."""
    first = evidence.cases[0]
    potential = first.model.potential
    others: tuple[Ensemble, ...] = ()
    text: tuple[str, ...] = ()
    if isinstance(potential, Committee):
        try:
            others = left_open(first.ensemble, Spread(potential), count=len(potential.members))
        except ValueError as error:
            text = (f"The errors of learning are not resolved: {error}.",)
    return structure(comparisons(evidence, others), text=text, same_frames=not evidence.recipe.gradient.bootstrap)


def comparisons(evidence: Evidence, others: Sequence[Ensemble] = ()) -> list[Comparison]:
    """Every distribution of the atoms with those of the models; `others` tell the judged one's error of learning."""
    longer = curves.load(evidence.recipe.validate_.curves) if evidence.recipe.validate_.curves else {}
    found = []
    for kind, measure in _distributions(evidence):
        own = measure(evidence.data)
        reference = longer.get(own.name, own)
        ours = tuple((case.name, measure(case.ensemble)) for case in evidence.cases)
        learned = learned_error(measure, evidence.cases[0].ensemble, others) if others else None
        found.append(Comparison(kind, reference, ours, learned))
    return found


def _distributions(evidence: Evidence) -> Iterator[tuple[Kind, partial[Curve]]]:
    """(kind, function of a source) of every distribution that this system has."""
    topology = evidence.taught.topology
    cutoff = evidence.recipe.validate_.adf_cutoff
    if evidence.taught[0].box is not None:
        for pair in itertools.combinations_with_replacement(topology.types, 2):
            if len(set(topology.molecules[np.isin(topology.species, pair)])) > 1:  # a solute alone has none
                yield "rdf", partial(rdf, species=pair)
        if cutoff is not None:
            for centre in topology.types:
                yield "adf", partial(adf, species=(centre,) * 3, cutoff=cutoff)
    for kind in topology.kinds("bonds"):
        yield "bonded", partial(bond_distribution, species=kind, span=_span(evidence, bond_distribution, kind))
    for kind in topology.kinds("angles"):
        yield "bonded", partial(angle_distribution, species=kind)
    for kind in topology.kinds("dihedrals"):
        yield "bonded", partial(dihedral_distribution, species=kind)
    for kind in chains(topology):
        span = _span(evidence, end_to_end_distribution, kind)
        yield "bonded", partial(end_to_end_distribution, species=kind, span=span)


def _span(evidence: Evidence, measure: Callable[..., Curve], kind: tuple[str, ...]) -> tuple[float, float]:
    """The lengths of one kind of bond, or of chain, in the atoms and in every model."""
    sources: list[Dataset | Ensemble] = [evidence.data, *(case.ensemble for case in evidence.cases)]
    axes = [measure(source, kind).axis for source in sources]
    return min(a[0] for a in axes) - 0.005, max(a[-1] for a in axes) + 0.005


def _surfaces(evidence: Evidence) -> list[Section]:
    asked = evidence.recipe.validate_.surface
    if asked is None:
        return []
    models = [(case.name, free_energy_surface(case.ensemble, *asked)) for case in evidence.cases]
    return [surfaces(free_energy_surface(evidence.data, *asked), models)]


def _forces(evidence: Evidence) -> Section:
    frames = evidence.kept[:]
    chain = _chain(evidence.kept)
    if frames.forces is None:
        raise ValueError("the frames held out carry no forces, by which a model is judged; map atoms with forces")
    held = [HeldOut(c.name, frames.forces, _predicted(c.model, evidence.kept), chain) for c in evidence.cases]
    best = min(h.error().value for h in held)
    floor = inspect(evidence.data, model_error=best).floor
    return forces(held, None if floor is None else floor.rms)


def _predicted(model: Model, data: Dataset) -> np.ndarray:
    batches = (
        thermodynamics.force(model, frames.positions, frames.box, temperature=frames.temperature)
        for frames in data.batches(50)
    )
    return np.concatenate(list(batches))


def _energies(evidence: Evidence) -> Section:
    found = []
    for case in evidence.cases:
        atoms, own = (free_energy(source, case.model) for source in (evidence.data, case.ensemble))
        theirs, ours = free_energy_distributions((evidence.data, case.ensemble), case.model)
        found.append(Overlap(case.name, atoms, own, theirs, ours))
    return energies(found)


def _over_temperatures(evidence: Evidence) -> list[Section]:
    """How the model carries over temperatures, where it is about several or depends on them."""
    if not evidence.states:
        return []
    measures = list(_distributions(evidence))
    shown = [m for m in measures if m[0] != "bonded"] or [m for m in measures if m[1].func is dihedral_distribution]
    first = evidence.cases[0]
    counted = json.loads(evidence.training).get(first.name, {}).get("determined") if evidence.training else None
    determined = None if counted is None else (int(counted[0]), int(counted[1]))
    return [transferability.section(first.model, first.name, evidence.states, shown, determined, evidence.changes)]


def _pressures(evidence: Evidence) -> list[Section]:
    if evidence.taught[0].box is None:
        return []
    reference = pressure(evidence.data) if "virial" in evidence.data.labels() else None
    rule = verdicts.PRESSURE if evidence.recipe.train.virial else None
    pairs = [Pair(case.name, pressure(case.ensemble, case.model), reference, rule) for case in evidence.cases]
    note = (
        "A model learned from forces alone at one density is not told the pressure; it is shown, and judged only where "
        "virials were learned from."
    )
    return [quantities(pairs, text=(note,), title="Pressure" if evidence.states else "Thermodynamics")]


def _kelvins(evidence: Evidence, judged: float) -> str:
    return ", ".join(f"{state.kelvin:g}" for state in evidence.states) or f"{judged:g}"


def _data(evidence: Evidence) -> Section:
    share = lambda case: float(np.mean(guard(evidence.taught, case.model).beyond(case.ensemble.frames) > 1))
    beyond = {f"frames of {case.name} beyond the training data": f"{share(case):.2%}" for case in evidence.cases}
    return facts("Data", beyond, verbatim=str(inspect(evidence.taught)))


def _told(training: str) -> str:
    """How each model was learned, a paragraph each."""
    found = json.loads(training) if training else {}
    return "\n\n".join(f"{name}: {said['outcome']}\n{said['history']}" for name, said in found.items())


def _provenance(evidence: Evidence) -> Section:
    return provenance(
        seeds={"simulation": evidence.recipe.simulate.seed},
        hashes={"beads": evidence.taught.hash},
        seconds=evidence.seconds,
    )


def _chain(data: Dataset) -> np.ndarray:
    chain = np.empty(len(data), int)
    for number, rows in enumerate(data.runs()):
        chain[rows] = number
    return chain
