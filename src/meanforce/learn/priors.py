"""Priors from the data: constants of bonds, angles, dihedrals and repulsion by Boltzmann inversion.

Each coordinate is inverted on its own, A(x) = -kT ln(p(x) / Jacobian), as if it were independent of the others:
not a model, but what keeps a model physical where there are no data.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from meanforce.data.dataset import Dataset
from meanforce.data.ranges import CLOSER, Ranges
from meanforce.graph import Graph, build, edges, neighbour_species
from meanforce.potentials import internal
from meanforce.potentials.base import Potential
from meanforce.potentials.priors import HarmonicAngle, HarmonicBond, PeriodicDihedral, Repulsion, Wall
from meanforce.potentials.splines import pair_index, pair_names
from meanforce.potentials.sums import Sum
from meanforce.units import KB

_FRAMES = 1000  # as many, evenly spread, settle a handful of constants
_BATCH = 25
_BIN = 0.005  # nm
_LOW, _HIGH = 0.01, 0.5  # the flank of the first peak, as parts of its height
_SMALLEST_SINE = 0.02
_WALL = 30.0  # kT, where contacts lie beyond the data


def priors(data: Dataset, *, cutoff: float = 0.9, waves: int = 3) -> Sum:
    """Every prior that the topology of the data has a place for, as one sum to put under a potential.

    `cutoff` (nm) is how far pairs are searched for the flank of their first peak, `waves` the number of cosines
    of each dihedral.
    """
    topology = data.topology
    terms: list[Potential] = []
    if len(topology.bonds):
        terms.append(harmonic_bonds(data))
    if len(topology.angles):
        terms.append(harmonic_angles(data))
    if len(topology.dihedrals):
        terms.append(periodic_dihedrals(data, waves=waves))
    if len(topology) * (len(topology) - 1) // 2 > len(topology.excluded):
        terms.append(repulsion(data, cutoff=cutoff))
    if not terms:
        raise ValueError("a single bead has no bonds, angles, dihedrals or pairs to take a prior from")
    return Sum(tuple(terms))


def harmonic_bonds(data: Dataset) -> HarmonicBond:
    """Length and stiffness of each kind of bond: mean and kT/variance of p(r)/r^2."""
    kinds = data.topology.kinds("bonds")
    length, stiffness = _harmonic(data, "bonds", lambda r: 1 / r**2)
    return HarmonicBond(kinds, length=length, stiffness=stiffness)


def harmonic_angles(data: Dataset) -> HarmonicAngle:
    """Angle and stiffness of each kind of angle: mean and kT/variance of p(theta)/sin(theta)."""
    kinds = data.topology.kinds("angles")
    angle, stiffness = _harmonic(data, "angles", lambda a: 1 / np.maximum(np.sin(a), _SMALLEST_SINE))
    return HarmonicAngle(kinds, angle=angle, stiffness=stiffness)


def periodic_dihedrals(data: Dataset, *, waves: int = 3, bins: int = 72) -> PeriodicDihedral:
    """Cosines n = 1 to `waves` for each kind of dihedral, fitted to -kT ln p(phi) with the weight of the data."""
    kinds, kt = data.topology.kinds("dihedrals"), KB * _kelvin(data)
    values, kind, weights = _coordinates(data, "dihedrals")
    n = np.arange(1, waves + 1)
    barrier, phase = np.zeros((len(kinds), waves)), np.zeros((len(kinds), waves))
    for k in range(len(kinds)):
        chosen = kind == k
        count, cuts = np.histogram(values[chosen], bins, (-np.pi, np.pi), weights=weights[chosen])
        middles, seen = (cuts[1:] + cuts[:-1]) / 2, count > 0
        inverted = -kt * np.log(count[seen])
        phi = middles[seen, None] * n
        rows = np.concatenate([np.ones((seen.sum(), 1)), np.cos(phi), np.sin(phi)], 1)
        # a little of a ridge: angles never visited must not be dug out or piled up without bounds
        root = np.sqrt(count[seen])[:, None]
        ridge = np.sqrt(1e-4 * count.sum() / bins) * np.eye(2 * waves + 1)[1:]
        rows, inverted = np.concatenate([root * rows, ridge]), np.append(root[:, 0] * inverted, np.zeros(2 * waves))
        fitted = np.linalg.lstsq(rows, inverted)[0]
        cosine, sine = fitted[1 : waves + 1], fitted[waves + 1 :]
        barrier[k], phase[k] = np.hypot(cosine, sine), np.arctan2(sine, cosine)
    return PeriodicDihedral(kinds, barrier=barrier, phase=phase)


def repulsion(data: Dataset, *, cutoff: float = 0.9) -> Repulsion:
    """A soft wall on the flank of the first peak of each pair of species.

    Its energy is -kT ln of the pair density, relative to the peak, at a hundredth and at half of its height; pairs
    that are never seen get the wall of the pair that comes closest.
    """
    types, kt = data.topology.types, KB * _kelvin(data)
    density, middles = _pair_density(data, cutoff)
    flanks = [_flank(row, middles) for row in density]
    known = [f for f in flanks if f is not None]
    if not known:
        raise ValueError(f"no pair comes within {cutoff:g} nm: a repulsion cannot be read from the data; raise cutoff=")
    closest = min(known)
    inner, outer = np.array([f or closest for f in flanks]).T
    reach = 1.5 * float(outer.max())
    factor = lambda r: (1 - (r / reach) ** 2) ** 3
    low, high = -kt * np.log(_LOW) / factor(inner), -kt * np.log(_HIGH) / factor(outer)
    return Repulsion(types, height=low, distance=inner, width=(outer - inner) / np.log(low / high), cutoff=reach)


def wall(data: Dataset) -> Wall:
    """Nothing where pairs have been, and 30 kT where they are 8 % closer than in any frame.

    It keeps what is learned beside it from distances where nothing was learned, and changes nothing elsewhere.
    Pairs that are never seen get the wall of the pair that comes closest.
    """
    topology, ranges = data.topology, Ranges.of(data)
    if not topology.pairs:
        raise ValueError("no two beads interact: there is nothing to keep apart")
    seen = ranges.contacts < ranges.reach
    nearest = np.where(seen, ranges.contacts, ranges.contacts.min())
    closest = dict(zip(topology.pairs, nearest.tolist(), strict=True))
    distance = np.array([closest.get(pair, 0.0) for pair in pair_names(topology.types)])
    height = _WALL * KB * max(data.temperatures, default=300.0)
    margin = np.where(distance > 0, CLOSER * distance, np.inf)
    return Wall(topology.types, distance=distance, stiffness=height / margin**3)


def _harmonic(data: Dataset, name: internal.Kind, jacobian) -> tuple[np.ndarray, np.ndarray]:
    """Mean and kT/variance of every kind of coordinate, without the Jacobian."""
    kt = KB * _kelvin(data)
    values, kind, weights = _coordinates(data, name)
    count = len(data.topology.kinds(name))
    weights = weights * jacobian(values)
    total = np.bincount(kind, weights, count)
    middle = np.bincount(kind, weights * values, count) / total
    variance = np.bincount(kind, weights * (values - middle[kind]) ** 2, count) / total
    if not (variance > 0).all():
        frozen = "-".join(data.topology.kinds(name)[int(np.argmin(variance))])
        raise ValueError(f"{name} {frozen} never change in these data; hold them by a constraint, not by a prior")
    return middle, kt / variance


def _coordinates(
    data: Dataset, name: internal.Kind
) -> tuple[Float[np.ndarray, "n"], Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """All values of a bonded coordinate with their kinds and weights."""
    if not len(getattr(data.topology, name)):
        raise ValueError(f"the topology has no {name}")
    values, kinds, weights = [], [], []
    for graph, weight in _graphs(data, ()):
        terms = internal.terms(graph, name)
        values.append(np.asarray(internal.coordinate(terms.vectors)))
        kinds.append(np.asarray(terms.kind))
        weights.append(np.repeat(weight, len(values[-1]) // len(weight)))
    return np.concatenate(values), np.concatenate(kinds), np.concatenate(weights)


def _pair_density(data: Dataset, cutoff: float) -> tuple[Float[np.ndarray, "pairs bins"], Float[np.ndarray, "bins"]]:
    """Counts of pairs over r^2, for each pair of species."""
    kinds = pair_index(len(data.topology.types))
    cuts = np.arange(0.0, cutoff + _BIN / 2, _BIN)
    total = np.zeros((len(pair_names(data.topology.types)), len(cuts) - 1))
    for graph, weight in _graphs(data, (cutoff,)):
        distance = np.sqrt(np.asarray(edges(graph, cutoff).squared))
        kind = kinds[np.asarray(graph.species)[:, None], np.asarray(neighbour_species(graph, cutoff))]
        each = np.broadcast_to(weight[np.asarray(graph.frame)][:, None], distance.shape)
        for pair in range(len(total)):
            chosen = kind == pair
            total[pair] += np.histogram(distance[chosen], cuts, weights=each[chosen])[0]
    middles = (cuts[1:] + cuts[:-1]) / 2
    return total / middles**2, middles


def _flank(density: Float[np.ndarray, "bins"], middles: Float[np.ndarray, "bins"]) -> tuple[float, float] | None:
    """Where the density rises through a hundredth and through half of its largest value."""
    if not density.any():
        return None
    top = int(density.argmax())
    rising = np.maximum.accumulate(density[: top + 1]) / density[top]
    low, high = (float(np.interp(part, rising, middles[: top + 1])) for part in (_LOW, _HIGH))
    return low, max(high, low + _BIN)


def _graphs(data: Dataset, cutoffs: tuple[float, ...]) -> Iterator[tuple[Graph, Float[np.ndarray, "frames"]]]:
    """Evenly spread frames as graphs, with their weights."""
    order = np.unique(np.linspace(0, len(data) - 1, min(_FRAMES, len(data))).astype(int))
    for frames in data.batches(_BATCH, order):
        weight = np.ones(len(frames)) if frames.weights is None else np.asarray(frames.weights, float)
        yield build(frames, data.topology, cutoffs), weight


def _kelvin(data: Dataset) -> float:
    """The one temperature of the data."""
    if len(data.temperatures) != 1:
        raise ValueError(
            f"Boltzmann inversion needs data at one temperature, not {len(data.temperatures)}; "
            "choose one with data.select(temperature=...)"
        )
    return data.temperatures[0]
