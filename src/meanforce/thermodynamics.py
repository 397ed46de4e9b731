"""Every derivative of Phi(R; T, lambda) = A/kT, once: forces, energy, entropy, cumulants, responses, virial, pressure.

All functions take (model, R, box=None, *, temperature, parameters=None): R in nm, (beads, 3) or
(frames, beads, 3); box in nm, (3,) or (3, 3) or (frames, 3, 3), None without periodicity; temperature in K,
one or one per frame; a warning names temperatures beyond those that a model learned from. Answers have the leading
axis of R. A model whose A does not depend on temperature has E = A and no entropy: it says nothing about energies.

Phi, and with it A, E and S, is known up to its gauge h(T, lambda); forces, virials and pressures are not touched by it.
Averages, variances and covariances are those of the atoms at fixed beads, <...>_R.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.ensemble import Ensemble
from meanforce.frames import Frames
from meanforce.graph import Graph, build, strained
from meanforce.numerics import precision  # noqa: F401  (double precision is on)
from meanforce.potentials.base import Potential
from meanforce.potentials.validity import check_temperature
from meanforce.topology import Topology
from meanforce.units import BAR, KB

#: Numbers held at once: bounds the memory of a batch for any potential at about half a GB.
_BATCH_NUMBERS = 60_000_000
_NEIGHBOURS_GUESS = 100

#: One number for each frame; of a single configuration, given without an axis for frames, a number.
PerFrame = Float[np.ndarray, "frames"] | np.float64


@runtime_checkable
class HasPotential(Protocol):
    """What a model is here: a potential with the topology it is for."""

    @property
    def potential(self) -> Potential: ...

    @property
    def topology(self) -> Topology: ...


class Derivatives(NamedTuple):
    """A and its first derivatives in the positions and the box."""

    energy: Float[Array, "frames"]  # A, kJ/mol
    forces: Float[Array, "beads 3"]  # -dA/dR, kJ/(mol nm)
    virial: Float[Array, "frames"]  # -dA/d(ln L), kJ/mol: all positions and the box scaled as one


def free_energy(model: HasPotential, R, box=None, *, temperature, parameters=None) -> PerFrame:
    """A(R; T, lambda) in kJ/mol."""
    return _evaluate(_free_energy, model, R, box, temperature, parameters)


def force(model: HasPotential, R, box=None, *, temperature, parameters=None) -> Float[np.ndarray, "*frames beads 3"]:
    """The mean force F = -dA/dR in kJ/(mol nm)."""
    return _evaluate(_force, model, R, box, temperature, parameters)


def energy(model: HasPotential, R, box=None, *, temperature, parameters=None) -> PerFrame:
    """E(R) = d Phi/d beta = A - T dA/dT in kJ/mol: the mean atomistic energy at fixed beads."""
    return _evaluate(_energy, model, R, box, temperature, parameters)


def entropy(model: HasPotential, R, box=None, *, temperature, parameters=None) -> PerFrame:
    """S(R) = -dA/dT in kJ/(mol K)."""
    return _evaluate(_entropy, model, R, box, temperature, parameters)


def heat_capacity(model: HasPotential, R, box=None, *, temperature, parameters=None) -> PerFrame:
    """c_v(R) = dE/dT = -T d2A/dT2 in kJ/(mol K): of the atoms at fixed beads, never negative in a sound model."""
    return _evaluate(_heat_capacity, model, R, box, temperature, parameters)


def variance(model: HasPotential, R, box=None, *, temperature, parameters=None) -> PerFrame:
    """Var_R(U) = kT^2 c_v(R) in (kJ/mol)^2: how the atoms' energy scatters at fixed beads."""
    return cumulant(model, R, box, order=2, temperature=temperature, parameters=parameters)


def cumulant(model: HasPotential, R, box=None, *, order: int, temperature, parameters=None) -> PerFrame:
    """The n-th cumulant of U at fixed beads, (-1)^(n+1) d^n Phi/d beta^n, in (kJ/mol)^n; the first is the energy."""
    if order < 1:
        raise ValueError(f"order={order}: cumulants count from 1")
    return _evaluate(_cumulant(order), model, R, box, temperature, parameters)


