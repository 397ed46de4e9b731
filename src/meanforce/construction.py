"""Potentials as a recipe asks for them: what kind, with which options, on which data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meanforce.data.dataset import Dataset
from meanforce.learn.fit import fit
from meanforce.learn.priors import wall
from meanforce.objectives.matching import ForceMatching
from meanforce.potentials.base import NetworkPotential, Potential
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.equivariant import Equivariant
from meanforce.potentials.hipnn import HipNN
from meanforce.potentials.local import DEFAULT, LARGE, LocalNetwork
from meanforce.potentials.sums import SplinePotential, Sum
from meanforce.recipe import Local, Network, PotentialOptions, Spline

#: The class behind each kind of network; its options are those of `recipe.Network`.
NETWORKS: dict[str, Callable[..., NetworkPotential]] = {
    "dimenet": DimeNet,
    "equivariant": Equivariant,
    "hipnn": HipNN,
    "local": LocalNetwork,
}
#: Splines under a network are solved on no more beads than these: what they miss, the network learns.
_BEADS_FOR_SPLINES = 150_000


def construct(options: PotentialOptions, data: Dataset) -> Potential:
    """A potential to be fitted to the data; a network stands on pair and bonded splines solved in closed form.

    What lies under a network keeps molecules together, and a wall keeps beads from distances where there are no data.
    """
    if isinstance(options, Spline):
        return _splines(options, options.cutoff, data)
    sizes = {"sizes": {"small": DEFAULT, "large": LARGE}[options.size]} if isinstance(options, Local) else {}
    network = NETWORKS[options.kind](data.topology.types, cutoff=options.cutoff, seed=options.seed, **sizes)
    stride = -(-len(data) * len(data.topology) // _BEADS_FOR_SPLINES)
    few = data.at(np.arange(0, len(data), stride))
    splines = fit(_splines(options, options.reach, data), [ForceMatching(few)]).model.potential
    walls = (wall(data),) if data.topology.pairs else ()
    return Sum((splines, *walls, network))


def _splines(options: Spline | Network, cutoff: float, data: Dataset) -> SplinePotential:
    return SplinePotential(data.topology, cutoff=cutoff, spacing=options.spacing, many_body=options.many_body)
