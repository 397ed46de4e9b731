"""Pair, bonded and external terms in cubic B-splines: linear in their coefficients."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from meanforce.graph import Graph, edges, neighbour_species, pair_energy
from meanforce.numerics.edges import take
from meanforce.potentials import internal
from meanforce.potentials.base import Design, LinearPotential, Penalty, check_size, frame_rows
from meanforce.potentials.curves import Curve, core

#: Basis functions of edges held at once by a design: they stay in the cache of a processor.
_ROWS_AT_ONCE = 200_000
#: A coefficient that owes less than this to data is not known.
_KNOWN = 0.5


class PairSpline(LinearPotential):
    """A = sum over pairs of u(r), one spline for each pair of species in `pairs`; the others do not interact.

    u vanishes at the cut-off with two derivatives; below `start` it goes on as a straight line, so that
    two beads that come too close feel the force they felt at `start`. Pairs that the topology excludes do not
    count; those three bonds apart, where it keeps them, count in full: what is learned has no use for `scale14`.
    """

    coefficients: Float[Array, "k"]
    types: tuple[str, ...] = eqx.field(static=True)
    pairs: tuple[tuple[str, str], ...] = eqx.field(static=True)
    curve: Curve

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        pairs: tuple[tuple[str, str], ...] | None = None,
        cutoff: float = 0.9,
        start: float = 0.2,
        spacing: float = 0.02,
        coefficients: Float[Array, "k"] | None = None,
    ):
        """Knots from `start` to `cutoff` (nm), at most `spacing` apart; `pairs` are all there are unless given."""
        self.types = tuple(types)
        self.pairs = pair_names(self.types) if pairs is None else tuple((a, b) for a, b in pairs)
        self.curve = Curve(float(start), float(cutoff), _intervals(start, cutoff, spacing), "cutoff")
        self.coefficients = _given(coefficients, len(self.pairs) * self.curve.size)

    def __check_init__(self):
        unknown = {name for pair in self.pairs for name in pair} - set(self.types)
        if unknown:
            raise ValueError(f"pairs name {', '.join(sorted(unknown))}; the types are {', '.join(self.types)}")
        check_size(self.coefficients, len(self.pairs) * self.curve.size)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (self.curve.high,)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        near = edges(graph, self.curve.high)
        there = neighbour_species(graph, self.curve.high) if len(self.types) > 1 else 0
        kind = self._kind(graph.species[:, None], there)
        return self.curve.evaluate(self._polynomials(graph), kind, jnp.sqrt(near.squared)).sum(1) / 2

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        curve, kind = self.curve, self._kind

        def u(tables, squared, here, there):
            return curve.evaluate(tables, kind(here, there), jnp.sqrt(squared))

        def slope(tables, squared, here, there):
            distance = jnp.sqrt(squared)
            return curve.slope(tables, kind(here, there), distance) / (2 * distance)

        return pair_energy(graph, curve.high, u, self._polynomials(graph), slope)

    def design(self, graph: Graph) -> Design:
        near = edges(graph, self.curve.high)
        distance = jnp.sqrt(near.squared)
        unit = jnp.stack([near.x, near.y, near.z], 1) / distance[:, None]
        masks = [mask for mask in self._masks(graph) if mask is not None]
        counts = jnp.concatenate(masks, -1) if masks else jnp.ones_like(distance)[..., None]
        arms = jnp.concatenate([unit, distance[:, None]], 1)

        def of_bead(distance, arms, counts):
            value, slope = self.curve.rows(distance)
            pulls = arms[:, None] * counts.T[None]  # along x, y, z and r, for each pair of species
            return (counts.T @ value / 2).reshape(-1), (pulls.reshape(-1, len(distance)) @ slope).reshape(4, -1)

        rows = distance.shape[1] * self.curve.size
        energy, pulls = lax.map(
            lambda bead: of_bead(*bead), (distance, arms, counts), batch_size=max(1, _ROWS_AT_ONCE // rows)
        )
        return Design(frame_rows(graph, energy), pulls[:, :3], frame_rows(graph, -pulls[:, 3] / 2))

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> PairSpline:
        return eqx.tree_at(lambda term: term.coefficients, self, jnp.asarray(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        return _names("pair", self.pairs, self.curve, "nm")

    def penalties(self) -> tuple[Penalty, ...]:
        return _penalties("pair", self.pairs, self.curve)

    def with_core(self, told: Float[np.ndarray, "k"], step: float) -> PairSpline:
        rows = np.asarray(self.coefficients).reshape(-1, self.curve.size)
        known = np.asarray(told).reshape(rows.shape) > _KNOWN
        return self.with_coefficients(jnp.concatenate([core(c, d, step) for c, d in zip(rows, known, strict=True)]))

    def _masks(self, graph: Graph) -> tuple[Float[Array, "beads capacity 1"] | None, ...]:
        """Which edges belong to each pair of species; None where there is but one."""
        if len(self.types) == 1:
            return (None,)
        kind = self._kind(graph.species[:, None], neighbour_species(graph, self.curve.high))
        dtype = graph.positions.dtype
        return tuple((kind == pair).astype(dtype)[..., None] for pair in range(len(self.pairs)))

    def _kind(self, here, there):
        """Where the pair of two species stands in `pairs`; one further if it is none of them."""
        if len(self.types) == 1:
            return 0
        place = {name: n for n, name in enumerate(self.types)}
        kinds = np.full((len(self.types),) * 2, len(self.pairs), np.int32)
        for number, (a, b) in enumerate(self.pairs):
            kinds[place[a], place[b]] = kinds[place[b], place[a]] = number
        return take(jnp.asarray(kinds.reshape(-1)), here * len(self.types) + there)

    def _polynomials(self, graph: Graph) -> Float[Array, "4 entries"]:
        """The splines of all pairs and, where some do not interact, one that is zero."""
        nothing = [] if self.pairs == pair_names(self.types) else [jnp.zeros(self.curve.size)]
        return _tables(self.curve, jnp.concatenate([self.coefficients, *nothing]), graph)


class BondedSpline(LinearPotential):
    """A = sum over bonds, angles, dihedrals or impropers of u(coordinate), one spline for each kind; abstract."""

    coefficients: Float[Array, "k"]
    kinds: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    curve: Curve

    #: Which of the bonded terms these are, and the unit of their coordinate.
    over: ClassVar[internal.Kind]
    unit: ClassVar[str]

    def __check_init__(self):
        check_size(self.coefficients, len(self.kinds) * self.curve.size)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        terms = internal.terms(graph, self.over)
        tables = _tables(self.curve, self.coefficients, graph)
        values = self.curve.evaluate(tables, terms.kind, internal.coordinate(terms.vectors))
        return internal.shared(graph, terms.beads, values)

    def design(self, graph: Graph) -> Design:
        terms = internal.terms(graph, self.over)
        rows = self.curve.rows(internal.coordinate(terms.vectors))
        value, slope = (_spread(part, terms.kind, len(self.kinds)) for part in rows)
        gradients = internal.gradients(terms.vectors)
        push = -gradients[..., None] * slope[:, None, None]  # terms, width, 3, k
        forces = jnp.zeros((*graph.positions.shape, slope.shape[-1]), slope.dtype).at[terms.beads].add(push)
        if self.over == "bonds":
            virial = internal.per_frame(graph, terms.beads, -slope * internal.coordinate(terms.vectors)[:, None])
        else:
            virial = jnp.zeros((graph.frames, slope.shape[-1]), slope.dtype)  # angles do not change with scale
        return Design(internal.per_frame(graph, terms.beads, value), forces, virial)

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> BondedSpline:
        return eqx.tree_at(lambda term: term.coefficients, self, jnp.asarray(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        return _names(self.over[:-1], self.kinds, self.curve, self.unit)

    def penalties(self) -> tuple[Penalty, ...]:
        return _penalties(self.over[:-1], self.kinds, self.curve)


class BondSpline(BondedSpline):
    """A = sum over bonds of u(r), one spline for each kind of bond, linear beyond its range."""

    over = "bonds"
    unit = "nm"

    def __init__(
        self,
        kinds: tuple[tuple[str, ...], ...],
        *,
        start: float = 0.1,
        end: float = 0.7,
        spacing: float = 0.01,
        coefficients: Float[Array, "k"] | None = None,
    ):
        """Knots from `start` to `end` (nm), at most `spacing` apart, for each of `Topology.kinds("bonds")`."""
        self.kinds = _tuples(kinds)
        self.curve = Curve(float(start), float(end), _intervals(start, end, spacing), "free")
        self.coefficients = _given(coefficients, len(self.kinds) * self.curve.size)


class AngleSpline(BondedSpline):
    """A = sum over angles of u(theta), theta from 0 to pi: even at both ends, so that forces stay finite."""

    over = "angles"
    unit = "rad"

    def __init__(
        self,
        kinds: tuple[tuple[str, ...], ...],
        *,
        intervals: int = 36,
        coefficients: Float[Array, "k"] | None = None,
    ):
        """`intervals` of equal width in theta, for each of `Topology.kinds("angles")`."""
        self.kinds = _tuples(kinds)
        self.curve = Curve(0.0, float(np.pi), int(intervals), "even")
        self.coefficients = _given(coefficients, len(self.kinds) * self.curve.size)


class DihedralSpline(BondedSpline):
    """A = sum over dihedrals of u(phi), periodic in phi."""

    over = "dihedrals"
    unit = "rad"

    def __init__(
        self,
        kinds: tuple[tuple[str, ...], ...],
        *,
        intervals: int = 36,
        coefficients: Float[Array, "k"] | None = None,
    ):
        """`intervals` of equal width in phi, for each of `Topology.kinds("dihedrals")`."""
        self.kinds = _tuples(kinds)
        self.curve = Curve(-float(np.pi), float(np.pi), int(intervals), "periodic")
        self.coefficients = _given(coefficients, len(self.kinds) * self.curve.size)


class ImproperSpline(BondedSpline):
    """A = sum over impropers of u(phi): keeps planar groups planar, and a chiral bead on its side."""

    over = "impropers"
    unit = "rad"

    def __init__(
        self,
        kinds: tuple[tuple[str, ...], ...],
        *,
        intervals: int = 36,
        coefficients: Float[Array, "k"] | None = None,
    ):
        """`intervals` of equal width in phi, for each of `Topology.kinds("impropers")`."""
        self.kinds = _tuples(kinds)
        self.curve = Curve(-float(np.pi), float(np.pi), int(intervals), "periodic")
        self.coefficients = _given(coefficients, len(self.kinds) * self.curve.size)


class ExternalSpline(LinearPotential):
    """A = sum over beads of u(x), along the first coordinate: linear beyond the range of its knots."""

    coefficients: Float[Array, "k"]
    types: tuple[str, ...] = eqx.field(static=True)
    curve: Curve

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        start: float,
        end: float,
        intervals: int = 20,
        coefficients: Float[Array, "k"] | None = None,
    ):
        """`intervals` of equal width from x = `start` to `end` (nm), one spline for each species."""
        self.types = tuple(types)
        self.curve = Curve(float(start), float(end), int(intervals), "free")
        self.coefficients = _given(coefficients, len(self.types) * self.curve.size)

    def __check_init__(self):
        check_size(self.coefficients, len(self.types) * self.curve.size)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        tables = _tables(self.curve, self.coefficients, graph)
        return self.curve.evaluate(tables, graph.species, graph.positions[:, 0])

    def design(self, graph: Graph) -> Design:
        x = graph.positions[:, 0]
        value, slope = (_spread(rows, graph.species, len(self.types)) for rows in self.curve.rows(x))
        forces = jnp.stack([-slope, jnp.zeros_like(slope), jnp.zeros_like(slope)], 1)
        return Design(frame_rows(graph, value), forces, frame_rows(graph, -slope * x[:, None]))

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> ExternalSpline:
        return eqx.tree_at(lambda term: term.coefficients, self, jnp.asarray(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        return _names("external", [(name,) for name in self.types], self.curve, "nm")

    def penalties(self) -> tuple[Penalty, ...]:
        return _penalties("external", [(name,) for name in self.types], self.curve)


def pair_names(types: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The pairs of species, in the order of the coefficients of every pair term."""
    return tuple((a, b) for i, a in enumerate(types) for b in types[i:])


