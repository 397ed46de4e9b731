"""The friction with which beads diffuse as the atoms do, found at one temperature or several for use at others.

The free energy says nothing about the pace of motion: beads without friction are too fast, since what was averaged out
does not hold them back. Langevin friction gamma puts that back as one number. Free beads have D = kT/(m gamma) or, over
a window t of their velocity autocorrelation, D(t) = kT/(m gamma) (1 - exp(-gamma t)). Beads that interact move as free
ones of a larger friction would, which rises with gamma and is close to linear in it: a line through a few runs of the
model itself gives gamma, and its scatter the error.

What holds beads back changes with temperature as motion over barriers does: ln(gamma) is close to a line in 1/T. One
match knows nothing of its slope; two say it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce import units
from meanforce.dynamics.activated import Activated
from meanforce.dynamics.integrators import Forces, Phase, System, kick
from meanforce.dynamics.run import Model, simulate
from meanforce.dynamics.settings import Progress, Settings
from meanforce.dynamics.thermostats import Langevin, baoab
from meanforce.ensemble import Ensemble
from meanforce.frames import Frames
from meanforce.observables.base import Scalar
from meanforce.observables.transport import Diffusion, diffusion
from meanforce.observables.velocities import Memory, velocity_memory

_SETTINGS = Settings()
#: Runs: two to find the line, the others where it says.
_RUNS = 5
#: This part of a run is left out of its diffusion: the friction is new to it.
_SETTLING = 0.2
#: Two frictions at least this factor apart make a line.
_APART = 1.5
#: The next friction is at most this factor beyond those tried.
_LEAP = 3.0
#: How far the friction of free beads may depart from the line, relative, where it is e times the one sought.
_BENT = 0.05


#: Friction of beads that are hardly held back at all, 1/ps.
_SLOWEST = 1e-3
#: Beads that a bath sped up by exp(this) over the window are no beads.
_STEEPEST = 30.0


class Match(NamedTuple):
    """The friction at one temperature with its error, and the runs that it was read from."""

    kelvin: float
    value: Scalar  # 1/ps
    reference: Scalar  # the diffusion coefficient to be met
    tried: Float[np.ndarray, "runs"]  # 1/ps
    found: tuple[Scalar, ...]  # the diffusion coefficient of each run
    window: tuple[float, float]  # ps, over which diffusion was read
    slope: float  # of the friction of free beads that are as fast, by the friction


class Friction(NamedTuple):
    """Friction over temperature: that of one match everywhere, or through several, ln(gamma) being a line in 1/T.

    `mf.Friction.through(cold, hot)` joins matches. Between neighbours, and beyond the outer ones, the line goes on.
    """

    matches: tuple[Match, ...]  # by rising temperature

    @staticmethod
    def through(*frictions: Friction) -> Friction:
        """All their matches together."""
        matches = sorted((match for friction in frictions for match in friction.matches), key=lambda m: m.kelvin)
        kelvins = [match.kelvin for match in matches]
        if not matches or len(set(kelvins)) < len(kelvins):
            raise ValueError(
                f"friction is matched at {', '.join(f'{t:g}' for t in kelvins) or 'no temperature'} K; give one match "
                "at each of one or more temperatures"
            )
        return Friction(tuple(matches))

    @property
    def thermostat(self) -> Langevin:
        """The bath to simulate with, at any temperature and while it changes."""
        values = tuple(match.value.value for match in self.matches)
        return Langevin(values[0] if len(values) == 1 else self._line)

    def at(self, kelvin: float) -> Scalar:
        """The friction at a temperature in K, 1/ps, with the error that those of the matches make."""
        if len(self.matches) == 1:
            return self.matches[0].value
        line = self._line
        part = np.array([match.value.error / match.value.value for match in self.matches])
        value = float(line.at(kelvin))
        return Scalar("friction", value, value * float(np.linalg.norm(np.asarray(line.weights(kelvin)) * part)), "1/ps")

    def uncertainty(self, coefficient: Scalar, masses: Float[np.ndarray, "beads"], kelvin: float) -> float:
        """The error that the friction's own leaves in a diffusion coefficient of the model at `kelvin`, in its unit."""
        near = min(self.matches, key=lambda match: abs(1 / match.kelvin - 1 / kelvin))
        pace = Free.beads(masses, kelvin, None).pace
        return coefficient.value**2 / pace * abs(near.slope) * self.at(kelvin).error

    @property
    def _line(self) -> Activated:
        return Activated(*zip(*((match.kelvin, match.value.value) for match in self.matches), strict=True))

    def to_json(self) -> str:
        """As text, every digit kept."""
        rows = [
            match._asdict() | {
                "value": match.value._asdict(), "reference": match.reference._asdict(), "tried": match.tried.tolist(),
                "found": [scalar._asdict() for scalar in match.found],
            }
            for match in self.matches
        ]  # fmt: skip
        return json.dumps({"matches": rows}, indent=2)

    @staticmethod
    def from_json(text: str) -> Friction:
        rows = json.loads(text)["matches"]
        return Friction(tuple(Match(
            row["kelvin"], Scalar(**row["value"]), Scalar(**row["reference"]), np.array(row["tried"], float),
            tuple(Scalar(**found) for found in row["found"]), (row["window"][0], row["window"][1]), row["slope"],
        ) for row in rows))  # fmt: skip


