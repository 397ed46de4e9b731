"""Kernel regression: a Gaussian process of the free energy, sparse, as a linear potential.

A = sum_i f(d_i) with descriptors d_i of the surroundings of each bead and f a Gaussian process with kernel k. Known at
inducing points s_m alone, f is a sum of k(d, s_m), linear in its coefficients, and the prior precision of these is the
matrix K of the kernel between the points. So the closed form serves every label that is linear in A, its evidence finds
the noise and the strength of the prior, and its posterior gives the errors.
"""

# GPJax, tinygp and GPX hold all labels at once and know no sum over beads: none streams derivatives of one.

from __future__ import annotations

import abc
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.linalg import LinAlgError, block_diag, cholesky, solve_triangular

from meanforce.frames import Frames
from meanforce.graph import Graph, build
from meanforce.numerics.cholesky import pivots
from meanforce.numerics.edges import take
from meanforce.potentials.base import Design, LinearPotential, Penalty, check_size
from meanforce.potentials.surroundings import Descriptor, Slopes, Surroundings
from meanforce.topology import Topology

#: Bytes of what a design holds of a few frames and inducing points at once, for the derivatives of all neighbours.
_AT_ONCE = 32 * 2**20


#: The length of a kernel, unless given, over the typical distance of descriptors: of one number, and of several, along
#: most of which A changes little. Water of Stillinger and Weber has its best forces at 4 to 8.
_STIFF = (0.5, 4.0)


