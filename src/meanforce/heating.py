"""Beads on a ramp of temperature against beads at rest: do they follow?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meanforce import thermodynamics
from meanforce.ensemble import Ensemble
from meanforce.model import Model
from meanforce.numerics.statistics import weighted_mean
from meanforce.observables import thermodynamic
from meanforce.observables.base import Curve, Scalar
from meanforce.report.thermodynamics import Heating

_PARTS = 8  # of the ramp, one point each
_BESIDE = 0.125  # of the ramp, to either side of a temperature at rest


def heating(
    model: Model, over: Ensemble, ends: tuple[float, float], at_rest: Sequence[tuple[float, Ensemble]]
) -> Heating:  # fmt: skip
    """Energies per molecule over a ramp between `ends`, and of ensembles at single temperatures (all K)."""
    frames, molecules = over.frames, int(model.topology.molecules.max()) + 1
    kelvin = np.asarray(frames.temperature, float)
    energy = np.asarray(
        thermodynamics.energy(
            model, frames.positions, frames.box, temperature=kelvin, parameters=frames.parameters
        )
    ) / molecules  # fmt: skip
    low, high = sorted(ends)
    edges = np.linspace(low, high, _PARTS + 1)
    part = np.clip(np.searchsorted(edges, kelvin) - 1, 0, _PARTS - 1)
    passed = [passing(kelvin[part == n], energy[part == n], over.chain[part == n], middle)
              for n, middle in enumerate((edges[1:] + edges[:-1]) / 2)]  # fmt: skip
    still = [(t, thermodynamic.energy(rest, model)) for t, rest in at_rest]
    compared = []
    for t, rest in still:
        if low <= t <= high:
            near = np.abs(kelvin - t) <= _BESIDE * (high - low)
            compared.append((t, passing(kelvin[near], energy[near], over.chain[near], t), rest))
    of = lambda axis, values: Curve("energy", np.asarray(axis, float), np.array([v.value for v in values]),
                                    np.array([v.error for v in values]), "temperature / K",
                                    "energy per molecule / (kJ/mol)")  # fmt: skip
    middles = (edges[1:] + edges[:-1]) / 2
    return Heating(ends, of(middles, passed), of([t for t, _ in still], [e for _, e in still]), tuple(compared))


def passing(kelvin: np.ndarray, energy: np.ndarray, chain: np.ndarray, at: float) -> Scalar:
    """The mean energy as the ramp passes a temperature: of a straight line through the frames around it."""
    away = kelvin - at
    slope = np.polyfit(away, energy, 1)[0] if np.ptp(away) > 0 else 0.0
    found = weighted_mean(energy - slope * away, None, chain)
    return Scalar("mean potential energy per molecule", float(found.mean), float(found.error), "kJ/mol")