def match_diffusion(
    model: Model,
    start: Frames,
    reference: Diffusion | Memory | Scalar | float,
    temperature: float,
    time: float,
    timestep: float,
    seed: int,
    *,
    settings: Settings = _SETTINGS,
    measure: Callable[[Ensemble], Diffusion | Memory] | None = None,
) -> Friction:
    """The Langevin friction with which the model diffuses as the reference at `temperature` K, with its error.

    `reference` is the diffusion coefficient of the atoms, in 1e-9 m^2/s where it is a number, best from a box of the
    same size; or `mf.observables.velocity_memory(atoms, window)`: then velocities lose their memory as those of the
    atoms do over this window, in frames as far apart. The model is run five times for `time` ps, each from where the
    last one ended, and measured in the same way, or by `measure`, such as
    `lambda run: mf.observables.diffusion(run, species="W")`. With `settings.output` every run is kept in a file of its
    own, and `settings.resume` goes on with them. A model that is slower than the reference without friction is refused.
    """
    wanted = _wanted(reference)
    settings, measure = _as_measured(reference, settings, measure)
    free = Free.beads(model.topology.masses, temperature, reference.window if isinstance(reference, Memory) else None)
    sought = free.friction(wanted)
    tried: list[float] = [max(sought.value, _SLOWEST)]
    found: list[Scalar] = []
    window = (0.0, 0.0)
    while True:
        key = int(np.random.SeedSequence((seed, len(found))).generate_state(1)[0])
        run = simulate(
            model, start, temperature, time, timestep, key, thermostat=_Tried(tried[-1]),
            settings=_numbered(settings, len(found), round(time / timestep)),
        )  # fmt: skip
        measured = measure(_settled(run, time))
        found.append(_coefficient(measured, free.window, tried[-1]))
        window = measured.window if isinstance(measured, Diffusion) else (0.0, measured.window)
        frictions = [free.friction(d) for d in _pooled(found)]
        if len(found) == _RUNS:
            break
        start = run.frames[len(run.frames) - settings.replicas :].with_(temperature=None, time=None, trajectory=None)
        tried.append(_next(np.array(tried), frictions, sought))
    line = Line.through(np.array(tried), frictions, sought.value)
    value = line.solved(sought, wanted, free)
    return Friction((Match(temperature, value, wanted, np.array(tried), tuple(found), window, line.slope),))


