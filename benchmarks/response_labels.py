"""What each kind of label of the thermal response is worth, on the diatomic liquid, whose answer is known exactly.

benchmarks/response_labels.py table [SEEDS] [FRAMES ...]     error of the force at twice the temperature
benchmarks/response_labels.py noise [FRAMES]                 noise of one label against the size of the box
"""

from __future__ import annotations

import json
import sys
import time
import warnings

import numpy as np

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.numerics import replicas
from meanforce.reference import DiatomicLiquid
from meanforce.reference.liquids import Configurations
from meanforce.units import KB

KELVIN, REPLICAS, BLOCKS = 300.0, 100, 8
LIQUID = DiatomicLiquid()
BOX = np.eye(3) * LIQUID.edge
HOT = LIQUID.draw(20, 2 * KELVIN, seed=99).centres
PAIRS = mf.SplinePotential(LIQUID.topology, cutoff=0.9, many_body=False)
THERMAL = mf.LinearThermal.of(PAIRS, reference=KELVIN)
F, E, C = mf.ForceMatching, mf.EnergyMatching, mf.ResponseMatching


def dataset(frames: Frames) -> Dataset:
    return Dataset.from_frames(LIQUID.topology, frames)


def labelled(frames: Frames, local: float | None = None) -> Dataset:
    return mf.cross_fit(THERMAL, dataset(frames), local=local, folds=3, blocks=BLOCKS)


def held(frames: Frames, seed: int) -> Dataset:
    """Labels at fixed beads: means of replicas, and covariances without bias."""
    rng, parts = np.random.default_rng(seed), []
    for n in range(len(frames)):
        x = np.repeat(frames.positions[n : n + 1], REPLICAS, axis=0)
        bonds = LIQUID.draw_bonds(x, KELVIN, rng)
        said = LIQUID.beads(Configurations(x, bonds, np.zeros(REPLICAS, int), KELVIN))
        force, energy = said.forces, said.energy[:, None, None]
        parts.append((force.mean(0), energy.mean(), replicas.covariance(force, energy, force * energy).value))
    forces, energy, covariance = (np.array(column) for column in zip(*parts, strict=True))
    bare = frames.with_(local_energy=None, variate=None, variate_slope=None, virial=None)
    return dataset(bare.with_(forces=forces, energy=energy, covariance=covariance))


def kinds(frames: Frames, seed: int):
    """Each kind of label: its name, and the fit that it gives."""
    plain = frames.with_(variate=None, variate_slope=None)
    thermal = lambda data, *wanted: mf.fit(THERMAL, [kind(data) for kind in wanted], blocks=BLOCKS)
    yield "forces", lambda: mf.fit(PAIRS, [F(dataset(plain))], blocks=BLOCKS)
    yield "forces, energies", lambda: thermal(dataset(plain), F, E)
    yield "forces, energies with variates", lambda: thermal(dataset(frames), F, E)
    yield "forces, responses of whole energies", lambda: thermal(labelled(plain), F, C)
    yield "forces, responses of local energies", lambda: thermal(labelled(plain, 0.9), F, C)
    yield "forces, responses with variates", lambda: thermal(labelled(frames), F, C)
    yield f"forces, responses of {REPLICAS} replicas", lambda: thermal(held(plain, seed), F, C)


def error(fit) -> float:
    """Of the force at twice the temperature, relative."""
    truth = LIQUID.force(HOT, 2 * KELVIN)
    found = thermo.force(fit.model, HOT, BOX, temperature=2 * KELVIN)
    return float(np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)))


def table(seeds: int, counts: list[int]) -> None:
    found: dict[tuple[str, int], list[float]] = {}
    for seed in range(seeds):
        frames = LIQUID.sample(max(counts), KELVIN, seed=1000 + seed, chains=1)
        for count in counts:
            for name, learned in kinds(frames[:count], seed):
                begin = time.perf_counter()
                found.setdefault((name, count), []).append(error(learned()))
                line = {"seed": seed, "labels": name, "frames": count, "error": found[name, count][-1]}
                say(line | {"seconds": round(time.perf_counter() - begin, 1)})
    for (name, count), errors in found.items():
        spread = float(np.std(errors, ddof=1)) if len(errors) > 1 else None
        middle = {"mean": float(np.mean(errors)), "median": float(np.median(errors)), "spread": spread}
        say({"labels": name, "frames": count, **middle, "seeds": seeds})


def noise(count: int) -> None:
    """Noise of one label about the exact response, with exact centres, so that nothing but the label counts.

    In theory the whole energy of N molecules gives a mean square of (3/2)(kT)^2 (N + 4) <df^2> + <C^2>: bonds further
    away bring noise alone. V8 has the same form for a bath of one dimension, N + 13 in units of the signal.
    """
    for side in (3, 4, 6):
        liquid, kt = DiatomicLiquid(molecules=side**3, edge=round(0.6 * side, 9)), KB * KELVIN
        drawn = liquid.draw(count, KELVIN, seed=side)
        frames, still = liquid.beads(drawn), liquid.beads(drawn._replace(bonds=0 * drawn.bonds))
        signal = kt * KELVIN * liquid.response_force(drawn.centres, KELVIN)
        force = frames.forces - liquid.force(drawn.centres, KELVIN)
        bonds = frames.local_energy - still.local_energy - 1.5 * kt
        labels = {"whole": force * bonds.sum(axis=1)[:, None, None]}
        labels |= {f"local {r} nm": force * nearby(drawn.centres, bonds, liquid.edge, r)[..., None] for r in (0.9, 0.6)}
        whole = bonds.sum(axis=1) + 0.5 * frames.variate  # zero: half the virial is all the noise of a harmonic bond
        labels["variate"] = force * whole[:, None, None] + 0.5 * kt * frames.variate_slope
        power, floor = np.mean(signal**2), liquid.noise_floor(drawn.centres, KELVIN)
        theory = power / (1.5 * kt**2 * (side**3 + 4) * floor + power)
        for name, label in labels.items():
            line = {"molecules": side**3, "labels": name, "snr2": power / np.mean((label - signal) ** 2)}
            line |= {"slope": np.sum(label * signal) / np.sum(signal**2)}
            say(line | ({"theory": theory} if name == "whole" else {}))


def nearby(centres: np.ndarray, values: np.ndarray, edge: float, reach: float) -> np.ndarray:
    """The sum over each molecule and its neighbours."""
    summed = np.empty_like(values)
    for n, x in enumerate(centres):
        apart = x[:, None] - x[None]
        apart -= edge * np.round(apart / edge)
        summed[n] = ((apart**2).sum(axis=-1) < reach**2) @ values[n]
    return summed


def say(line: dict) -> None:
    short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}
    print(json.dumps(short), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore", mf.ExtrapolationWarning)
    what, *numbers = sys.argv[1:] or ["table"]
    values = [int(number) for number in numbers]
    if what == "noise":
        noise(values[0] if values else 2000)
    else:
        table(values[0] if values else 5, values[1:] or [50, 100, 200, 400, 800])
