"""Whether a run has reached equilibrium, how long it remembers, and whether it drifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_STARTS = 25
_DRIFT_ERRORS = 4.0


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
    start = equilibrated_from(values)
    memory = statistical_inefficiency(values[start:])
    drift, error = straight_line_drift(values)
    return RunReport(run, quantity, len(values), start, memory, drift, error)


def equilibrated_from(values: Float[np.ndarray, "frames"]) -> int:
    """The start that leaves the largest number of independent frames: a transient lengthens the memory."""
    n = len(values)
    if n < 20:
        return 0
    starts = np.unique(np.linspace(0, 0.8 * n, _STARTS).astype(int))
    independent = [(n - s) / statistical_inefficiency(values[s:]) for s in starts]
    return int(starts[int(np.argmax(independent))])


def straight_line_drift(values: Float[np.ndarray, "frames"]) -> tuple[float, float]:
    """Change over the run by least squares, and its standard error with the memory of what the line leaves."""
    n = len(values)
    if n < 4:
        return 0.0, np.inf
    place = np.linspace(-0.5, 0.5, n)
    slope = float(place @ values / (place @ place))
    rest = values - values.mean() - slope * place
    return slope, float(np.sqrt(rest.var() * statistical_inefficiency(rest) / (place @ place)))


def statistical_inefficiency(values: Float[np.ndarray, "frames"]) -> float:
    """Frames for one independent frame: 1 + 2 sum of autocorrelations, summed over five memory times."""
    n = len(values)
    deviations = values - values.mean()
    if n < 4 or not deviations.any():
        return 1.0
    power = np.abs(np.fft.rfft(deviations, 2 * n)) ** 2
    covariance = np.fft.irfft(power)[:n] / np.arange(n, 0, -1)
    memory = 2 * np.cumsum(covariance / covariance[0]) - 1
    window = np.flatnonzero(np.arange(n) >= 2.5 * memory)
    return float(np.clip(memory[window[0]] if len(window) else n, 1.0, n))
