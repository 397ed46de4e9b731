"""How long velocities last: their autocorrelation, from the positions of frames that follow each other closely.

The velocity of a bead is its displacement from one frame to the next over the time between them, so that no velocities
need be stored and atoms and models are measured alike. Its autocorrelation C(t) is half the second difference of the
mean-square displacement, and what it adds up to,

    D(t) = (1/3) int_0^t C(s) ds,

ends in the diffusion coefficient; before that it says how fast the memory of a velocity is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce import units
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.base import Curve, Scalar
from meanforce.observables.samples import Samples, measure, samples_of
from meanforce.observables.transport import PIECES, chosen_beads, over_lags, time_step, unwrapped
from meanforce.topology import Topology

#: Velocities over the time between frames keep at least this part of the kinetic energy, or frames are too rare.
_KEPT = 0.5
_PER_MEMORY = 10  # frames in the time that a velocity lasts


@dataclass(frozen=True)
class VelocityAutocorrelation:
    """<v(0).v(t)> in nm^2/ps^2 over time lags up to `longest` ps, averaged over beads of `species` (all if None).

    Chains, pieces, wrapped positions and `remove_drift` are as of `MeanSquareDisplacement`.
    """

    species: str | None = None
    pieces: int = PIECES
    longest: float | None = None  # ps
    remove_drift: bool = False
    name: str = "velocity autocorrelation"
    unit: str = "nm²/ps²"
    depends_on_potential: bool = False
    needs_time: bool = True

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """One row per piece of this chain: (pieces, 2, lags) with the lag times and the products."""
        length = len(frames) // self.pieces
        step = time_step(frames)
        lags = length // 2 if self.longest is None else int(self.longest / step + 1.5)
        if length < 4 or lags + 2 > length:
            raise ValueError(f"{len(frames)} frames in a chain are too few to follow velocities over {lags} of them: "
                             f"{self.pieces * max(4, lags + 2)} or more are needed, or fewer pieces")  # fmt: skip
        velocities = np.diff(unwrapped(frames.positions, frames.box), axis=0) / step
        if self.remove_drift:
            velocities -= np.einsum("i,tid->td", topology.masses / topology.masses.sum(), velocities)[:, None]
        velocities = velocities[:, chosen_beads(topology, self.species)]
        rows = [correlated(velocities[k * length : (k + 1) * length - 1])[:lags] for k in range(self.pieces)]
        return np.stack([np.broadcast_to(np.arange(lags) * step, (self.pieces, lags)), np.stack(rows)], axis=1)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Curve:
        name = self.name if self.species is None else f"{self.name} of {self.species}"
        return over_lags(values, weights, name, f"{self.name} / {self.unit}")


class Memory(NamedTuple):
    """What the velocity autocorrelation adds up to over a window, as a diffusion coefficient, and the curve itself."""

    coefficient: Scalar
    autocorrelation: Curve
    window: float  # ps, from 0

    @property
    def interval(self) -> float:
        """Between frames, ps."""
        return float(self.autocorrelation.axis[1])


def vacf(
    source: Ensemble | Dataset | Samples,
    *,
    species: str | None = None,
    longest: float | None = None,
    pieces: int = PIECES,
    remove_drift: bool = False,
) -> Curve:
    """Velocity autocorrelation in nm^2/ps^2 against time in ps, from ordered frames.

    Frames so far apart that velocities are lost between them are refused, with how often to write them.
    """
    samples = samples_of(source)
    curve = measure(VelocityAutocorrelation(species, pieces, longest, remove_drift), samples)
    inverse_mass = (1 / samples.topology.masses[chosen_beads(samples.topology, species)]).mean()
    _refuse_rare(curve, 3 * units.KB * samples.state.temperature * inverse_mass)
    return curve


def velocity_memory(
    source: Ensemble | Dataset | Samples, window: float, *, species: str | None = None, remove_drift: bool = False
) -> Memory:
    """A third of the integral of the velocity autocorrelation from 0 to `window` ps, in 1e-9 m^2/s."""
    curve = vacf(source, species=species, longest=window, remove_drift=remove_drift)
    step, last = float(curve.axis[1]), len(curve.axis) - 1
    if last < 2 or not np.isclose(last * step, window, rtol=1e-6):
        raise ValueError(f"a window of {window:g} ps is not two or more times {step:g} ps, the time between frames")
    weights = np.full(last + 1, step)
    weights[[0, -1]] = step / 2
    each = np.asarray(curve.blocks) @ weights / 3
    error = float(each.std(ddof=1) / np.sqrt(len(each)))
    name = f"integral of the velocity autocorrelation to {window:g} ps"
    value = Scalar(name, float(curve.value @ weights) / 3 * units.DIFFUSION, error * units.DIFFUSION, "1e-9 m²/s")
    return Memory(value, curve, float(window))


def correlated(velocities: Float[np.ndarray, "frames beads 3"]) -> Float[np.ndarray, "frames"]:
    """Mean product at every lag, over all time origins and beads, by fast Fourier transform."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = len(velocities)
    size = next_fast_len(2 * n, real=True)
    spectrum = rfft(velocities, size, axis=0)
    products = irfft((spectrum.real**2 + spectrum.imag**2).sum(-1), size, axis=0)[:n]
    return products.mean(-1) / (n - np.arange(n))


def _refuse_rare(curve: Curve, thermal: float) -> None:
    """`thermal` is 3 kT/m, which the mean square of velocities has without averaging between frames."""
    kept, step = float(curve.value[0]) / thermal, float(curve.axis[1])
    if kept < _KEPT:
        # A free bead keeps 2 (x - 1 + exp(-x))/x^2 of it, x steps of its memory apart: nearly 2/x for rare frames.
        memory = step * kept / 2
        raise ValueError(
            f"frames are {step:g} ps apart, and velocities between them hold {100 * kept:.2g} % of the kinetic energy: "
            f"they change within {memory:.2g} ps. Positions are enough, but write them often: every "
            f"{memory / _PER_MEMORY:.1g} ps or so, for a few ps (reference: {{interval: ...}}, or save_every)"
        )
