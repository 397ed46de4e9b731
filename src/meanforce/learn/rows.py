"""Rows of any potential for any label: A, its forces and its virial, with their derivatives in T and lambda."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.frames import Frames
from meanforce.graph import Graph
from meanforce.objectives.base import Quadratic
from meanforce.potentials.base import Design, LinearPotential, Potential
from meanforce.thermodynamics import derivatives

Along = Float[Array | np.ndarray, "beads 3"] | None


def design_of(
    potential: LinearPotential, graph: Graph, order: int, parameters: Sequence[str], displacement: Along = None
) -> Design:
    """The design of a linear potential with `order` derivatives in temperature and the first in each parameter."""
    return _expanded(potential.design, graph, order, parameters)._replace(displacement=displacement)


def column_of(
    potential: Potential, graph: Graph, order: int, parameters: Sequence[str], displacement: Along = None
) -> Design:
    """A potential as a design of one column: the coefficient is one."""

    def make(graph: Graph) -> Design:
        known = derivatives(potential, graph)
        return Design(known.energy[:, None], known.forces[:, :, None], known.virial[:, None])

    return _expanded(make, graph, order, parameters)._replace(displacement=displacement)


def along(frames: Frames) -> Float[np.ndarray, "beads 3"] | None:
    """The displacement of the beads of all frames, where the frames have one."""
    return None if frames.displacement is None else np.asarray(frames.displacement, float).reshape(-1, 3)


def asked(objectives: Sequence[Quadratic]) -> tuple[int, tuple[str, ...]]:
    """The derivatives in temperature and in parameters that all these objectives need."""
    return max(o.order for o in objectives), tuple(sorted({name for o in objectives for name in o.parameters}))


def _expanded(make: Callable[[Graph], Design], graph: Graph, order: int, parameters: Sequence[str]) -> Design:
    design = _by_temperature(make, graph, order)
    if not parameters:
        return design
    return design._replace(by_parameter={name: _by_parameter(make, graph, name) for name in parameters})


def _by_temperature(make: Callable[[Graph], Design], graph: Graph, order: int) -> Design:
    """Frames are disjoint: one tangent serves all of them."""
    if order == 0:
        return make(graph)
    at = lambda kelvin: _by_temperature(make, eqx.tree_at(lambda g: g.temperature, graph, kelvin), order - 1)
    kelvin = jnp.asarray(graph.temperature)
    design, slope = jax.jvp(at, (kelvin,), (jnp.ones_like(kelvin),))
    return design._replace(temperature=kelvin, slope=slope._replace(temperature=kelvin))


def _by_parameter(make: Callable[[Graph], Design], graph: Graph, name: str):
    at = lambda value: make(eqx.tree_at(lambda g: g.parameters[name], graph, value)).energy
    value = jnp.asarray(graph.parameters[name])
    return jax.jvp(at, (value,), (jnp.ones_like(value),))[1]