class Kernel(eqx.Module):
    """How alike two descriptors are: 1 for the same. Subclasses are final."""

    @abc.abstractmethod
    def of(self, product: Array, own: Array, other: Array) -> Array:
        """The kernel, from d.s and the squares |d|^2 and |s|^2."""

    @abc.abstractmethod
    def origin(self, points: Float[Array, "m d"]) -> Float[Array, "d"]:
        """What is subtracted from d and s first, so that nothing is lost to rounding."""

    def between(self, one: Float[Array, "n d"], two: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return self.of(one @ two.T, _square(one)[:, None], _square(two))

    def slopes(self, one: Float[Array, "n d"], two: Float[Array, "m d"]) -> tuple[Array, Array, Array]:
        """Value, a and b for each pair: the derivative by d is a s + b d."""
        product, own, other = one @ two.T, _square(one)[:, None], _square(two)
        value, by_product = jax.jvp(lambda p: self.of(p, own, other), (product,), (jnp.ones_like(product),))
        _, by_own = jax.jvp(lambda o: self.of(product, o, other), (own,), (jnp.ones_like(own),))
        return value, by_product, 2 * by_own


class SquaredExponential(Kernel):
    """exp(-|d - s|^2 / (2 length^2)); `length` is in the unit of the descriptor."""

    length: Float[Array, ""] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if not (np.isfinite(self.length) and self.length > 0):
            raise ValueError(f"length={self.length}: a kernel has a positive length, in the unit of its descriptor")

    def of(self, product: Array, own: Array, other: Array) -> Array:
        return jnp.exp((2 * product - own - other) / (2 * self.length.astype(product.dtype) ** 2))

    def origin(self, points: Float[Array, "m d"]) -> Float[Array, "d"]:
        return points.mean(0)


class DotProduct(Kernel):
    """[(1 + d.s) / sqrt((1 + d.d)(1 + s.s))]^power: polynomials in the direction of d; the 1 is the bead itself."""

    power: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        if self.power != int(self.power) or self.power < 1:
            raise ValueError(f"power={self.power}: give a whole number, 1 or more; fractions are not smooth")

    def of(self, product: Array, own: Array, other: Array) -> Array:
        return ((1 + product) / jnp.sqrt((1 + own) * (1 + other))) ** int(self.power)

    def origin(self, points: Float[Array, "m d"]) -> Float[Array, "d"]:
        return jnp.zeros_like(points[0])


class TemperatureKernel(eqx.Module):
    """exp(-ln(T/T_m)^2 / (2 width^2)) of Phi = A/kT, for inducing points at temperatures T_m."""

    temperatures: Float[Array, "m"]  # K
    width: Float[Array, ""] = eqx.field(converter=jnp.asarray)  # of ln T

    def __check_init__(self):
        if not (np.isfinite(self.width) and self.width > 0):
            raise ValueError(f"width={self.width}: a kernel in ln T has a positive width; 1 is a factor of 2.7 in T")

    def between(self, kelvin: Float[Array, "n"]) -> Float[Array, "n m"]:
        apart = jnp.log(kelvin)[:, None] - jnp.log(self.temperatures).astype(kelvin.dtype)
        return jnp.exp(-(apart**2) / (2 * self.width.astype(kelvin.dtype) ** 2))

    def factors(self, graph: Graph) -> Float[Array, "frames m"]:
        """What multiplies the kernel of each inducing point in A: T/T0, so that A is in kJ/mol, and the kernel in T."""
        if graph.temperature is None:
            raise ValueError("a potential that depends on temperature needs frames with one: give temperature= in K")
        reference = jnp.exp(jnp.log(self.temperatures).mean())
        kelvin = jnp.asarray(graph.temperature)
        return (kelvin / reference.astype(kelvin.dtype))[:, None] * self.between(kelvin)


@runtime_checkable
class Configurations(Protocol):
    """Frames of one topology, such as a data set."""

    @property
    def topology(self) -> Topology: ...
    @property
    def temperatures(self) -> tuple[float, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, selection: Int[np.ndarray, "_"], /) -> Frames: ...


class KernelPotential(LinearPotential):
    """A = sum_i sum_m a_m k(d_i, s_m), over beads i and the inducing points s_m of the species of i.

    `KernelPotential.of(data, ...)` takes the points from the data. The coefficients c are those of orthonormal
    functions in the kernel's own space, a = L^-T c with L L^T = K: the same Gaussian process, with prior precision 1,
    and a well conditioned fit. One strength for each species is the inverse variance of f.

    Without a temperature kernel A does not depend on T; `LinearThermal.of(potential, ...)` then gives it the kernel of
    the span {1, beta, beta ln beta} of Phi. With one, f is a Gaussian process in d and T, and A = kT f.

    Errors are those of the functions that the inducing points span: where `unseen` says that a bead is like none of
    them, they are too small. The cost of a fit is linear in the frames and quadratic in the inducing points.
    """

    coefficients: Float[Array, "m"]
    types: tuple[str, ...] = eqx.field(static=True)
    descriptor: Descriptor
    kernel: Kernel
    points: Float[Array, "m d"]
    kinds: Int[Array, "m"]  # the species of each point, ascending
    whitening: Float[Array, "m m"]  # L^-T
    thermal: TemperatureKernel | None

    def __init__(
        self,
        types: tuple[str, ...],
        descriptor: Descriptor,
        kernel: Kernel,
        points: Float[Array | np.ndarray, "m d"],
        *,
        kinds: Int[Array | np.ndarray, "m"] | None = None,
        thermal: TemperatureKernel | None = None,
    ):
        """Inducing points of your own choice, in the order of their species (`kinds`, places in `types`)."""
        self.types, self.descriptor, self.kernel, self.thermal = tuple(types), descriptor, kernel, thermal
        self.points = jnp.asarray(points, float)
        self.kinds = jnp.zeros(len(points), jnp.int32) if kinds is None else jnp.asarray(kinds, jnp.int32)
        self.coefficients = jnp.zeros(len(points))
        self.whitening = jnp.asarray(_whitening(kernel, self.points, self.kinds, thermal))

    def __check_init__(self):
        count = len(self.points)
        check_size(self.coefficients, count)
        if self.points.shape[1] != self.descriptor.size:
            raise ValueError(
                f"inducing points of {self.points.shape[1]} numbers do not fit a descriptor of {self.descriptor.size}"
            )
        kinds = np.asarray(self.kinds)
        if len(kinds) != count or (np.diff(kinds) < 0).any() or not np.isin(kinds, range(len(self.types))).all():
            raise ValueError(f"kinds={kinds}: one place in the types {self.types} for each point, ascending")
        if self.thermal is not None and len(self.thermal.temperatures) != count:
            raise ValueError(f"{len(self.thermal.temperatures)} temperatures do not fit {count} inducing points")

    @staticmethod
    def of(
        data: Configurations,
        *,
        count: int = 300,
        descriptor: Descriptor | None = None,
        kernel: Kernel | None = None,
        length: float | None = None,
        width: float | None = None,
        temperatures: tuple[float, ...] | None = None,
        tolerance: float = 1e-6,
        sample: int = 5000,
    ) -> KernelPotential:
        """At most `count` inducing points among `sample` beads of the data, fewer where the rest is known from them.

        `descriptor` is `Surroundings` to 0.5 nm unless given, `kernel` squared exponential. `length` is its length over
        the root mean square distance of the descriptors: four unless given, a half where they are one number. `width`
        (of ln T) asks for a kernel in temperature as well, with points at `temperatures` (K), those of the data unless
        given. Points are taken while the others leave more than `tolerance` of the variance of f there; much less than
        the default loses forces in single precision.
        """
        types = data.topology.types
        descriptor = Surroundings(types) if descriptor is None else descriptor
        rows = np.arange(0, len(data), max(1, -(-len(data) * len(data.topology) // sample)))
        graph = build(data[rows], data.topology, descriptor.cutoffs)
        found, kinds = np.asarray(_described(descriptor, graph)), np.asarray(graph.species)
        if kernel is None:
            length = _STIFF[descriptor.size > 1] if length is None else length
            kernel = SquaredExponential(jnp.asarray(length * _rms_distance(found, kinds)))
        elif length is not None:
            raise ValueError("length= is that of the default kernel; leave it out with kernel=")
        thermal = None
        if width is not None:
            kelvin = np.asarray(data.temperatures if temperatures is None else temperatures, float)
            if not len(kelvin) or not (kelvin > 0).all():
                raise ValueError(f"temperatures={temperatures}: a kernel in temperature needs points at some, in K")
            thermal = TemperatureKernel(jnp.asarray(np.repeat(kelvin, len(found))), jnp.asarray(width, float))
            found, kinds = np.tile(found, (len(kelvin), 1)), np.tile(kinds, len(kelvin))
        elif temperatures is not None:
            raise ValueError("temperatures= are those of a kernel in temperature; give its width= as well")
        chosen = _chosen(kernel, found, kinds, thermal, count, tolerance)
        if thermal is not None:
            thermal = TemperatureKernel(thermal.temperatures[chosen], thermal.width)
        return KernelPotential(types, descriptor, kernel, found[chosen], kinds=kinds[chosen], thermal=thermal)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.descriptor.cutoffs

    @property
    def depends_on_temperature(self) -> bool:
        return self.thermal is not None

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        values = self._values(graph)
        weights = (self.whitening @ self.coefficients).astype(values.dtype)
        if self.thermal is None:
            return values @ weights
        return ((weights * self.thermal.factors(graph))[graph.frame] * values).sum(1)

    def unseen(self, graph: Graph) -> Float[Array, "beads"]:
        """The part of the variance of f that the inducing points do not hold: near 1, a bead is like none of them."""
        values = self._values(graph)
        if self.thermal is not None:
            values = values * self.thermal.between(jnp.asarray(graph.temperature))[graph.frame]
        return 1 - ((values @ self.whitening.astype(values.dtype)) ** 2).sum(1)

    def design(self, graph: Graph) -> Design:
        raw = self._raw(graph)
        if self.thermal is not None:
            each = self.thermal.factors(graph)
            raw = Design(raw.energy * each, raw.forces * each[graph.frame][:, None], raw.virial * each)
        return Design(raw.energy @ self.whitening, raw.forces @ self.whitening, raw.virial @ self.whitening)

    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> KernelPotential:
        return eqx.tree_at(lambda term: term.coefficients, self, jnp.asarray(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        return tuple(f"kernel {self.types[kind]}, function {n}" for n, kind in enumerate(np.asarray(self.kinds)))

    def penalties(self) -> tuple[Penalty, ...]:
        starts, counts = np.unique(np.asarray(self.kinds), return_index=True, return_counts=True)[1:]
        return tuple(
            Penalty(f"kernel {self.types[int(self.kinds[start])]}", int(start), np.eye(count))
            for start, count in zip(starts, counts, strict=True)
        )

    def _values(self, graph: Graph) -> Float[Array, "beads m"]:
        found = self.descriptor.values(self.descriptor.read(graph))
        points = self.points.astype(found.dtype)
        origin = self.kernel.origin(points)
        return self.kernel.between(found - origin, points - origin) * self._alike(graph.species, self.kinds)

    def _alike(self, species: Int[Array, "n"], kinds: Int[Array, "m"]) -> Array:
        """Where a bead and a point are of one species."""
        return species[:, None] == kinds if len(self.types) > 1 else jnp.ones((1, 1), bool)

    def _raw(self, graph: Graph) -> Design:
        """The design of the functions k(d, s_m), a few frames and points at a time."""
        particles = len(graph.positions) // graph.frames
        beads = (self.descriptor.read(graph), graph.species, *self._reverse(graph, particles))
        by_frame = jax.tree.map(lambda a: a.reshape(graph.frames, particles, *a.shape[1:]), beads)
        capacity = beads[2].shape[1] if len(beads) > 2 else 1
        edge = 24 * particles * max(capacity, 1)
        block = int(np.clip(_AT_ONCE // edge, 1, len(self.points)))
        most = max(1, _AT_ONCE // (edge * (block + self.descriptor.size)))
        # a rest that does not fill a batch would be compiled once more
        batch = max(n for n in range(1, graph.frames + 1) if n <= most and graph.frames % n == 0)
        energy, forces, virial = jax.lax.map(lambda f: self._frame(*f, block=block), by_frame, batch_size=batch)
        return Design(energy, forces.reshape(-1, *forces.shape[2:]), virial)

    def _reverse(self, graph: Graph, particles: int) -> tuple[Array, ...]:
        """Where, among all neighbours of its own frame, the reverse of every pair stands."""
        if not self.cutoffs:
            return ()
        near = graph.within(self.cutoffs[0])
        return (near.index % particles * near.capacity + near.slot,)

    def _frame(self, seen: Any, species: Array, reverse: Array | None = None, *, block: int) -> tuple[Array, ...]:
        """Energy, forces and virial of every function in one frame."""
        origin = self.kernel.origin(self.points)
        slopes = self.descriptor.slopes(seen)
        slopes = slopes._replace(values=slopes.values - origin)
        count, blocks = len(self.points), -(-len(self.points) // block)
        fill = lambda a: jnp.concatenate([a, jnp.broadcast_to(a[-1:], (blocks * block - count, *a.shape[1:]))])
        split = lambda a: fill(a).reshape(blocks, block, *a.shape[1:])
        some = lambda part: self._block(slopes, species, reverse, *part)
        rows = jax.lax.map(some, (split(self.points - origin), split(self.kinds)))
        join = lambda a: jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], blocks * block)[..., :count]
        return tuple(join(part) for part in rows)

    def _block(
        self, slopes: Slopes, species: Array, reverse: Array | None, points: Float[Array, "b d"], kinds: Int[Array, "b"]
    ) -> tuple[Array, ...]:
        alike = self._alike(species, kinds)
        value, a, b = (part * alike for part in self.kernel.slopes(slopes.values, points))

        def along(slope: Float[Array, "beads ... d"]) -> Float[Array, "beads ... b"]:
            wide = (slice(None), *(None,) * (slope.ndim - 2))
            on_itself = jnp.einsum("i...d,id->i...", slope, slopes.values)
            return a[wide] * (slope @ points.T) + b[wide] * on_itself[..., None]

        pull = along(slopes.own)
        if slopes.others is not None and reverse is not None:
            others = along(slopes.others).reshape(reverse.size, -1)
            met = sum(take(others, place) for place in reverse.T)
            pull = pull + jnp.asarray(met).reshape(pull.shape)
        return value.sum(0), -pull, -along(slopes.strain).sum(0)


def _chosen(
    kernel: Kernel,
    found: Float[np.ndarray, "n d"],
    kinds: Int[np.ndarray, "n"],
    thermal: TemperatureKernel | None,
    count: int,
    tolerance: float,
) -> Int[np.ndarray, "m"]:
    """The best of descriptors, their species and their temperatures, ordered by species."""
    if count < 1 or not 0 < tolerance < 1:
        raise ValueError(f"count={count}, tolerance={tolerance}: at least one point, and a part of the variance")
    centred = jnp.asarray(found) - kernel.origin(jnp.asarray(found))

    def column(pivot: int) -> Float[np.ndarray, "n"]:
        one = slice(pivot, pivot + 1)
        value = kernel.between(centred, centred[one]) * (kinds == kinds[pivot])[:, None]
        if thermal is not None:
            value = value * TemperatureKernel(thermal.temperatures[one], thermal.width).between(thermal.temperatures)
        return np.asarray(value)[:, 0]

    chosen = pivots(column, np.ones(len(found)), count, tolerance)
    return chosen[np.argsort(kinds[chosen], kind="stable")]


def _whitening(
    kernel: Kernel, points: Float[Array, "m d"], kinds: Int[Array, "m"], thermal: TemperatureKernel | None
) -> Float[np.ndarray, "m m"]:
    """L^-T with L L^T = K, the kernel between the points; those of different species know nothing of each other."""
    centred = points - kernel.origin(points)
    matrix = kernel.between(centred, centred)
    if thermal is not None:
        matrix = matrix * thermal.between(thermal.temperatures)
    parts = []
    for kind in np.unique(np.asarray(kinds)):
        same = np.flatnonzero(np.asarray(kinds) == kind)
        try:
            lower = cholesky(np.asarray(matrix)[np.ix_(same, same)], lower=True)
        except LinAlgError:
            raise ValueError(
                f"{len(same)} inducing points say the same as fewer of them: leave out those that are alike, or let "
                "KernelPotential.of choose them, with a larger tolerance"
            ) from None
        parts.append(solve_triangular(lower, np.eye(len(same)), lower=True).T)
    return block_diag(*parts)


def _square(vectors: Float[Array, "n d"]) -> Float[Array, "n"]:
    return (vectors**2).sum(-1)


def _rms_distance(found: Float[np.ndarray, "n d"], kinds: Int[np.ndarray, "n"]) -> float:
    """The root mean square distance between descriptors of one species."""
    scatter = sum(((found[kinds == k] - found[kinds == k].mean(0)) ** 2).sum() for k in np.unique(kinds))
    if not scatter > 0:
        raise ValueError(
            "all beads of the data are alike, so that no length can be found: take a longer cut-off, or give kernel="
        )
    return float(np.sqrt(2 * scatter / len(found)))


@eqx.filter_jit
def _described(descriptor: Descriptor, graph: Graph) -> Float[Array, "beads d"]:
    return descriptor.values(descriptor.read(graph))
