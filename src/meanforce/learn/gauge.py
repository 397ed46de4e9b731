"""What labels are known up to: a constant at each state, and the noise that a control variate carries."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import Graph
from meanforce.learn.rows import Along, along, asked, column_of
from meanforce.learn.weights import frame_weights
from meanforce.objectives.base import Quadratic
from meanforce.potentials.base import Potential
from meanforce.thermodynamics import graphs

_FRAMES = 16  # of each state, to begin with


@dataclass(frozen=True, eq=False)
class Gauge:
    """The unknowns that are fitted beside the coefficients of one objective; none where its labels are absolute."""

    objective: Quadratic
    states: Float[np.ndarray, "states variables"]  # temperature and parameters of each
    zero: Float[np.ndarray, "states"]  # the first label of each: energies of 1e5 kJ/mol drown their scatter
    variates: int

    @staticmethod
    def of(objective: Quadratic) -> Gauge:
        data = objective.data
        if not objective.centred:
            return Gauge(objective, np.zeros((0, 0)), np.zeros(0), 0)
        place, states = states_of(data)
        if 2 * len(states) > len(data):
            raise ValueError(
                f"{type(objective).__name__}: {len(data)} frames at {len(states)} states of temperature and parameters "
                "say nothing, since these labels count up to a constant at each; give more frames at each of fewer"
            )
        first = data[np.unique(place, return_index=True)[1]]
        return Gauge(objective, states, objective.labels(first, data.topology), objective.variates(first).shape[1])

    @property
    def unknowns(self) -> int:
        return len(self.states) + self.variates

    def labels(self, frames: Frames) -> Float[np.ndarray, "labels"]:
        """Less the first one of their state where they are centred."""
        labels = self.objective.labels(frames, self.objective.data.topology)
        return labels if self.objective.centred is False else labels - self.zero[self._state(frames)]

    def columns(self, frames: Frames) -> Float[np.ndarray, "frames unknowns"]:
        """What multiplies each unknown in each frame."""
        if not self.objective.centred:
            return np.zeros((len(frames), 0))
        constants = np.eye(len(self.states))[self._state(frames)]
        return np.concatenate([constants, self.objective.variates(frames)], axis=1)

    def scales(self, spread: float) -> Float[np.ndarray, "unknowns"]:
        """The size of each unknown, for steps by gradient: constants are as large as labels spread."""
        return np.concatenate([np.full(len(self.states), spread), np.ones(self.variates)])

    def begin(self, potential: Potential) -> Float[np.ndarray, "unknowns"]:
        """Constants that centre the labels about a potential, from a few frames of each state."""
        if not self.unknowns:
            return np.zeros(0)
        data = self.objective.data
        some, of = self.some(_FRAMES)
        left, changed = [], False
        for frames, graph, count in graphs(data.batches(_FRAMES, some), data.topology, potential.cutoffs):
            filled = frames[np.minimum(np.arange(graph.frames), count - 1)]
            found = np.asarray(_said(self.objective, potential, graph, along(filled)))[:count]
            changed = changed or bool(np.any(found))
            left.append(self.labels(frames) - found)
        if not changed:
            raise ValueError(
                f"{type(self.objective).__name__}: nothing in this potential changes what the {self.objective.name} "
                "labels say; use one that does (a heat capacity for variances), or leave this objective out"
            )
        misses = np.concatenate(left)
        constants = np.array([misses[of == k].mean() for k in range(len(self.states))])
        return np.concatenate([constants, np.zeros(self.variates)])

    def some(self, count: int) -> tuple[Int[np.ndarray, "some"], Int[np.ndarray, "some"]]:
        """At most so many frames of each state, spread evenly over it, and their states."""
        place, _ = states_of(self.objective.data)
        rows = [np.flatnonzero(place == k) for k in range(len(self.states))]
        some = [of[np.unique(np.linspace(0, len(of) - 1, count).astype(int))] for of in rows]
        return np.concatenate(some), np.repeat(np.arange(len(some)), [len(of) for of in some])

    def centred(
        self, data: Dataset, rows: Int[np.ndarray, "n"], misses: Float[np.ndarray, "members n"]
    ) -> Float[np.ndarray, "members n"]:
        """Squares of residuals about their mean in each state: an error of a constant is none of the model."""
        place = self._places(data)[rows]
        squares = np.empty_like(misses)
        for k in np.unique(place):
            of, weight = place == k, frame_weights(data)[rows][place == k]
            if of.sum() < 2 or not weight.sum() > 0:
                squares[:, of] = misses[:, of] ** 2
                continue
            mean = np.average(misses[:, of], axis=1, weights=weight)
            squares[:, of] = (misses[:, of] - mean[:, None]) ** 2 * of.sum() / (of.sum() - 1)
        return squares

    def _places(self, data: Dataset) -> Int[np.ndarray, "frames"]:
        """The state of each frame of a part of the data."""
        columns = [data.column(name) for name in ("temperature", *(f"parameters/{name}" for name in self._names))]
        rows = np.stack([np.asarray(column, float) for column in columns if column is not None], axis=1)
        return np.abs(rows[:, None] - self.states).sum(axis=-1).argmin(axis=1)

    def _state(self, frames: Frames) -> Int[np.ndarray, "frames"]:
        rows = np.stack([np.asarray(frames.temperature, float), *(frames.parameters[k] for k in self._names)], axis=1)
        return np.abs(rows[:, None] - self.states).sum(axis=-1).argmin(axis=1)

    @property
    def _names(self) -> tuple[str, ...]:
        return self.objective.data.parameters


def states_of(data: Dataset) -> tuple[Int[np.ndarray, "frames"], Float[np.ndarray, "states variables"]]:
    """The number of the state of each frame, and the temperature and the parameters of each state."""
    columns = [data.column(name) for name in ("temperature", *(f"parameters/{name}" for name in data.parameters))]
    rows = np.stack([np.asarray(column, float) for column in columns if column is not None], axis=1)
    states, place = np.unique(rows, axis=0, return_inverse=True)
    return place.ravel(), states


@eqx.filter_jit
def _said(objective: Quadratic, potential: Potential, graph: Graph, displaced: Along) -> Float[Array, "labels"]:
    return objective.rows(column_of(potential, graph, *asked([objective]), displaced))[:, 0]
