"""Structure: radial and angular distribution functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.numerics.histograms import pair_distances, triplet_angles
from meanforce.numerics.neighbours import smallest_height
from meanforce.observables import averages
from meanforce.observables.base import Curve
from meanforce.observables.compare import ADF_BINS, RDF_BIN
from meanforce.observables.samples import Samples, measure, samples_of
from meanforce.topology import Topology

_LONGEST = 1.5  # nm, where a radial distribution function ends by default if the box allows it


@dataclass(frozen=True)
class RadialDistribution:
    """g(r): how many pairs lie at distance r, over how many would in an even spread at the frame's own volume.

    An ideal gas of any number of beads has g = 1: the number of distinct pairs N(N - 1)/2 (or N_a N_b) is
    what counts are divided by, so that the coordination number is (N - 1)/V times the integral of
    4 pi r^2 g. (Where N^2 is used instead, g is (N - 1)/N of this one.) Pairs within a molecule are left out.
    `species` names the pair; None takes all beads together. Bins reach `r_max` nm in steps of `bin_width`.
    """

    species: tuple[str, ...] | None
    r_max: float
    bin_width: float = RDF_BIN
    unit: str = ""
    depends_on_potential: bool = False
    needs_time: bool = False

    @property
    def name(self) -> str:
        return "RDF" if self.species is None else f"RDF {'–'.join(self.species)}"

    @property
    def bins(self) -> int:
        return round(self.r_max / self.bin_width)

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """g on every bin, (frames, bins)."""
        kinds, (first, second) = _kinds(topology, self.species or (None, None))
        together = _same_molecule(topology)
        pairs = _distinct_pairs(kinds, first, second, together)
        if pairs == 0:
            raise ValueError(f"{self.name}: there is no pair of beads in different molecules")
        box = _needs_box(frames, self.name)
        edges = np.arange(self.bins + 1) * self.bin_width
        _check_range(box, edges[-1], self.name)
        counts = pair_distances(frames.positions, box, edges, species=kinds, excluded=together)[:, first, second]
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        return counts * (np.abs(np.linalg.det(box)) / pairs)[:, None] / shells

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Curve:
        mean = averages.average(values, weights, chain)
        centres = (np.arange(self.bins) + 0.5) * self.bin_width
        return Curve(self.name, centres, mean.value, mean.error, "r / nm", "g(r)", mean.blocks)


@dataclass(frozen=True)
class AngularDistribution:
    """The density of angles end-centre-end between neighbours closer to the centre than `cutoff`.

    Unit integral over 0 to pi in radians; in an ideal gas it is sin(theta)/2. `species` names end, centre and
    end; None takes all beads together.
    """

    species: tuple[str, ...] | None
    cutoff: float
    bins: int = ADF_BINS
    unit: str = "rad⁻¹"
    depends_on_potential: bool = False
    needs_time: bool = False

    @property
    def name(self) -> str:
        kind = "ADF" if self.species is None else f"ADF {'–'.join(self.species)}"
        return f"{kind}, cut-off {self.cutoff:g} nm"

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """Angles counted in each bin, (frames, bins)."""
        kinds, (one, apex, other) = _kinds(topology, self.species or (None,) * 3)
        counts = triplet_angles(frames.positions, frames.box, self.cutoff, self.bins, species=kinds)
        return counts[:, apex, one, other]

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Curve:
        if not values.any():
            raise ValueError(f"{self.name}: no bead ever has two neighbours that close; take a longer cut-off")
        mean = averages.ratio(values, values.sum(1), weights, chain)
        width = np.pi / self.bins
        centres = (np.arange(self.bins) + 0.5) * width
        density = (mean.value / width, mean.error / width, mean.blocks / width)
        return Curve(
            self.name, centres, *density[:2], "angle / rad", "probability density / rad⁻¹", density[2]
        )  # fmt: skip


def rdf(
    source: Ensemble | Dataset | Samples,
    species: tuple[str, str] | None = None,
    *,
    r_max: float | None = None,
    bin_width: float = RDF_BIN,
) -> Curve:
    """Radial distribution function of a pair of species (all beads if None), on bins of 0.005 nm.

    By default it reaches to half the smallest box width, at most 1.5 nm; further it is not defined.
    """
    samples = samples_of(source)
    if r_max is None:
        widths = [smallest_height(_needs_box(frames, "RDF")) for frames in samples.batches()]
        r_max = min(_LONGEST, bin_width * np.floor(min(widths) / 2 / bin_width + 1e-9))
    if not 0 < bin_width <= r_max:
        raise ValueError(f"bins of {bin_width} nm up to {r_max} nm hold nothing; both must be positive")
    return measure(RadialDistribution(species or _only(samples.topology, 2), float(r_max), bin_width), samples)


def adf(
    source: Ensemble | Dataset | Samples,
    species: tuple[str, str, str] | None = None,
    *,
    cutoff: float,
    bins: int = ADF_BINS,
) -> Curve:
    """Angular distribution function (end, centre, end) of neighbours within `cutoff` nm, unit integral in radians."""
    samples = samples_of(source)
    if not (cutoff > 0 and bins > 0):
        raise ValueError(f"an angular distribution needs a positive cut-off and bins, not {cutoff} nm and {bins}")
    return measure(AngularDistribution(species or _only(samples.topology, 3), cutoff, bins), samples)


def coordination(curve: Curve, beads: int, volume: float, within: float) -> float:
    """Neighbours of a bead closer than `within` nm, from a g(r) over all beads: (N - 1)/V int 4 pi r^2 g dr."""
    width = float(curve.axis[1] - curve.axis[0])
    edges = np.concatenate([curve.axis - width / 2, curve.axis[-1:] + width / 2])
    shells = 4 / 3 * np.pi * np.diff(np.minimum(edges, within) ** 3)
    return float((beads - 1) / volume * (shells @ curve.value))


def _only(topology: Topology, count: int) -> tuple[str, ...] | None:
    """The one species, as many times as needed, so that names say it; None where there are several."""
    return topology.types * count if len(topology.types) == 1 else None


def _kinds(topology: Topology, species: tuple[str | None, ...]) -> tuple[np.ndarray, list[int]]:
    """A small number for each bead, and the numbers of the species asked for; beads of no interest share one."""
    if None in species:
        return np.zeros(len(topology), int), [0] * len(species)
    for name in species:
        if name not in topology.types:
            raise ValueError(f"no bead is of species {name!r}; there are {', '.join(topology.types)}")
    asked = sorted({name for name in species if name is not None})
    order = {name: k for k, name in enumerate(asked)}
    kinds = np.array([order.get(s, len(asked)) for s in topology.species])
    return kinds, [order[name] for name in species if name is not None]


def _same_molecule(topology: Topology) -> np.ndarray:
    """All pairs of beads within a molecule, (pairs, 2)."""
    order = np.argsort(topology.molecules, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(topology.molecules[order])) + 1)
    pairs = [np.stack(np.triu_indices(len(m), 1), 1) for m in members]
    return np.concatenate([m[p] for m, p in zip(members, pairs, strict=True)])


def _distinct_pairs(kinds: np.ndarray, first: int, second: int, together: np.ndarray) -> int:
    """Pairs of beads of two kinds in different molecules."""
    a, b = int((kinds == first).sum()), int((kinds == second).sum())
    inside = np.sort(kinds[together], axis=1)
    barred = int((inside == sorted((first, second))).all(1).sum())
    return (a * (a - 1) // 2 if first == second else a * b) - barred


def _needs_box(frames: Frames, name: str) -> np.ndarray:
    if frames.box is None:
        raise ValueError(f"{name} compares with an even spread in a box, and the frames have none; look at bond "
                         "distributions instead")  # fmt: skip
    return np.asarray(frames.box, float)


def _check_range(box: np.ndarray, r_max: float, name: str) -> None:
    half = smallest_height(box) / 2
    if r_max > half * (1 + 1e-9):
        raise ValueError(f"{name} up to {r_max:.4g} nm needs boxes at least {2 * r_max:.4g} nm wide, and one is "
                         f"{2 * half:.4g} nm: beyond half of it the images of beads repeat; take r_max={half:.3g} or "
                         "less")  # fmt: skip
