"""Replica exchange: several temperatures side by side, one ensemble for each."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from meanforce.dynamics import setup
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.exchange import Ladder
from meanforce.dynamics.integrators import Integrator
from meanforce.dynamics.run import Model, carry_out, ensemble_of
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin
from meanforce.ensemble import Ensemble
from meanforce.frames import Frames

_LANGEVIN, _SETTINGS = Langevin(), Settings()

#: Neighbours that exchange more rarely do not help each other.
_RARELY, _ENOUGH = 0.01, 50


class Replicas(NamedTuple):
    """One ensemble for each temperature of a ladder, and how well the exchange went.

    `chain` of an ensemble says which replica a frame comes from: what one replica brings is correlated, wherever on
    the ladder it is. `acceptance` belongs to the pairs of neighbours, `round_trips`, from the coldest to the hottest
    temperature and back, to the replicas: a few for each are needed before the ends have anything from each other.
    """

    ensembles: tuple[Ensemble, ...]
    acceptance: Float[np.ndarray, "pairs"]  # the mean probability, NaN where nothing was tried
    tried: Int[np.ndarray, "pairs"]
    round_trips: Int[np.ndarray, "replicas"]


def replica_exchange(
    model: Model,
    start: Frames,
    ladder: Ladder,
    time: float,
    timestep: float,
    seed: int | Sequence[int],
    *,
    thermostat: Integrator = _LANGEVIN,
    barostat: Barostat | None = None,
    settings: Settings = _SETTINGS,
) -> Replicas:
    """One replica at each temperature of a ladder, all in one graph, which exchange their temperatures; see `simulate`.

    The rule knows A at either temperature, so that free energies that depend on temperature are sampled as exactly as
    others. Frames have the temperature they were drawn at, and `trajectory` is the replica, which changes it; motion
    in time belongs to no ensemble.
    """
    task = setup.task(model, start, ladder, (time, timestep), seed, thermostat, barostat, settings)
    frames, trace = carry_out(task)
    rung = np.abs(np.asarray(frames.temperature)[:, None] - ladder.temperatures).argmin(1)
    ensembles = tuple(ensemble_of(task, frames[rung == k], t) for k, t in enumerate(ladder.temperatures))
    pairs = len(ladder.temperatures) - 1
    if trace.swaps is None:
        none = np.zeros(pairs, int)
        return Replicas(ensembles, np.full(pairs, np.nan), none, np.zeros(pairs + 1, int))
    tried, accepted = np.asarray(trace.swaps.tried), np.asarray(trace.swaps.accepted)
    acceptance = np.where(tried > 0, accepted / np.maximum(tried, 1), np.nan)
    _warn_of_gaps(ladder, acceptance, tried)
    return Replicas(ensembles, acceptance, tried, np.asarray(trace.swaps.trips))


def _warn_of_gaps(ladder: Ladder, acceptance: Float[np.ndarray, "pairs"], tried: Int[np.ndarray, "pairs"]) -> None:
    for low in np.flatnonzero((tried >= _ENOUGH) & (acceptance < _RARELY)):
        cold, hot = ladder.temperatures[low : low + 2]
        warnings.warn(
            f"of {tried[low]} exchanges between {cold:g} K and {hot:g} K {100 * acceptance[low]:.2g} % are accepted: "
            "the ladder is broken there; put temperatures between them",
            RuntimeWarning, stacklevel=3,
        )  # fmt: skip
