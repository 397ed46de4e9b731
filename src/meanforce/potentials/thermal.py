"""Free energies that depend on temperature by closed heads: energy, entropy and heat capacity belong together.

    A = a(R) - tau s(R) + c(R) [tau - (1 + tau) ln(1 + tau)],      tau = (T - T0)/T0

a is A at T0, s = T0 S at T0 and c = T0 c_v, all in kJ/mol, and each is a potential of its own. Then E = a + s + tau c
and S = [s + c ln(1 + tau)]/T0 follow without further approximation, and c >= 0 makes A concave in T, as it must be.
Without c the entropy does not depend on temperature: the first order. Where the heat capacity of the atoms at fixed
beads is the same at all temperatures (baths that are powers of their coordinates), the form is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from meanforce.graph import Graph
from meanforce.potentials.base import Design, LinearPotential, Penalty, Potential
from meanforce.units import KB

_NAMES = ("A", "T0 S", "T0 c_v")


class Thermal(Potential):
    """Any potentials as heads; the heat capacity of each bead is made positive."""

    value: Potential
    entropy: Potential
    capacity: Potential | None = None
    reference: float = eqx.field(static=True, default=300.0)  # T0, K

    def __check_init__(self):
        _check_reference(self.reference)

    @property
    def depends_on_temperature(self) -> bool:
        return True

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return tuple(sorted({cutoff for head in self._heads() for cutoff in head.cutoffs}))

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        parts = [head.energies(graph) for head in self._heads()]
        if self.capacity is not None:
            unit = KB * self.reference
            parts[2] = unit * jax.nn.softplus(parts[2] / unit)
        weights = factors(graph, self.reference, len(parts))
        return sum((w[graph.frame] * part for w, part in zip(weights[1:], parts[1:], strict=True)), parts[0])

    def _heads(self) -> tuple[Potential, ...]:
        return (self.value, self.entropy) if self.capacity is None else (self.value, self.entropy, self.capacity)


class LinearThermal(LinearPotential):
    """The same linear potential as each head: linear in all coefficients, which follow the order of the heads.

    What is fixed under the first head stays as it is at all temperatures. The heat capacity is not made positive: what
    labels say of it stands, and a check of the model shows where it is not.
    """

    heads: tuple[LinearPotential, ...]
    reference: float = eqx.field(static=True)  # T0, K

    def __check_init__(self):
        _check_reference(self.reference)
        if len(self.heads) not in (2, 3):
            raise ValueError(f"{len(self.heads)} heads: give A and T0 S, or A, T0 S and T0 c_v")
        if any(head.fixed is not None for head in self.heads[1:]):
            raise ValueError(
                "a prior that is not fitted belongs under the first head: it is a part of A, not of S or c_v"
            )
        if any(head.depends_on_temperature for head in self.heads):
            raise ValueError("the heads of a LinearThermal do not depend on temperature themselves: give one without")
        if len({head.basis_names() for head in self.heads}) > 1:
            raise ValueError("the heads of a LinearThermal have one basis: give the same potential for each")

    @staticmethod
    def of(potential: LinearPotential, *, reference: float, heat_capacity: bool = False) -> LinearThermal:
        """`potential` made to depend on temperature; `reference` (K) lies best amid the temperatures of the data."""
        bare = _without_prior(potential)
        return LinearThermal((potential, bare, bare) if heat_capacity else (potential, bare), float(reference))

    @property
    def depends_on_temperature(self) -> bool:
        return True

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.heads[0].cutoffs

    @property
    def coefficients(self) -> Float[Array, "k"]:
        return jnp.concatenate([head.coefficients for head in self.heads])

    @property
    def fixed(self) -> Potential | None:
        return self.heads[0].fixed

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        weights = factors(graph, self.reference, len(self.heads))
        return sum((w[graph.frame] * head.energies(graph) for w, head in zip(weights[1:], self.heads[1:], strict=True)),
                   self.heads[0].energies(graph))  # fmt: skip

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        weights = factors(graph, self.reference, len(self.heads))
        return sum((w * head.energy(graph) for w, head in zip(weights[1:], self.heads[1:], strict=True)),
                   self.heads[0].energy(graph))  # fmt: skip

    def design(self, graph: Graph) -> Design:
        one = self.heads[0].design(graph)
        weights = factors(graph, self.reference, len(self.heads))
        of_frames = lambda rows: jnp.concatenate([w[:, None] * rows for w in weights], -1)
        of_beads = lambda rows: jnp.concatenate([w[graph.frame][:, None, None] * rows for w in weights], -1)
        return Design(of_frames(one.energy), of_beads(one.forces), of_frames(one.virial))

    def functions(self, design: Design) -> Float[Array, "heads frames k"]:
        """Each head by itself: what is A at one temperature may be anything at another."""
        rows, runs = design.energy[:, self._runs()[0]], self._runs()
        return jnp.stack([jnp.pad(rows, ((0, 0), (run.start, runs[-1].stop - run.stop))) for run in runs])

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> LinearThermal:
        coefficients = jnp.asarray(coefficients)
        heads = (head.with_coefficients(coefficients[run]) for head, run in zip(self.heads, self._runs(), strict=True))
        return eqx.tree_at(lambda whole: whole.heads, self, tuple(heads))

    def basis_names(self) -> tuple[str, ...]:
        named = zip(_NAMES, self.heads, strict=False)
        return tuple(f"{head_name}: {name}" for head_name, head in named for name in head.basis_names())

    def penalties(self) -> tuple[Penalty, ...]:
        return tuple(
            penalty._replace(name=f"{name}: {penalty.name}", start=penalty.start + run.start)
            for name, head, run in zip(_NAMES, self.heads, self._runs(), strict=False)
            for penalty in head.penalties()
        )

    def with_core(self, determined: Bool[np.ndarray, "k"], step: float) -> LinearThermal:
        """A at T0 rises where there are no data; entropy and heat capacity go on as smoothly as they can."""
        first = self._runs()[0]
        core = self.heads[0].with_core(np.asarray(determined)[first], step)
        return eqx.tree_at(lambda whole: whole.heads, self, (core, *self.heads[1:]))

    def at(self, temperature: float) -> LinearPotential:
        """The potential at one temperature, as cheap as the heads' own kind."""
        weights = jnp.stack(_of_tau(jnp.asarray(temperature / self.reference - 1))[: len(self.heads)])
        return self.heads[0].with_coefficients(weights @ jnp.stack([head.coefficients for head in self.heads]))

    def _runs(self) -> list[slice]:
        ends = np.cumsum([0, *(head.coefficients.shape[0] for head in self.heads)]).tolist()
        return [slice(a, b) for a, b in pairwise(ends)]


