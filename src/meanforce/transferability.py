"""Judges a model over temperatures: what is measured at each, in the atoms and in the model's own simulations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.dynamics.replicas import Replicas
from meanforce.ensemble import Ensemble
from meanforce.heating import heating
from meanforce.model import Model
from meanforce.observables import consistency, thermodynamic
from meanforce.observables.base import Curve, Scalar
from meanforce.observables.consistency import Check, Seen
from meanforce.observables.entropy import entropy_rises
from meanforce.observables.gauge import Gauge
from meanforce.potentials.validity import ExtrapolationWarning
from meanforce.report.motion import Motion
from meanforce.report.sections import Section
from meanforce.report.structure import Kind
from meanforce.report.thermodynamics import Distribution, Energetics, Exchanged, Heating, Report, thermodynamics

Measure = tuple[Kind, Callable[[Ensemble | Dataset], Curve]]

_TO_JOULE = 1e3
_FRAMES = 1000  # of the atoms at each temperature, on which relations are checked


class AtTemperature(NamedTuple):
    """What there is at one temperature (K): atoms, those not learned from, and the model's samples."""

    kelvin: float
    atoms: Dataset | None
    held: Dataset | None
    learned: bool
    ensemble: Ensemble
    maps: tuple[Dataset, Dataset] | None = None  # some of those frames by two legal maps


class Changes(NamedTuple):
    """What was simulated while the temperature changed, and the motion of beads over temperatures."""

    ramp: Ensemble | None = None
    ends: tuple[float, float] | None = None  # of the ramp, K
    exchange: Replicas | None = None
    motion: tuple[Motion, ...] = ()


_NONE = Changes()


def section(
    model: Model, name: str, states: Sequence[AtTemperature], measures: Sequence[Measure],
    determined: tuple[int, int] | None, changes: Changes = _NONE,
) -> Section:  # fmt: skip
    """The section of the report; `determined` counts coefficients that the labels determine, of all there are."""
    ladder = changes.exchange
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)  # the section is about just that
        seen = _seen(model, states) if model.potential.depends_on_temperature else {}
        found = Report(
            name=name,
            learned=tuple(s.kelvin for s in states if s.learned),
            distributions=tuple(_distributions(states, measures)),
            energetics=_energetics(model, states, seen),
            checks=tuple(_checks(model, states, seen)),
            determined=determined,
            motion=changes.motion,
            heating=_heating(model, states, changes),
            exchanged=() if ladder is None else _exchanged(ladder),
            round_trips=0 if ladder is None else int(ladder.round_trips.sum()),
        )
    return thermodynamics(found)


def _heating(model: Model, states: Sequence[AtTemperature], changes: Changes) -> Heating | None:
    if changes.ramp is None or changes.ends is None:
        return None
    return heating(model, changes.ramp, changes.ends, [(s.kelvin, s.ensemble) for s in states])


def _exchanged(ladder: Replicas) -> tuple[Exchanged, ...]:
    kelvins = [one.state.temperature for one in ladder.ensembles]
    told = zip(pairwise(kelvins), ladder.tried, ladder.acceptance, strict=True)
    return tuple(Exchanged(low, high, int(tried), float(accepted)) for (low, high), tried, accepted in told)


def _distributions(states: Sequence[AtTemperature], measures: Sequence[Measure]) -> Iterator[Distribution]:
    for kind, measure in measures:
        for state in states:
            if state.atoms is not None:
                yield Distribution(kind, state.kelvin, measure(state.atoms), measure(state.ensemble), state.learned)


def _seen(model: Model, states: Sequence[AtTemperature]) -> dict[float, Seen]:
    """What the model says of the atoms' frames, evenly spread ones where there are many, by temperature."""
    parts = [s.atoms for s in states if s.atoms is not None]
    if not parts:
        return {}
    few = [part.at(np.unique(np.linspace(0, len(part) - 1, min(_FRAMES, len(part))).astype(int))) for part in parts]
    return {seen.kelvin: seen for seen in Seen.each(model, few)}


def _held(state: AtTemperature, seen: Seen) -> Seen:
    """The frames that were not learned from: the ends of the runs."""
    if state.held is None or state.atoms is None or not state.learned:
        return seen
    rows = np.unique(np.linspace(0, len(state.atoms) - 1, len(seen.frames)).astype(int))
    chosen, held = state.atoms.at(rows).rows, state.held.rows
    assert chosen is not None and held is not None  # both are selections of one data set
    return seen.only(np.isin(chosen, held))


