"""Free-energy surfaces over two dihedrals, such as phi and psi of a peptide, with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables import averages
from meanforce.observables.base import Curve
from meanforce.observables.bonded import coordinates
from meanforce.observables.compare import StructureError, structure_error
from meanforce.observables.samples import Samples, measure, samples_of
from meanforce.topology import Topology

Quadruple = tuple[int, int, int, int]
BINS = 60
WITHIN = 4.0  # kT above the minimum: where a reference counts as sampled


class Surface(NamedTuple):
    """A probability density over two dihedrals from -pi to pi, in rad^-2, with its standard error.

    Rows belong to the first dihedral. `blocks` are block means of the density: neighbouring bins are correlated.
    """

    name: str
    density: Float[np.ndarray, "bins bins"]
    error: Float[np.ndarray, "bins bins"]
    blocks: Float[np.ndarray, "blocks bins bins"]
    labels: tuple[str, str] = ("φ / rad", "ψ / rad")

    @property
    def axis(self) -> Float[np.ndarray, "bins"]:
        """The middles of the bins, rad."""
        bins = len(self.density)
        return -np.pi + (np.arange(bins) + 0.5) * 2 * np.pi / bins

    @property
    def free_energy(self) -> Float[np.ndarray, "bins bins"]:
        """-ln of the density in units of its greatest value, kT; infinite where nothing was seen."""
        with np.errstate(divide="ignore"):
            return -np.log(self.density / self.density.max())

    @property
    def free_energy_error(self) -> Float[np.ndarray, "bins bins"]:
        """The standard error of -ln of the density, kT."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.density > 0, self.error / self.density, np.inf)


class SurfaceError(NamedTuple):
    """How far two surfaces are apart.

    `density` is the mean-square difference of the densities over all bins, rad^-4. The others are about
    -ln of the densities, in kT, in the bins where the reference lies within 4 kT of its minimum: the root mean
    square `rms` beyond the noise of both, with `rms_error`; the share of these bins that differ by at most 0.5 kT
    and two standard errors; and the share that the model never visited.
    """

    density: StructureError
    rms: float
    rms_error: float
    within_half: float
    unseen: float


@dataclass(frozen=True)
class DihedralSurface:
    """The joint density of two dihedrals, each given by four beads of each molecule."""

    first: tuple[Quadruple, ...]
    second: tuple[Quadruple, ...]
    bins: int = BINS
    name: str = "free-energy surface"
    unit: str = "rad⁻²"
    depends_on_potential: bool = False
    needs_time: bool = False

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """The bin of every molecule, (frames, molecules)."""
        del topology
        place = [self._place(coordinates(frames, "dihedrals", np.asarray(q))) for q in (self.first, self.second)]
        return place[0] * self.bins + place[1]

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Surface:
        del state
        block = averages.blocks(chain)
        count, cells = block.max() + 1, self.bins**2
        flat = (block[:, None] * cells + values).ravel()
        each = np.repeat(weights / values.shape[1], values.shape[1])
        sums = np.bincount(flat, each, count * cells).reshape(count, cells)
        amounts = np.bincount(block, weights, count)
        first = np.r_[True, np.diff(block) != 0]
        mean = averages.ratio(sums / amounts[:, None], np.ones(count), amounts, chain[first])
        area = (2 * np.pi / self.bins) ** 2
        square = lambda rows: rows.reshape(*rows.shape[:-1], self.bins, self.bins) / area
        return Surface(self.name, square(mean.value), square(mean.error), square(mean.blocks))

    def _place(self, angle: np.ndarray) -> np.ndarray:
        return np.floor((angle + np.pi) / (2 * np.pi) * self.bins).astype(np.int64) % self.bins


def free_energy_surface(
    source: Ensemble | Dataset | Samples,
    first: Quadruple | Sequence[Quadruple],
    second: Quadruple | Sequence[Quadruple],
    *,
    bins: int = BINS,
) -> Surface:
    """The density over two dihedrals, each four beads (or one four for each of several equal molecules)."""
    samples = samples_of(source)
    one, two = (_quadruples(given, len(samples.topology)) for given in (first, second))
    if len(one) != len(two):
        raise ValueError(f"{len(one)} dihedrals and {len(two)} do not pair: give one of each for every molecule")
    if bins < 2:
        raise ValueError(f"bins={bins}: a surface needs at least two bins along each dihedral")
    return measure(DihedralSurface(one, two, bins), samples)


def surface_error(surface: Surface, reference: Surface, *, within: float = WITHIN) -> SurfaceError:
    """How far a surface is from a reference on the same bins, and how much of it is noise."""
    if surface.density.shape != reference.density.shape:
        raise ValueError(
            f"surfaces of {len(surface.density)} and {len(reference.density)} bins cannot be compared; compute both "
            "with the same bins="
        )
    sampled = reference.free_energy <= within
    seen = sampled & (surface.density > 0)
    if not seen.any():
        return SurfaceError(structure_error(_flat(surface), _flat(reference)), np.nan, np.nan, 0.0, 1.0)
    ours, theirs = _logarithm(surface, seen), _logarithm(reference, seen)
    apart = structure_error(ours, theirs)
    square = max(apart.excess, 0.0)
    near = np.abs(ours.value - theirs.value) <= 0.5 + 2 * np.hypot(ours.error, theirs.error)
    return SurfaceError(
        structure_error(_flat(surface), _flat(reference)),
        float(np.sqrt(square)),
        float(np.sqrt(square + apart.error) - np.sqrt(square)),
        float(near.sum() / sampled.sum()),
        float(1 - seen.sum() / sampled.sum()),
    )


def _logarithm(surface: Surface, seen: np.ndarray) -> Curve:
    """-ln of the density in the bins that were seen, its blocks to first order."""
    density = surface.density[seen]
    value = -np.log(density)
    return Curve(
        surface.name, np.arange(float(len(value))), value, surface.error[seen] / density, "bin", "kT",
        value - (surface.blocks[:, seen] - density) / density,
    )  # fmt: skip


def _flat(surface: Surface) -> Curve:
    density = surface.density.ravel()
    return Curve(
        surface.name, np.arange(float(density.size)), density, surface.error.ravel(), "bin", "rad⁻²",
        surface.blocks.reshape(len(surface.blocks), -1),
    )  # fmt: skip


def _quadruples(given, beads: int) -> tuple[Quadruple, ...]:
    rows = np.atleast_2d(np.asarray(given))
    if rows.ndim != 2 or rows.shape[1] != 4 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"a dihedral is four bead numbers, such as (1, 3, 4, 6), not {given!r}")
    if rows.min() < 0 or rows.max() >= beads:
        raise ValueError(f"the dihedral {given!r} names beads that do not exist: they run from 0 to {beads - 1}")
    return tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in rows)