class Free(NamedTuple):
    """Beads that do not interact: their pace by their friction, and back."""

    pace: float  # kT/m in 1e-9 m^2/s per ps: D gamma on long times
    window: float | None = None  # ps, of the velocity autocorrelation; None: all of it

    @staticmethod
    def beads(masses: Float[np.ndarray, "beads"], temperature: float, window: float | None) -> Free:
        """Those of one model, at `temperature` K."""
        return Free(units.KB * temperature * float((1 / np.asarray(masses)).mean()) * units.DIFFUSION, window)

    def coefficient(self, gamma: float) -> float:
        """D, in 1e-9 m^2/s, at a friction in 1/ps."""
        return self.pace / gamma if self.window is None else self.pace * self.window * _lost(gamma * self.window)

    def friction(self, coefficient: Scalar) -> Scalar:
        """The friction at which free beads have this D, 1/ps; below zero where no bath at rest would do."""
        d, window = coefficient.value, self.window
        if window is None:
            return Scalar("friction of free beads", self.pace / d, self.pace * coefficient.error / d**2, "1/ps")
        from scipy.optimize import brentq

        part = d / (self.pace * window)
        x = float(brentq(lambda x: _lost(x) - part, -_STEEPEST, 1 / part + 1))
        slope = (np.exp(-x) * (1 + x) - 1) / x**2 if abs(x) > 1e-4 else x / 3 - 0.5
        return Scalar(
            "friction of free beads", x / window, coefficient.error / (self.pace * window**2 * abs(slope)), "1/ps"
        )


class Line(NamedTuple):
    """The friction of free beads as fast as these = resistance + slope gamma, by weighted least squares."""

    resistance: float
    slope: float
    covariance: Float[np.ndarray, "2 2"]

    @staticmethod
    def through(tried: Float[np.ndarray, "runs"], found: list[Scalar], sought: float) -> Line:
        """The line near the friction sought: runs far from there count less."""
        y, error = (np.array([getattr(g, part) for g in found]) for part in ("value", "error"))
        far = np.log(np.maximum(np.abs(y), _SLOWEST) / max(abs(sought), _SLOWEST))
        width = np.hypot(error, _BENT * far * y)
        rows = np.stack([np.ones_like(tried), tried], 1) / width[:, None]
        covariance = np.linalg.inv(rows.T @ rows)
        resistance, slope = covariance @ (rows.T @ (y / width))
        excess = float(((y / width - rows @ [resistance, slope]) ** 2).sum()) / max(len(y) - 2, 1)
        return Line(float(resistance), float(slope), covariance * max(1.0, excess))

    def at(self, sought: float) -> float:
        """The friction at which these beads are as fast as free ones at the friction sought, 1/ps."""
        return (sought - self.resistance) / self.slope

    def solved(self, sought: Scalar, wanted: Scalar, free: Free) -> Scalar:
        """The same with its error, or a refusal where it is not positive."""
        gamma = self.at(sought.value)
        if not (self.slope > 0 and gamma > 0):
            limit = f"{free.coefficient(self.resistance):.4g} {wanted.unit}" if self.resistance > 0 else "not known"
            raise ValueError(
                f"no friction makes this model diffuse with {wanted.value:.4g} {wanted.unit}: without friction its "
                f"coefficient is {limit}. Check the unit and the box of the reference; a model that is slower than "
                "the atoms has too rough a free energy"
            )
        side = np.array([1.0, gamma])
        scatter = sought.error**2 + side @ self.covariance @ side
        return Scalar("friction", gamma, float(np.sqrt(scatter)) / self.slope, "1/ps")


@dataclass(frozen=True)
class _Tried:
    """Langevin dynamics whose friction is part of its state: all that are tried share one compiled program."""

    friction: float = field(compare=False)  # 1/ps

    conserves_momentum = False
    canonical = True

    def init(self, system: System) -> Float[Array, "replicas"]:
        return jnp.full(system.replicas, self.friction)

    def advance(self, phase: Phase, forces: Forces, system: System, timestep: float) -> Phase:
        return baoab(phase, forces, system, timestep, jnp.exp(-timestep * phase.thermostat))

    def finish(self, phase: Phase, forces: Forces, system: System, timestep: Float[Array, ""] | float) -> Phase:
        return kick(phase, forces, system, timestep / 2)

    def stored(self, phase: Phase, system: System) -> Float[Array, "replicas"]:
        return jnp.full_like(system.thermal_energy, jnp.nan)