def _energetics(model: Model, states: Sequence[AtTemperature], seen: dict[float, Seen]) -> tuple[Energetics, ...]:
    """Energies and heat capacities per molecule; none without energies of the atoms where the model learned."""
    known = [
        seen[k] for k in (s.atoms.temperatures[0] for s in states if s.learned and s.atoms is not None) if k in seen
    ]
    known = [s for s in known if s.frames.energy is not None]
    if not known:
        return ()
    gauge = Gauge.of(known)
    return _with_entropies([_energetic(model, gauge, state) for state in states], gauge, _molecules(model))


def _with_entropies(found: list[Energetics], gauge: Gauge, molecules: int) -> tuple[Energetics, ...]:
    """How the entropy rises over the temperatures at which the atoms' energy is known, at constant volume."""
    both = [e for e in found if e.atoms_energy is not None and e.heat is not None]
    if len(both) < 2:
        return tuple(found)
    kelvins = np.array([e.kelvin for e in both])
    shared = gauge.covariance(kelvins) / molecules**2
    own = [e.energy._replace(error=float(np.sqrt(max(e.energy.error**2 - s, 0.0))))
           for e, s in zip(both, np.diag(shared), strict=True)]  # fmt: skip
    atoms = [e.atoms_energy for e in both if e.atoms_energy is not None]
    ours, theirs = entropy_rises(kelvins, own, shared), entropy_rises(kelvins, atoms)
    rises = dict(zip(kelvins, zip(ours, theirs, strict=True), strict=True))
    said = lambda e: dict(zip(("entropy", "atoms_entropy"), rises.get(e.kelvin, (None, None)), strict=True))
    return tuple(e._replace(**said(e)) for e in found)


def _molecules(model: Model) -> int:
    return int(model.topology.molecules.max()) + 1


def _energetic(model: Model, gauge: Gauge, state: AtTemperature) -> Energetics:
    molecules = _molecules(model)
    own = thermodynamic.energy(state.ensemble, model)
    beside, slope = gauge.energy(state.kelvin), gauge.heat_capacity(state.kelvin)
    ours = _plus(own, beside, 1 / molecules)
    heat = None
    if _at_one_volume(state.ensemble):
        heat = _plus(thermodynamic.heat_capacity(state.ensemble, model), slope, _TO_JOULE / molecules)
    atoms = state.atoms if state.atoms is not None and _has_energy(state.atoms) else None
    theirs = None if atoms is None else thermodynamic.energy(atoms)
    their_heat = None if atoms is None or heat is None else thermodynamic.heat_capacity(atoms)
    return Energetics(state.kelvin, ours, theirs, heat, their_heat, state.learned)


def _checks(model: Model, states: Sequence[AtTemperature], seen: dict[float, Seen]) -> Iterator[Check]:
    """Every relation at every temperature where there are atoms; those of noisy labels on frames held out."""
    yield from (consistency.map_invariance(*state.maps) for state in states if state.maps is not None)
    for state in states:
        if state.atoms is None or (every := seen.get(state.atoms.temperatures[0])) is None:
            continue
        held = _held(state, every)
        yield consistency.force_balance(held)
        if held.frames.energy is None:
            continue
        yield consistency.response_balance(held)
        yield consistency.energy_balance(held)
        yield consistency.concavity(every)
        if held.frames.forces is not None:
            yield consistency.calibration(held)
            yield consistency.label_balance(every)
    known = [s for s in seen.values() if s.frames.energy is not None]
    yield from (consistency.total_variance(low, high) for low, high in pairwise(known))
    if seen:
        kelvins = [s.kelvin for s in states]
        yield from (consistency.maxwell(model, s) for s in seen.values())
        if len(kelvins) > 1:
            yield consistency.closure(model, next(iter(seen.values())), min(kelvins), max(kelvins))


def _plus(own: Scalar, more: Scalar, factor: float) -> Scalar:
    """A number of the model per molecule with what the gauge adds."""
    return own._replace(value=own.value + factor * more.value, error=float(np.hypot(own.error, factor * more.error)))


def _has_energy(data: Dataset) -> bool:
    return "energy" in data.labels()


def _at_one_volume(ensemble: Ensemble) -> bool:
    return ensemble.state.pressure is None
