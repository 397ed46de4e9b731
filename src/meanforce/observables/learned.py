"""What an observable owes to the data that a model learned from: its scatter over models that are as likely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from meanforce.ensemble import Ensemble
from meanforce.observables.base import Curve
from meanforce.potentials.base import Potential
from meanforce.thermodynamics import reweighted
from meanforce.topology import Topology

#: Fewer effective frames than this do not carry an average to another model.
_FEWEST = 50.0


@runtime_checkable
class Drawn(Protocol):
    """The `posterior` of a fit: potentials that the data leave open."""

    def sample(self, count: int, seed: int) -> Sequence[Potential]: ...


class _Member(NamedTuple):
    potential: Potential
    topology: Topology


def left_open(ensemble: Ensemble, posterior: Drawn, *, count: int = 16, seed: int = 0) -> tuple[Ensemble, ...]:
    """The frames of an ensemble as samples of models that the data leave open: one ensemble for each model drawn.

    `posterior` is that of the fit of the model sampled; of a committee no more than its members can be drawn anew.
    """
    if count < 2:
        raise ValueError(f"count={count}: a scatter needs two models at least")
    others = []
    for potential in posterior.sample(count, seed):
        other = reweighted(ensemble, _Member(potential, ensemble.topology))
        if (effective := other.effective_frames()) < _FEWEST:
            raise ValueError(
                f"a model drawn from the posterior shares {effective:.0f} effective frames with the ensemble, "
                f"{_FEWEST:g} are needed: sample longer, or simulate the models of posterior.sample() one by one"
            )
        others.append(other)
    return tuple(others)


def learned_error(measure: Callable[[Ensemble], Curve], ensemble: Ensemble, others: Sequence[Ensemble]) -> Curve:
    """The curve of an ensemble, with the standard deviation over `others`, made by `left_open`, for its error.

    Each model reweights the same frames, so that their sampling noise cancels: this error is that of learning, and
    stands beside the error of sampling that `measure` gives.
    """
    values = [measure(other).value for other in others]
    return measure(ensemble)._replace(error=np.std(values, axis=0, ddof=1), blocks=None)
