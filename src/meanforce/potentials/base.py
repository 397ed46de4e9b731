"""What a potential is: a pytree that turns a graph into free energies in kJ/mol."""

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import meanforce.numerics.precision  # noqa: F401
from meanforce.graph import Graph, frame_sum
from meanforce.units import KB


class Potential(eqx.Module):
    """A(R; T, lambda) in kJ/mol. Subclasses are final; what they are made of is their fields."""

    @property
    @abc.abstractmethod
    def cutoffs(self) -> tuple[float, ...]:
        """The neighbour lists it reads, in nm; empty for bonded terms."""

    @property
    def depends_on_temperature(self) -> bool:
        """Whether A changes with the temperature of the frames: by default, if some part of it does."""
        return any(part.depends_on_temperature for part in self._parts)

    @property
    def footprint(self) -> int:
        """About how many numbers forces keep in memory for each slot of a neighbour: by default, what splines keep."""
        return max((part.footprint for part in self._parts), default=30)

    @property
    def _parts(self) -> list["Potential"]:
        is_part = lambda node: isinstance(node, Potential) and node is not self
        return list(filter(is_part, jax.tree.leaves(self, is_leaf=is_part)))

    @abc.abstractmethod
    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        """The free energy, divided among the beads."""

    def energy(self, graph: Graph) -> Float[Array, "frames"]:
        """The free energy of each frame. Terms with a cheaper gradient for the sum override it."""
        return frame_sum(graph, self.energies(graph))


class NetworkPotential(Potential):
    """A potential whose floating-point arrays are weights: a fit by gradient moves them.

    Under a sum it learns what the terms beside it leave, splines or priors: those stay as they are.
    """

    @abc.abstractmethod
    def reinitialised(self, seed: int) -> "NetworkPotential":
        """The same network with weights drawn anew, as its constructor draws them: for members of a committee."""

    @property
    def last_layer(self) -> tuple[Any, ...]:
        """Where the weights are in which A is linear, or nearly so: none that only shift it. Empty: there are none."""
        return ()


