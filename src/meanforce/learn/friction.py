"""The friction with which beads diffuse as the atoms do, found at one temperature for use at others.

The free energy says nothing about the pace of motion: beads without friction are too fast, since what was averaged out
does not hold them back. Langevin friction gamma puts that back as one number. Free beads have D = kT/(m gamma), and
interactions add their own resistance, so that 1/D is close to linear in gamma and rises: a line through a few runs
of the model itself gives gamma, and its scatter the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce import units
from meanforce.dynamics.run import Model, simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin
from meanforce.ensemble import Ensemble
from meanforce.frames import Frames
from meanforce.observables.base import Scalar
from meanforce.observables.transport import Diffusion, diffusion

_SETTINGS = Settings()
#: Runs: two to find the line, the others where it says.
_RUNS = 5
#: This part of a run is left out of its diffusion: the friction is new to it.
_SETTLING = 0.2
#: Two frictions at least this factor apart make a line.
_APART = 1.5
#: The next friction is at most this factor beyond those tried.
_LEAP = 3.0
#: How far 1/D may depart from the line, relative, where gamma is e times the one sought.
_BENT = 0.05


class Friction(NamedTuple):
    """A friction with its error, and the runs that it was read from."""

    value: Scalar  # 1/ps
    reference: Scalar  # the diffusion coefficient to be met
    tried: Float[np.ndarray, "runs"]  # 1/ps
    found: tuple[Scalar, ...]  # the diffusion coefficient of each run

    @property
    def thermostat(self) -> Langevin:
        """The bath to simulate with, at this temperature or at others, where gamma is taken to be the same."""
        return Langevin(self.value.value)


def match_diffusion(
    model: Model,
    start: Frames,
    reference: Diffusion | Scalar | float,
    temperature: float,
    time: float,
    timestep: float,
    seed: int,
    *,
    settings: Settings = _SETTINGS,
    measure: Callable[[Ensemble], Diffusion] = diffusion,
) -> Friction:
    """The Langevin friction with which the model diffuses as the reference at `temperature` K, with its error.

    `reference` is the diffusion coefficient of the atoms, in 1e-9 m^2/s where it is a number, best from a box of the
    same size. The model is run five times for `time` ps, each from where the last one ended, and measured by `measure`,
    such as `lambda run: mf.observables.diffusion(run, species="W")`. With `settings.output` every run is kept in a file
    of its own. A model that diffuses slower than the reference without any friction is refused.
    """
    wanted = _wanted(reference)
    inverse_mass = float((1 / np.asarray(model.topology.masses)).mean())
    free = units.KB * temperature * inverse_mass * units.DIFFUSION  # D gamma of free beads
    tried: list[float] = [free / wanted.value]
    found: list[Scalar] = []
    while True:
        key = int(np.random.SeedSequence((seed, len(found))).generate_state(1)[0])
        run = simulate(
            model, start, temperature, time, timestep, key, thermostat=Langevin(tried[-1]),
            settings=_numbered(settings, len(found)),
        )  # fmt: skip
        found.append(_coefficient(measure(_settled(run, time)), tried[-1]))
        if len(found) == _RUNS:
            break
        start = run.frames[len(run.frames) - settings.replicas :].with_(temperature=None, time=None, trajectory=None)
        tried.append(_next(np.array(tried), found, wanted, free))
    line = Line.through(np.array(tried), found, wanted.value)
    return Friction(line.solved(wanted), wanted, np.array(tried), tuple(found))


class Line(NamedTuple):
    """1/D = resistance + slope gamma, by weighted least squares."""

    resistance: float
    slope: float
    covariance: Float[np.ndarray, "2 2"]

    @staticmethod
    def through(tried: Float[np.ndarray, "runs"], found: list[Scalar], wanted: float) -> Line:
        """The line near 1/D = 1/wanted: errors of the runs are pooled, and runs far from there count less."""
        y = np.array([1 / d.value for d in found])
        relative = np.sqrt(np.mean([(d.error / d.value) ** 2 for d in found]))
        width = y * np.sqrt(relative**2 + (_BENT * np.log(y * wanted)) ** 2)
        rows = np.stack([np.ones_like(tried), tried], 1) / width[:, None]
        covariance = np.linalg.inv(rows.T @ rows)
        resistance, slope = covariance @ (rows.T @ (y / width))
        excess = float(((y / width - rows @ [resistance, slope]) ** 2).sum()) / max(len(y) - 2, 1)
        return Line(float(resistance), float(slope), covariance * max(1.0, excess))

    def at(self, wanted: float) -> float:
        """The friction at which D is as wanted, 1/ps."""
        return (1 / wanted - self.resistance) / self.slope

    def solved(self, wanted: Scalar) -> Scalar:
        """The same with its error, or a refusal where it is not positive."""
        gamma = self.at(wanted.value)
        if not (self.slope > 0 and gamma > 0):
            limit = f"{1 / self.resistance:.4g} {wanted.unit}" if self.resistance > 0 else "not known"
            raise ValueError(
                f"no friction makes this model diffuse with {wanted.value:.4g} {wanted.unit}: without friction its "
                f"coefficient is {limit}. Check the unit and the box of the reference; a model that is slower than "
                "the atoms has too rough a free energy"
            )
        side = np.array([1.0, gamma])
        scatter = (wanted.error / wanted.value**2) ** 2 + side @ self.covariance @ side
        return Scalar("friction", gamma, float(np.sqrt(scatter)) / self.slope, "1/ps")


def _wanted(reference: Diffusion | Scalar | float) -> Scalar:
    if isinstance(reference, Diffusion):
        reference = reference.coefficient
    if not isinstance(reference, Scalar):
        reference = Scalar("diffusion coefficient", float(reference), 0.0, "1e-9 m²/s")
    if not (np.isfinite(reference.value) and reference.value > 0):
        raise ValueError(f"the diffusion coefficient of the reference is {reference.value}; give one above 0")
    return reference


def _next(tried: Float[np.ndarray, "runs"], found: list[Scalar], wanted: Scalar, free: float) -> float:
    """The friction to try next: first by the slope of free beads, then by the line through all runs."""
    if len(found) == 1:
        guess = tried[0] + free * (1 / wanted.value - 1 / found[0].value)
        below, above = tried[0] / _APART, tried[0] * _APART
        apart = min(guess, below) if guess < tried[0] else max(guess, above)
        return float(np.clip(apart, tried[0] / _LEAP, tried[0] * _LEAP))
    line = Line.through(tried, found, wanted.value)
    guess = line.at(wanted.value) if line.slope > 0 else 0.0
    return float(np.clip(guess, tried.min() / _LEAP, tried.max() * _LEAP))


def _settled(run: Ensemble, time: float) -> Ensemble:
    keep = np.flatnonzero(np.asarray(run.frames.time) > _SETTLING * time)
    return run._replace(
        frames=run.frames[keep], reduced=run.reduced[keep], log_weights=run.log_weights[keep], chain=run.chain[keep]
    )


def _coefficient(measured: Diffusion, gamma: float) -> Scalar:
    coefficient = measured.coefficient
    if not coefficient.value > 0:
        raise ValueError(
            f"no diffusion is seen at a friction of {gamma:.4g} 1/ps ({coefficient}): take a longer time, or more "
            "replicas"
        )
    return coefficient


def _numbered(settings: Settings, run: int) -> Settings:
    if settings.output is None:
        return settings
    output = Path(settings.output)
    return replace(settings, output=output.with_name(f"{output.stem}-{run}{output.suffix}"))
