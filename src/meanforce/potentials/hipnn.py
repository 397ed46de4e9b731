"""HIP-NN with tensor sensitivities: layers that let beads interact, each read out as a term of a hierarchy."""

from __future__ import annotations

from math import pi
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.graph import Edges, Graph, Neighbours, Whole, edges, neighbour_species
from meanforce.numerics.edges import reverse_rows
from meanforce.numerics.harmonics import harmonics
from meanforce.numerics.mixing import mixed
from meanforce.numerics.moments import collect, functions, spread
from meanforce.numerics.products import summed
from meanforce.potentials.base import NetworkPotential
from meanforce.potentials.networks import Dense, dense, in_precision, orthogonal
from meanforce.potentials.triplets import masked

#: Where the outermost sensitivity begins, in cut-offs: 13 of 15 Angstrom in the coarse-grained liquids published.
_OUTER = 13 / 15
#: The readouts begin small: an untrained network adds little to what lies under it.
_FIRST_GUESS = 0.1
#: Square lengths of the tensors 1, r and rr - 1/3 over those of the harmonics of their degree.
_TENSORS = (1.0, 1.0, 2 / 3)
#: Lengths of tensors are rounded off below this, so that forces have a derivative where a tensor vanishes.
_ROUNDED = 0.01

_once = jax.lax.optimization_barrier  # or the compiler computes it anew for everything it is in


class Sizes(NamedTuple):
    """How large the network is."""

    features: int = 128  # of each bead after the first interaction
    sensitivities: int = 20  # radial functions
    degree: int = 2  # of the tensors: 0, 1 or 2
    interactions: int = 1
    layers: int = 3  # of single beads, after each interaction


PUBLISHED = Sizes()


class TensorInteraction(eqx.Module):
    """z M + f(I + z W + B) W' + B', where I is what the tensors of the surroundings amount to."""

    centres: Float[Array, "sensitivities"]  # logarithms of mu in nm
    widths: Float[Array, "sensitivities"]  # logarithms of sigma in 1/nm
    mixing: Float[Array, "inputs sensitivities features"]  # V
    strengths: Float[Array, "degree features"]  # t_1, t_2
    own: Dense
    out: Dense
    skip: Dense | None  # M; none where it is one

    def __call__(self, z: Float[Array, "beads inputs"], met: Float[Array, "beads features"]):
        carried = z if self.skip is None else self.skip(z)
        return carried + self.out(softplus(met + self.own(z)))

    def sensitivities(self, distance: Float[Array, "rows columns"], cutoff: float):
        """s_nu = exp(-(1/r - 1/mu_nu)^2 / 2 sigma_nu^2) cos^2(pi r / 2R): rows, functions, columns."""
        away = (1 / distance)[:, None] - jnp.exp(-self.centres)[None, :, None]
        fades = jnp.sin(0.5 * pi * jnp.maximum(1 - distance / cutoff, 0)) ** 2
        return _gaussian(away * jnp.exp(-self.widths)[None, :, None]) * _once(fades)[:, None]

    def contracted(self, tensors: Float[Array, "features m beads"]) -> Float[Array, "beads features"]:
        """I_0 + t_1 |I_1| + t_2 |I_2|."""
        value = tensors[:, 0]
        for l in range(1, len(self.strengths) + 1):  # noqa: E741
            squared = _TENSORS[l] * (tensors[:, l * l : (l + 1) ** 2] ** 2).sum(1)
            value += self.strengths[l - 1][:, None] * squared / (jnp.sqrt(squared + _ROUNDED**2) + _ROUNDED)
        return _once(value).T


class AtomLayer(eqx.Module):
    """z + f(z W + B) W' + B', bead by bead."""

    own: Dense
    out: Dense

    def __call__(self, z: Float[Array, "beads features"]) -> Float[Array, "beads features"]:
        return z + self.out(softplus(self.own(z)))


