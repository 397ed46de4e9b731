"""What the data leave open: the coefficients of a linear potential as a Gaussian, and the errors that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Graph
from meanforce.potentials.base import LinearPotential, Potential
from meanforce.potentials.committee import Committee
from meanforce.thermodynamics import LINEAR, derivatives

#: Columns of a factor of the covariance whose effect is computed at once.
_COLUMNS = 16

#: Numbers that follow from a potential and a graph.
Quantity = Callable[[Potential, Graph], Array]


class Uncertainty(Protocol):
    """What every answer to "how sure?" can say, whatever it was learned by."""

    def force_std(self, graph: Graph) -> Float[Array, "beads 3"]:
        """Of each component of the mean force, kJ/(mol nm)."""
        ...

    def energy_std(self, graph: Graph) -> Float[Array, "frames"]:
        """Of A against its mean over the frames of the graph (the gauge drops out), kJ/mol."""
        ...

    def virial_std(self, graph: Graph) -> Float[Array, "frames"]:
        """Of the mean virial, kJ/mol."""
        ...

    def sample(self, count: int, seed: int) -> Sequence[Potential]:
        """Potentials that differ as much."""
        ...


class Posterior(NamedTuple):
    """Coefficients of `potential` are Gaussian about its own, with covariance `factor @ factor.T`.

    Correlated labels count by their statistical inefficiency, so that the errors are those of repeating the
    simulation, not only of drawing the labels anew.
    """

    potential: LinearPotential
    factor: Float[np.ndarray, "k m"]

    @property
    def mean(self) -> Float[np.ndarray, "k"]:
        return np.asarray(self.potential.coefficients)

    @property
    def covariance(self) -> Float[np.ndarray, "k k"]:
        return self.factor @ self.factor.T

    def coefficient_std(self) -> Float[np.ndarray, "k"]:
        """The standard error of each coefficient."""
        return np.linalg.norm(self.factor, axis=1)

    def force_std(self, graph: Graph) -> Float[Array, "beads 3"]:
        """The standard error of each component of the mean force, kJ/(mol nm)."""
        return _force_std(self.potential, graph, self.factor)

    def energy_std(self, graph: Graph) -> Float[Array, "frames"]:
        """The standard error of A against its mean over the frames of the graph (the gauge drops out), kJ/mol."""
        return _energy_std(self.potential, graph, self.factor)

    def virial_std(self, graph: Graph) -> Float[Array, "frames"]:
        """The standard error of the mean virial, kJ/mol."""
        return _virial_std(self.potential, graph, self.factor)

    def std(self, quantity: str | Quantity, graph: Graph) -> Array:
        """The standard error of anything linear in A: a name in `thermodynamics.LINEAR`, or a function of your own.

        A free energy by itself has the error of its gauge, too; what is known better is a difference, such as
        `posterior.std(lambda potential, graph: potential.energy(graph)[1:] - potential.energy(graph)[0], graph)`.
        """
        if isinstance(quantity, str) and quantity not in LINEAR:
            raise ValueError(f"quantity={quantity!r}: give a function, or one of {', '.join(LINEAR)}")
        return _std(self.potential, graph, self.factor, LINEAR[quantity] if isinstance(quantity, str) else quantity)

    def sample(self, count: int, seed: int) -> list[LinearPotential]:
        """Potentials drawn from the posterior; what they predict differs by as much as the data leave open."""
        random = np.random.default_rng(seed)
        steps = random.standard_normal((count, self.factor.shape[1])) @ self.factor.T
        return [self.potential.with_coefficients(jnp.asarray(self.mean + step)) for step in steps]


class Spread(NamedTuple):
    """What the members of a committee do not agree on.

    Members that saw the same frames differ by their beginnings only: what is wrong in all of them alike, by the noise
    of the labels they share, is not in it, and it is no error bar. It is one for members that each saw frames
    drawn anew (`Training(bootstrap=...)`): then it holds what another simulation as long would have changed. What no
    such network can represent is in neither.
    """

    potential: Committee

    def force_std(self, graph: Graph) -> Float[Array, "beads 3"]:
        """The standard deviation between members of each component of the mean force, kJ/(mol nm)."""
        return eqx.filter_jit(Committee.force_std)(self.potential, graph)

    def energy_std(self, graph: Graph) -> Float[Array, "frames"]:
        """The standard deviation between members of A against its mean over the frames of the graph, kJ/mol."""
        return eqx.filter_jit(Committee.energy_std)(self.potential, graph)

    def virial_std(self, graph: Graph) -> Float[Array, "frames"]:
        """The standard deviation between members of the mean virial, kJ/mol."""
        return jnp.std(jnp.stack([_virial(member, graph) for member in self.potential.members]), axis=0, ddof=1)

    def sample(self, count: int, seed: int) -> list[Potential]:
        """Members in random order, each once before any comes again: there are no others."""
        members = self.potential.members
        rounds = np.tile(np.arange(len(members)), (-(-count // len(members)), 1))
        return [members[k] for k in np.random.default_rng(seed).permuted(rounds, axis=1).ravel()[:count]]


@eqx.filter_jit
def _virial(potential: Potential, graph: Graph) -> Array:
    return derivatives(potential, graph).virial


@eqx.filter_jit
def _std(potential: LinearPotential, graph: Graph, factor: Array | np.ndarray, quantity: Quantity) -> Array:
    at = lambda coefficients: quantity(potential.with_coefficients(coefficients), graph)
    value, change = jax.linearize(at, jnp.asarray(potential.coefficients))
    columns = jnp.asarray(factor).T
    filled = jnp.pad(columns, ((0, -len(columns) % _COLUMNS), (0, 0))).reshape(-1, _COLUMNS, columns.shape[1])
    add = lambda squares, some: (squares + (jax.vmap(change)(some) ** 2).sum(0), None)
    return jnp.sqrt(jax.lax.scan(add, jnp.zeros_like(value), filled)[0])


@eqx.filter_jit
def _force_std(potential: LinearPotential, graph: Graph, factor: Array | np.ndarray) -> Array:
    return jnp.linalg.norm(potential.design(graph).forces @ factor, axis=-1)


@eqx.filter_jit
def _energy_std(potential: LinearPotential, graph: Graph, factor: Array | np.ndarray) -> Array:
    rows = potential.design(graph).energy
    return jnp.linalg.norm((rows - rows.mean(axis=0, keepdims=True)) @ factor, axis=-1)


@eqx.filter_jit
def _virial_std(potential: LinearPotential, graph: Graph, factor: Array | np.ndarray) -> Array:
    return jnp.linalg.norm(potential.design(graph).virial @ factor, axis=-1)
