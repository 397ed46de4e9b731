"""The closed form: linear potentials and quadratic objectives have one answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np

from meanforce.learn.asked import common_topology, model_of, named, temperatures_of
from meanforce.learn.linear import Progress, normal_equations
from meanforce.learn.normal import Normal
from meanforce.learn.posterior import Posterior
from meanforce.learn.regression import Regression, regress, residual_square
from meanforce.learn.result import Fit, History, Outcome
from meanforce.learn.score import Score
from meanforce.learn.unsampled import Sampled
from meanforce.learn.validation import cross_validated, held_out
from meanforce.model import Model
from meanforce.objectives.base import Quadratic
from meanforce.potentials.base import LinearPotential
from meanforce.units import KB

#: The core rises by at least this much, in kT, from one coefficient to the next.
_CORE_STEP = 2.0

Regularisation = Literal["evidence", "cross-validation"] | float


def solved(
    linear: LinearPotential,
    wanted: Sequence[Quadratic],
    known: Model | None,
    *,
    regularisation: Regularisation,
    blocks: int,
    core: bool,
    progress: Progress | None,
    beads: int | None = None,
) -> Fit:
    """See `fit`; `beads` is how many the design is made of at once, where its size alone does not bound the memory."""
    started = time.perf_counter()
    _refuse(regularisation)
    common_topology(wanted)
    normals, energy, places = normal_equations(linear, wanted, blocks=blocks, progress=progress, beads=beads)
    sampled = Sampled.of(places, linear.penalties(), linear.basis_names())
    penalties, names = sampled.penalties, sampled.names
    if regularisation == "cross-validation":
        regression = cross_validated(normals, penalties, names, energy=energy)
    else:
        strengths = None if regularisation == "evidence" else float(regularisation)
        regression = regress(normals, penalties, names, energy=energy, strengths=strengths)
    squares = held_out(normals, penalties, names, regression)
    scores = tuple(
        _score(o, n, regression, i, squares[i]) for i, (o, n) in enumerate(zip(wanted, normals, strict=True))
    )
    regression = sampled.whole(regression)
    fitted = linear.with_coefficients(jnp.asarray(regression.coefficients))
    if core:
        fitted = _with_core(fitted, regression, temperatures_of(wanted))
    model = model_of(fitted, known, wanted, [f"closed form: {named(wanted)}"])
    history = History(
        regression.steps, scores, regression.identifiability, regression.effective, time.perf_counter() - started
    )
    return Fit(model, _outcome(regression), history, Posterior(fitted, regression.factor))


def _refuse(regularisation: Regularisation) -> None:
    if isinstance(regularisation, str):
        if regularisation not in ("evidence", "cross-validation"):
            raise ValueError(f"regularisation={regularisation!r}: use 'evidence', 'cross-validation' or a number")
    elif not (np.isfinite(regularisation) and regularisation >= 0):
        raise ValueError(f"regularisation={regularisation}: a number must be zero or positive")


def _with_core(potential: LinearPotential, regression: Regression, temperatures: list[float]) -> LinearPotential:
    """A rise where no frame has been: beads that come closer than atoms ever did must be pushed back."""
    kelvin = temperatures[-1] if temperatures else 300.0
    return potential.with_core(regression.determined, _CORE_STEP * KB * kelvin)


def _score(objective: Quadratic, normal: Normal, regression: Regression, at: int, squares: np.ndarray) -> Score:
    total = normal.total
    return Score.of(
        objective,
        squares,
        normal.blocks.count[: len(squares)],
        labels=float(np.sqrt(total.square / total.count)),
        training=float(np.sqrt(residual_square(total, regression.coefficients) / total.count)),
        noise=float(regression.noise[at]),
        inefficiency=float(regression.inefficiency[at]),
    )


def _outcome(regression: Regression) -> Outcome:
    if not regression.converged:
        return Outcome.UNSETTLED
    return Outcome.SOLVED if regression.identifiability.complete else Outcome.EXTRAPOLATED
