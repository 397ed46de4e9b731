"""Configurations with their labels: host arrays, streamed and sliced, never differentiated."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

#: Labels a frame may carry, with the shape behind the frame axis (None: no fixed shape).
LABELS = ("forces", "energy", "virial", "temperature", "weights", "time", "trajectory")


@dataclass(frozen=True, eq=False)
class Frames:
    """n configurations of the same particles. A label that is missing is None, never zero.

    ============  ===================  =====================================================
    positions     (n, particles, 3)    nm
    box           (n, 3, 3) or None    nm, rows are the box vectors; None: no periodicity
    forces        (n, particles, 3)    kJ/(mol nm)
    energy        (n,)                 kJ/mol, potential energy of the *atoms*
    virial        (n,)                 kJ/mol, -dU/d(ln L): molecules and box scaled as one;
                                       the pressure is (N kT + virial/3) / V
    temperature   (n,)                 K, of the ensemble the frame was drawn from
    weights       (n,)                 statistical weights, any scale
    time          (n,)                 ps
    trajectory    (n,) integers        which continuous run the frame belongs to
    parameters    name -> (n,)         further parameters lambda of the state
    ============  ===================  =====================================================
    """

    positions: np.ndarray
    box: np.ndarray | None = None
    forces: np.ndarray | None = None
    energy: np.ndarray | None = None
    virial: np.ndarray | None = None
    temperature: np.ndarray | None = None
    weights: np.ndarray | None = None
    time: np.ndarray | None = None
    trajectory: np.ndarray | None = None
    parameters: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        if np.ndim(self.positions) != 3 or np.shape(self.positions)[2] != 3:
            raise ValueError(f"positions have shape {np.shape(self.positions)}; (frames, particles, 3) is needed")
        n, particles = self.positions.shape[:2]
        expected = {
            "box": (n, 3, 3),
            "forces": (n, particles, 3),
            **dict.fromkeys(("energy", "virial", "temperature", "weights", "time", "trajectory"), (n,)),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(f"{name} has shape {np.shape(value)}; {n} frames of {particles} need {shape}")
        for name, value in self.parameters.items():
            if np.shape(value) != (n,):
                raise ValueError(f"parameter {name!r} has shape {np.shape(value)}; {n} frames need ({n},)")

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
        pick = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "parameters"}
        pick = {name: None if value is None else value[selection] for name, value in pick.items()}
        return Frames(**pick, parameters={k: v[selection] for k, v in self.parameters.items()})

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
            same = part.labels() == first.labels() and (part.box is None) == (first.box is None)
            if not same or set(part.parameters) != set(first.parameters):
                raise ValueError(f"frames with {_all_labels(first)} cannot be joined to {_all_labels(part)}")
        joined: dict = {
            f.name: None if getattr(first, f.name) is None else np.concatenate([getattr(p, f.name) for p in parts])
            for f in fields(first)
            if f.name != "parameters"
        }
        parameters = {k: np.concatenate([p.parameters[k] for p in parts]) for k in first.parameters}
        return Frames(**joined, parameters=parameters)


def _all_labels(frames: Frames) -> str:
    return ", ".join((*(("box",) if frames.box is not None else ()), *frames.labels(), *sorted(frames.parameters)))
