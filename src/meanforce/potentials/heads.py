"""A linear potential taken several times over, each time with a factor of the state: linear in all coefficients."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Graph
from meanforce.potentials.base import Design, LinearPotential, Penalty, Potential


class LinearHeads(LinearPotential):
    """A = first head + sum of factor times head, with factors of temperature or parameters that the subclass knows."""

    heads: tuple[LinearPotential, ...]

    def __check_init__(self):
        if any(head.fixed is not None for head in self.heads[1:]):
            raise ValueError("a prior that is not fitted belongs under the first head: it is a part of A, of no other")
        if len({head.basis_names() for head in self.heads}) > 1:
            raise ValueError(f"the heads of a {type(self).__name__} have one basis: give the same potential for each")

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """What each head is."""

    @abc.abstractmethod
    def weights(self, graph: Graph) -> Sequence[Float[Array, "frames"]]:
        """The factor of each head in each frame; that of the first is one."""

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
        weights = self.weights(graph)
        return sum((w[graph.frame] * head.energies(graph) for w, head in zip(weights[1:], self.heads[1:], strict=True)),
                   self.heads[0].energies(graph))  # fmt: skip

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        weights = self.weights(graph)
        return sum((w * head.energy(graph) for w, head in zip(weights[1:], self.heads[1:], strict=True)),
                   self.heads[0].energy(graph))  # fmt: skip

    def design(self, graph: Graph) -> Design:
        one = self.heads[0].design(graph)
        weights = self.weights(graph)
        of_frames = lambda rows: jnp.concatenate([w[:, None] * rows for w in weights], -1)
        of_beads = lambda rows: jnp.concatenate([w[graph.frame][:, None, None] * rows for w in weights], -1)
        return Design(of_frames(one.energy), of_beads(one.forces), of_frames(one.virial))

    def functions(self, design: Design) -> Float[Array, "heads frames k"]:
        """Each head by itself: what is A at one state may be anything at another."""
        runs = self._runs()
        first = Design(design.energy[:, runs[0]], design.forces[..., runs[0]], design.virial[:, runs[0]])
        rows = self.heads[0].functions(first)
        padded = (jnp.pad(rows, ((0, 0), (0, 0), (run.start, runs[-1].stop - run.stop))) for run in runs)
        return jnp.concatenate(list(padded))

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> LinearHeads:
        coefficients = jnp.asarray(coefficients)
        heads = (head.with_coefficients(coefficients[run]) for head, run in zip(self.heads, self._runs(), strict=True))
        return eqx.tree_at(lambda whole: whole.heads, self, tuple(heads))

    def basis_names(self) -> tuple[str, ...]:
        named = zip(self.names, self.heads, strict=True)
        return tuple(f"{head_name}: {name}" for head_name, head in named for name in head.basis_names())

    def penalties(self) -> tuple[Penalty, ...]:
        return tuple(
            penalty._replace(name=f"{name}: {penalty.name}", start=penalty.start + run.start)
            for name, head, run in zip(self.names, self.heads, self._runs(), strict=True)
            for penalty in head.penalties()
        )

    def with_core(self, told: Float[np.ndarray, "k"], step: float) -> LinearHeads:
        """The first head rises where no head is told by data; the others go on as smoothly as they can."""
        core = self.heads[0].with_core(np.sum([np.asarray(told)[run] for run in self._runs()], axis=0), step)
        return eqx.tree_at(lambda whole: whole.heads, self, (core, *self.heads[1:]))

    def together(self, weights: Sequence[Float[Array, ""]]) -> LinearPotential:
        """The heads added up with given factors: one potential of their kind."""
        coefficients = jnp.stack([head.coefficients for head in self.heads])
        return self.heads[0].with_coefficients(jnp.stack(weights) @ coefficients)

    def _runs(self) -> list[slice]:
        ends = np.cumsum([0, *(head.coefficients.shape[0] for head in self.heads)]).tolist()
        return [slice(a, b) for a, b in pairwise(ends)]


class LinearCoupled(LinearHeads):
    """A = A0 + d A1 + (d^2/2) A2 with d = lambda - reference: a field, a charge scale or a composition as a parameter.

    Where lambda couples linearly to the atoms, U = U0 + lambda V, -A2 is beta Var(V) at the reference and A is concave.
    """

    parameter: str = eqx.field(static=True)
    reference: float = eqx.field(static=True)  # of the parameter, in its unit

    def __check_init__(self):
        if not self.parameter:
            raise ValueError("parameter='': name the parameter as the data do")
        if len(self.heads) not in (2, 3):
            raise ValueError(f"{len(self.heads)} heads: give A and its slope, or both and the curvature")

    @staticmethod
    def of(potential: LinearPotential, *, parameter: str, reference: float = 0.0, order: int = 2) -> LinearCoupled:
        """`potential` made to depend on a parameter, to first or second order about `reference`."""
        if order not in (1, 2):
            raise ValueError(f"order={order}: 1 or 2")
        return LinearCoupled(heads_of(potential, 1 + order), parameter, float(reference))

    @property
    def names(self) -> tuple[str, ...]:
        return ("A", f"dA/d {self.parameter}", f"d2A/d {self.parameter}2")[: len(self.heads)]

    def weights(self, graph: Graph) -> Sequence[Float[Array, "frames"]]:
        if self.parameter not in graph.parameters:
            there = ", ".join(sorted(graph.parameters)) or "none"
            raise ValueError(f"this potential depends on {self.parameter!r}; give it in parameters= (given: {there})")
        return self._of(graph.parameters[self.parameter] - self.reference)

    def at(self, value: float) -> LinearPotential:
        """The potential at one value of the parameter, as cheap as the heads' own kind."""
        return self.together(self._of(jnp.asarray(value - self.reference)))

    def _of(self, d: Float[Array, "..."]) -> tuple[Float[Array, "..."], ...]:
        return (jnp.ones_like(d), d, d**2 / 2)[: len(self.heads)]


def heads_of(potential: LinearPotential, count: int) -> tuple[LinearPotential, ...]:
    """The potential and itself without its prior."""
    is_sum = lambda node: hasattr(node, "prior")
    without = lambda s: eqx.tree_at(lambda t: t.prior, s, None, is_leaf=lambda x: x is None)
    bare = jax.tree.map(lambda node: without(node) if is_sum(node) else node, potential, is_leaf=is_sum)
    return (potential, *(bare,) * (count - 1))
