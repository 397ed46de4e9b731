"""Lengths and other settings of a linear potential by evidence: those under which the labels are most probable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from meanforce.learn.asked import quadratic
from meanforce.learn.fit import fit
from meanforce.learn.linear import normal_equations
from meanforce.learn.regression import Normal, log_evidence, pose, regress, solve
from meanforce.learn.result import Fit
from meanforce.learn.unsampled import Sampled
from meanforce.objectives.base import Objective
from meanforce.potentials.base import LinearPotential, Penalty


def tuned(
    make: Callable[..., LinearPotential],
    objectives: Objective | Sequence[Objective],
    *,
    evaluations: int = 20,
    blocks: int = 32,
    **bounds: tuple[float, float],
) -> Fit:
    """The fit of `make(name=value, ...)` with the positive values that maximise the evidence of the labels.

        make = lambda length: mf.KernelPotential.of(data, kernel=SquaredExponential(length))
        fit = mf.tuned(make, mf.ForceMatching(data), length=(0.1, 2.0))

    Each value is searched for between its bounds, by its logarithm. An evaluation costs what a fit costs, one pass over
    the data, and there are at most `evaluations` and one more; ten for each value settle it to some percent, and a
    model depends on less. The correlation of the labels is measured once, in the middle of the bounds: evidence counts
    labels, and does not compare where each fit counts them anew. What was found is in the notes of the model.
    """
    asked = [objectives] if not isinstance(objectives, Sequence) else list(objectives)
    low, high = _refuse(bounds, evaluations)
    counted: list[np.ndarray] = []  # the inefficiency of the labels

    def at(place: Float[np.ndarray, "n"]) -> dict[str, float]:
        return {name: float(np.exp(value)) for name, value in zip(bounds, place, strict=True)}

    def loss(place: Float[np.ndarray, "n"]) -> float:
        linear = make(**at(place))
        normals, _, places = normal_equations(linear, quadratic(linear, asked), blocks=blocks)
        sampled = Sampled.of(places, linear.penalties(), linear.basis_names())
        found = regress(normals, sampled.penalties, sampled.names)
        if not counted:
            counted.append(found.inefficiency)
        return -evidence(normals, sampled.penalties, found.strengths, found.noise, counted[0])

    middle, step = (low + high) / 2, (high - low) / 4
    simplex = np.vstack([middle, middle + np.diag(step)])
    options = {"maxfev": evaluations, "xatol": 0.02, "fatol": 0.1, "initial_simplex": simplex}
    best = minimize(loss, middle, method="Nelder-Mead", bounds=list(zip(low, high, strict=True)), options=options)
    answer = fit(make(**at(best.x)), asked, blocks=blocks)
    values = ", ".join(f"{name}={value:.4g}" for name, value in at(best.x).items())
    note = f"{values} by evidence, in {best.nfev} evaluations"
    return answer._replace(model=answer.model.with_(notes=(*answer.model.notes, note)))


def evidence(
    normals: Sequence[Normal],
    penalties: Sequence[Penalty],
    strengths: Float[np.ndarray, "penalties"],
    noise: Float[np.ndarray, "objectives"],
    inefficiency: Float[np.ndarray, "objectives"],
) -> float:
    """ln p(labels | strengths, noise) in natural units, comparable between potentials of any number of coefficients.

    Labels count as one in `inefficiency`. Where a penalty leaves something free, that has to be the same in all
    potentials that are compared.
    """
    size = len(normals[0].total.moment)
    problem, _ = pose(normals, penalties, [str(k) for k in range(size)])
    precision = np.array([n.weight for n in normals]) / (inefficiency * noise**2)
    value = log_evidence(problem, solve(problem, precision, strengths), precision, noise**2, strengths)
    volume = np.log(np.linalg.svd(problem.basis.transform, compute_uv=False)).sum()  # of the variables solved for
    stiff = [np.linalg.eigvalsh(penalty.matrix) for penalty in penalties]
    return value + float(volume) + 0.5 * sum(float(np.log(v[v > 1e-12 * v.max()]).sum()) for v in stiff)


def _refuse(bounds: dict[str, tuple[float, float]], evaluations: int) -> tuple[np.ndarray, np.ndarray]:
    """The logarithms of the bounds."""
    if not bounds:
        raise ValueError("tuned: name at least one argument of `make` with its bounds, such as length=(0.1, 2.0)")
    for name, (low, high) in bounds.items():
        if not 0 < low < high:
            raise ValueError(f"tuned: {name}=({low}, {high}); bounds are positive, the lower one first")
    if evaluations < len(bounds) + 2:
        raise ValueError(f"tuned: evaluations={evaluations}; {len(bounds)} values need at least {len(bounds) + 2}")
    low, high = np.log(np.array(list(bounds.values()), float)).T
    return low, high
