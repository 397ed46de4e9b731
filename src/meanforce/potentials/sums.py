"""Potentials made of terms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Graph
from meanforce.potentials.base import Design, LinearPotential, Penalty, Potential
from meanforce.potentials.manybody import ThreeBodySpline
from meanforce.potentials.splines import AngleSpline, BondSpline, DihedralSpline, ImproperSpline, PairSpline
from meanforce.topology import Topology


class Sum(Potential):
    """A is the sum of the terms. `Sum.of` gives a `LinearSum` where the terms allow it."""

    terms: tuple[Potential, ...]

    @staticmethod
    def of(*terms: Potential) -> Sum | LinearSum:
        """The sum of any terms. With linear terms it is linear in them, and stands on the others as they are."""
        linear = tuple(t for t in terms if isinstance(t, LinearPotential))
        other = tuple(t for t in terms if not isinstance(t, LinearPotential))
        if not linear:
            return Sum(other)
        return LinearSum(linear, Sum(other) if other else None)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return _cutoffs(self.terms)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        nothing = jnp.zeros(graph.positions.shape[0], graph.positions.dtype)
        return sum((term.energies(graph) for term in self.terms), nothing)

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        nothing = jnp.zeros(graph.frames, graph.positions.dtype)
        return sum((term.energy(graph) for term in self.terms), nothing)


class LinearSum(LinearPotential):
    """A sum of linear terms, with a prior under it that is not fitted. Coefficients follow the order of the terms."""

    terms: tuple[LinearPotential, ...]
    prior: Potential | None = None

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return _cutoffs(self._all())

    @property
    def coefficients(self) -> Float[Array, "k"]:
        return jnp.concatenate([term.coefficients for term in self.terms])

    @property
    def fixed(self) -> Potential | None:
        parts = [term.fixed for term in self.terms if term.fixed is not None]
        parts = parts if self.prior is None else [*parts, self.prior]
        return Sum(tuple(parts)) if parts else None

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return Sum(self._all()).energies(graph)

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        return Sum(self._all()).energy(graph)

    def design(self, graph: Graph) -> Design:
        parts = [term.design(graph)[:3] for term in self.terms]
        energy, forces, virial = (jnp.concatenate(rows, -1) for rows in zip(*parts, strict=True))
        return Design(energy, forces, virial)

    def functions(self, design: Design) -> Float[Array, "heads frames k"]:
        parts = [term.functions(_part(design, run)) for term, run in zip(self.terms, self._runs(), strict=True)]
        heads = max(len(part) for part in parts)
        filled = [jnp.pad(part, ((0, heads - len(part)), (0, 0), (0, 0))) for part in parts]
        return jnp.concatenate(filled, -1)

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> LinearSum:
        coefficients = jnp.asarray(coefficients)
        terms = (term.with_coefficients(coefficients[run]) for term, run in zip(self.terms, self._runs(), strict=True))
        return eqx.tree_at(lambda total: total.terms, self, tuple(terms))

    def basis_names(self) -> tuple[str, ...]:
        return tuple(name for term in self.terms for name in term.basis_names())

    def penalties(self) -> tuple[Penalty, ...]:
        return tuple(
            penalty._replace(start=penalty.start + run.start)
            for term, run in zip(self.terms, self._runs(), strict=True)
            for penalty in term.penalties()
        )

    def with_core(self, told: Float[np.ndarray, "k"], step: float) -> LinearSum:
        pairs = zip(self.terms, self._runs(), strict=True)
        return eqx.tree_at(
            lambda total: total.terms, self, tuple(term.with_core(told[run], step) for term, run in pairs)
        )

    def _all(self) -> tuple[Potential, ...]:
        return self.terms if self.prior is None else (*self.terms, self.prior)

    def _runs(self) -> list[slice]:
        """Where the coefficients of each term stand."""
        ends = np.cumsum([0, *(term.coefficients.shape[0] for term in self.terms)]).tolist()
        return [slice(a, b) for a, b in pairwise(ends)]


class SplinePotential(LinearPotential):
    """Splines for whatever the topology has: pairs, three-body order, bonds, angles, dihedrals, impropers.

    Finer knots, a longer reach of the three-body term or a higher degree do not change the structure of water learned
    from forces beyond what another draw of the frames does; what is left takes more than three bodies, as a
    LocalNetwork on top has. Every term can be replaced by one of your own making.
    """

    sum: LinearSum

    def __init__(
        self,
        topology: Topology,
        *,
        cutoff: float = 0.9,
        start: float = 0.2,
        spacing: float = 0.02,
        many_body: bool | ThreeBodySpline = True,
        bonds: BondSpline | None = None,
        prior: Potential | None = None,
    ):
        """Pair splines to `cutoff` with knots from `start` at most `spacing` apart (nm).

        `many_body` is a switch, or a three-body term with settings of your own; `bonds` likewise. `prior` is
        added as it is, and the splines learn what it leaves.
        """
        terms: list[LinearPotential] = []
        if topology.pairs:
            terms.append(PairSpline(topology.types, pairs=topology.pairs, cutoff=cutoff, start=start, spacing=spacing))
            if many_body is True:
                terms.append(ThreeBodySpline(topology.types))
            elif many_body is not False:
                terms.append(many_body)
        terms += _bonded_terms(topology, bonds)
        if not terms:
            raise ValueError(
                "this topology has no pairs, bonds, angles or dihedrals to learn; "
                "a bead in an external field is learned with ExternalSpline"
            )
        self.sum = LinearSum(tuple(terms), prior)

    @property
    def terms(self) -> tuple[LinearPotential, ...]:
        return self.sum.terms

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.sum.cutoffs

    @property
    def coefficients(self) -> Float[Array, "k"]:
        return self.sum.coefficients

    @property
    def fixed(self) -> Potential | None:
        return self.sum.fixed

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return self.sum.energies(graph)

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        return self.sum.energy(graph)

    def design(self, graph: Graph) -> Design:
        return self.sum.design(graph)

    def functions(self, design: Design) -> Float[Array, "heads frames k"]:
        return self.sum.functions(design)

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> SplinePotential:
        return eqx.tree_at(lambda total: total.sum, self, self.sum.with_coefficients(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        return self.sum.basis_names()

    def penalties(self) -> tuple[Penalty, ...]:
        return self.sum.penalties()

    def with_core(self, told: Float[np.ndarray, "k"], step: float) -> SplinePotential:
        return eqx.tree_at(lambda total: total.sum, self, self.sum.with_core(told, step))


def _bonded_terms(topology: Topology, bonds: BondSpline | None) -> list[LinearPotential]:
    terms: list[LinearPotential] = []
    if len(topology.bonds):
        terms.append(BondSpline(topology.kinds("bonds")) if bonds is None else bonds)
    if len(topology.angles):
        terms.append(AngleSpline(topology.kinds("angles")))
    if len(topology.dihedrals):
        terms.append(DihedralSpline(topology.kinds("dihedrals")))
    if len(topology.impropers):
        terms.append(ImproperSpline(topology.kinds("impropers")))
    return terms


def _part(design: Design, run: slice) -> Design:
    return Design(design.energy[:, run], design.forces[..., run], design.virial[:, run])


def _cutoffs(terms: Sequence[Potential]) -> tuple[float, ...]:
    return tuple(sorted({cutoff for term in terms for cutoff in term.cutoffs}))
