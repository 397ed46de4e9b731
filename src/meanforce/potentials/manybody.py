"""Many-body terms in closed form: radial B-splines times Legendre polynomials, summed by moments."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.graph import Graph, edges, neighbour_species
from meanforce.numerics.harmonics import degrees, harmonic_gradients, harmonics
from meanforce.potentials.base import Design, LinearPotential, Penalty, check_size, frame_rows
from meanforce.potentials.triplets import Basis, bump_slopes, bumps, masked, triplet_energies


class ThreeBodySpline(LinearPotential):
    """A = sum_i sum_{j != k} sum_{pql} c_{pql} R_p(r_ij) R_q(r_ik) P_l(cos jik), for each kind of centre i.

    R_p are cubic B-splines that end, with two derivatives, at `cutoff`; P_l are Legendre polynomials. The sum
    over triplets is done by moments M_{p,lm} = sum_j R_p(r_ij) y_lm(r_ij), so that the cost grows with the
    number of neighbours, not with its square. Neighbours of different species have radial functions of
    their own: p <= q run over (species, spline).
    """

    coefficients: Float[Array, "k"]
    types: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)  # nm
    start: float = eqx.field(static=True)  # nm, where the innermost spline begins
    radial: int = eqx.field(static=True)
    degree: int = eqx.field(static=True)

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        cutoff: float = 0.42,
        start: float = 0.15,
        radial: int = 5,
        degree: int = 4,
        coefficients: Float[Array, "k"] | None = None,
    ):
        self.types, self.cutoff, self.start = tuple(types), float(cutoff), float(start)
        self.radial, self.degree = int(radial), int(degree)
        self.coefficients = jnp.zeros(self._size()) if coefficients is None else jnp.asarray(coefficients)

    def __check_init__(self):
        if not 0 <= self.start < self.cutoff:
            raise ValueError(f"the splines begin at {self.start} nm, which must lie below the cut-off {self.cutoff} nm")
        if self.radial < 1 or self.degree < 0:
            raise ValueError(
                f"at least one radial function and a degree >= 0 are needed, not {self.radial} and {self.degree}"
            )
        check_size(self.coefficients, self._size())

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (self.cutoff,)

    @property
    def channels(self) -> int:
        """Radial functions of all neighbour species together."""
        return len(self.types) * self.radial

    @property
    def spacing(self) -> float:
        """Distance of the knots in nm: a cubic B-spline spans four intervals."""
        return (self.cutoff - self.start) / (self.radial + 3)

    @property
    def basis(self) -> Basis:
        return Basis(self.start, self.spacing, self.radial, self.degree)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        x, y, z, _ = (component.T for component in edges(graph, self.cutoff))
        masks = tuple(mask.T for mask in self._neighbour_masks(graph))
        x, y, z = jax.lax.optimization_barrier((x, y, z))
        matrices = jnp.moveaxis(self._matrices().astype(x.dtype), 0, -1)
        if len(self.types) > 1:
            matrices = matrices[..., graph.species]
        return triplet_energies(self.basis, matrices, masks, x, y, z)

    def design(self, graph: Graph) -> Design:
        local = self._local(graph)
        degree = self.degree
        values = _by_degree(local.moments, local.moments, degree) - _products(local.radial, local.radial)
        stretched = jnp.einsum("ipj,imj->ipm", local.stretch, local.angular)
        turned = _by_degree(stretched, local.moments, degree) - _products(local.stretch, local.radial)
        virial = -(turned + jnp.swapaxes(turned, 1, 2))
        return Design(self._frame_rows(graph, values), self._force_rows(graph, local), self._frame_rows(graph, virial))

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> ThreeBodySpline:
        return eqx.tree_at(lambda term: term.coefficients, self, jnp.asarray(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        centre = self.start + self.spacing * (2 + np.arange(self.radial))
        channel = [f"{name} {r:.3f}" for name in self.types for r in centre]
        return tuple(
            f"three-body {c}: {channel[p]}, {channel[q]} nm, P{l}"
            for c in self.types
            for p, q in zip(*_upper_pairs(self.channels), strict=True)
            for l in range(self.degree + 1)  # noqa: E741
        )

    def penalties(self) -> tuple[Penalty, ...]:
        """The mean square of the term over distances and angles, so that a strength is an energy scale."""
        overlap = _bump_overlap(self.radial)
        p, q = _upper_pairs(self.channels)
        same = np.kron(np.eye(len(self.types)), overlap)
        form = same[np.ix_(p, p)] * same[np.ix_(q, q)] + same[np.ix_(p, q)] * same[np.ix_(q, p)]
        angular = 1 / (2 * np.arange(self.degree + 1) + 1)
        matrix = np.kron(np.eye(len(self.types)), np.kron(form / 2, np.diag(angular)))
        return (Penalty("three-body", 0, matrix),)

    def _size(self) -> int:
        channels = self.channels
        return len(self.types) * channels * (channels + 1) // 2 * (self.degree + 1)

    def _matrices(self) -> Float[Array, "types degrees channels channels"]:
        """The coefficients as symmetric matrices over p and q."""
        p, q = _upper_pairs(self.channels)
        place = np.zeros((self.channels, self.channels), int)
        place[p, q] = place[q, p] = np.arange(len(p))
        rows = self.coefficients.reshape(len(self.types), len(p), self.degree + 1)
        share = np.where(np.eye(self.channels, dtype=bool), 1.0, 0.5)
        return jnp.moveaxis(rows[:, place] * share[None, ..., None], -1, 1)

    def _neighbour_masks(self, graph: Graph) -> tuple[Array, ...]:
        """Where neighbours are of each species; nothing where there is only one."""
        if len(self.types) == 1:
            return ()
        species = neighbour_species(graph, self.cutoff)
        return tuple(species == kind for kind in range(len(self.types)))

    def _local(self, graph: Graph) -> _Local:
        near = edges(graph, self.cutoff)
        distance = jnp.sqrt(near.squared)
        unit = (near.x / distance, near.y / distance, near.z / distance)
        masks = self._neighbour_masks(graph)
        value, slope = bumps(self.basis, distance), bump_slopes(self.basis, distance)
        radial = masked(masks, value)
        angular = harmonics(*unit, self.degree)
        return _Local(
            graph.within(self.cutoff).index, masks, unit, distance, value, slope, value / distance[:, None], radial,
            masked(masks, slope * distance[:, None]), angular, jnp.einsum("ipj,imj->ipm", radial, angular),
        )  # fmt: skip

    def _frame_rows(self, graph: Graph, values: Float[Array, "beads channels channels degrees"]):
        """Sums what each centre contributes, by frame, in the order of the coefficients."""
        p, q = _upper_pairs(self.channels)
        rows = values[:, p, q].reshape(values.shape[0], -1)
        which = jax.nn.one_hot(graph.species, len(self.types), dtype=rows.dtype)
        rows = (which[:, :, None] * rows[:, None]).reshape(rows.shape[0], -1)
        return frame_rows(graph, rows)

    def _force_rows(self, graph: Graph, local: _Local) -> Float[Array, "beads 3 k"]:
        """-dphi/dR_i, gathered: bead i moves in its own environment and in that of each neighbour."""
        p, q = _upper_pairs(self.channels)
        blocks = []
        for centre in range(len(self.types)):
            rows = [self._turned(graph, local, centre, kind) for kind in range(len(self.types))]
            full = jnp.concatenate(rows, 1)
            full = full[:, p, q] + full[:, q, p]
            blocks.append(jnp.moveaxis(full, -1, 1).reshape(*graph.positions.shape, -1))
        return jnp.concatenate(blocks, -1)

    def _turned(
        self, graph: Graph, local: _Local, centre: int, kind: int
    ) -> Float[Array, "beads radial channels degrees 3"]:
        """The gradient of R_p y_lm along each edge times the moments it meets at both ends, without j = k.

        The edge counts where `centre` is the middle and `kind` the neighbour: at bead i, at bead j, or both.
        """
        degree_of = degrees(self.degree)
        moments = jnp.swapaxes(local.moments, 1, 2)  # beads, m, channels
        own, reverse = moments[:, None], moments[local.index] * (-1.0) ** degree_of[None, None, :, None]
        same = 2.0 * jnp.ones_like(local.distance)
        if len(self.types) > 1:
            at_i = ((graph.species == centre)[:, None] & local.masks[kind]).astype(own.dtype)
            at_j = ((graph.species == kind)[:, None] & local.masks[centre]).astype(own.dtype)
            own, reverse, same = own * at_i[..., None, None], reverse * at_j[..., None, None], at_i + at_j
        meets = own + reverse  # beads, capacity, m, channels
        channels = slice(kind * self.radial, (kind + 1) * self.radial)
        itself = jnp.zeros((*local.distance.shape, self.channels), own.dtype)
        itself = itself.at[..., channels].set(jnp.swapaxes(local.value, 1, 2) * same[..., None])

        def contracted(functions):
            terms = [functions[:, m, :, None] * meets[:, :, m] for m in range(len(degree_of))]
            return jnp.stack([sum(terms[part]) for part in _parts(self.degree)], -1)

        outward = contracted(local.angular) - itself[..., None]
        along = jnp.stack([outward * n[..., None, None] for n in local.unit], -1)
        across = jnp.stack([contracted(g) for g in harmonic_gradients(*local.unit, self.degree)], -1)
        flat = (*local.distance.shape, -1)
        rows = jnp.matmul(local.slope, along.reshape(flat)) + jnp.matmul(local.over_distance, across.reshape(flat))
        return rows.reshape(rows.shape[0], self.radial, *along.shape[2:])


class _Local(NamedTuple):
    """What the rows of the design share: radial and angular functions of every edge, and their moments."""

    index: Int[Array, "beads capacity"]  # type: ignore[assignment]  # hides tuple.index, never used
    masks: tuple[Array, ...]
    unit: tuple[Array, Array, Array]
    distance: Float[Array, "beads capacity"]
    value: Float[Array, "beads radial capacity"]
    slope: Float[Array, "beads radial capacity"]
    over_distance: Float[Array, "beads radial capacity"]
    radial: Float[Array, "beads channels capacity"]
    stretch: Float[Array, "beads channels capacity"]
    angular: Float[Array, "beads m capacity"]
    moments: Float[Array, "beads channels m"]


def _upper_pairs(channels: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(channels)


def _parts(degree: int) -> list[slice]:
    """Where the harmonics of each degree stand."""
    return [slice(n**2, (n + 1) ** 2) for n in range(degree + 1)]


def _bump_overlap(radial: int) -> np.ndarray:
    """Integrals of products of two B-splines, in knots."""
    band = np.array([151 / 315, 397 / 1680, 1 / 42, 1 / 5040])
    apart = np.abs(np.subtract.outer(np.arange(radial), np.arange(radial)))
    return np.where(apart < 4, band[np.minimum(apart, 3)], 0.0)


def _by_degree(left: Float[Array, "beads channels m"], right: Float[Array, "beads channels m"], degree: int):
    """Products of moments, summed over m within each degree."""
    return jnp.stack([jnp.einsum("ipm,iqm->ipq", left[..., m], right[..., m]) for m in _parts(degree)], -1)


def _products(left: Float[Array, "beads channels capacity"], right: Float[Array, "beads channels capacity"]):
    """What j = k adds, the same for every degree since P_l(1) = 1."""
    return jnp.einsum("ipj,iqj->ipq", left, right)[..., None]
