"""Potentials as a recipe asks for them: what kind, with which options, on which data."""

from __future__ import annotations

from collections.abc import Callable

from meanforce.data.dataset import Dataset
from meanforce.learn.fit import fit
from meanforce.objectives.matching import ForceMatching
from meanforce.potentials.base import NetworkPotential, Potential
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.local import LocalNetwork
from meanforce.potentials.sums import SplinePotential, Sum
from meanforce.recipe import Network, PotentialOptions, Spline

#: The class behind each kind of network; its options are those of `recipe.Network`.
NETWORKS: dict[str, Callable[..., NetworkPotential]] = {"dimenet": DimeNet, "local": LocalNetwork}


def construct(options: PotentialOptions, data: Dataset) -> Potential:
    """A potential to be fitted to the data; a network stands on pair and bonded splines solved in closed form.

    What lies under a network keeps beads apart and molecules together, so that it need not learn where no data are.
    """
    if isinstance(options, Spline):
        return SplinePotential(data.topology, cutoff=options.cutoff, many_body=options.many_body)
    network = NETWORKS[options.kind](data.topology.types, cutoff=options.cutoff, seed=options.seed)
    return Sum((_foundation(options, data), network))


def _foundation(options: Network, data: Dataset) -> Potential:
    splines = SplinePotential(data.topology, cutoff=options.reach, many_body=options.many_body)
    return fit(splines, [ForceMatching(data)]).model.potential