def pair_index(species: int) -> Int[np.ndarray, "species species"]:
    """Where the pair of two species stands in `pair_names`."""
    first, second = np.triu_indices(species)
    index = np.zeros((species, species), np.int32)
    index[first, second] = index[second, first] = np.arange(len(first))
    return index


def pair_kind(types: tuple[str, ...], here, there):
    if len(types) == 1:
        return 0
    return take(jnp.asarray(pair_index(len(types)).reshape(-1)), here * len(types) + there)


def _tables(curve: Curve, coefficients: Float[Array, "k"], graph: Graph) -> Float[Array, "4 entries"]:
    return curve.tables(coefficients.reshape(-1, curve.size).astype(graph.positions.dtype))


def _spread(rows: Float[Array, "n size"], kind: Int[Array, "n"], kinds: int) -> Float[Array, "n k"]:
    """Rows of one spline, put where the coefficients of its kind stand."""
    which = jax.nn.one_hot(kind, kinds, dtype=rows.dtype)
    return (which[:, :, None] * rows[:, None]).reshape(rows.shape[0], -1)


def _tuples(kinds) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(kind) for kind in kinds)


def _intervals(start: float, end: float, spacing: float) -> int:
    if not spacing > 0:
        raise ValueError(f"the spacing of knots must be positive, not {spacing} nm")
    return max(int(np.ceil((end - start) / spacing - 1e-9)), 1)


def _given(coefficients: Float[Array | np.ndarray, "k"] | None, size: int) -> Float[Array, "k"]:
    return jnp.zeros(size) if coefficients is None else jnp.asarray(coefficients)


def _names(term: str, kinds, curve: Curve, unit: str) -> tuple[str, ...]:
    return tuple(f"{term} {'-'.join(kind)} {middle:.4g} {unit}" for kind in kinds for middle in curve.middles)


def _penalties(term: str, kinds, curve: Curve) -> tuple[Penalty, ...]:
    rough = curve.roughness()
    return tuple(Penalty(f"{term} {'-'.join(kind)}", n * curve.size, rough) for n, kind in enumerate(kinds))
