"""An equivariant network: beads tell their neighbours in which directions their own surroundings lie."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from math import isqrt, sqrt
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.graph import Graph, Whole, edges
from meanforce.numerics.edges import to_neighbours
from meanforce.numerics.harmonics import degrees, harmonics
from meanforce.numerics.products import Table, contracted, coupled, summed
from meanforce.potentials.base import NetworkPotential
from meanforce.potentials.networks import Dense, dense, in_precision, orthogonal, swish
from meanforce.potentials.triplets import Basis, bumps

#: Neighbours that bring a moment to the order of one.
_NEIGHBOURS = 10.0
#: No bead has an energy beyond this many times the scale: where nothing was learned there is no deep hole.
_BOUND = 10.0
#: The last layer begins small: an untrained network adds little to what lies under it.
_FIRST_GUESS = 0.1

_once = jax.lax.optimization_barrier  # or the compiler computes it anew for everything it is in


class Sizes(NamedTuple):
    """How large the network is."""

    layers: int = 2  # of messages
    channels: int = 16
    degree: int = 2  # of the harmonics, and of what is multiplied at a bead
    message: int = 1  # degree of what a bead tells its neighbours ...
    sent: int = 8  # ... and its channels: what is gathered for each neighbour sets the cost
    radial: int = 10  # splines
    hidden: int = 64


DEFAULT = Sizes()


class MomentLayer(eqx.Module):
    """From the features of the neighbours to moments, their products, and the state of each bead."""

    radial: Float[Array, "sent radial"]
    moments: tuple[Float[Array, "channels sent ways"], ...]  # mixed for each degree, over all ways to it
    centre: Float[Array, "types channels"]
    itself: Float[Array, "degrees channels sent"] | None  # what the bead keeps of its features
    partner: Float[Array, "degrees channels channels"]  # the other factor of the squares
    squares: tuple[Float[Array, "channels channels ways"], ...]
    state: Dense
    kept: Dense | None  # what the bead keeps of its state
    readout: tuple[Dense, ...]


class FeatureUpdate(eqx.Module):
    """From what a layer found to the features that the next one receives."""

    moments: Float[Array, "message sent channels"]
    squares: Float[Array, "message sent channels"]
    cubes: tuple[Float[Array, "sent channels ways"], ...]
    gates: Dense  # from the state to scalars, and to a factor for each channel of the other degrees


class Equivariant(NetworkPotential):
    """A = scale sum_i bound(sum_t network_t(invariants of bead i in layer t)), with equivariant messages between beads.

    A layer receives A_{c,l1m1,l2m2} = sum_j R_c(r_ij) v_{c,l1m1}(j) Y_{l2m2}(r_ij), with learned radial functions R
    made of B-splines, and couples it to moments M_{c,lm} by Clebsch-Gordan coefficients: after the sum over
    neighbours, where that is cheap. Products M x M and M x M x M, with channels mixed in between, give invariants up
    to four bodies and the features v of the next layer, which sees neighbours of neighbours. Every product turns into
    (-1)^l of itself under inversion, so that mirror images have one energy. Smooth to second derivatives at the
    cut-off. The coefficients are those of e3nn-jax; its own products, edge by edge, take several times as long on
    CPUs. Water is learned with a learning rate of 5e-3, which recipes take for it.
    """

    types: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)  # nm
    start: float = eqx.field(static=True)  # nm, where the innermost spline begins
    scale: float = eqx.field(static=True)  # kJ/mol, the energy of an output of one

    embedding: Float[Array, "types channels"]  # the features of the first message
    kinds: Float[Array, "types hidden"]  # what the bead itself adds to its first state
    layers: tuple[MomentLayer, ...]
    updates: tuple[FeatureUpdate, ...]  # between the layers

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        cutoff: float = 0.5,
        start: float = 0.1,
        sizes: Sizes = DEFAULT,
        scale: float = 2.5,
        seed: int = 0,
    ):
        _require(sizes)
        rng = np.random.default_rng(seed)
        self.types, self.cutoff, self.start, self.scale = tuple(types), float(cutoff), float(start), float(scale)
        several = len(self.types) > 1
        spread = lambda width, strength: jnp.asarray(strength * several * rng.normal(size=(len(self.types), width)))
        self.embedding, self.kinds = 1 + spread(sizes.channels, 1.0), spread(sizes.hidden, 0.3)
        centres = [1 + spread(sizes.channels, 0.3) for _ in range(sizes.layers)]
        self.layers = tuple(_layer(rng, sizes, centre, first=t == 0) for t, centre in enumerate(centres))
        self.updates = tuple(_update(rng, sizes) for _ in self.layers[1:])

    def __check_init__(self):
        _require_library()
        if not 0 <= self.start < self.cutoff:
            raise ValueError(f"the splines begin at {self.start} nm, which must lie below the cut-off {self.cutoff} nm")
        if not self.types or len(self.embedding) != len(self.types):
            raise ValueError(f"{len(self.types)} types ({', '.join(self.types)}) do not fit {len(self.embedding)} rows")

    @property
    def sizes(self) -> Sizes:
        first, (channels, radial) = self.layers[0], self.layers[0].radial.shape
        message, sent = self.updates[0].moments.shape[:2] if self.updates else (DEFAULT.message, DEFAULT.sent)
        degree, hidden = len(first.moments) - 1, self.kinds.shape[1]
        return Sizes(len(self.layers), channels, degree, message, sent, radial, hidden)

    def reinitialised(self, seed: int) -> Equivariant:
        options = {"cutoff": self.cutoff, "start": self.start, "scale": self.scale}
        return Equivariant(self.types, sizes=self.sizes, seed=seed, **options)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (Whole(self.cutoff),)

    @property
    def footprint(self) -> int:
        return 5 * self.sizes.sent * (self.sizes.message + 1) ** 2 // 2  # as measured: what neighbours are sent

    @property
    def last_layer(self) -> tuple[Any, ...]:
        return tuple(layer.readout[-1].weight for layer in self.layers)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        net = in_precision(self, graph.positions.dtype)
        return self.scale * _BOUND * jnp.tanh(net.passed(graph)[0] / _BOUND)

    def passed(self, graph: Graph) -> tuple[Float[Array, "beads"], list[Float[Array, "channels m beads"]]]:
        """The energy over `scale` before it is bounded, and the features that each layer receives."""
        around = self._around(graph)
        kinds = jax.nn.one_hot(graph.species, len(self.types), dtype=graph.positions.dtype)
        features, state = (kinds @ self.embedding).T[:, None], kinds @ self.kinds
        energy, received = jnp.zeros_like(kinds[:, 0]), []
        for layer, update in zip(self.layers, (*self.updates, None), strict=True):
            received.append(features)
            moments = _moments(layer, around, features) * (kinds @ layer.centre).T[:, None]
            if layer.itself is not None:
                moments = _added(moments, _each(layer.itself, features))
            squares, cubes, invariants = _products(layer, update, moments)
            state = swish(layer.state(invariants.T) + (state if layer.kept is None else layer.kept(state)))
            energy += _read(layer.readout, state)
            if update is not None:
                features = _updated(update, moments, squares, cubes, state)
        return energy, received

    def _around(self, graph: Graph) -> _Around:
        near, neighbours = edges(graph, Whole(self.cutoff)), graph.within(Whole(self.cutoff))
        x, y, z, squared = _once(tuple(component.T for component in near))
        distance = jnp.sqrt(squared)
        radial, degree = self.layers[0].radial.shape[1], len(self.layers[0].moments) - 1
        basis = Basis(self.start, (self.cutoff - self.start) / (radial + 3), radial, degree)
        radial_functions = jnp.moveaxis(bumps(basis, distance), 1, 0) / sqrt(_NEIGHBOURS)
        values = harmonics(x / distance, y / distance, z / distance, degree)
        angular = values * jnp.asarray(np.sqrt(2 * degrees(degree) + 1), values.dtype)[:, None]
        radial_functions, angular = _once((radial_functions, angular))
        return _Around(radial_functions, angular, neighbours.index, neighbours.slot)


class _Around(NamedTuple):
    """What every layer reads of each neighbour."""

    radial: Float[Array, "radial slots beads"]
    angular: Float[Array, "slots m beads"]  # harmonics of mean square one
    neighbour: Int[Array, "beads slots"]
    slot: Int[Array, "beads slots"]


def _moments(layer: MomentLayer, around: _Around, features: Float[Array, "channels n beads"]):
    """What the neighbours tell: products of features and harmonics summed over them, coupled and mixed."""
    channels, count, beads = features.shape
    sent = _once(to_neighbours(_once(features.reshape(-1, beads)), around.neighbour, around.slot))
    radial = jnp.moveaxis(jnp.tensordot(layer.radial, around.radial, 1), 0, 1)[:, :, None]
    values = (radial * sent.reshape(-1, channels, count, beads)).reshape(-1, channels * count, beads)
    pairs = _once(summed(_once(values), around.angular, "kc,km->cm")).reshape(channels, -1, beads)
    top, degree = _degree(count), len(layer.moments) - 1
    mixed = [
        _mixed(weights, contracted(pairs, table=_table(top, degree, d))) for d, weights in enumerate(layer.moments)
    ]
    return jnp.concatenate(mixed, 1)


def _degree(components: int) -> int:
    return isqrt(components) - 1


def _products(layer: MomentLayer, update: FeatureUpdate | None, moments: Float[Array, "channels m beads"]):
    """Squares of the moments, mixed; their cubes, one way after the other; and all invariants."""
    degree = len(layer.partner) - 1
    partner = _each(layer.partner, moments)
    raw = [coupled(moments, partner, _table(degree, degree, d)) for d in range(degree + 1)]
    squares = jnp.concatenate([_mixed(weights, part) for weights, part in zip(layer.squares, raw, strict=True)], 1)
    top = 0 if update is None else len(update.moments)
    cubes = [coupled(squares, moments, _table(degree, degree, d)) for d in range(top + 1)]
    flat = lambda part: part.reshape(-1, part.shape[-1])
    return squares, cubes, jnp.concatenate([moments[:, 0], flat(raw[0]), flat(cubes[0])])


def _updated(update: FeatureUpdate, moments, squares, cubes, state: Float[Array, "beads hidden"]):
    sent = update.moments.shape[1]
    gates = update.gates(state).T.reshape(-1, sent, 1, len(state))
    parts = [gates[0]]
    for d, weights in enumerate(update.cubes, 1):
        own = slice(d**2, (d + 1) ** 2)
        linear = jnp.tensordot(update.moments[d - 1], moments[:, own], 1)
        linear += jnp.tensordot(update.squares[d - 1], squares[:, own], 1)
        parts.append((1 + gates[d]) * (linear + _mixed(weights, cubes[d])))
    return jnp.concatenate(parts, 1)


def _read(layers: tuple[Dense, ...], state: Float[Array, "beads hidden"]) -> Float[Array, "beads"]:
    *inner, last = layers
    for layer in inner:
        state = swish(layer(state))
    return last(state)[:, 0]


def _mixed(weights: Float[Array, "out channels ways"], values: Float[Array, "channels n beads"]):
    """Channels and ways mixed; n counts ways, then components."""
    ways = weights.shape[2]
    return jnp.tensordot(weights, values.reshape(len(values), ways, -1, values.shape[-1]), 2)


def _each(weights: Float[Array, "degrees out channels"], values: Float[Array, "channels m beads"]):
    """Channels mixed, for each degree with weights of its own."""
    parts = [values[:, d**2 : (d + 1) ** 2] for d in range(len(weights))]
    return jnp.concatenate([jnp.tensordot(w, part, 1) for w, part in zip(weights, parts, strict=True)], 1)


def _added(moments: Float[Array, "channels m beads"], low: Float[Array, "channels n beads"]):
    """Components of low degree added to moments that reach further."""
    n = low.shape[1]
    return jnp.concatenate([moments[:, :n] + low, moments[:, n:]], 1)


def _ways(first: int, second: int, total: int) -> tuple[tuple[int, int], ...]:
    """Degrees up to `first` and `second` that couple to `total` and keep the parity (-1)^l."""
    return tuple(
        (a, b)
        for a in range(first + 1)
        for b in range(second + 1)
        if abs(a - b) <= total <= a + b and (a + b + total) % 2 == 0
    )


@lru_cache
def _table(first: int, second: int, total: int) -> Table:
    """Clebsch-Gordan coefficients of all ways, one after the other in the output, for components of mean square one.

    e3nn-jax counts m = -l ... l about another axis, which changes nothing; here cosine and sine alternate.
    """
    import e3nn_jax

    ways, terms = _ways(first, second, total), []
    for n, (a, b) in enumerate(ways):
        orders = [[d, *(d + sign * m for m in range(1, d + 1) for sign in (1, -1))] for d in (a, b, total)]
        constants = np.asarray(e3nn_jax.clebsch_gordan(a, b, total), float)[np.ix_(*orders)] * sqrt(2 * total + 1)
        for i, j, k in np.argwhere(np.abs(constants) > 1e-9):
            terms.append((a**2 + int(i), b**2 + int(j), n * (2 * total + 1) + int(k), float(constants[i, j, k])))
    return Table(((first + 1) ** 2, (second + 1) ** 2, len(ways) * (2 * total + 1)), tuple(terms))


def _require_library() -> None:
    if find_spec("e3nn_jax") is None:
        raise ImportError("the equivariant potential needs e3nn-jax: pip install 'meanforce[equivariant]'")


def _require(sizes: Sizes) -> None:
    small = [f"{name}={size}" for name, size in sizes._asdict().items() if size < 1]
    if small or sizes.message > sizes.degree:
        raise ValueError(
            f"sizes of at least 1 and messages of at most the degree of the harmonics, {sizes.degree}, are needed; "
            f"not {', '.join(small) or f'message={sizes.message}'}"
        )


def _layer(
    rng: np.random.Generator, sizes: Sizes, centre: Float[Array, "types channels"], *, first: bool
) -> MomentLayer:
    channels, degree, hidden = sizes.channels, sizes.degree, sizes.hidden
    message = 0 if first else sizes.message
    invariants = 1 + 2 * len(_ways(degree, degree, 0))
    sent = channels if first else sizes.sent
    mixes = lambda top, inputs: tuple(
        _ways_mix(rng, inputs, channels, len(_ways(top, degree, d))) for d in range(degree + 1)
    )
    functions = rng.normal(size=(sent, sizes.radial)) * np.sqrt(2 / sizes.radial)
    moments, squares = mixes(message, sent), mixes(degree, channels)
    inner, last = (dense(rng, a, b) for a, b in pairwise([hidden, hidden, 1]))
    return MomentLayer(
        radial=jnp.asarray(functions),
        moments=moments,
        centre=centre,
        itself=None if first else _mix(rng, sent, channels, message + 1),
        partner=_mix(rng, channels, channels, degree + 1),
        squares=squares,
        state=dense(rng, invariants * channels, hidden),
        kept=None if first else dense(rng, hidden, hidden, bias=False),
        readout=(inner, Dense(last.weight * _FIRST_GUESS, last.bias)),
    )


def _update(rng: np.random.Generator, sizes: Sizes) -> FeatureUpdate:
    channels, degree, message, sent = sizes.channels, sizes.degree, sizes.message, sizes.sent
    return FeatureUpdate(
        moments=_mix(rng, channels, sent, message),
        squares=_mix(rng, channels, sent, message),
        cubes=tuple(_ways_mix(rng, channels, sent, len(_ways(degree, degree, d))) for d in range(1, message + 1)),
        gates=dense(rng, sizes.hidden, sent * (message + 1)),
    )


def _mix(rng: np.random.Generator, inputs: int, outputs: int, number: int) -> Float[Array, "number outputs inputs"]:
    return jnp.asarray(np.stack([orthogonal(rng, inputs, outputs).T for _ in range(number)]))


def _ways_mix(rng: np.random.Generator, inputs: int, outputs: int, ways: int) -> Float[Array, "outputs inputs ways"]:
    return jnp.moveaxis(_mix(rng, inputs, outputs, ways), 0, 2) / sqrt(ways)
