"""Matching of cumulants at fixed beads: how forces and energies scatter together says what A does with T.

    Cov(f, U) = kT^2 dF/dT        Var(U) = kT^2 c_v        kappa(f, U, U) = d2F/d beta2

The labels are data, never functions of the model that is trained: a gradient through the centre of a product would
lead elsewhere. They are made by holding the beads (`reference.hold`), or from instantaneous forces and energies with
centres learned from other frames (`mf.cross_fit`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Array, Float

from meanforce.frames import Frames
from meanforce.objectives.matching import Matching, needs_temperature
from meanforce.potentials.base import Design, Potential
from meanforce.topology import Topology


class _Cumulant(Matching):
    """A label of the data and the quantity of the same name in a design."""

    label = ""

    def check(self, potential: Potential) -> None:
        _needs(self, self.label)
        needs_temperature(self, potential)

    @property
    def rows(self) -> Callable[[Design], Float[Array, "labels k"]]:
        return _rows_of(self.label)

    def labels(self, frames: Frames, topology: Topology) -> Float[np.ndarray, "labels"]:
        del topology
        return np.asarray(getattr(frames, self.label), float).reshape(-1)


@dataclass(frozen=True, eq=False)
class ResponseMatching(_Cumulant):
    """Makes kT^2 dF/dT the covariance of forces and energy at fixed beads: the thermal response force."""

    name = "response"
    unit = "(kJ/mol)^2/nm"
    order = 1
    label = "covariance"


@dataclass(frozen=True, eq=False)
class SecondResponseMatching(_Cumulant):
    """Makes d2F/d beta2 the third cumulant kappa(f, U, U) at fixed beads: the curvature of F in temperature."""

    name = "second response"
    unit = "(kJ/mol)^3/nm"
    order = 2
    label = "third_cumulant"


@dataclass(frozen=True, eq=False)
class VarianceMatching(_Cumulant):
    """Makes kT^2 c_v the variance of the energy at fixed beads, up to a constant at each temperature: the gauge."""

    name = "variance"
    unit = "(kJ/mol)^2"
    order = 2
    centred = True
    label = "variance"


@dataclass(frozen=True, eq=False)
class SlopeMatching(Matching):
    """Makes dA/d lambda the mean of the atoms' dU/d lambda at fixed beads, for one parameter by its name.

    Slopes count up to a constant at each temperature: the gauge of A depends on lambda as well.
    """

    parameter: str = ""
    unit = "kJ/mol per unit of the parameter"
    centred = True

    @property
    def name(self) -> str:
        return f"slope in {self.parameter}"

    def check(self, potential: Potential) -> None:
        del potential
        first = self.data[0]
        if self.parameter not in first.parameters or self.parameter not in first.slopes:
            there = ", ".join(sorted(first.parameters.keys() & first.slopes.keys())) or "none"
            raise ValueError(
                f"SlopeMatching: parameter={self.parameter!r} has no values, or no slopes, in the data; give both "
                f"parameters= and slopes= when the set is made (there are: {there})"
            )
        if first.temperature is None:
            raise ValueError("SlopeMatching: the data have no temperature; give temperature= when the set is made")

    @property
    def parameters(self) -> tuple[str, ...]:
        return (self.parameter,)

    @property
    def rows(self) -> Callable[[Design], Float[Array, "labels k"]]:
        return _slope_in(self.parameter)

    def labels(self, frames: Frames, topology: Topology) -> Float[np.ndarray, "labels"]:
        del topology
        return np.asarray(frames.slopes[self.parameter], float)


@cache
def _rows_of(quantity: str) -> Callable[[Design], Float[Array, "labels k"]]:
    def rows(design: Design) -> Float[Array, "labels k"]:
        found = getattr(design, quantity)
        return found.reshape(-1, found.shape[-1])

    return rows


@cache
def _slope_in(parameter: str) -> Callable[[Design], Float[Array, "labels k"]]:
    def rows(design: Design) -> Float[Array, "labels k"]:
        if design.by_parameter is None:
            raise ValueError("this design was made without derivatives in parameters")
        return design.by_parameter[parameter]

    return rows


def _needs(objective: Matching, label: str) -> None:
    if getattr(objective.data[0], label) is None:
        raise ValueError(
            f"{type(objective).__name__}: the data hold no label {label!r}; make it from forces and energies with "
            "mf.cross_fit(potential, data), or by sampling at fixed beads (meanforce.reference.hold)"
        )