def _lost(x: float) -> float:
    """(1 - exp(-x))/x, the mean of exp(-t) from 0 to x."""
    return float(-np.expm1(-x) / x) if abs(x) > 1e-8 else 1.0 - x / 2


def _wanted(reference: Diffusion | Memory | Scalar | float) -> Scalar:
    if isinstance(reference, Diffusion | Memory):
        reference = reference.coefficient
    if not isinstance(reference, Scalar):
        reference = Scalar("diffusion coefficient", float(reference), 0.0, "1e-9 m²/s")
    if not (np.isfinite(reference.value) and reference.value > 0):
        raise ValueError(f"the diffusion coefficient of the reference is {reference.value}; give one above 0")
    return reference


def _as_measured(
    reference: Diffusion | Memory | Scalar | float,
    settings: Settings,
    measure: Callable[[Ensemble], Diffusion | Memory] | None,
) -> tuple[Settings, Callable[[Ensemble], Diffusion | Memory]]:
    """How the reference was measured is how the model is."""
    if not isinstance(reference, Memory):
        return settings, measure or diffusion
    every = settings.save_every or reference.interval
    if not np.isclose(every, reference.interval, rtol=1e-6):
        raise ValueError(
            f"velocities between frames of the reference are over {reference.interval:g} ps, and those of the model "
            f"would be over {every:g} ps; leave settings.save_every out"
        )
    return replace(settings, save_every=reference.interval), measure or partial(
        velocity_memory, window=reference.window
    )


def _next(tried: Float[np.ndarray, "runs"], found: list[Scalar], sought: Scalar) -> float:
    """The friction to try next: first as if a line of slope one went through the first, then by that of all runs."""
    if len(found) == 1:
        guess = tried[0] + sought.value - found[0].value
        below, above = tried[0] / _APART, tried[0] * _APART
        apart = min(guess, below) if guess < tried[0] else max(guess, above)
        return float(np.clip(apart, tried[0] / _LEAP, tried[0] * _LEAP))
    line = Line.through(tried, found, sought.value)
    guess = line.at(sought.value) if line.slope > 0 else 0.0
    return float(np.clip(guess, tried.min() / _LEAP, tried.max() * _LEAP))


def _pooled(found: Sequence[Scalar]) -> list[Scalar]:
    """With the same relative error for all: that of one run alone is not known well."""
    relative = float(np.sqrt(np.mean([(d.error / d.value) ** 2 for d in found])))
    return [d._replace(error=relative * d.value) for d in found]


def _settled(run: Ensemble, time: float) -> Ensemble:
    keep = np.flatnonzero(np.asarray(run.frames.time) > _SETTLING * time)
    return run._replace(
        frames=run.frames[keep], reduced=run.reduced[keep], log_weights=run.log_weights[keep], chain=run.chain[keep]
    )


def _coefficient(measured: Diffusion | Memory, window: float | None, gamma: float) -> Scalar:
    own = measured.window if isinstance(measured, Memory) else None
    if own != window:
        said = ["the whole of time" if w is None else f"{w:g} ps" for w in (own, window)]
        raise ValueError(f"measure takes {said[0]} and the reference {said[1]}: measure both in the same way")
    coefficient = measured.coefficient
    if not coefficient.value > 0:
        raise ValueError(
            f"no diffusion is seen at a friction of {gamma:.4g} 1/ps ({coefficient}): take a longer time, or more "
            "replicas"
        )
    return coefficient


def _numbered(settings: Settings, run: int, steps: int) -> Settings:
    """With a file for each run, and progress that is that of all of them."""
    if settings.progress is not None:
        tell, after = settings.progress, _RUNS - 1 - run
        settings = replace(settings, progress=lambda seen: tell(Progress(
            (run + seen.fraction) / _RUNS, seen.remaining + after * steps / max(seen.steps_per_second, 1e-9),
            seen.steps_per_second,
        )))  # fmt: skip
    if settings.output is None:
        return settings
    output = Path(settings.output)
    return replace(settings, output=output.with_name(f"{output.stem}-{run}{output.suffix}"))
