"""Noise of one label of the thermal response of water with held centres, against the size of the box.

benchmarks/water_labels.py FOLDER [--molecules 27 64 216]     one line of JSON for each model, size and kind of label

Frames come from short runs of SPC/E and SPC/Fw at 300 K; at each, replicas are sampled with the centres held. A label
is (f - <f>)(U - <U>) of one sample with centres from all samples of the frame: with the whole energy, with that of the
molecules within a range, and with control variates. `gain` is the variance of the label with the
whole energy over that of this kind; errors come from the scatter of frames and replicas.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

import meanforce as mf
from meanforce import reference
from meanforce.numerics import replicas as across
from meanforce.reference.ewald import RigidWater
from meanforce.reference.fixed import FixedSampling, draw_fixed, shells
from meanforce.reference.flexible import FlexibleWater
from meanforce.reference.variates import Observed
from meanforce.reference.water import MODELS, Water
from meanforce.units import KB

KELVIN, CUTOFF, RANGES = 300.0, 0.45, (0.0, 0.35, 0.45)
FRAMES = {27: (8, 250), 64: (4, 200), 216: (2, 120)}  # molecules: frames, samples of each replica
KT = KB * KELVIN
BEST = {"spce": "whole, turn", "spc-fw": "whole, strain and turn"}


class Series(NamedTuple):
    """Of all replicas and samples: what labels are made of."""

    forces: np.ndarray  # (replicas, samples, molecules, 3)
    shares: np.ndarray  # (replicas, samples, molecules)
    variates: dict[str, tuple[np.ndarray, np.ndarray]]  # v of each molecule and slopes, times the best factor


def atoms(folder: Path, model: str, molecules: int, frames: int) -> mf.Dataset:
    path = folder / f"{model}-{molecules}.h5"
    if not path.exists():
        system = Water(model=model, molecules=molecules, density=1.0, cutoff=CUTOFF)
        run = reference.ReferenceRun(
            system=system, temperatures=(KELVIN,), time=4.0 * frames, interval=4.0, equilibration=10.0, seed=5,
            virial=False,
        )  # fmt: skip
        reference.run(run, path, resume=True, threads=1)
    return mf.Dataset.open(path)


def sampled(water, whole: np.ndarray, box: np.ndarray, sampling: FixedSampling, number: int) -> Series:
    drawn = draw_fixed(water, whole, box, KELVIN, sampling, number=number)
    flat = drawn.reshape(-1, *drawn.shape[2:])
    fold = lambda values: np.array(values).reshape(*drawn.shape[:2], *np.shape(values[0]))
    observed, variates = Observed.of(water, whole, box, RANGES), {}
    for kind in ("turn",) if isinstance(water, RigidWater) else ("virial", "strain", "turn"):
        seen = [observed.sample(x, KELVIN, kind) for x in flat]
        v, slope = fold([s.variates for s in seen]), fold([s.slope for s in seen])
        factor = KT**2 * np.mean([s.divergence for s in seen]) / v.var(axis=(0, 1)).mean()  # the best one
        variates[kind] = factor * v, factor * slope
    if "strain" in variates:
        variates["strain and turn"] = tuple(map(np.add, variates["strain"], variates["turn"]))
    return Series(fold([s.forces for s in seen]), fold([s.shares for s in seen]), variates)


def labels(series: Series, shell: np.ndarray):
    """Each kind of label, sample by sample: its name, and an array (replicas, samples, molecules, 3)."""
    force = series.forces - series.forces.mean((0, 1))
    shares = series.shares - series.shares.mean((0, 1))
    for variate, reach in product((None, *series.variates), range(len(RANGES), -1, -1)):
        near = (shell <= reach) if reach < len(RANGES) else np.ones(shell.shape, bool)
        label = force * (shares @ near.T)[..., None]
        if variate is not None:
            v, slope = series.variates[variate]
            label = label + force * (v @ near.T)[..., None] + slope[:, :, reach]
        name = f"local {RANGES[reach]:g} nm" if reach < len(RANGES) else "whole"
        yield name + (f", {variate}" if variate else ""), label


def measured(folder: Path, model: str, molecules: int) -> None:
    frames, samples = FRAMES[molecules]
    data = atoms(folder, model, molecules, frames)
    system = Water(model=model, molecules=molecules, density=1.0, cutoff=CUTOFF).build()
    water = (FlexibleWater if MODELS[model].flexible else RigidWater).of(system, 1e-4)
    sampling = FixedSampling(replicas=4, burn_in=150, samples=samples, stride=4, seed=7)
    noise: dict[str, list] = {}
    signal: dict[str, list] = {}
    energies = []
    for number in range(frames):
        box = np.diagonal(data[number].box[0]).astype(float)
        x = data[number].positions[0].astype(float).reshape(molecules, 3, 3)
        x = x - box * np.round((x - x[:, :1]) / box)
        series = sampled(water, x, box, sampling, number)
        energies.append(series.shares.sum(-1).var())
        means = {}
        for name, label in labels(series, shells(water.centres(x), box, RANGES)):
            centre = label.mean((0, 1))
            noise.setdefault(name, []).append(((label - centre) ** 2).mean((1, 2, 3)))
            means[name] = label.mean(1)
        best = means[BEST[model]]
        for name, mean in means.items():  # the part of the response that local labels hold, from different replicas
            signal.setdefault(name, []).append(across._pairs(mean, best).mean())
    for name in noise:
        tell(model, molecules, name, noise, signal, {"var_u": float(np.mean(energies))})


def tell(model: str, molecules: int, name: str, noise: dict, signal: dict, more: dict) -> None:
    whole, own = np.array(noise["whole"]), np.array(noise[name])  # (frames, replicas)
    gain = (whole / own).reshape(-1)
    full = signal[BEST[model]]
    error = lambda values: float(np.std(values, ddof=1) / np.sqrt(len(values)))
    line = {
        "model": model, "molecules": molecules, "label": name, "gain": float(gain.mean()), "gain_error": error(gain),
        "noise": float(own.mean()), "noise_error": error(own.reshape(-1)),
        "snr2": float(np.mean(full) / own.mean()), "signal": float(np.mean(full)), "signal_error": error(full),
        "held": float(np.mean(signal[name]) / np.mean(full)), **more,
    }  # fmt: skip
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--molecules", type=int, nargs="+", default=list(FRAMES))
    parser.add_argument("--models", nargs="+", default=["spce", "spc-fw"])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for size, name in product(options.molecules, options.models):
        measured(options.folder, name, size)