class HipNN(NetworkPotential):
    """HIP-NN-TS (Lubbers et al., arXiv 1710.00017; Chigaev et al., arXiv 2212.03195): degree 0 is HIP-NN itself.

    Features z_ib of the beads begin with their types. An interaction sums those of the neighbours with learned
    sensitivities in inverse distance, I_ia = sum_jbn V_abn s_n(r_ij) z_jb T(r_ij) for the tensors T = 1, r, rr - 1/3 of
    the direction r, and adds I_0 + t_1 |I_1| + t_2 |I_2| to what the bead itself brings; layers of single beads follow.
    A = scale sum_i sum_n w_n.z_i^n with a readout of the types and one after each interaction. All layers are residual,
    with f = log(1 + e^x). The cos^2 cut-off is the published one: forces are continuous there, their derivative is
    not.

    The published sizes are 128 features, 20 sensitivities, degree 2, and one interaction with three layers:
    118,953 weights for one type and 2,817 for each further one. Sensitivities begin with centres equally
    spaced in 1/r between `inner` (0.2 nm, where water and peptides have their closest neighbours that are not bonded)
    and `outer` (13/15 of the cut-off, as published), as wide as they are apart; all are learned. Water is
    learned with a learning rate of 1e-2, which recipes take for it.
    """

    interactions: tuple[TensorInteraction, ...]
    layers: tuple[tuple[AtomLayer, ...], ...]  # after each interaction
    readouts: tuple[Float[Array, "features"], ...]  # of the types, then after each interaction
    types: tuple[str, ...] = eqx.field(static=True)
    cutoff: float = eqx.field(static=True)  # nm
    inner: float = eqx.field(static=True)  # nm, of the first sensitivity at the start
    outer: float = eqx.field(static=True)  # nm, of the last
    degree: int = eqx.field(static=True)
    scale: float = eqx.field(static=True)  # kJ/mol, the energy of an output of one

    def __init__(
        self,
        types: tuple[str, ...],
        *,
        cutoff: float = 0.5,
        inner: float = 0.2,
        outer: float | None = None,
        sizes: Sizes = PUBLISHED,
        scale: float = 2.5,
        seed: int = 0,
    ):
        _require(sizes)
        rng = np.random.default_rng(seed)
        self.types, self.cutoff, self.scale = tuple(types), float(cutoff), float(scale)
        self.inner, self.outer = float(inner), float(cutoff * _OUTER if outer is None else outer)
        self.degree = int(sizes.degree)
        inputs = (len(self.types), *(sizes.features,) * (sizes.interactions - 1))
        reach = (self.inner, self.outer)
        self.interactions = tuple(_interaction(rng, n, sizes, reach, first=not k) for k, n in enumerate(inputs))
        size = sizes.features
        atoms = lambda: tuple(AtomLayer(dense(rng, size, size), dense(rng, size, size)) for _ in range(sizes.layers))
        self.layers = tuple(atoms() for _ in inputs)
        readouts = (jnp.asarray(orthogonal(rng, size, 1)[:, 0] * _FIRST_GUESS) for _ in inputs)
        self.readouts = (jnp.zeros(len(self.types)), *readouts)

    def __check_init__(self):
        if not 0 < self.inner < self.outer <= self.cutoff:
            raise ValueError(
                f"sensitivities from {self.inner} to {self.outer} nm do not fit a cut-off of {self.cutoff} nm: "
                "give 0 < inner < outer <= cutoff"
            )
        if not self.types or len(self.readouts[0]) != len(self.types):
            raise ValueError(
                f"{len(self.types)} types ({', '.join(self.types)}) do not fit {len(self.readouts[0])} readouts"
            )

    @property
    def sizes(self) -> Sizes:
        _, sensitivities, features = self.interactions[0].mixing.shape
        return Sizes(features, sensitivities, self.degree, len(self.interactions), len(self.layers[0]))

    def reinitialised(self, seed: int) -> HipNN:
        options = {"cutoff": self.cutoff, "inner": self.inner, "outer": self.outer, "scale": self.scale}
        return HipNN(self.types, sizes=self.sizes, seed=seed, **options)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (Whole(self.cutoff),)

    @property
    def footprint(self) -> int:
        return 4 * self.sizes.sensitivities  # as measured: pairs hold their sensitivities

    @property
    def last_layer(self) -> tuple[Any, ...]:
        return self.readouts[1:]

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        net = in_precision(self, graph.positions.dtype)
        near, neighbours = edges(graph, Whole(self.cutoff)), graph.within(Whole(self.cutoff))
        z = jax.nn.one_hot(graph.species, len(self.types), dtype=graph.positions.dtype)
        energy = z @ net.readouts[0]
        for block, layers, readout in zip(net.interactions, net.layers, net.readouts[1:], strict=True):
            if block is net.interactions[0]:
                tensors = net._of_types(graph, near)
            else:
                tensors = _of_features(block, z, near, neighbours, self.cutoff, self.degree)
            z = block(z, block.contracted(tensors))
            for layer in layers:
                z = layer(z)
            energy += z @ readout
        return self.scale * energy

    def _of_types(self, graph: Graph, near: Edges) -> Float[Array, "features m beads"]:
        """The tensors of the first interaction: sums over neighbours of each type, then the features."""
        block = self.interactions[0]
        x, y, z, squared = _once(tuple(component.T for component in near))
        distance = jnp.sqrt(squared)
        radial = block.sensitivities(distance, self.cutoff)
        if len(self.types) > 1:
            species = neighbour_species(graph, Whole(self.cutoff)).T
            radial = masked(tuple(species == kind for kind in range(len(self.types))), radial)
        angular = harmonics(x / distance, y / distance, z / distance, self.degree)
        radial, angular = _once((radial, angular))
        moments = _once(summed(radial, angular, "kc,km->cm"))
        return mixed(block.mixing.reshape(len(moments), -1).T, moments)


