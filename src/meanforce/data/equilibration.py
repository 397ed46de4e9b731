"""Whether a run has reached equilibrium, how long it remembers, and whether it drifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from meanforce.numerics import statistics

_SHORTEST = 20  # frames: below, nothing can be said
_DRIFT_ERRORS = 4.0
_TRANSIENT_ERRORS = 4.0


@dataclass(frozen=True)
class RunReport:
    """One continuous run, judged by one quantity of its frames."""

    run: int
    quantity: str
    frames: int
    start: int  # the first equilibrated frame: from there on, most independent frames remain
    memory: float  # frames for one independent frame, after the start
    drift: float  # change over the whole run, by a straight line
    drift_error: float

    @property
    def independent(self) -> float:
        """Number of independent frames after the start."""
        return (self.frames - self.start) / self.memory

    @property
    def drifts(self) -> bool:
        return abs(self.drift) > _DRIFT_ERRORS * self.drift_error

    @property
    def late(self) -> bool:
        """More than a fifth of the run is not equilibrated, or it drifts to the end."""
        return self.start > 0.2 * self.frames or self.drifts


def judge_run(values: Float[np.ndarray, "frames"], run: int, quantity: str) -> RunReport:
    """Start, memory and drift of one series."""
    values = np.asarray(values, float)
    if len(values) < _SHORTEST:
        return RunReport(run, quantity, len(values), 0, 1.0, 0.0, np.inf)
    start, independent = statistics.equilibration(values)
    memory = (len(values) - start) / independent
    if not _differs(values[:start], values[start:]):
        start, memory = 0, float(statistics.inefficiency(values))
    drift, error = straight_line_drift(values)
    return RunReport(run, quantity, len(values), start, memory, drift, error)


def _differs(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether the beginning is a transient: in short runs with memory, the best start alone is mostly chance."""
    if not len(before):
        return False
    memory = statistics.inefficiency(np.concatenate([before - before.mean(), after - after.mean()]))
    error = after.std() * np.sqrt(memory * (1 / len(before) + 1 / len(after)))
    return bool(abs(before.mean() - after.mean()) > _TRANSIENT_ERRORS * error)


def straight_line_drift(values: Float[np.ndarray, "frames"]) -> tuple[float, float]:
    """Change over the run by least squares, and its standard error with the memory of what the line leaves."""
    place = np.linspace(-0.5, 0.5, len(values))
    slope = float(place @ values / (place @ place))
    rest = values - values.mean() - slope * place
    return slope, float(np.sqrt(rest.var() * statistics.inefficiency(rest) / (place @ place)))
