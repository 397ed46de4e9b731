"""Potentials as a recipe asks for them: what kind, with which options, on which data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.learn.fit import fit
from meanforce.learn.priors import wall
from meanforce.objectives.base import Objective
from meanforce.objectives.matching import ForceMatching, Matching
from meanforce.potentials.base import LinearPotential, NetworkPotential, Potential
from meanforce.potentials.concave import ConcaveThermal
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.equivariant import Equivariant
from meanforce.potentials.hipnn import HipNN
from meanforce.potentials.kernels import KernelPotential
from meanforce.potentials.local import DEFAULT, LARGE, LocalNetwork
from meanforce.potentials.sums import LinearSum, SplinePotential, Sum
from meanforce.potentials.surroundings import Surroundings
from meanforce.potentials.thermal import LinearThermal, Thermal
from meanforce.recipe import Dimenet, Hipnn, Kernel, Local, Network, PotentialOptions, Spline
from meanforce.recipe import Equivariant as EquivariantOptions
from meanforce.stages import Thermal as ThermalOptions

#: The class behind each kind of network; its options are those of `recipe.Network`.
NETWORKS: dict[str, Callable[..., NetworkPotential]] = {
    "dimenet": DimeNet,
    "equivariant": Equivariant,
    "hipnn": HipNN,
    "local": LocalNetwork,
}
#: Splines under a network are solved on no more beads than these: what they miss, the network learns.
_BEADS_FOR_SPLINES = 150_000


def construct(options: PotentialOptions, data: Dataset, objectives: Sequence[Objective] = ()) -> Potential:
    """A potential to be fitted to the data; a network stands on pair and bonded splines solved in closed form.

    What lies under a network keeps molecules together, and a wall keeps beads from distances where there are no data.
    Splines under a network that depends on temperature do so as well, by an entropy, and learn from `objectives`.
    """
    if not isinstance(options, Network):
        return linear(options, data)
    network = partial(_network, options, data)
    stride = -(-len(data) * len(data.topology) // _BEADS_FOR_SPLINES)
    wanted = [_fewer(o, stride) for o in objectives] or [ForceMatching(data.at(np.arange(0, len(data), stride)))]
    under = fit(linear(options, data), wanted).model.potential
    walls = (wall(data),) if data.topology.pairs else ()
    if options.thermal is None:
        return Sum((under, *walls, network(0)))
    reference, capacity = reference_of(options.thermal, data), options.thermal.heat_capacity
    if isinstance(capacity, tuple):
        capacities = tuple(network(2 + k) for k in range(len(capacity)))
        return Sum((under, *walls, ConcaveThermal(network(0), network(1), capacities, capacity, reference)))
    return Sum((under, *walls, Thermal(network(0), network(1), network(2) if capacity else None, reference)))


def linear(options: PotentialOptions, data: Dataset) -> LinearPotential:
    """What has a closed form: splines of pairs, bonds and three bodies, and kernels on top of them where asked.

    The heat capacity of splines under a network is left to the network's.
    """
    cutoff = options.cutoff if isinstance(options, Spline) else options.reach
    plain: LinearPotential = SplinePotential(
        data.topology, cutoff=cutoff, spacing=options.spacing, many_body=options.many_body
    )
    if isinstance(options, Kernel):
        plain = LinearSum((plain, _kernel(options, data)))
    if options.thermal is None:
        return plain
    heat_capacity = not isinstance(options, Network) and bool(options.thermal.heat_capacity)
    return LinearThermal.of(plain, reference=reference_of(options.thermal, data), heat_capacity=heat_capacity)


def _kernel(options: Kernel, data: Dataset) -> KernelPotential:
    """Away from all frames a long kernel goes on like a polynomial, and chains collapse into its holes."""
    sees = Surroundings(data.topology.types, options.cutoff, options.start, options.radial, options.degree)
    length = options.length or (1.0 if len(data.topology.bonds) else None)
    return KernelPotential.of(data, count=options.points, descriptor=sees, length=length)


def reference_of(thermal: ThermalOptions, data: Dataset) -> float:
    """T0 in K: as asked, or the middle one of the temperatures of the data."""
    if thermal.reference is not None:
        return thermal.reference
    if not data.temperatures:
        raise ValueError("potential.thermal: the data have no temperature; give temperature= when the set is made")
    return data.temperatures[len(data.temperatures) // 2]


def _network(options: Local | Dimenet | Hipnn | EquivariantOptions, data: Dataset, number: int) -> NetworkPotential:
    """One of the networks of a potential, each from weights of its own."""
    sizes = {"sizes": {"small": DEFAULT, "large": LARGE}[options.size]} if isinstance(options, Local) else {}
    seed = options.seed + number
    return NETWORKS[options.kind](data.topology.types, cutoff=options.cutoff, seed=seed, **sizes)


def _fewer(objective: Objective, stride: int) -> Objective:
    """The same on every so many frames."""
    if not isinstance(objective, Matching) or stride == 1:
        return objective
    return replace(objective, data=objective.data.at(np.arange(0, len(objective.data), stride)))