def response_force(
    model: HasPotential, R, box=None, *, temperature, parameters=None, order: int = 1
) -> Float[np.ndarray, "*frames beads 3"]:
    """d^n F/dT^n in kJ/(mol nm K^n); the first, grad S, is Cov_R(f, U)/kT^2: the thermal response force."""
    if order < 1:
        raise ValueError(f"order={order}: responses count from 1; the force itself is `force`")
    return _evaluate(_response(order), model, R, box, temperature, parameters)


def covariance(
    model: HasPotential, R, box=None, *, temperature, parameters=None
) -> Float[np.ndarray, "*frames beads 3"]:
    """Cov_R(f, U) = kT^2 dF/dT in (kJ/mol)^2/nm, for any force map without divergence."""
    response = response_force(model, R, box, temperature=temperature, parameters=parameters)
    return KB * _each(temperature, response) ** 2 * response


def energetic_force(
    model: HasPotential, R, box=None, *, temperature, parameters=None
) -> Float[np.ndarray, "*frames beads 3"]:
    """-grad E = F - T dF/dT in kJ/(mol nm)."""
    whole = force(model, R, box, temperature=temperature, parameters=parameters)
    return whole - entropic_force(model, R, box, temperature=temperature, parameters=parameters)


def entropic_force(
    model: HasPotential, R, box=None, *, temperature, parameters=None
) -> Float[np.ndarray, "*frames beads 3"]:
    """T grad S = T dF/dT in kJ/(mol nm)."""
    response = response_force(model, R, box, temperature=temperature, parameters=parameters)
    return _each(temperature, response) * response


def by_parameter(
    model: HasPotential, R, box=None, *, name: str, temperature, parameters, order: int = 1, response: int = 0
) -> PerFrame:
    """d^(n+m) A/d lambda^n dT^m for n = `order` and m = `response`; the first is <dU/d lambda>_R."""
    if name not in parameters:
        raise ValueError(f"name={name!r} is none of the parameters given: {', '.join(parameters) or 'none'}")
    if order < 1 or response < 0:
        raise ValueError(f"order={order}, response={response}: give at least one derivative in {name}")
    return _evaluate(_by_parameter(name, order, response), model, R, box, temperature, parameters)


def virial(model: HasPotential, R, box=None, *, temperature, parameters=None) -> PerFrame:
    """W = -dA/d(ln L) in kJ/mol by a derivative in the strain: all beads and the box scale as one."""
    return _evaluate(_virial, model, R, box, temperature, parameters)


def pressure(model: HasPotential, R, box=None, *, temperature, parameters=None) -> PerFrame:
    """The instantaneous pressure (N kT + W/3)/V of N beads in bar, with the ideal part at `temperature`."""
    if box is None:
        raise ValueError("a pressure needs a box: give box=")
    w = virial(model, R, box, temperature=temperature, parameters=parameters)
    vectors = _box(box, np.size(w))
    volume = np.abs(np.linalg.det(vectors)).reshape(np.shape(w))
    return (len(model.topology) * KB * np.asarray(temperature, float) + w / 3) / volume / BAR


def reweighted(ensemble: Ensemble, model: HasPotential) -> Ensemble:
    """The frames of an ensemble as samples of another model at the same state: weights exp(-(A' - A)/kT).

    `effective_frames` of the answer says how far it is to be trusted: few of many frames mean that the two models
    do not meet, and that the other has to be simulated itself.
    """
    frames, kelvin = ensemble.frames, ensemble.state.temperature
    values = free_energy(
        model, frames.positions, frames.box, temperature=kelvin, parameters=dict(ensemble.state.parameters)
    )
    reduced = np.atleast_1d(values) / (KB * kelvin)
    return ensemble._replace(
        frames=frames.with_(energy=np.atleast_1d(values)),
        reduced=reduced,
        log_weights=ensemble.log_weights + ensemble.reduced - reduced,
    )


