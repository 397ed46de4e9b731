"""Whether a simulation has left what its model was trained on: by contacts and angles, and by the model's doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float

from meanforce.data.dataset import Dataset
from meanforce.data.ranges import CLOSER, Ranges
from meanforce.frames import Frames
from meanforce.graph import Graph, build
from meanforce.topology import Topology

#: Bonds and angles may leave the range of the training frames by this part of it on either side.
_WIDER = 0.25
#: The force may be this much more uncertain than on any training frame that was looked at.
_MORE_DOUBT = 2.0
_LOOKED_AT = 200  # training frames whose doubt is computed
_AT_ONCE = 20_000  # beads


@runtime_checkable
class Doubtful(Protocol):
    """What knows how uncertain a force is: a committee, or what a fit has as its `posterior`."""

    @property
    def potential(self): ...

    def force_std(self, graph: Graph) -> Float[Array, "beads 3"]: ...


class Departure(NamedTuple):
    """The first frame beyond the training data, and what is beyond in it."""

    row: int
    reason: str


class Outside(NamedTuple):
    """How far contacts, bonds, angles and impropers of a frame are outside of those that occur in training frames."""

    ranges: Ranges

    def excess(self, frames: Frames) -> tuple[Float[np.ndarray, "frames"], Callable[[int], str]]:
        """How far out each frame is, above one beyond what is allowed; and the reason for a frame."""
        topology, low, high, contacts = self.ranges.topology, self.ranges.low, self.ranges.high, self.ranges.contacts
        least, most = self.ranges.extremes(frames)
        middle, half = (high + low) / 2, np.maximum((high - low) / 2, 1e-12)
        out = np.maximum(middle - least, most - middle) / (half * (1 + 2 * _WIDER))
        out[:, : len(contacts)] = (1 - CLOSER) * contacts / np.maximum(least[:, : len(contacts)], 1e-12)

        def reason(row: int) -> str:
            kind = int(np.argmax(out[row]))
            below = low[kind] - least[row, kind] > most[row, kind] - high[kind]
            value = least[row, kind] if kind < len(contacts) or below else most[row, kind]
            return f"{_named(topology, kind)} is {value:.4g}{_seen(topology, kind, low[kind], high[kind])}"

        return (out.max(1) if out.shape[1] else np.zeros(len(frames))), reason


class Doubt(NamedTuple):
    """The standard error of the most uncertain force component of a frame, against the largest in training frames."""

    source: Doubtful
    topology: Topology
    limit: float  # kJ/(mol nm)

    @staticmethod
    def of(source: Doubtful, data: Dataset) -> Doubt:
        rows = np.unique(np.linspace(0, len(data) - 1, _LOOKED_AT).astype(int))
        return Doubt(source, data.topology, _MORE_DOUBT * float(_largest(source, data[rows], data.topology).max()))

    def excess(self, frames: Frames) -> tuple[Float[np.ndarray, "frames"], Callable[[int], str]]:
        largest = _largest(self.source, frames, self.topology)
        reason = lambda row: (
            f"the error of a force is {largest[row]:.3g} kJ/(mol nm), more than {_MORE_DOUBT:g} times the largest in "
            "the training data"
        )
        return largest / max(self.limit, 1e-12), reason


@dataclass(frozen=True)
class Guard:
    """Watches the frames of a simulation, and warns or stops where they leave the training data.

    `Guard.of(data)` knows the closest contacts and the ranges of bonds, angles and impropers of the frames that a
    model learned from; with `doubt`, a committee or the `posterior` of a fit, also how uncertain its forces were
    there. A longer run sees rarer frames, so that a margin is left: contacts 8 % closer, ranges wider by a quarter on
    either side, forces twice as uncertain. A frame inside is no proof that the model is right there.
    """

    measures: tuple[Outside | Doubt, ...]
    stop: bool = False

    @staticmethod
    def of(data: Dataset, doubt: Doubtful | None = None, *, stop: bool = False) -> Guard:
        found: tuple[Outside | Doubt, ...] = (Outside(Ranges.of(data)),)
        return Guard(found if doubt is None else (*found, Doubt.of(doubt, data)), stop)

    def beyond(self, frames: Frames) -> Float[np.ndarray, "frames"]:
        """How far beyond the training data each frame is: above one it is outside."""
        return np.max([measure.excess(frames)[0] for measure in self.measures], axis=0)

    def departure(self, frames: Frames) -> Departure | None:
        """The first frame outside, or nothing."""
        found: list[Departure] = []
        for measure in self.measures:
            excess, reason = measure.excess(frames)
            if (excess > 1).any():
                row = int(np.argmax(excess > 1))
                found.append(Departure(row, reason(row)))
        return min(found, key=lambda departure: departure.row, default=None)


def _largest(source: Doubtful, frames: Frames, topology: Topology) -> Float[np.ndarray, "frames"]:
    each = max(1, _AT_ONCE // len(topology))
    parts = [frames[start : start + each] for start in range(0, len(frames), each)]
    errors = [np.asarray(source.force_std(build(part, topology, source.potential.cutoffs))) for part in parts]
    return np.concatenate([error.reshape(len(part), -1).max(1) for error, part in zip(errors, parts, strict=True)])


def _named(topology: Topology, kind: int) -> str:
    names = [f"the distance of a pair {a}-{b}" for a, b in topology.pairs]
    names += [f"a bond {'-'.join(each)}" for each in topology.kinds("bonds")]
    names += [f"an angle {'-'.join(each)}" for each in topology.kinds("angles")]
    names += [f"an improper {'-'.join(each)}, from its mean," for each in topology.kinds("impropers")]
    return names[kind]


def _seen(topology: Topology, kind: int, low: float, high: float) -> str:
    """The unit of a kind, and what the training data hold of it."""
    pairs = len(topology.pairs)
    if kind < pairs:
        return f" nm, in the training data never below {low:.4g} nm"
    unit = "nm" if kind < pairs + len(topology.kinds("bonds")) else "degrees"
    return f" {unit}, in the training data {low:.4g} to {high:.4g} {unit}"
