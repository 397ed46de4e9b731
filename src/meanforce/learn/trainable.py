"""What a gradient moves: the weights of networks, and nothing else.

A network stands on its priors and on splines solved in closed form, and learns what they leave: one learning rate
cannot serve its weights and the coefficients of stiff bonds alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from meanforce.potentials.base import NetworkPotential, Potential


class Parts(NamedTuple):
    """A potential taken apart; each part has the structure of the whole, with None for what is elsewhere."""

    learned: Any  # arrays that are trained
    fixed: Any  # arrays that are not
    rest: Any  # what is no array

    def whole(self) -> Potential:
        return eqx.combine(self.learned, self.fixed, self.rest)


def parts(potential: Potential) -> Parts:
    """The potential's trained arrays, its other arrays, and the rest."""
    learned, others = eqx.partition(potential, _mask(potential))
    return Parts(learned, *eqx.partition(others, _is_array))


def reinitialised(potential: Potential, seed: int) -> Potential:
    """The potential with the weights of every network drawn anew."""
    is_network = lambda node: isinstance(node, NetworkPotential)
    networks = sum(map(is_network, jax.tree.leaves(potential, is_leaf=is_network)))
    seeds = iter(np.random.SeedSequence(seed).generate_state(networks).tolist())
    draw = lambda node: node.reinitialised(next(seeds)) if is_network(node) else node
    return jax.tree.map(draw, potential, is_leaf=is_network)


def with_learned(potential: Potential, learned: Any) -> Potential:
    """The potential with trained arrays put in, each in the precision it had.

    Numbers of single precision are numbers of double precision: nothing is lost, and the model can be evaluated
    in either. What was not trained keeps every bit.
    """
    old, others = eqx.partition(potential, _mask(potential))
    return eqx.combine(jax.tree.map(lambda new, was: jnp.asarray(new, was.dtype), learned, old), others)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _mask(potential: Potential) -> Any:
    """True for every leaf that is trained."""
    is_network = lambda node: isinstance(node, NetworkPotential)
    mask = lambda node: jax.tree.map(eqx.is_inexact_array, node) if is_network(node) else False
    return jax.tree.map(mask, potential, is_leaf=is_network)