def folded(potential: Potential, temperature: float) -> Potential:
    """The same free energy at one temperature (K): each `LinearThermal` in it, at any depth, as cheap as one head."""
    thermal = lambda node: isinstance(node, LinearThermal)
    at = lambda node: folded(node.at(temperature), temperature) if thermal(node) else node
    return jax.tree.map(at, potential, is_leaf=thermal)


def factors(graph: Graph, reference: float, count: int) -> Sequence[Float[Array, "frames"]]:
    """What multiplies each head in each frame."""
    if graph.temperature is None:
        raise ValueError("a potential that depends on temperature needs frames with one: give temperature= in K")
    return _of_tau(graph.temperature / reference - 1)[:count]


def _of_tau(tau: Float[Array, "..."]) -> tuple[Float[Array, "..."], ...]:
    return jnp.ones_like(tau), -tau, tau - (1 + tau) * jnp.log1p(tau)


def _without_prior(potential: LinearPotential) -> LinearPotential:
    is_sum = lambda node: hasattr(node, "prior")
    return jax.tree.map(
        lambda node: eqx.tree_at(lambda s: s.prior, node, None, is_leaf=lambda x: x is None) if is_sum(node) else node,
        potential, is_leaf=is_sum,
    )  # fmt: skip


def _check_reference(reference: float) -> None:
    if not (np.isfinite(reference) and reference > 0):
        raise ValueError(f"reference={reference}: a temperature in K, best amid those of the data")