class Design(NamedTuple):
    """Rows of a linear model: each basis function with its derivatives, for every label at once.

    With coefficients c the model's free energy is `energy @ c`, its forces `forces @ c` and its virial -dA/d(ln L)
    `virial @ c`. Where derivatives in temperature were asked for, `slope` holds the same rows of dA/dT, with a slope of
    their own for the second, and the quantities of the atoms at fixed beads are combinations of them.
    """

    energy: Float[Array, "frames k"]
    forces: Float[Array, "beads 3 k"]
    virial: Float[Array, "frames k"]
    temperature: Float[Array, "frames"] | None = None  # K
    slope: Any = None  # a Design, per K
    by_parameter: Mapping[str, Float[Array, "frames k"]] | None = None  # dA/d lambda
    displacement: Float[Array | np.ndarray, "beads 3"] | None = None  # nm

    @property
    def mean_energy(self) -> Float[Array, "frames k"]:
        """A - T dA/dT."""
        kelvin, slope = self._slope()
        return self.energy - kelvin[:, None] * slope.energy

    @property
    def displaced_energy(self) -> Float[Array, "frames k"]:
        """The mean energy less the work of the forces along the displacement of the frame."""
        if self.displacement is None:
            raise ValueError("this design was made without a displacement")
        frames, columns = self.energy.shape
        work = jnp.einsum("bi,bik->bk", self.displacement, self.forces)
        return self.mean_energy - work.reshape(frames, -1, columns).sum(axis=1)

    @property
    def covariance(self) -> Float[Array, "beads 3 k"]:
        """Cov(f, U) = kT^2 dF/dT."""
        kelvin, slope = self._slope()
        return KB * self._of_beads(kelvin**2) * slope.forces

    @property
    def variance(self) -> Float[Array, "frames k"]:
        """Var(U) = -kT^3 d2A/dT2."""
        kelvin, slope = self._slope()
        return -KB * kelvin[:, None] ** 3 * slope._slope()[1].energy

    @property
    def third_cumulant(self) -> Float[Array, "beads 3 k"]:
        """kappa(f, U, U) = d2F/d beta2 = k^2 T^4 d2F/dT2 + 2 k^2 T^3 dF/dT."""
        kelvin, slope = self._slope()
        second = slope._slope()[1].forces
        return KB**2 * (self._of_beads(kelvin**4) * second + 2 * self._of_beads(kelvin**3) * slope.forces)

    def _slope(self) -> tuple[Float[Array, "frames"], "Design"]:
        if self.temperature is None or self.slope is None:
            raise ValueError("this design was made without derivatives in temperature")
        return self.temperature, self.slope

    def _of_beads(self, values: Float[Array, "frames"]) -> Float[Array, "beads 1 1"]:
        return jnp.repeat(values, self.forces.shape[0] // values.shape[0])[:, None, None]


class Penalty(NamedTuple):
    """How rough one term is: the quadratic form c.matrix.c of the coefficients from `start` on.

    Its strength is no part of it: the fit finds one for every penalty from the data, and where the data
    say nothing the smoothest continuation is left.
    """

    name: str
    start: int
    matrix: Float[np.ndarray, "m m"]
    taken: float = 0.0  # from the trace of the matrix with functions that no frame touches


class LinearPotential(Potential):
    """A = fixed + sum_k c_k phi_k(R): the fit is a linear problem and has a closed form."""

    if TYPE_CHECKING:  # a field or a property, for which type checkers have no word

        @property
        def coefficients(self) -> Float[Array, "k"]: ...
    else:
        coefficients: eqx.AbstractVar[Float[Array, "k"]]

    @abc.abstractmethod
    def design(self, graph: Graph) -> Design:
        """Every basis function with its derivatives, independent of the coefficients."""

    @abc.abstractmethod
    def with_coefficients(self, coefficients: Float[Array | np.ndarray, "k"]) -> "LinearPotential":
        """The same potential with other coefficients."""

    @abc.abstractmethod
    def basis_names(self) -> tuple[str, ...]:
        """One readable name per coefficient, for reports on what the data determine."""

    def functions(self, design: Design) -> Float[Array, "heads frames k"]:
        """What a coefficient can change: A, and apart from it whatever says how A changes with temperature.

        Combinations of coefficients that leave all of it constant over the frames are a gauge.
        """
        return design.energy[None]

    @property
    def fixed(self) -> Potential | None:
        """A prior under the basis, in `energies` but not in `design`: a fit subtracts it from the labels."""
        return None

    def penalties(self) -> tuple[Penalty, ...]:
        """What a fit keeps small, on disjoint runs of coefficients; splines override it with their curvature."""
        size = self.coefficients.shape[0]
        return (Penalty("coefficients", 0, np.eye(size)),) if size else ()

    def with_core(self, told: Float[np.ndarray, "k"], step: float) -> "LinearPotential":
        """Keeps A rising towards short distances where no data determine the coefficients.

        `told` says how much of each coefficient is owed to data, 0 to 1; `step` is the least rise in kJ/mol from one
        coefficient to the next. Terms that cannot collapse return themselves; pair terms override it.
        """
        del told, step
        return self


def holds(potential: Potential, kind: type[Any] | tuple[type[Any], ...]) -> bool:
    """Whether some term, or the potential itself, is of the kind, or of one of them."""
    is_kind = lambda node: isinstance(node, kind)
    return any(map(is_kind, jax.tree.leaves(potential, is_leaf=is_kind)))


def check_size(coefficients: Float[Array, "k"], size: int) -> None:
    """Refuses coefficients that do not fit the basis."""
    if coefficients.shape != (size,):
        raise ValueError(f"{size} coefficients are needed, not an array of shape {coefficients.shape}")


def frame_rows(graph: Graph, rows: Float[Array, "beads k"]) -> Float[Array, "frames k"]:
    """Sums rows of beads within each frame; frames are of one size and stand one after the other."""
    return rows.reshape(graph.frames, -1, rows.shape[-1]).sum(1)
