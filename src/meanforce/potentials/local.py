"""A fast network: invariants of each bead's surroundings, up to four bodies, through a small perceptron."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Graph, Whole, edges, neighbour_species
from meanforce.potentials.base import NetworkPotential
from meanforce.potentials.networks import Dense, dense, in_precision, orthogonal, swish
from meanforce.potentials.surroundings import by_degree, moments, once
from meanforce.potentials.triplets import Basis

#: No bead has an energy beyond this many times the scale: where nothing was learned there is no deep hole.
_BOUND = 10.0
#: The last layer begins small: an untrained network adds little to what lies under it.
_FIRST_GUESS = 0.1


class Sizes(NamedTuple):
    """How large the network is."""

    radial: int = 10  # splines
    degree: int = 4  # of the harmonics
    channels: int = 8  # radial functions made of them
    products: int = 16  # three-body invariants for each degree
    cubes: int = 8  # four-body invariants of each kind
    hidden: int = 64
    layers: int = 2


DEFAULT = Sizes()
#: For a molecule whose beads are all different.
LARGE = Sizes(radial=24, degree=4, channels=24, products=24, cubes=12, hidden=96)


class LocalNetwork(NetworkPotential):
    """A = scale sum_i network(invariants of the surroundings of i), without messages between beads.

    Moments M_{c,lm} = sum_j e_c(species of j) R_c(r_ij) y_lm(r_ij), with learned radial functions R_c made of
    B-splines, are mixed by learned matrices and contracted to invariants: M_c00 (pairs), products of two moments of
    one degree (triplets), and v.Q.v and tr(QQ'Q'') of the moments of degree one and two (four bodies). What the bead
    itself is enters the first layer, and the output is bounded. Smooth to second derivatives at the cut-off. A force
    costs about three times that of the three-body splines.
    """

    types: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)  # nm
    start: float = eqx.field(static=True)  # nm, where the innermost spline begins
    scale: float = eqx.field(static=True)  # kJ/mol, the energy of an output of one
    degree: int = eqx.field(static=True)

    functions: Float[Array, "channels radial"]
    species: Float[Array, "types channels"]
    pairs: Float[Array, "2 products channels"]
    triples: Float[Array, "4 cubes channels"]
    kinds: Float[Array, "types hidden"]  # what the bead itself adds to the first layer
    layers: tuple[Dense, ...]

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        cutoff: float = 0.45,
        start: float = 0.1,
        sizes: Sizes = DEFAULT,
        scale: float = 2.5,
        seed: int = 0,
    ):
        _require(sizes)
        rng = np.random.default_rng(seed)
        self.types, self.cutoff, self.start, self.scale = tuple(types), float(cutoff), float(start), float(scale)
        self.degree = int(sizes.degree)
        several, channels = len(self.types) > 1, sizes.channels
        mixed = lambda count, number: jnp.stack(
            [jnp.asarray(orthogonal(rng, channels, count).T) for _ in range(number)]
        )
        spread = lambda width, strength: jnp.asarray(strength * several * rng.normal(size=(len(self.types), width)))
        self.functions = jnp.asarray(rng.normal(size=(channels, sizes.radial)) * np.sqrt(2 / sizes.radial))
        self.species = 1 + spread(channels, 1.0)
        self.pairs, self.triples = mixed(sizes.products, 2), mixed(sizes.cubes, 4)
        self.kinds = spread(sizes.hidden, 0.3)
        inputs = channels + sizes.products * (sizes.degree + 1) + 2 * sizes.cubes
        widths = [inputs, *(sizes.hidden,) * sizes.layers, 1]
        *layers, last = (dense(rng, a, b) for a, b in pairwise(widths))
        self.layers = (*layers, Dense(last.weight * _FIRST_GUESS, last.bias))

    def __check_init__(self):
        if not 0 <= self.start < self.cutoff:
            raise ValueError(f"the splines begin at {self.start} nm, which must lie below the cut-off {self.cutoff} nm")
        if not self.types or len(self.species) != len(self.types):
            raise ValueError(f"{len(self.types)} types ({', '.join(self.types)}) do not fit {len(self.species)} rows")

    @property
    def sizes(self) -> Sizes:
        channels, radial = self.functions.shape
        return Sizes(
            radial, self.degree, channels, self.pairs.shape[1], self.triples.shape[1], self.kinds.shape[1],
            len(self.layers) - 1,
        )  # fmt: skip

    def reinitialised(self, seed: int) -> LocalNetwork:
        options = {"cutoff": self.cutoff, "start": self.start, "scale": self.scale}
        return LocalNetwork(self.types, sizes=self.sizes, seed=seed, **options)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (Whole(self.cutoff),)

    @property
    def last_layer(self) -> tuple[Any, ...]:
        return (self.layers[-1].weight,)

    @property
    def basis(self) -> Basis:
        radial = self.functions.shape[1]
        return Basis(self.start, (self.cutoff - self.start) / (radial + 3), radial, self.degree)

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        net = in_precision(self, graph.positions.dtype)
        invariants = net.invariants(graph).T
        first, *rest, last = net.layers
        hidden = swish(first(invariants) + net.kinds[graph.species])
        for layer in rest:
            hidden = swish(layer(hidden))
        return self.scale * _BOUND * jnp.tanh(last(hidden)[:, 0] / _BOUND)

    def invariants(self, graph: Graph) -> Float[Array, "invariants beads"]:
        """What the perceptron sees of each bead's surroundings."""
        found = self._moments(graph)
        one, two = (jnp.tensordot(mix, found, 1) for mix in self.pairs)
        of_degree = by_degree(one * two, self.degree)
        vectors = jnp.tensordot(self.triples[0], found[:, 1:4], 1)
        tensors = once([_tensor(jnp.tensordot(mix, found[:, 4:9], 1)) for mix in self.triples[1:]])
        along = _turn(tensors[0], _cartesian(vectors))
        bent = sum(a * b for a, b in zip(_cartesian(vectors), along, strict=True))
        cubed = _trace(*tensors)
        return jnp.concatenate([found[:, 0], *of_degree, bent, cubed])

    def _moments(self, graph: Graph) -> Float[Array, "channels m beads"]:
        def channels(splines: Float[Array, "slots radial beads"]) -> Float[Array, "slots channels beads"]:
            mixed = jnp.moveaxis(jnp.tensordot(self.functions, jnp.moveaxis(splines, 1, 0), 1), 0, 1)
            if len(self.types) == 1:
                return mixed
            return mixed * jnp.moveaxis(self.species[neighbour_species(graph, Whole(self.cutoff)).T], -1, 1)

        return moments(self.basis, edges(graph, Whole(self.cutoff)), channels)


def _require(sizes: Sizes) -> None:
    small = [f"{name}={size}" for name, size in sizes._asdict().items() if size < 1]
    if small or sizes.degree < 2:
        raise ValueError(
            f"sizes of at least 1 and, for the four-body invariants, a degree of at least 2 are needed; not "
            f"{', '.join(small) or f'degree={sizes.degree}'}"
        )


def _cartesian(vectors: Float[Array, "cubes 3 beads"]):
    """x, y and z of moments of degree one, which stand as z, x, y."""
    return vectors[:, 1], vectors[:, 2], vectors[:, 0]


def _tensor(moments: Float[Array, "cubes 5 beads"]):
    """xx, yy, zz, xy, xz, yz of the traceless symmetric tensor of moments of degree two."""
    zz, xz, yz, split, xy = (moments[:, m] for m in range(5))
    third, root = zz / 3, 1 / sqrt(3)
    return split * root - third, -split * root - third, 2 * third, xy * root, xz * root, yz * root


def _turn(tensor, vector):
    xx, yy, zz, xy, xz, yz = tensor
    x, y, z = vector
    return xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z


def _trace(one, two, three):
    """The trace of the product of three symmetric tensors."""
    rows = lambda t: ((t[0], t[3], t[4]), (t[3], t[1], t[5]), (t[4], t[5], t[2]))
    a, b, c = rows(one), rows(two), rows(three)
    product = lambda i, k: sum(a[i][j] * b[j][k] for j in range(3))
    return sum(product(i, k) * c[k][i] for i in range(3) for k in range(3))
