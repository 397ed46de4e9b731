"""Distributions of bond lengths, angles and dihedrals of the molecules themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables import averages
from meanforce.observables.base import Curve
from meanforce.observables.samples import Samples, measure, samples_of
from meanforce.topology import Topology

Kind = Literal["bonds", "angles", "dihedrals"]
_SPAN = {"angles": (0.0, np.pi), "dihedrals": (-np.pi, np.pi)}
_LABELS = {"bonds": ("r / nm", "nm⁻¹"), "angles": ("angle / rad", "rad⁻¹"), "dihedrals": ("dihedral / rad", "rad⁻¹")}


@dataclass(frozen=True)
class BondedDistribution:
    """The density of one kind of internal coordinate over `span`, unit integral over all of its values.

    No Jacobian is divided out: a free angle has sin(theta)/2. What lies outside of the span lowers the
    integral and is not lost from sight. Dihedrals follow IUPAC: zero is cis, positive is clockwise.
    """

    kind: Kind
    species: tuple[str, ...]
    span: tuple[float, float]
    bins: int
    depends_on_potential: bool = False
    needs_time: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind.removesuffix('s')} {'–'.join(self.species)}"

    @property
    def unit(self) -> str:
        return _LABELS[self.kind][1]

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """Share of the terms in each bin, (frames, bins)."""
        terms = _terms(topology, self.kind, self.species)
        return shares(coordinates(frames, self.kind, terms), self.span, self.bins)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Curve:
        mean = averages.average(values, weights, chain)
        width = (self.span[1] - self.span[0]) / self.bins
        centres = self.span[0] + (np.arange(self.bins) + 0.5) * width
        axis, unit = _LABELS[self.kind]
        return Curve(
            self.name, centres, mean.value / width, mean.error / width, axis, f"probability density / {unit}",
            mean.blocks / width,
        )  # fmt: skip


def bond_distribution(
    source: Ensemble | Dataset | Samples,
    species: tuple[str, ...] | None = None,
    *,
    span: tuple[float, float] | None = None,
    bins: int = 90,
) -> Curve:
    """Distribution of the length of one kind of bond in nm; by default over all lengths there are."""
    return _distribution(source, "bonds", species, span, bins)


def angle_distribution(
    source: Ensemble | Dataset | Samples, species: tuple[str, ...] | None = None, *, bins: int = 90
) -> Curve:
    """Distribution of one kind of bonded angle over 0 to pi."""
    return _distribution(source, "angles", species, None, bins)


def dihedral_distribution(
    source: Ensemble | Dataset | Samples, species: tuple[str, ...] | None = None, *, bins: int = 90
) -> Curve:
    """Distribution of one kind of dihedral over -pi to pi."""
    return _distribution(source, "dihedrals", species, None, bins)


def coordinates(frames: Frames, kind: Kind, terms: np.ndarray) -> Float[np.ndarray, "frames terms"]:
    """Lengths in nm, or angles in rad, of the given terms; bonds take their nearest image."""
    arms = [arm(frames, terms[:, k], terms[:, k + 1]) for k in range(terms.shape[1] - 1)]
    if kind == "bonds":
        return np.linalg.norm(arms[0], axis=-1)
    if kind == "angles":
        first, second = -arms[0], arms[1]
        return np.arctan2(np.linalg.norm(np.cross(first, second), axis=-1), (first * second).sum(-1))
    first, middle, last = arms
    normals = np.cross(first, middle), np.cross(middle, last)
    sine = np.linalg.norm(middle, axis=-1) * (first * normals[1]).sum(-1)
    return np.arctan2(sine, (normals[0] * normals[1]).sum(-1))


def _distribution(source, kind: Kind, species, span, bins: int) -> Curve:
    samples = samples_of(source)
    kinds = samples.topology.kinds(kind)
    if not kinds:
        raise ValueError(f"the topology has no {kind}")
    if species is None:
        if len(kinds) > 1:
            listed = ", ".join("–".join(k) for k in kinds)
            raise ValueError(f"the topology has several kinds of {kind} ({listed}): say which with species=")
        species = kinds[0]
    span = span or _SPAN.get(kind) or _lengths(samples, species)
    return measure(BondedDistribution(kind, tuple(species), (float(span[0]), float(span[1])), bins), samples)


def _lengths(samples: Samples, species: tuple[str, ...]) -> tuple[float, float]:
    terms = _terms(samples.topology, "bonds", species)
    found = [coordinates(frames, "bonds", terms) for frames in samples.batches()]
    low, high = min(f.min() for f in found), max(f.max() for f in found)
    return np.floor(low * 100) / 100, np.ceil(high * 100 + 1e-9) / 100


def _terms(topology: Topology, kind: Kind, species: tuple[str, ...]) -> np.ndarray:
    wanted = min(tuple(species), tuple(species)[::-1])
    kinds = topology.kinds(kind)
    if wanted not in kinds:
        listed = ", ".join("–".join(k) for k in kinds) or "none"
        raise ValueError(f"there are no {kind} {'–'.join(species)}; there are {listed}")
    return getattr(topology, kind)[topology.kind_index(kind) == kinds.index(wanted)]


def shares(
    found: Float[np.ndarray, "frames terms"], span: tuple[float, float], bins: int
) -> Float[np.ndarray, "frames bins"]:
    """Share of the values of each frame in each bin; what lies outside of the span is in none."""
    low, high = span
    place = np.floor((found - low) / (high - low) * bins).astype(np.int64)
    place[found == high] = bins - 1
    inside = (place >= 0) & (place < bins)
    flat = (np.arange(len(found))[:, None] * bins + place)[inside]
    return np.bincount(flat, minlength=len(found) * bins).reshape(-1, bins) / found.shape[1]


def arm(frames: Frames, start: np.ndarray, stop: np.ndarray) -> Float[np.ndarray, "frames terms 3"]:
    """From one bead to the next, in the nearest image: right for bonds shorter than half the box height."""
    arm = np.asarray(frames.positions[:, stop], float) - frames.positions[:, start]
    if frames.box is None:
        return arm
    scaled = arm @ np.linalg.inv(frames.box)
    return (scaled - np.rint(scaled)) @ frames.box
