"""Exact relations of force, energy, entropy and heat capacity that a free energy A(R; T) obeys on canonical frames.

For every smooth field g(R) that is periodic or decays, with w = g.F and d = div g,

    E[w] + kT E[d] = 0
    E[g.Cov_R(f, U)] + Cov(w + kT d, U) + (kT)^2 E[d] = 0

the second being the first one's derivative in temperature; a constant g gives E[Cov_R(f, U)] = -Cov(F, E). The frames
and U are those of the atoms, F and Cov_R the model's. With the model's own E = A + TS for U the second follows from the
first, whatever S is: their difference Cov(w + kT d, U - E) = 0 is what the atoms say of S, with the least noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from meanforce import thermodynamics
from meanforce.data import pairs, sumrules
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.numerics.neighbours import smallest_height
from meanforce.numerics.statistics import weighted_mean
from meanforce.thermodynamics import HasPotential
from meanforce.units import KB

_REACH = 2.2  # nearest distances: two shells
_STEP = 1e-3  # of the temperature, for differences
_NODES = 12  # of the quadrature over inverse temperature


class Check(NamedTuple):
    """A number that a relation fixes, as it was found, with one standard error."""

    name: str
    value: float
    error: float
    expected: float
    unit: str = ""
    kelvin: float = float("nan")  # at which it was found


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model says of canonical frames of the atoms at one temperature, beside the labels of these."""

    frames: Frames
    chain: Int[np.ndarray, "frames"]
    kelvin: float
    force: Float[np.ndarray, "frames beads 3"]
    free_energy: Float[np.ndarray, "frames"]
    energy: Float[np.ndarray, "frames"]
    covariance: Float[np.ndarray, "frames beads 3"]
    heat_capacity: Float[np.ndarray, "frames"]

    @staticmethod
    def of(model: HasPotential, data: Dataset) -> Seen:
        """`data` at one temperature."""
        if len(data.temperatures) != 1:
            raise ValueError("these relations hold at one temperature: choose it with data.select(temperature=...)")
        return Seen.each(model, [data])[0]

    @staticmethod
    def each(model: HasPotential, parts: Sequence[Dataset]) -> list[Seen]:
        """Several data sets of one temperature each, evaluated together: a model is compiled once for all."""
        frames = Frames.concatenate([part[:] for part in parts])
        at = lambda quantity: np.asarray(
            quantity(model, frames.positions, frames.box, temperature=frames.temperature, parameters=frames.parameters)
        )
        columns = [at(q) for q in (thermodynamics.force, thermodynamics.free_energy, thermodynamics.energy,
                                   thermodynamics.covariance, thermodynamics.heat_capacity)]  # fmt: skip
        found, first = [], 0
        for part in parts:
            rows = slice(first, first + len(part))
            chain = np.empty(len(part), int)
            for number, run in enumerate(part.runs()):
                chain[run] = number
            found.append(Seen(frames[rows], chain, part.temperatures[0], *(column[rows] for column in columns)))
            first = rows.stop
        return found

    def only(self, rows: Bool[np.ndarray, "frames"]) -> Seen:
        """The frames chosen."""
        return Seen(self.frames[rows], self.chain[rows], self.kelvin, self.force[rows], self.free_energy[rows],
                    self.energy[rows], self.covariance[rows], self.heat_capacity[rows])  # fmt: skip

    @property
    def kt(self) -> float:
        return KB * self.kelvin

    def atoms(self) -> Float[np.ndarray, "frames"]:
        """U, the energies of the atoms."""
        if self.frames.energy is None:
            raise ValueError(
                "the frames carry no energy, which says how A changes with temperature; store it with them"
            )
        return np.asarray(self.frames.energy, float)

    def left(self) -> Float[np.ndarray, "frames"]:
        """U - E, less the model's."""
        return self.atoms() - self.energy

    def along_field(self, vectors: Float[np.ndarray, "frames beads 3"]) -> sumrules.FieldSums:
        """g.vectors and div g; g pushes neighbours apart, or a single bead away from its mean place."""
        units = self.frames.with_(forces=vectors)
        reach = _REACH * pairs.nearest_distance(units[:: max(1, len(units) // 10)])
        if units.box is not None:
            reach = min(reach, 0.5 * smallest_height(np.asarray(units.box, float)))
        return sumrules.pair_field(units, reach) if np.isfinite(reach) else sumrules.confined_field(units)

    def check(self, name: str, rows: Float[np.ndarray, "frames"], expected: float, unit: str = "") -> Check:
        """The mean of rows that are linear in the fluctuations."""
        found = weighted_mean(rows, None, self.chain)
        return Check(name, float(found.mean), float(found.error), expected, unit, self.kelvin)


def force_balance(seen: Seen) -> Check:
    """-E[g.F] / (k E[div g]): the temperature to which the model's forces and the atoms' configurations belong."""
    rows = sumrules.temperature_of(seen.along_field(seen.force))
    return seen.check("forces against configurations", rows, seen.kelvin, "K")


def response_balance(seen: Seen) -> Check:
    """1 - Cov(g.F + kT div g, U - E) / E[g.Cov_R(f, U)]: how much of the model's response the atoms' energies have."""
    work, divergence = seen.along_field(seen.force)
    said = seen.along_field(seen.covariance).work
    found = said - _scattered(work + seen.kt * divergence, seen.left())
    return _ratio(seen, found, said, "response of forces against configurations")


def energy_balance(seen: Seen) -> Check:
    """1 + Cov(U - E, TS) / Var(TS): how much of the model's entropy the atoms' energies have."""
    entropic = seen.energy - seen.free_energy
    said = _scattered(entropic, entropic)
    return _ratio(seen, said + _scattered(seen.left(), entropic), said, "energies against the entropy of the beads")


def label_balance(seen: Seen) -> Check:
    """-Cov(g.f + kT div g, U) / (kT)^2 E[div g], one for instantaneous labels: of the data, not of the model."""
    if seen.frames.forces is None:
        raise ValueError("the frames carry no forces; store them with the data")
    work, divergence = seen.along_field(np.asarray(seen.frames.forces, float))
    found = -_scattered(work + seen.kt * divergence, seen.atoms())
    return _ratio(seen, found, seen.kt**2 * divergence, "labels of the atoms against configurations")


def calibration(seen: Seen) -> Check:
    """E[g.(f - F)(U - E)] / E[g.Cov_R(f, U)], which is one; on frames that the model did not learn from."""
    left = seen.left()
    labels = (np.asarray(seen.frames.forces, float) - seen.force) * (left - left.mean())[:, None, None]
    found, said = seen.along_field(labels).work, seen.along_field(seen.covariance).work
    return _ratio(seen, found, said, "scatter of forces with energies against the model's")


def map_invariance(data: Dataset, other: Dataset) -> Check:
    """E[g.f'] / E[g.f] of two legal force maps on the same frames, which is one: the mean force is that of neither map.

    The two share their configurations, so that only the noise of their difference is in the error.
    """
    here, there = data[:], other[:]
    if len(here) != len(there) or not np.allclose(here.positions, there.positions, atol=1e-5):
        raise ValueError("two force maps are compared on the same frames of the same beads; map the same atoms twice")
    if len(data.temperatures) != 1 or here.forces is None or there.forces is None:
        raise ValueError("maps are compared by forces at one temperature: choose it with data.select(temperature=...)")
    none = np.zeros(len(here))
    chain = np.empty(len(here), int)
    for number, run in enumerate(data.runs()):
        chain[run] = number
    seen = Seen(here, chain, data.temperatures[0], np.asarray(here.forces, float), none, none, here.forces, none)
    found, said = (seen.along_field(np.asarray(frames.forces, float)).work for frames in (there, here))
    return _ratio(seen, found, said, "forces of another legal map")


def concavity(seen: Seen) -> Check:
    """The share of frames with c_v < 0, where c_v + constant scatters energies as the atoms do: none may be."""
    below = (seen.heat_capacity + heat_of_scatter(seen).value < 0).astype(float)
    share = weighted_mean(below, None, seen.chain)
    error = max(float(share.error), 1 / len(below) if not below.any() else 0.0)
    return Check("frames with negative heat capacity", float(share.mean), error, 0.0, "", seen.kelvin)


def heat_of_scatter(seen: Seen) -> Check:
    """What the scatter of U - E at fixed beads adds to the model's c_v, kJ/(mol K): a constant that no force knows."""
    left = seen.left()
    rows = (left - left.mean()) ** 2 / (seen.kt * seen.kelvin) - seen.heat_capacity
    return seen.check("heat capacity beside the model's", rows * len(rows) / (len(rows) - 1), np.nan, "kJ/(mol K)")


def total_variance(low: Seen, high: Seen) -> Check:
    """How much the energies beside the model's rise from one temperature to the next, over what their scatter says.

    With the model's own c_v this is Var(U) = E[Var_R(U)] + Var(E), integrated over temperature by trapezia.
    """
    heats = [heat_of_scatter(seen) for seen in (low, high)]
    span = high.kelvin - low.kelvin
    said, said_error = span * (heats[0].value + heats[1].value) / 2, span * np.hypot(heats[0].error, heats[1].error) / 2
    rises = [weighted_mean(seen.left(), None, seen.chain) for seen in (low, high)]
    risen, error = float(rises[1].mean - rises[0].mean), float(np.hypot(rises[0].error, rises[1].error))
    ratio = risen / said
    return Check("energies against their scatter", ratio, float(np.hypot(error, ratio * said_error) / abs(said)), 1.0,
                 "", low.kelvin)  # fmt: skip


def maxwell(model: HasPotential, seen: Seen, most: int = 20) -> Check:
    """dF/dT by differences against grad S: root-mean-square distance, as a part of grad S."""
    few = seen.frames[:most]
    at = lambda kelvin, quantity: quantity(model, few.positions, few.box, temperature=kelvin, parameters=few.parameters)
    step = _STEP * seen.kelvin
    forces = [at(seen.kelvin + sign * step, thermodynamics.force) for sign in (-1, 1)]
    slope, said = (forces[1] - forces[0]) / (2 * step), at(seen.kelvin, thermodynamics.response_force)
    distance = np.sqrt(np.mean((slope - said) ** 2) / max(np.mean(said**2), 1e-300))
    return Check("Maxwell's relation, dF/dT against grad S", float(distance), 0.0, 0.0, "", seen.kelvin)


def closure(model: HasPotential, seen: Seen, low: float, high: float, most: int = 20) -> Check:
    """Phi(1/k low) - Phi(1/k high) against the integral of E over 1/kT: largest distance, as a part of their spread."""
    few = seen.frames[:most]
    at = lambda kelvin, quantity: np.asarray(
        quantity(model, few.positions, few.box, temperature=kelvin, parameters=few.parameters)
    )
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    ends = 1 / (KB * low), 1 / (KB * high)
    middle, half = (ends[0] + ends[1]) / 2, (ends[0] - ends[1]) / 2
    integral = sum(half * w * at(1 / (KB * (middle + half * x)), thermodynamics.energy)
                   for x, w in zip(nodes, weights, strict=True))  # fmt: skip
    risen = at(low, thermodynamics.free_energy) * ends[0] - at(high, thermodynamics.free_energy) * ends[1]
    distance = np.abs(risen - integral).max() / max(float(np.abs(risen).max()), 1e-300)
    return Check(
        f"A/kT from {low:g} to {high:g} K against the integral of E", float(distance), 0.0, 0.0, "", seen.kelvin
    )


def _scattered(one: Float[np.ndarray, "frames"], other: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames"]:
    """Rows whose mean is the covariance."""
    return (one - one.mean()) * (other - other.mean()) * (len(one) / (len(one) - 1))


def _ratio(seen: Seen, found: Float[np.ndarray, "frames"], said: Float[np.ndarray, "frames"], name: str) -> Check:
    """E[found] / E[said], which is one, with the error of the ratio."""
    ratio = found.mean() / said.mean()
    return seen.check(name, ratio + (found - ratio * said) / said.mean(), 1.0)
