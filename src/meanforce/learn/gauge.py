"""What labels are known up to: a constant at each state, and the noise that a control variate carries."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.objectives.base import Quadratic


@dataclass(frozen=True, eq=False)
class Gauge:
    """The unknowns that are fitted beside the coefficients of one objective; none where its labels are absolute."""

    objective: Quadratic
    state: Int[np.ndarray, "frames"]  # of each frame of the data, by number
    states: int
    variates: int
    _zero: dict[int, float] = field(default_factory=dict)  # the first label of each state

    @staticmethod
    def of(objective: Quadratic) -> Gauge:
        data = objective.data
        if not objective.centred:
            return Gauge(objective, np.zeros(len(data), int), 0, 0)
        state, states = states_of(data)
        if 2 * states > len(data):
            raise ValueError(
                f"{type(objective).__name__}: {len(data)} frames at {states} states of temperature and parameters say "
                "nothing, since these labels count up to a constant at each state; give more frames at each of fewer"
            )
        return Gauge(objective, state, states, objective.variates(data[0]).shape[1])

    @property
    def unknowns(self) -> int:
        return self.states + self.variates

    def labels(self, frames: Frames, chosen: Int[np.ndarray, "frames"]) -> Float[np.ndarray, "labels"]:
        """Less the first one of their state where they are centred: energies of 1e5 kJ/mol drown their scatter."""
        labels = self.objective.labels(frames, self.objective.data.topology)
        if not self.states:
            return labels
        place = self.state[chosen]
        for k in np.unique(place).tolist():
            self._zero.setdefault(k, float(labels[np.argmax(place == k)]))
        return labels - np.vectorize(self._zero.__getitem__, otypes=[float])(place)

    def columns(self, frames: Frames, chosen: Int[np.ndarray, "frames"]) -> Float[np.ndarray, "frames unknowns"]:
        """What multiplies each unknown in each frame."""
        if not self.states:
            return np.zeros((len(frames), 0))
        constants = np.eye(self.states)[self.state[chosen]]
        return np.concatenate([constants, self.objective.variates(frames)], axis=1)


def states_of(data: Dataset) -> tuple[Int[np.ndarray, "frames"], int]:
    """The number of the state, temperature and parameters, of each frame, and how many states there are."""
    columns = [data.column(name) for name in ("temperature", *(f"parameters/{name}" for name in data.parameters))]
    rows = np.stack([column for column in columns if column is not None], axis=1)
    found, place = np.unique(rows, axis=0, return_inverse=True)
    return place.ravel(), len(found)
