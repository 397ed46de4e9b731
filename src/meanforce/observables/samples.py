"""One way into every observable: an ensemble of a model and a reference data set look the same from here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.base import Observable, Result_co
from meanforce.topology import Topology

_BATCH = 256  # frames at once from a data set on disk


class Samples(NamedTuple):
    """Frames drawn at one state, read in batches, with a weight and a chain number each."""

    topology: Topology
    state: State
    weights: np.ndarray  # (frames,), normalised
    chain: np.ndarray  # (frames,)
    batches: Callable[[], Iterator[Frames]]
    source: str  # "ensemble" or "data"


def samples_of(source: Ensemble | Dataset | Samples) -> Samples:
    """The samples of an ensemble or of a data set at one temperature."""
    if isinstance(source, Samples):
        return source
    if isinstance(source, Ensemble):
        return _of_ensemble(source)
    if isinstance(source, Dataset):
        return _of_dataset(source)
    raise TypeError(f"observables read an Ensemble or a Dataset, not {type(source).__name__}")


def values(observable: Observable, source: Ensemble | Dataset | Samples) -> np.ndarray:
    """The observable's rows for every frame. Keep them to reduce again with other weights."""
    samples = samples_of(source)
    if observable.needs_time:
        return _paths(observable, samples)[0]
    return np.concatenate([observable.per_frame(frames, samples.topology) for frames in samples.batches()])


def measure(observable: Observable[Result_co], source: Ensemble | Dataset | Samples) -> Result_co:
    """The observable's average over the source, with its standard error."""
    samples = samples_of(source)
    if observable.needs_time:
        rows, chain = _paths(observable, samples)
        return observable.reduce(rows, np.full(len(rows), 1 / len(rows)), chain, samples.state)
    return observable.reduce(values(observable, samples), samples.weights, samples.chain, samples.state)


def _of_ensemble(ensemble: Ensemble) -> Samples:
    frames = ensemble.frames
    if frames.temperature is None:
        frames = frames.with_(temperature=np.full(len(frames), float(ensemble.state.temperature)))
    order = np.argsort(ensemble.chain, kind="stable")  # frames of one chain together, in their order in time
    if not (np.diff(order) == 1).all():
        frames = frames[order]

    def batches() -> Iterator[Frames]:
        for start in range(0, len(frames), _BATCH):
            yield frames[start : start + _BATCH]

    weights = ensemble.weights()[order]
    return Samples(ensemble.topology, ensemble.state, weights, np.asarray(ensemble.chain)[order], batches, "ensemble")


def _of_dataset(data: Dataset) -> Samples:
    temperatures = data.temperatures
    if len(temperatures) > 1:
        listed = ", ".join(f"{t:g}" for t in temperatures)
        raise ValueError(f"the frames come from several temperatures ({listed} K), and an average belongs to one: "
                         f"choose it with data.select(temperature={temperatures[0]:g})")  # fmt: skip
    runs = data.runs()
    order = np.concatenate(runs)
    chain = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    weights = data.column("weights")
    weights = np.ones(len(order)) if weights is None else np.asarray(weights, float)[order]
    state = State(temperatures[0] if temperatures else math.nan, None, _shared_parameters(data))
    return Samples(data.topology, state, weights / weights.sum(), chain, lambda: data.batches(_BATCH, order), "data")


def _shared_parameters(data: Dataset) -> tuple[tuple[str, float], ...]:
    shared = []
    for name in data.parameters:
        values = np.unique(np.asarray(data.column(f"parameters/{name}")))
        if len(values) > 1:
            raise ValueError(f"the frames have several values of the parameter {name!r}, and an average belongs to "
                             f"one: choose it with data.select(parameters={{{name!r}: {values[0]:g}}})")  # fmt: skip
        shared.append((name, float(values[0])))
    return tuple(shared)


def _paths(observable: Observable, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Rows of an observable that needs time: the frames of one chain at a time, in order."""
    if np.ptp(samples.weights) > 1e-9 * samples.weights.max():
        raise ValueError(f"{observable.name} follows beads in time, and weights have no meaning along a path: "
                         "sample the state itself instead of reweighting")  # fmt: skip
    frames = Frames.concatenate(list(samples.batches()))
    pieces = [frames[samples.chain == label] for label in dict.fromkeys(samples.chain.tolist())]
    rows = [observable.per_frame(piece, samples.topology) for piece in pieces]
    return np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(r) for r in rows])
