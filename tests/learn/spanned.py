"""A linear potential of any functions of x, T and lambda: for problems whose answer no spline holds exactly."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from meanforce.potentials.base import Design, LinearPotential


class Spanned(LinearPotential):
    """A = sum_k c_k phi_k(x, T, lambda) of one bead along the first coordinate."""

    coefficients: jax.Array
    terms: tuple[Callable, ...] = eqx.field(static=True)
    thermal: bool = eqx.field(static=True, default=False)

    @staticmethod
    def of(*functions: Callable, thermal: bool = False) -> "Spanned":
        return Spanned(jnp.zeros(len(functions)), functions, thermal)

    @property
    def depends_on_temperature(self) -> bool:
        return self.thermal

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return ()

    def energies(self, graph):
        return self._rows(graph, graph.positions[:, 0]) @ self.coefficients

    def design(self, graph):
        x = graph.positions[:, 0]
        value, slope = jax.jvp(lambda x: self._rows(graph, x), (x,), (jnp.ones_like(x),))
        forces = jnp.stack([-slope, jnp.zeros_like(slope), jnp.zeros_like(slope)], 1)
        return Design(value, forces, -slope * x[:, None])

    def with_coefficients(self, coefficients):
        return Spanned(jnp.asarray(coefficients), self.terms, self.thermal)

    def basis_names(self):
        return tuple(f"term {k}" for k in range(len(self.terms)))

    def _rows(self, graph, x):
        kelvin = jnp.ones_like(x) if graph.temperature is None else graph.temperature
        given = tuple(graph.parameters.values())
        return jnp.stack([f(x, kelvin, *given) * jnp.ones_like(x) for f in self.terms], -1)
