"""Distribution of the distance between the ends of linear chains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables import averages
from meanforce.observables.base import Curve
from meanforce.observables.bonded import arm, shares
from meanforce.observables.samples import Samples, measure, samples_of
from meanforce.topology import Topology


@dataclass(frozen=True)
class EndToEnd:
    """The density of the end-to-end distance of chains of one kind over `span` (nm), as in `BondedDistribution`.

    The way goes along the bonds, each in its nearest image: a chain may be longer than half the box.
    """

    species: tuple[str, ...]  # of the beads of a chain, in order
    span: tuple[float, float]
    bins: int
    unit: str = "nm⁻¹"
    depends_on_potential: bool = False
    needs_time: bool = False

    @property
    def name(self) -> str:
        return f"end-to-end {self.species[0]}–{self.species[-1]} of {len(self.species)}"

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """Share of the chains in each bin, (frames, bins)."""
        return shares(_distances(frames, chains(topology)[self.species]), self.span, self.bins)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Curve:
        mean = averages.average(values, weights, chain)
        width = (self.span[1] - self.span[0]) / self.bins
        centres = self.span[0] + (np.arange(self.bins) + 0.5) * width
        return Curve(
            self.name, centres, mean.value / width, mean.error / width, "r / nm", f"probability density / {self.unit}",
            mean.blocks / width,
        )  # fmt: skip


def end_to_end_distribution(
    source: Ensemble | Dataset | Samples,
    species: tuple[str, ...] | None = None,
    *,
    span: tuple[float, float] | None = None,
    bins: int = 90,
) -> Curve:
    """Distribution of the end-to-end distance of linear chains in nm; `species` are those of a chain's beads."""
    samples = samples_of(source)
    kinds = chains(samples.topology)
    if not kinds:
        raise ValueError("no molecule is a linear chain of three beads or more: there are no ends to measure between")
    listed = ", ".join("–".join(kind) for kind in kinds)
    if species is None:
        if len(kinds) > 1:
            raise ValueError(f"the topology has several kinds of chains ({listed}): say which with species=")
        species = next(iter(kinds))
    wanted = min(tuple(species), tuple(species)[::-1])
    if wanted not in kinds:
        raise ValueError(f"there are no chains {'–'.join(species)}; there are {listed}")
    if span is None:
        found = [_distances(frames, kinds[wanted]) for frames in samples.batches()]
        low, high = min(f.min() for f in found), max(f.max() for f in found)
        span = np.floor(low * 100) / 100, np.ceil(high * 100 + 1e-9) / 100
    return measure(EndToEnd(wanted, (float(span[0]), float(span[1])), bins), samples)


def chains(topology: Topology) -> dict[tuple[str, ...], np.ndarray]:
    """The beads of each linear molecule of three or more, in order along its bonds, by their species."""
    bonded: list[list[int]] = [[] for _ in range(len(topology))]
    for i, j in topology.bonds.tolist():
        bonded[i].append(j)
        bonded[j].append(i)
    sizes = np.bincount(topology.molecules)
    found: dict[tuple[str, ...], list[list[int]]] = {}
    for first in np.flatnonzero([len(near) == 1 for near in bonded]).tolist():
        way = [first]
        while onward := [bead for bead in bonded[way[-1]] if bead not in way[-2:]]:
            if len(onward) > 1:
                break
            way.append(onward[0])
        if way[-1] < first or len(way) < max(3, sizes[topology.molecules[first]]):
            continue  # seen from the other end, or branched
        kind = tuple(topology.species[bead] for bead in way)
        found.setdefault(min(kind, kind[::-1]), []).append(way)
    return {kind: np.array(found[kind]) for kind in sorted(found)}


def _distances(frames: Frames, ways: np.ndarray) -> np.ndarray:
    """End-to-end distances in nm, (frames, chains)."""
    arms = [arm(frames, ways[:, k], ways[:, k + 1]) for k in range(ways.shape[1] - 1)]
    return np.linalg.norm(np.sum(arms, axis=0), axis=-1)
