"""What an objective is: something wanted of a model, with its data and its weight."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float

from meanforce.data.dataset import Dataset
from meanforce.ensemble import State
from meanforce.frames import Frames
from meanforce.potentials.base import Design, Potential
from meanforce.topology import Topology


class Equations(NamedTuple):
    """Normal equations of a least-squares objective, summed over frames, in float64.

    The weighted sum of squares is  c.gram.c - 2 moment.c + square  over `count` labels
    (those that some coefficient can change). Fields are arrays, with a leading axis where there are blocks.
    """

    gram: Any
    moment: Any
    square: Any
    count: Any


@runtime_checkable
class Objective(Protocol):
    """`weight` multiplies the logarithm of the objective's likelihood.

    1 is right for labels whose noise is independent of the other objectives': the noise itself is estimated,
    so that forces and virials, in their different units, need no balancing by hand.
    """

    @property
    def data(self) -> Dataset | None: ...

    @property
    def states(self) -> tuple[State, ...]: ...

    @property
    def weight(self) -> float: ...

    def check(self, potential: Potential) -> None:
        """Refuses by name, before the work starts, what this objective cannot do."""


@runtime_checkable
class Composite(Protocol):
    """What is wanted by several objectives together: a fit takes them one by one."""

    @property
    def parts(self) -> tuple[Objective, ...]: ...


@runtime_checkable
class Quadratic(Objective, Protocol):
    """Least squares in the coefficients of a linear potential: opens the closed form.

    `order` is that of the derivatives in temperature that its rows read, `parameters` are those they are taken in.
    `centred` labels are known up to a constant at each temperature: it is fitted beside the coefficients, and so is the
    share of each of `variates`, columns whose mean at fixed beads is zero.
    """

    order: int
    centred: bool

    @property
    def parameters(self) -> tuple[str, ...]: ...

    @property
    def data(self) -> Dataset: ...

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @staticmethod
    def rows(design: Design) -> Float[Array, "labels k"]:
        """The derivative of every label by every coefficient; jitted by the fit, once for all frames.

        A function of the module, or one that is kept for each name of a parameter: the fit compiles once for each.
        """

    def labels(self, frames: Frames, topology: Topology) -> Float[np.ndarray, "labels"]:
        """The labels in the order of `rows`: as many for each frame."""

    def variates(self, frames: Frames) -> Float[np.ndarray, "frames m"]:
        """Of centred labels: columns that take noise from them."""
