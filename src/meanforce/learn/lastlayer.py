"""Error bars of a network: its last layer solved again in closed form, with the posterior of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Graph
from meanforce.learn.asked import quadratic
from meanforce.learn.closed import Regularisation, solved
from meanforce.learn.linear import Progress
from meanforce.learn.posterior import Posterior
from meanforce.learn.result import Fit
from meanforce.model import Model
from meanforce.objectives.base import Objective
from meanforce.potentials.base import Design, LinearPotential, NetworkPotential, Penalty, Potential, holds
from meanforce.potentials.committee import Committee
from meanforce.thermodynamics import derivatives

#: Beads whose design is made at once, and columns of it: they bound what the network's backward pass holds.
_BEADS, _COLUMNS = 256, 4


def last_layer(
    learned: Fit | Model | Potential,
    objectives: Objective | Sequence[Objective],
    *,
    regularisation: Regularisation = "evidence",
    blocks: int = 32,
    progress: Progress | None = None,
) -> Fit:
    """Solves the output layer of a learned network again, and says what the labels leave open of it.

    A is linear in the weights of its last layer, so that they have a closed form like the coefficients of splines:
    noise, correlation of the labels and strength of the prior are found from the data as `fit` finds them for those.
    The model of the answer is the network with these weights; `posterior` has their Gaussian: error bars of forces and
    energies, and networks drawn from it. Labels may be those the network was trained on; they are streamed once.

    The posterior holds what noise and scarcity of the labels leave open of the last layer, given the features
    that feed it. What is uncertain of the features is not in it, nor what the network cannot represent: compare a
    committee trained with `Training(members=..., bootstrap=...)`. A network whose output is bounded is taken as linear
    about its weights.
    """
    known = learned.model if isinstance(learned, Fit) else learned if isinstance(learned, Model) else None
    start = known.potential if known is not None else learned
    assert isinstance(start, Potential)
    _refuse(start)
    view = LastLayer.of(start)
    asked = [objectives] if not isinstance(objectives, Sequence) else list(objectives)
    wanted = quadratic(view, asked)
    found = solved(
        view, wanted, known, regularisation=regularisation, blocks=blocks, core=False, progress=progress, beads=_BEADS
    )  # fmt: skip
    linear = found.posterior
    assert isinstance(linear, Posterior) and isinstance(linear.potential, LastLayer)
    network = linear.potential.network()
    return found._replace(model=found.model.with_(potential=network), posterior=LastLayerPosterior(network, linear))


class LastLayerPosterior(NamedTuple):
    """The weights of the last layer of `potential` are Gaussian about its own; see `last_layer`."""

    potential: Potential
    linear: Posterior  # of the weights as coefficients

    def force_std(self, graph: Graph) -> Float[Array, "beads 3"]:
        """The standard error of each component of the mean force, kJ/(mol nm)."""
        return self.linear.force_std(graph)

    def energy_std(self, graph: Graph) -> Float[Array, "frames"]:
        """The standard error of A against its mean over the frames of the graph (the gauge drops out), kJ/mol."""
        return self.linear.energy_std(graph)

    def virial_std(self, graph: Graph) -> Float[Array, "frames"]:
        """The standard error of the mean virial, kJ/mol."""
        return self.linear.virial_std(graph)

    def sample(self, count: int, seed: int) -> list[Potential]:
        """Networks with last layers drawn from the posterior."""
        drawn = self.linear.sample(count, seed)
        return [view.network() for view in drawn if isinstance(view, LastLayer)]


class LastLayer(LinearPotential):
    """What a network is near its own weights as a function of those of its last layer: A(w0) + J (w - w0)."""

    about: Potential  # with the weights w0
    coefficients: Float[Array, "k"]  # w

    @staticmethod
    def of(potential: Potential) -> LastLayer:
        return LastLayer(potential, _flat(_weights(potential)))

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.about.cutoffs

    def network(self) -> Potential:
        """The network with these weights."""
        return _with_weights(self.about, self.coefficients)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return self._of(lambda potential: potential.energies(graph))

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        return self._of(lambda potential: potential.energy(graph))

    def _of(self, quantity: Any) -> Array:
        own = _flat(_weights(self.about))
        at = lambda weights: quantity(_with_weights(self.about, weights))
        value, change = jax.jvp(at, (own,), (self.coefficients - own,))
        return value + change

    def design(self, graph: Graph) -> Design:
        own = _flat(_weights(self.about))
        _, change = jax.linearize(lambda weights: derivatives(_with_weights(self.about, weights), graph), own)
        columns = jax.lax.map(change, jnp.eye(len(own), dtype=own.dtype), batch_size=_COLUMNS)
        energy, forces, virial = (jnp.moveaxis(part, 0, -1) for part in columns)
        return Design(energy, forces, virial)

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> LastLayer:
        return LastLayer(self.about, jnp.asarray(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        return tuple(f"last layer, weight {k}" for k in range(len(self.coefficients)))

    @property
    def fixed(self) -> LastLayer:
        """What is left without the last layer: priors, and terms that do not depend on it."""
        return LastLayer(self.about, jnp.zeros_like(self.coefficients))

    def penalties(self) -> tuple[Penalty, ...]:
        """One strength for each output layer."""
        sizes = [weight.size for weight in _weights(self.about)]
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        names = [f"last layer {k}" for k in range(len(sizes))]
        return tuple(Penalty(n, a, np.eye(size)) for n, a, size in zip(names, starts, sizes, strict=True))


def _is_network(node: Any) -> bool:
    return isinstance(node, NetworkPotential)


def _weights(potential: Potential) -> list[Any]:
    nodes = jax.tree.leaves(potential, is_leaf=_is_network)
    return [weight for node in nodes if _is_network(node) for weight in node.last_layer]


def _flat(weights: Sequence[Array]) -> Float[Array, "k"]:
    return jnp.concatenate([jnp.asarray(weight, jnp.float64).ravel() for weight in weights])


def _with_weights(potential: Potential, values: Float[Array, "k"]) -> Potential:
    new, start = [], 0
    for weight in _weights(potential):
        new.append(values[start : start + weight.size].reshape(weight.shape))
        start += weight.size
    return eqx.tree_at(_weights, potential, new)


def _refuse(potential: Potential) -> None:
    if holds(potential, Committee):
        raise ValueError("last_layer: a committee has several last layers; give one of its members")
    if not holds(potential, NetworkPotential):
        raise ValueError(
            f"last_layer: {type(potential).__name__} holds no network; a linear potential has its posterior from mf.fit"
        )
    for node in jax.tree.leaves(potential, is_leaf=_is_network):
        if _is_network(node) and not node.last_layer:
            raise ValueError(
                f"last_layer: {type(node).__name__} does not say where its last layer is; give it a property last_layer"
            )