def derivatives(potential: Potential, graph: Graph) -> Derivatives:
    """A, forces and virial in one reverse pass; a pure function to be jitted by whoever calls it."""

    def total(positions, strain):
        moved = strained(eqx.tree_at(lambda g: g.positions, graph, positions), strain)
        values = potential.energy(moved)
        return values.sum(), values

    unstrained = jnp.zeros(graph.frames, graph.positions.dtype)
    (by_positions, by_strain), values = jax.grad(total, argnums=(0, 1), has_aux=True)(graph.positions, unstrained)
    return Derivatives(values, -by_positions, -by_strain)


def graphs(
    batches: Iterable[Frames], topology: Topology, cutoffs: Sequence[float]
) -> Iterator[tuple[Frames, Graph, int]]:
    """Each batch as one disjoint graph, all of one shape, so that what reads them is compiled once.

    Short batches are filled up with their last frame; the third value says how many frames count. Rows of
    neighbours have some room, and grow, at the price of one more compilation, when a batch does not fit.
    """
    capacities: tuple[int, ...] | None = None
    size = 0
    for frames in batches:
        size = max(size, len(frames))
        filled = frames[np.minimum(np.arange(size), len(frames) - 1)]
        graph = build(filled, topology, cutoffs, capacities=capacities)
        capacities = tuple(n.capacity for n in graph.neighbours)
        yield frames, graph, len(frames)


