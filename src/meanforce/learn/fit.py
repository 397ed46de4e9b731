"""`fit`: one verb for every way of learning. Here the closed form, for linear potentials and quadratic objectives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np

from meanforce.learn.linear import Progress, normal_equations
from meanforce.learn.posterior import Posterior
from meanforce.learn.regression import Normal, Regression, regress, residual_square
from meanforce.learn.result import Fit, History, Outcome, Score
from meanforce.learn.validation import cross_validated, held_out
from meanforce.model import Model
from meanforce.objectives.base import Objective, Quadratic
from meanforce.potentials.base import LinearPotential, Potential
from meanforce.potentials.sums import Sum
from meanforce.topology import Topology
from meanforce.units import KB

#: A coefficient that owes less than this to the data counts as not determined by them.
_DETERMINED = 0.5
#: The core rises by at least this much, in kT, from one coefficient to the next.
_CORE_STEP = 2.0

Regularisation = Literal["evidence", "cross-validation"] | float


def fit(
    potential: Potential | Model,
    objectives: Objective | Sequence[Objective],
    *,
    regularisation: Regularisation = "evidence",
    blocks: int = 32,
    core: bool = True,
    progress: Progress | None = None,
) -> Fit:
    """Learns a model from any list of objectives.

    A potential that is linear in its coefficients with objectives that are quadratic has one answer, and gets it
    in closed form: labels are streamed once, the noise of each kind of label is estimated, and the smoothness of
    each term is chosen by `regularisation`:

    * "evidence" (default): the strengths under which the labels are most probable, one for each term;
    * "cross-validation": one strength for all terms, by held-out blocks of frames;
    * a number: this multiple of the strength at which prior and data weigh alike; 0 for plain least squares.

    `blocks` contiguous blocks of frames measure held-out errors and how correlated the labels are. With `core`,
    pair terms rise towards distances shorter than any in the data. `progress` is called with the part done.
    """
    started = time.perf_counter()
    asked = [objectives] if not isinstance(objectives, Sequence) else list(objectives)
    start, known = _start(potential)
    linear, wanted = _accepted(start, asked, regularisation, blocks)
    topology = _common_topology(wanted)
    normals, energy = normal_equations(linear, wanted, blocks=blocks, progress=progress)
    penalties, names = linear.penalties(), linear.basis_names()
    if regularisation == "cross-validation":
        regression = cross_validated(normals, penalties, names, energy=energy)
    else:
        strengths = None if regularisation == "evidence" else float(regularisation)
        regression = regress(normals, penalties, names, energy=energy, strengths=strengths)
    squares = held_out(normals, penalties, names, regression)
    fitted = linear.with_coefficients(jnp.asarray(regression.coefficients))
    temperatures = sorted({s.temperature for objective in wanted for s in objective.states})
    if core:
        fitted = _with_core(fitted, regression, temperatures)
    scores = tuple(
        _score(o, n, regression, i, squares[i]) for i, (o, n) in enumerate(zip(wanted, normals, strict=True))
    )
    model = Model(
        potential=fitted,
        topology=topology,
        mapping=wanted[0].data.provenance.get("mapping") if known is None else known.mapping,
        temperature=(temperatures[0], temperatures[-1]) if temperatures else None,
        data=tuple(dict.fromkeys(objective.data.hash for objective in wanted)),
        notes=_notes(wanted, temperatures),
    )
    history = History(
        regression.steps, scores, regression.identifiability, regression.effective, time.perf_counter() - started
    )
    return Fit(model, _outcome(regression), history, Posterior(fitted, regression.factor))


def _start(potential: Potential | Model) -> tuple[Potential, Model | None]:
    """The potential to fit, sums rearranged so that their linear terms stand on the others."""
    model = potential if isinstance(potential, Model) else None
    start = potential.potential if isinstance(potential, Model) else potential
    return Sum.of(*start.terms) if isinstance(start, Sum) else start, model


def _accepted(
    potential: Potential, objectives: list[Objective], regularisation: Regularisation, blocks: int
) -> tuple[LinearPotential, list[Quadratic]]:
    """What the closed form can do; everything else is refused before the data are read."""
    if not objectives:
        raise ValueError("fit needs at least one objective, such as mf.ForceMatching(data)")
    accepted: list[Quadratic] = []
    for objective in objectives:
        if not isinstance(objective, Quadratic):
            raise ValueError(
                f"fit: {type(objective).__name__} is no quadratic objective (see meanforce.objectives.base.Quadratic); "
                "this release fits least squares, such as ForceMatching and PressureMatching, in closed form"
            )
        accepted.append(objective)
    if not isinstance(potential, LinearPotential):
        raise ValueError(
            f"fit: {type(potential).__name__} is not linear in its coefficients; this release fits linear potentials "
            "(mf.SplinePotential, or splines and priors put together) in closed form, and has no gradient fits"
        )
    if isinstance(regularisation, str):
        if regularisation not in ("evidence", "cross-validation"):
            raise ValueError(f"regularisation={regularisation!r}: use 'evidence', 'cross-validation' or a number")
    elif not (np.isfinite(regularisation) and regularisation >= 0):
        raise ValueError(f"regularisation={regularisation}: a number must be zero or positive")
    if blocks < 1:
        raise ValueError(f"blocks={blocks}: at least one block of frames is needed; 32 is the default")
    for objective in accepted:
        objective.check(potential)
    return potential, accepted


def _common_topology(objectives: list[Quadratic]) -> Topology:
    first = objectives[0].data.topology
    for objective in objectives[1:]:
        if objective.data.topology.types != first.types:
            raise ValueError(
                f"the data sets of {type(objectives[0]).__name__} and {type(objective).__name__} have different bead "
                f"types ({', '.join(first.types)}; {', '.join(objective.data.topology.types)}): one model needs one set"
            )
    return first


def _with_core(potential: LinearPotential, regression: Regression, temperatures: list[float]) -> LinearPotential:
    """A rise where no frame has been: beads that come closer than atoms ever did must be pushed back."""
    kelvin = temperatures[-1] if temperatures else 300.0
    return potential.with_core(regression.determined > _DETERMINED, _CORE_STEP * KB * kelvin)


def _score(objective: Quadratic, normal: Normal, regression: Regression, at: int, squares: np.ndarray) -> Score:
    total = normal.total
    mean = float(np.average(squares, weights=normal.blocks.count[: len(squares)]))
    error = float(np.std(squares, ddof=1) / np.sqrt(len(squares))) if len(squares) > 1 else float("nan")
    return Score(
        name=objective.name,
        unit=objective.unit,
        labels=float(np.sqrt(total.square / total.count)),
        training=float(np.sqrt(residual_square(total, regression.coefficients) / total.count)),
        held_out=float(np.sqrt(mean)),
        held_out_error=error / (2 * np.sqrt(mean)) if mean > 0 else error,
        noise=float(regression.noise[at]),
        inefficiency=float(regression.inefficiency[at]),
    )


def _notes(objectives: list[Quadratic], temperatures: list[float]) -> tuple[str, ...]:
    names = " + ".join(type(o).__name__ + ("" if o.weight == 1 else f" x {o.weight:g}") for o in objectives)
    notes = [f"closed form: {names}"]
    if len(temperatures) > 1:
        kelvin = ", ".join(f"{t:g}" for t in temperatures)
        notes.append(f"the potential does not depend on temperature; it is a compromise between {kelvin} K")
    return tuple(notes)


def _outcome(regression: Regression) -> Outcome:
    if not regression.converged:
        return Outcome.UNSETTLED
    return Outcome.SOLVED if regression.identifiability.complete else Outcome.EXTRAPOLATED
