"""`fit`: one verb for every way of learning."""

from __future__ import annotations

from collections.abc import Sequence

from meanforce.learn import gradient
from meanforce.learn.asked import quadratic
from meanforce.learn.closed import Regularisation, solved
from meanforce.learn.linear import Progress
from meanforce.learn.result import Fit
from meanforce.learn.training import Training
from meanforce.model import Model
from meanforce.objectives.base import Composite, Objective
from meanforce.potentials.base import LinearPotential, NetworkPotential, Potential, holds
from meanforce.potentials.committee import Committee
from meanforce.potentials.sums import Sum


def fit(
    potential: Potential | Model,
    objectives: Objective | Composite | Sequence[Objective | Composite],
    *,
    training: Training | None = None,
    regularisation: Regularisation | None = None,
    blocks: int = 32,
    core: bool | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Learns a model from any list of objectives.

    A potential that is linear in its coefficients with objectives that are quadratic has one answer, and gets it
    in closed form: labels are streamed once, the noise of each kind of label is estimated, and the smoothness of
    each term is chosen by `regularisation`:

    * "evidence" (default): the strengths under which the labels are most probable, one for each term;
    * "cross-validation": one strength for all terms, by held-out blocks of frames;
    * a number: this multiple of the strength at which prior and data weigh alike; 0 for plain least squares.

    With `core` (default), pair terms rise towards distances shorter than any in the data.

    A potential that holds a network is trained by gradient, as `training` says: the network's weights
    move, splines and priors beside it stay as they are. The model returned is the one with the smallest held-out error.

    `blocks` contiguous blocks of frames measure held-out errors and how correlated the labels are. `progress` is
    called with the part done.
    """
    known = potential if isinstance(potential, Model) else None
    start = potential.potential if isinstance(potential, Model) else potential
    asked = [objectives] if not isinstance(objectives, Sequence) else list(objectives)
    if blocks < 1:
        raise ValueError(f"blocks={blocks}: at least one block of frames is needed; 32 is the default")
    if holds(start, Committee) and holds(start, NetworkPotential):
        raise ValueError(
            "fit: a committee is not trained as a whole, since its members would lose their independence; give one of "
            "its members, with training=Training(members=...)"
        )
    if holds(start, NetworkPotential):
        _refuse_given(
            {"regularisation": regularisation, "core": core},
            "closed forms of linear potentials",
            "a network is trained",
        )
        wanted = quadratic(start, asked)
        return gradient.trained(start, wanted, known, training or Training(), blocks=blocks, progress=progress)
    linear = _linear(start)
    wanted = quadratic(linear, asked)
    _refuse_given({"training": training}, "networks", "a linear potential has its answer in closed form")
    return solved(
        linear, wanted, known, regularisation="evidence" if regularisation is None else regularisation, blocks=blocks,
        core=core is not False, progress=progress,
    )  # fmt: skip


def _linear(potential: Potential) -> LinearPotential:
    """The potential, sums rearranged so that their linear terms stand on the others."""
    start = Sum.of(*potential.terms) if isinstance(potential, Sum) else potential
    if not isinstance(start, LinearPotential):
        raise ValueError(
            f"fit: {type(start).__name__} is not linear in its coefficients and holds no network: there is nothing in "
            "it to learn. Use mf.SplinePotential, a network, or either put together with priors"
        )
    return start


def _refuse_given(options: dict[str, object], meant_for: str, here: str) -> None:
    """An option of the other way of learning is named, never passed over."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"fit: {name}= is for {meant_for}, and here {here}; leave {name}= out")
