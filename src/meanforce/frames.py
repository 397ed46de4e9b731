"""Configurations with their labels: host arrays, streamed and sliced, never differentiated."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

_EACH, _VECTORS = ("particles",), ("particles", 3)

#: Labels a frame may carry, with the shape behind the frame axis.
SHAPES: dict[str, tuple[str | int, ...]] = {
    "forces": _VECTORS,
    "energy": (),
    "virial": (),
    "local_energy": _EACH,
    "variate": (),
    "variate_slope": _VECTORS,
    "displacement": _VECTORS,
    "covariance": _VECTORS,
    "variance": (),
    "third_cumulant": _VECTORS,
    "temperature": (),
    "weights": (),
    "time": (),
    "trajectory": (),
}
LABELS = tuple(SHAPES)
#: Labels with names of their own: name -> one number a frame.
TABLES = ("parameters", "slopes")


@dataclass(frozen=True, eq=False)
class Frames:
    """n configurations of the same particles. A label that is missing is None, never zero.

    ==============  ===================  =====================================================
    positions       (n, particles, 3)    nm
    box             (n, 3, 3) or None    nm, rows are the box vectors; None: no periodicity
    forces          (n, particles, 3)    kJ/(mol nm)
    energy          (n,)                 kJ/mol, potential energy of the *atoms*
    virial          (n,)                 kJ/mol, -dU/d(ln L): molecules and box scaled as one;
                                         the pressure is (N kT + virial/3) / V
    local_energy    (n, particles)       kJ/mol, `energy` divided among the particles
    variate         (n,)                 kJ/mol, a control variate of `energy`: its mean at
                                         fixed beads is zero at every temperature
    variate_slope   (n, particles, 3)    kJ/(mol nm), the variate's slope as beads are moved
    displacement    (n, particles, 3)    nm, a function of the beads' positions: `energy` less the work of
                                         the forces along it scatters least at fixed beads
    covariance      (n, particles, 3)    kJ^2/(mol^2 nm), of force and energy at fixed beads
    variance        (n,)                 kJ^2/mol^2, of the energy at fixed beads
    third_cumulant  (n, particles, 3)    kJ^3/(mol^3 nm), kappa(f, U, U) at fixed beads
    temperature     (n,)                 K, of the ensemble the frame was drawn from
    weights         (n,)                 statistical weights, any scale
    time            (n,)                 ps
    trajectory      (n,) integers        which continuous run the frame belongs to
    parameters      name -> (n,)         further parameters lambda of the state
    slopes          name -> (n,)         kJ/mol per unit of lambda, dU/d lambda of the *atoms*
    ==============  ===================  =====================================================
    """

    positions: np.ndarray
    box: np.ndarray | None = None
    forces: np.ndarray | None = None
    energy: np.ndarray | None = None
    virial: np.ndarray | None = None
    local_energy: np.ndarray | None = None
    variate: np.ndarray | None = None
    variate_slope: np.ndarray | None = None
    displacement: np.ndarray | None = None
    covariance: np.ndarray | None = None
    variance: np.ndarray | None = None
    third_cumulant: np.ndarray | None = None
    temperature: np.ndarray | None = None
    weights: np.ndarray | None = None
    time: np.ndarray | None = None
    trajectory: np.ndarray | None = None
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    slopes: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        if np.ndim(self.positions) != 3 or np.shape(self.positions)[2] != 3:
            raise ValueError(f"positions have shape {np.shape(self.positions)}; (frames, particles, 3) is needed")
        n, particles = self.positions.shape[:2]
        expected = {name: (n, *(particles if k == "particles" else k for k in tail)) for name, tail in SHAPES.items()}
        for name, shape in {"box": (n, 3, 3), **expected}.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(f"{name} has shape {np.shape(value)}; {n} frames of {particles} need {shape}")
        for what, named in (("parameter", self.parameters), ("slope", self.slopes)):
            for name, value in named.items():
                if np.shape(value) != (n,):
                    raise ValueError(f"{what} {name!r} has shape {np.shape(value)}; {n} frames need ({n},)")

    def __len__(self) -> int:
        return self.positions.shape[0]

    @property
    def particles(self) -> int:
        return self.positions.shape[1]

    def __getitem__(self, selection) -> Frames:
        """Frames stay Frames: `frames[3]` is one frame, with the frame axis kept."""
        if isinstance(selection, int | np.integer):
            if not -len(self) <= selection < len(self):
                raise IndexError(f"frame {selection} of {len(self)}")
            selection = slice(selection, selection + 1 or None)
        pick: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        pick = {name: None if value is None else value[selection] for name, value in pick.items()}
        pick |= {t: {k: v[selection] for k, v in getattr(self, t).items()} for t in TABLES}
        return Frames(**pick)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def labels(self) -> tuple[str, ...]:
        """The names of the labels that are present."""
        return tuple(name for name in LABELS if getattr(self, name) is not None)

    def with_(self, **changes) -> Frames:
        return replace(self, **changes)

    @staticmethod
    def concatenate(parts: list[Frames]) -> Frames:
        """Joins frames along the frame axis; all parts carry the same labels, or it is refused."""
        if not parts:
            raise ValueError("there are no frames to join")
        first = parts[0]
        for part in parts[1:]:
            if part.particles != first.particles:
                raise ValueError(f"{part.particles} particles cannot be joined to {first.particles}")
            if _all_labels(part) != _all_labels(first):
                raise ValueError(f"frames with {_all_labels(first)} cannot be joined to {_all_labels(part)}")
        joined: dict[str, Any] = {
            name: None if getattr(first, name) is None else np.concatenate([getattr(p, name) for p in parts])
            for name in _ARRAYS
        }
        join = lambda table, k: np.concatenate([getattr(p, table)[k] for p in parts])
        joined |= {table: {k: join(table, k) for k in getattr(first, table)} for table in TABLES}
        return Frames(**joined)


_ARRAYS = tuple(f.name for f in fields(Frames) if f.name not in TABLES)


def _all_labels(frames: Frames) -> str:
    tables = (name for t in TABLES for name in sorted(getattr(frames, t)))
    return ", ".join((*(("box",) if frames.box is not None else ()), *frames.labels(), *tables))
