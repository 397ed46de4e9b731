"""The rules by which a model is judged. They stand here, before anything is sampled.

Each rule names an effect size (how large a difference would matter to a user) and a number k of combined
standard errors. With a difference d and its error s,

    agrees        |d| + k s is within the effect size: any difference that matters is ruled out
    differs       |d| - k s is beyond it: a difference that matters is established
    not resolved  neither: the samples do not tell, and more of them are needed

so that a short run can never buy agreement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from meanforce.observables.base import Scalar
from meanforce.observables.compare import StructureError
from meanforce.observables.rounding import number, with_error
from meanforce.observables.surface import SurfaceError
from meanforce.report.sections import Outcome, Verdict


@dataclass(frozen=True)
class Rule:
    """An effect size in `unit` (a fraction of the reference if `relative`) and k combined standard errors."""

    observable: str
    effect: float
    k: float
    unit: str = ""
    relative: bool = False

    def __str__(self) -> str:
        size = f"{100 * self.effect:g} %" if self.relative else f"{self.effect:g} {self.unit}".strip()
        return f"effect size {size}, k = {self.k:g} combined standard errors"

    def outcome(self, difference: float, error: float, scale: float = 1.0) -> Outcome:
        """Judges a difference with its error; `scale` is the reference of a relative rule."""
        effect = self.effect * abs(scale) if self.relative else self.effect
        if not (math.isfinite(difference) and math.isfinite(error)):
            return "not resolved"
        if abs(difference) + self.k * error <= effect:
            return "agrees"
        if abs(difference) - self.k * error > effect:
            return "differs"
        return "not resolved"


RDF = Rule("radial distribution function, mean-square error", effect=5e-4, k=2.0)
ADF = Rule("angular distribution function, mean-square error", effect=5e-4, k=2.0)
BONDED = Rule("bonded distribution, relative mean-square error", effect=1e-2, k=2.0)
SURFACE = Rule("free-energy surface, root-mean-square difference where the atoms lie within 4 kT", effect=0.5, k=2.0,
               unit="kT")  # fmt: skip
PEAK_HEIGHT = Rule("height of the first peak", effect=0.03, k=2.0, relative=True)
PEAK_POSITION = Rule("position of the first peak", effect=0.005, k=2.0, unit="nm")
FORCE = Rule("held-out force error above the noise floor", effect=0.05, k=2.0, relative=True)
PRESSURE = Rule("pressure", effect=100.0, k=2.0, unit="bar")
ENERGY = Rule("mean potential energy", effect=0.01, k=2.0, relative=True)
FREE_ENERGY = Rule("free energy of the beads, samples against atoms", effect=0.05, k=2.0, unit="kT per bead")
DENSITY = Rule("density", effect=0.01, k=2.0, relative=True)
# One verdict for several temperatures, of which any may be out by chance: three errors.
ENERGY_OVER_T = Rule("mean energy of the atoms over temperatures", effect=0.1, k=3.0, unit="kJ/mol per molecule")
HEAT_CAPACITY = Rule("configurational heat capacity over temperatures", effect=0.1, k=3.0, relative=True)
ENTROPY = Rule("rise of the entropy with temperature", effect=0.5, k=3.0, unit="J/(mol K) per molecule")
RAMP = Rule("energy over the ramp against that at rest", effect=0.1, k=3.0, unit="kJ/mol per molecule")
FORCE_BALANCE = Rule("forces against configurations", effect=0.02, k=3.0, relative=True)
BALANCE = Rule("exact relation between labels and model", effect=0.1, k=3.0, relative=True)
NEGATIVE_HEAT = Rule("frames with negative heat capacity", effect=0.01, k=2.0)
IDENTITY = Rule("derivatives of one free energy", effect=1e-4, k=2.0)
DIFFUSION = Rule("diffusion coefficient", effect=0.1, k=2.0, relative=True)


def compare_scalars(rule: Rule, model: Scalar, reference: Scalar, name: str = "", *, observable: str = "") -> Verdict:
    """Judges a number of the model against the same number of the reference."""
    difference = model.value - reference.value
    error = math.hypot(model.error, reference.error)
    outcome = rule.outcome(difference, error, reference.value)
    apart = f"{number(100 * difference / reference.value)} %, " if rule.relative and reference.value else ""
    combined = f"{number(abs(difference) / error, 2)} combined errors" if error > 0 else "no error known"
    finding = (
        f"{with_error(model.value, model.error)} {model.unit}".rstrip()
        + f" against {with_error(reference.value, reference.error)} {reference.unit}".rstrip()
        + f" ({apart}{combined})"
    )
    return Verdict(observable or rule.observable, outcome, finding, str(rule), name)


def judge_structure(rule: Rule, error: StructureError, name: str = "", observable: str = "") -> Verdict:
    """Judges the structure error beyond its noise. Below the noise the true error may still be as large as k s."""
    outcome = rule.outcome(max(error.excess, 0.0), error.error)
    finding = (
        f"mean-square error {number(error.mean_square, 2)}, of which noise {number(error.noise, 2)}; "
        f"beyond noise {with_error(error.excess, error.error)}"
    )
    return Verdict(observable or rule.observable, outcome, finding, str(rule), name)


def judge_surface(rule: Rule, error: SurfaceError, name: str = "", observable: str = "") -> Verdict:
    """Judges two free-energy surfaces. What the model never visited is a difference, however large the rest's error."""
    outcome = rule.outcome(error.rms, error.rms_error)
    if error.unseen > 0 and outcome == "agrees":
        outcome = "not resolved"
    finding = (
        f"{with_error(error.rms, error.rms_error)} kT beyond noise; {number(100 * error.within_half, 3)} % of the bins "
        f"within 0.5 kT and two errors, {number(100 * error.unseen, 2)} % never visited; density: mean-square error "
        f"{number(error.density.mean_square, 2)} rad⁻⁴, of which noise {number(error.density.noise, 2)}"
    )
    return Verdict(observable or rule.observable, outcome, finding, str(rule), name)


def judge_floor(rule: Rule, error: Scalar, floor: tuple[float, float], name: str = "") -> Verdict:
    """Judges a held-out error against an interval that holds the irreducible noise.

    Both are root mean squares. It agrees when even the lowest floor leaves less than the effect size to learn.
    """
    low, high = floor
    if not 0 <= low <= high:
        raise ValueError(f"the noise floor must be an interval, low to high, not {floor}")
    lowest, highest = error.value / high - 1, error.value / low - 1 if low > 0 else math.inf
    if highest < math.inf and highest + rule.k * error.error / low <= rule.effect:
        outcome: Outcome = "agrees"
    elif lowest - rule.k * error.error / high > rule.effect:
        outcome = "differs"
    else:
        outcome = "not resolved"
    most = f"{100 * highest:+.1f} %" if low > 0 else "any amount"
    finding = (
        f"{with_error(error.value, error.error)} {error.unit}, noise floor between {number(low)} and {number(high)}: "
        f"{100 * lowest:+.1f} % to {most} from the floor"
    )
    return Verdict(rule.observable, outcome, finding, str(rule), name)