def frames_per_batch(topology: Topology, count: int, potential: Potential) -> int:
    """Frames whose forces fit the memory of a batch, in batches as equal as they can be."""
    each = _NEIGHBOURS_GUESS * max(len(topology), 1) * max(potential.footprint, 1)
    most = max(1, _BATCH_NUMBERS // each)
    return -(-count // -(-count // most)) if count else 1


def _free_energy(potential: Potential, graph: Graph) -> Array:
    return potential.energy(graph)


def _force(potential: Potential, graph: Graph) -> Array:
    def total(positions):
        return potential.energy(eqx.tree_at(lambda g: g.positions, graph, positions)).sum()

    return -jax.grad(total)(graph.positions).reshape(graph.frames, -1, 3)


def _virial(potential: Potential, graph: Graph) -> Array:
    unstrained = jnp.zeros(graph.frames, graph.positions.dtype)
    return -jax.grad(lambda strain: potential.energy(strained(graph, strain)).sum())(unstrained)


def _at(potential: Potential, graph: Graph) -> Callable[[Array], Array]:
    """A of each frame as a function of its temperature: frames are disjoint, so one tangent serves all."""
    return lambda kelvin: potential.energy(eqx.tree_at(lambda g: g.temperature, graph, kelvin))


def _slope(function: Callable[[Array], Any], order: int = 1) -> Callable[[Array], Any]:
    """The n-th derivative of a function of one number for each frame."""
    for _ in range(order):
        function = _slope_of(function)
    return function


def _slope_of(function: Callable[[Array], Any]) -> Callable[[Array], Any]:
    return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


def _energy(potential: Potential, graph: Graph) -> Array:
    kelvin = _kelvin(graph)
    values, slope = jax.jvp(_at(potential, graph), (kelvin,), (jnp.ones_like(kelvin),))
    return values - kelvin * slope


def _entropy(potential: Potential, graph: Graph) -> Array:
    return -_slope(_at(potential, graph))(_kelvin(graph))


def _heat_capacity(potential: Potential, graph: Graph) -> Array:
    kelvin = _kelvin(graph)
    return -kelvin * _slope(_at(potential, graph), 2)(kelvin)


@cache
def _cumulant(order: int) -> Callable[[Potential, Graph], Array]:
    def quantity(potential: Potential, graph: Graph) -> Array:
        phi = lambda beta: beta * _at(potential, graph)(1 / (KB * beta))
        return (-1) ** (order + 1) * _slope(phi, order)(1 / (KB * _kelvin(graph)))

    return quantity


@cache
def _response(order: int) -> Callable[[Potential, Graph], Array]:
    def quantity(potential: Potential, graph: Graph) -> Array:
        def by_temperature(positions):
            moved = eqx.tree_at(lambda g: g.positions, graph, positions)
            return _slope(_at(potential, moved), order)(_kelvin(graph)).sum()

        return -jax.grad(by_temperature)(graph.positions).reshape(graph.frames, -1, 3)

    return quantity


@cache
def _by_parameter(name: str, order: int, response: int) -> Callable[[Potential, Graph], Array]:
    def quantity(potential: Potential, graph: Graph) -> Array:
        def at(value):
            changed = eqx.tree_at(lambda g: g.parameters[name], graph, value)
            return _slope(_at(potential, changed), response)(_kelvin(graph))

        return _slope(at, order)(graph.parameters[name])

    return quantity


#: What is linear in A, by name, as pure functions of a potential and a graph.
LINEAR: dict[str, Callable[[Potential, Graph], Array]] = {
    "free_energy": _free_energy,
    "force": _force,
    "energy": _energy,
    "entropy": _entropy,
    "heat_capacity": _heat_capacity,
    "variance": _cumulant(2),
    "response_force": _response(1),
    "virial": _virial,
}


def _kelvin(graph: Graph) -> Float[Array, "frames"]:
    if graph.temperature is None:
        raise ValueError("the frames of this graph carry no temperature; give them one in K")
    return graph.temperature


@eqx.filter_jit
def _compiled(quantity: Callable, potential: Potential, graph: Graph) -> Array:
    return quantity(potential, graph)


def _evaluate(quantity: Callable, model: HasPotential, R, box, temperature, parameters) -> Any:
    frames, single = _frames(model.topology, R, box, temperature, parameters)
    check_temperature(model, temperature)
    size = frames_per_batch(model.topology, len(frames), model.potential)
    batches = (frames[first : first + size] for first in range(0, len(frames), size))
    parts = [
        np.asarray(_compiled(quantity, model.potential, graph))[:count]
        for _, graph, count in graphs(batches, model.topology, model.potential.cutoffs)
    ]
    values = np.concatenate(parts)
    return values[0] if single else values


def _frames(
    topology: Topology, R, box, temperature, parameters: Mapping[str, float | Float[np.ndarray, "frames"]] | None
) -> tuple[Frames, bool]:
    """What the caller gave as frames, refused here if it cannot be meant."""
    positions = np.asarray(R, float)
    single = positions.ndim == 2
    positions = positions[None] if single else positions
    if positions.ndim != 3 or positions.shape[1:] != (len(topology), 3):
        raise ValueError(
            f"R has shape {np.shape(R)}; the model needs ({len(topology)}, 3) or (frames, {len(topology)}, 3)"
        )
    if not np.isfinite(positions).all():
        bad = np.argwhere(~np.isfinite(positions))[0]
        raise ValueError(f"R is not finite at frame {bad[0]}, bead {bad[1]}")
    count = len(positions)
    kelvin = _per_frame(temperature, count, "temperature")
    if not (kelvin > 0).all():
        raise ValueError(f"temperature must be positive, in K; got {temperature}")
    named = {name: _per_frame(value, count, f"parameter {name!r}") for name, value in (parameters or {}).items()}
    vectors = None if box is None else _box(box, count)
    return Frames(positions, vectors, temperature=kelvin, parameters=named), single


def _each(temperature, values: Float[np.ndarray, "*frames beads 3"]) -> Float[np.ndarray, "*frames 1 1"]:
    """The temperature of each frame, shaped to multiply vectors of beads."""
    return np.broadcast_to(np.asarray(temperature, float), values.shape[:-2])[..., None, None]


def _box(box, count: int) -> Float[np.ndarray, "frames 3 3"]:
    vectors = np.asarray(box, float)
    if vectors.shape == (3,):
        vectors = np.diag(vectors)
    if vectors.shape == (3, 3):
        vectors = np.broadcast_to(vectors, (count, 3, 3))
    if vectors.shape != (count, 3, 3):
        raise ValueError(f"box has shape {np.shape(box)}; give (3,), (3, 3) or ({count}, 3, 3) in nm")
    return np.ascontiguousarray(vectors)


def _per_frame(value, count: int, name: str) -> Float[np.ndarray, "frames"]:
    values = np.asarray(value, float)
    if values.ndim == 0:
        values = np.full(count, float(values))
    if values.shape != (count,):
        raise ValueError(f"{name} has shape {values.shape}; give one value or one for each of {count} frames")
    return values