def _of_features(
    block: TensorInteraction,
    z: Float[Array, "beads features"],
    near: Edges,
    neighbours: Neighbours,
    cutoff: float,
    degree: int,
) -> Float[Array, "features m beads"]:
    """The tensors of a later interaction: every bead mixes its features for each sensitivity and sends their sum.

    That costs a hundredth of what the sum over sensitivities and features after that over neighbours does.
    """
    distance = jnp.sqrt(near.squared)
    radial = functions(block.sensitivities(distance, cutoff))
    angular = functions(harmonics(near.x / distance, near.y / distance, near.z / distance, degree))
    sent = spread(radial, jnp.tensordot(z, block.mixing, 1))
    return collect(angular, reverse_rows(sent, neighbours.index, neighbours.slot)).T


@jax.custom_jvp
def _gaussian(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(-x^2 / 2), whose derivatives are products with its value; the barrier as in `networks.swish`."""
    return _once(jnp.exp(-0.5 * x * x))


@_gaussian.defjvp
def _(primals, tangents):
    (x,), (change,) = primals, tangents
    value = _gaussian(x)
    return value, -x * value * change


@jax.custom_jvp
def softplus(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(1 + e^x). Its slope is kept from the forward pass, as that of `networks.swish`."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _(primals, tangents):
    value, slope = _once((softplus(*primals), _logistic(*primals)))
    return value, tangents[0] * slope


def _logistic(x):
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


def _interaction(
    rng: np.random.Generator, inputs: int, sizes: Sizes, reach: tuple[float, float], *, first: bool
) -> TensorInteraction:
    count, features = sizes.sensitivities, sizes.features
    inner, outer = (1 / r for r in reach)
    spacing = (inner - outer) / max(count - 1, 1)
    if first:  # a neighbour is of one type
        mixing = np.stack([orthogonal(rng, count, features) for _ in range(inputs)])
    else:
        mixing = orthogonal(rng, inputs * count, features).reshape(inputs, count, features)
    return TensorInteraction(
        centres=-jnp.log(jnp.linspace(inner, outer, count)),
        widths=jnp.full(count, np.log(spacing)),
        mixing=jnp.asarray(mixing),
        strengths=jnp.ones((sizes.degree, features)),
        own=dense(rng, inputs, features),
        out=dense(rng, features, features),
        skip=dense(rng, inputs, features, bias=False) if first else None,
    )


def _require(sizes: Sizes) -> None:
    small = [f"{name}={size}" for name, size in sizes._asdict().items() if size < 1 and name != "degree"]
    if small or not 0 <= sizes.degree < len(_TENSORS):
        raise ValueError(
            "sizes of at least 1 and tensors of degree 0, 1 or 2 are needed; not "
            f"{', '.join(small) or f'degree={sizes.degree}'}"
        )
