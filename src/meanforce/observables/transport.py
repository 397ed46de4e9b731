"""How far beads travel: mean-square displacement and diffusion, from ordered frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from meanforce import units
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.observables.averages import average
from meanforce.observables.base import Curve, Scalar
from meanforce.observables.samples import Samples, measure, samples_of
from meanforce.topology import Topology

#: Independent pieces that a chain is cut into for the error bars.
PIECES = 8
#: The lattice sum of a cubic box in the correction of Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004).
_YEH_HUMMER = 2.837297


@dataclass(frozen=True)
class MeanSquareDisplacement:
    """<|r(t) - r(0)|^2> in nm^2 over time lags, averaged over beads of `species` (all if None).

    Each chain is cut into `pieces`, which give the error bars; lags reach to half a piece. Positions may be
    wrapped into the box or not: beads are followed from frame to frame by their nearest image, which needs
    frames so close that no bead moves half a box between them, and a box that does not change.
    `remove_drift` takes out the motion of the centre of mass.
    """

    species: str | None = None
    pieces: int = PIECES
    longest: float | None = None  # ps
    remove_drift: bool = False
    name: str = "mean-square displacement"
    unit: str = "nm²"
    depends_on_potential: bool = False
    needs_time: bool = True

    def per_frame(self, frames: Frames, topology: Topology) -> np.ndarray:
        """One row per piece of this chain: (pieces, 2, lags) with the lag times and the displacements."""
        length = len(frames) // self.pieces
        if length < 4:
            raise ValueError(f"{len(frames)} frames in a chain are too few to follow motion: "
                             f"{4 * self.pieces} or more are needed, or fewer pieces")  # fmt: skip
        step = time_step(frames)
        paths = unwrapped(frames.positions, frames.box)
        if self.remove_drift:
            paths = paths - np.einsum("i,tid->td", topology.masses / topology.masses.sum(), paths)[:, None]
        paths = paths[:, chosen_beads(topology, self.species)]
        lags = max(2, length // 2)
        if self.longest is not None:
            lags = min(lags, int(self.longest / step + 1.5))
        rows = [displacements(paths[k * length : (k + 1) * length])[:lags] for k in range(self.pieces)]
        return np.stack([np.broadcast_to(np.arange(lags) * step, (self.pieces, lags)), np.stack(rows)], axis=1)

    def reduce(self, values: np.ndarray, weights: np.ndarray, chain: np.ndarray, state: State) -> Curve:
        name = self.name if self.species is None else f"{self.name} of {self.species}"
        return over_lags(values, weights, name, f"{self.name} / {self.unit}")


class Diffusion(NamedTuple):
    """The self-diffusion coefficient with the mean-square displacement it was read from.

    In a periodic box it is too small by the hydrodynamic interaction of a bead with its images. Given the
    shear viscosity of the model itself, `infinite` holds the value of an infinite system; else it is None.
    """

    coefficient: Scalar
    displacement: Curve
    window: tuple[float, float]  # ps, where the slope was taken
    infinite: Scalar | None


def msd(
    source: Ensemble | Dataset | Samples,
    *,
    species: str | None = None,
    longest: float | None = None,
    pieces: int = PIECES,
    remove_drift: bool = False,
) -> Curve:
    """Mean-square displacement in nm^2 against time in ps, from ordered frames."""
    return measure(MeanSquareDisplacement(species, pieces, longest, remove_drift), source)


def over_lags(values: np.ndarray, weights: np.ndarray, name: str, label: str) -> Curve:
    """The mean over pieces of chains, which give the error, from rows of lag times and what was found at them."""
    time = values[0, 0]
    if not np.allclose(values[:, 0], time, rtol=1e-6):
        raise ValueError("the chains do not have the same length or time between frames")
    mean = average(values[:, 1], weights, np.arange(len(values)))
    return Curve(name, time, mean.value, mean.error, "time / ps", label, mean.blocks)


def diffusion(
    source: Ensemble | Dataset | Samples,
    *,
    species: str | None = None,
    window: tuple[float, float] | None = None,
    viscosity: float | None = None,
    remove_drift: bool = False,
) -> Diffusion:
    """Self-diffusion coefficient in 1e-9 m^2/s: a sixth of the slope of the mean-square displacement.

    The slope is taken over `window` in ps, by default the second half of the lags. Langevin friction slows
    beads down: compare diffusion with the atoms only from NVE or a weakly coupled global thermostat.
    `viscosity` (mPa s, of the same model) adds the finite-size correction of Yeh and Hummer.
    """
    curve = msd(source, species=species, remove_drift=remove_drift)
    window = window or (float(curve.axis[len(curve.axis) // 2]) * 0.999, float(curve.axis[-1]) * 1.001)
    part = curve.between(*window)
    if len(part.axis) < 2:
        raise ValueError(f"the window {window} ps holds fewer than two lags of the mean-square displacement")
    centred = part.axis - part.axis.mean()
    slope = centred / (centred @ centred)
    each = np.asarray(part.blocks) @ slope / 6
    error = float(each.std(ddof=1) / np.sqrt(len(each)))
    unit = units.DIFFUSION
    coefficient = Scalar("diffusion coefficient", float(part.value @ slope) / 6 * unit, error * unit, "1e-9 m²/s")
    infinite = None
    if viscosity is not None:
        shift = _finite_size(source, viscosity) * unit
        infinite = Scalar("diffusion coefficient, infinite box", coefficient.value + shift, coefficient.error,
                          coefficient.unit)  # fmt: skip
    return Diffusion(coefficient, curve, window, infinite)


def yeh_hummer(temperature: float, viscosity: float, length: float) -> float:
    """What a cubic periodic box of `length` nm takes from the diffusion coefficient, in nm^2/ps.

    kT xi / (6 pi eta L) with xi = 2.837297 and the shear viscosity eta in mPa s.
    """
    eta = viscosity * units.VISCOSITY
    return units.KB * temperature * _YEH_HUMMER / (6 * np.pi * eta * length)


def unwrapped(
    positions: Float[np.ndarray, "frames beads 3"], box: Float[np.ndarray, "frames 3 3"] | None
) -> Float[np.ndarray, "frames beads 3"]:
    """Paths without jumps over the box faces, by the nearest image from each frame to the next."""
    if box is None or len(positions) < 2:
        return np.asarray(positions, float)
    if np.abs(box - box[0]).max() > 1e-6 * np.abs(box[0]).max():
        raise ValueError("the box changes along the chain: diffusion is defined at constant volume (NVE or NVT)")
    step = np.diff(positions, axis=0).astype(float)
    scaled = step @ np.linalg.inv(box[0])
    scaled -= np.rint(scaled)
    # At 0.12 of a box, one step in 30,000 of a Gaussian is longer than half a box and would be mistaken.
    if np.sqrt((scaled**2).mean()) > 0.12:
        raise ValueError("beads move about half a box between frames, so that their paths cannot be followed: "
                         "write frames more often")  # fmt: skip
    start = np.asarray(positions[:1], float)
    return np.concatenate([start, start + np.cumsum(scaled @ box[0], axis=0)])


def displacements(paths: Float[np.ndarray, "frames beads 3"]) -> Float[np.ndarray, "frames"]:
    """Mean-square displacement at every lag, over all time origins and beads, by fast Fourier transform."""
    from scipy.fft import irfft, next_fast_len, rfft

    n = len(paths)
    paths = paths - paths.mean(0)  # keeps the two large sums below, which cancel, small
    square = (paths**2).sum(-1)
    spectrum = rfft(paths, next_fast_len(2 * n, real=True), axis=0)
    power = (spectrum.real**2 + spectrum.imag**2).sum(-1)
    products = irfft(power, next_fast_len(2 * n, real=True), axis=0)[:n]
    # sum over origins of |r(s)|^2 + |r(s + lag)|^2: everything, less what falls off either end
    ends = np.cumsum(square, axis=0)
    ends = (
        np.concatenate([np.zeros_like(ends[:1]), ends])[:n]
        + np.concatenate([np.zeros_like(ends[:1]), np.cumsum(square[::-1], axis=0)])[:n]
    )
    sums = 2 * square.sum(0) - ends - 2 * products
    return np.maximum(sums.mean(-1) / (n - np.arange(n)), 0.0)


def _finite_size(source, viscosity: float) -> float:
    samples = samples_of(source)
    box = next(samples.batches()).box
    if box is None:
        raise ValueError("there is no box, and so no finite-size correction: leave out viscosity")
    lengths = np.linalg.norm(box[0], axis=-1)
    if not np.allclose(box[0], np.diag(lengths)) or np.ptp(lengths) > 1e-6:
        raise ValueError("the correction of Yeh and Hummer holds for cubic boxes; this one is not")
    return yeh_hummer(samples.state.temperature, viscosity, float(lengths[0]))


def chosen_beads(topology: Topology, species: str | None) -> np.ndarray:
    """Which beads are of a species; all of them for None."""
    if species is None:
        return np.ones(len(topology), bool)
    if species not in topology.types:
        raise ValueError(f"no bead is of species {species!r}; there are {', '.join(topology.types)}")
    return np.array([s == species for s in topology.species])


def time_step(frames: Frames) -> float:
    """The time between the frames of one chain, ps."""
    if frames.time is None:
        raise ValueError("the frames carry no times: motion cannot be measured without them")
    step = np.diff(frames.time)
    if not len(step) or not (step > 0).all() or np.ptp(step) > 1e-3 * step.mean():
        raise ValueError("the frames of a chain must be ordered and evenly spaced in time")
    return float(step.mean())
