"""Judges a model over temperatures: what is measured at each, in the atoms and in the model's own simulations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble
from meanforce.model import Model
from meanforce.observables import consistency, thermodynamic
from meanforce.observables.base import Curve, Scalar
from meanforce.observables.consistency import Check, Seen
from meanforce.observables.gauge import Gauge
from meanforce.potentials.validity import ExtrapolationWarning
from meanforce.report.sections import Section
from meanforce.report.structure import Kind
from meanforce.report.thermodynamics import Distribution, Energetics, Report, thermodynamics

Measure = tuple[Kind, Callable[[Ensemble | Dataset], Curve]]

_TO_JOULE = 1e3


class AtTemperature(NamedTuple):
    """What there is at one temperature (K): atoms, those not learned from, and the model's samples."""

    kelvin: float
    atoms: Dataset | None
    held: Dataset | None
    learned: bool
    ensemble: Ensemble


def section(
    model: Model, name: str, states: Sequence[AtTemperature], measures: Sequence[Measure],
    determined: tuple[int, int] | None,
) -> Section:  # fmt: skip
    """The section of the report; `determined` counts coefficients that the labels determine, of all there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)  # the section is about just that
        found = Report(
            name=name,
            learned=tuple(s.kelvin for s in states if s.learned),
            distributions=tuple(_distributions(states, measures)),
            energetics=_energetics(model, states),
            checks=tuple(_checks(model, states)) if model.potential.depends_on_temperature else (),
            determined=determined,
        )
    return thermodynamics(found)


def _distributions(states: Sequence[AtTemperature], measures: Sequence[Measure]) -> Iterator[Distribution]:
    for kind, measure in measures:
        for state in states:
            if state.atoms is not None:
                yield Distribution(kind, state.kelvin, measure(state.atoms), measure(state.ensemble), state.learned)


def _energetics(model: Model, states: Sequence[AtTemperature]) -> tuple[Energetics, ...]:
    """Energies and heat capacities per molecule; none without energies of the atoms where the model learned."""
    known = [s.atoms for s in states if s.learned and s.atoms is not None and _has_energy(s.atoms)]
    if not known or not model.potential.depends_on_temperature:
        return ()
    gauge = Gauge.of([Seen.of(model, data) for data in known])
    return tuple(_energetic(model, gauge, state) for state in states)


def _energetic(model: Model, gauge: Gauge, state: AtTemperature) -> Energetics:
    molecules = int(model.topology.molecules.max()) + 1
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


def _checks(model: Model, states: Sequence[AtTemperature]) -> Iterator[Check]:
    """Every relation at every temperature where there are atoms; those of the labels on frames held out."""
    seen: list[Seen] = []
    for state in states:
        held = state.atoms if state.held is None else state.held
        if held is None:
            continue
        here = Seen.of(model, held)
        yield consistency.force_balance(here)
        yield consistency.maxwell(model, here)
        if not _has_energy(held):
            continue
        every = here if state.atoms is None or state.held is None else Seen.of(model, state.atoms)
        seen.append(every)
        yield consistency.response_balance(here)
        yield consistency.energy_balance(here)
        yield consistency.concavity(every)
        if held[0].forces is not None:
            yield consistency.calibration(here)
            yield consistency.label_balance(here)
    yield from (consistency.total_variance(low, high) for low, high in pairwise(seen))
    kelvins = [s.kelvin for s in states]
    if seen and len(kelvins) > 1:
        yield consistency.closure(model, seen[0], min(kelvins), max(kelvins))


def _plus(own: Scalar, more: Scalar, factor: float) -> Scalar:
    """A number of the model per molecule with what the gauge adds."""
    return own._replace(value=own.value + factor * more.value, error=float(np.hypot(own.error, factor * more.error)))


def _has_energy(data: Dataset) -> bool:
    return "energy" in data.labels()


def _at_one_volume(ensemble: Ensemble) -> bool:
    return ensemble.state.pressure is None
