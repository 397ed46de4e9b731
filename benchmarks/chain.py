"""Do energies improve the structure of a chain liquid? Hexane in three beads, learned from forces with and without.

    python benchmarks/chain.py beads ATOMS.h5 BEADS.h5
    python benchmarks/chain.py compare BEADS.h5 RESULTS.jsonl [--models splines kernel network] [--frames 30 100] ...
    python benchmarks/chain.py table RESULTS.jsonl

ATOMS.h5 is the run of `Alkane()` at 300 and 400 K. `compare` prints a line of JSON for each model, schooling, loss,
number of frames, seed and temperature, and leaves out those that RESULTS.jsonl holds already. Both losses see the same
frames, have the same potential and are sampled with the same random numbers:

both   frames drawn at 300 and 400 K, half at each; A(R; T) of first order in T, from forces, or forces and energies
400    frames drawn at 400 K alone; from forces A(R), used at all temperatures, from forces and energies A(R; T)

An error is the mean-square difference of a density from that of all 2000 frames of the atoms, in (1/nm)^2 or (1/rad)^2,
without what the noise of both brings on average.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import meanforce as mf
from meanforce.learn.priors import wall
from meanforce.observables import Curve, angle_distribution, bond_distribution, end_to_end_distribution
from meanforce.observables.compare import structure_error
from meanforce.potentials.kernels import SquaredExponential
from meanforce.potentials.local import Sizes
from meanforce.potentials.sums import LinearSum
from meanforce.reference.atoms import open_reference

KELVIN = (300.0, 400.0)
CUTOFF, SPACING, SEEN, POINTS = 0.9, 0.05, 0.5, 60
SIZES = Sizes(radial=20, degree=4, channels=12, products=12, cubes=4, hidden=32)
STEPS, BATCH = 300, 4  # of the network
TIMESTEP, SAVED, SETTLING, FRICTION = 0.005, 0.05, 5.0, 5.0  # ps, ps, ps, 1/ps
CURVES: dict[str, Callable[..., Curve]] = {
    "bond": lambda s: bond_distribution(s, span=(0.18, 0.30), bins=60),
    "angle": lambda s: angle_distribution(s, bins=90),
    "ends": lambda s: end_to_end_distribution(s, span=(0.30, 0.60), bins=60),
}


def beads(atoms: Path, path: Path) -> None:
    run = open_reference(atoms)
    mapping = mf.Mapping.by_cgsmiles(run, "{[#E][#M][#E]}.{#E=CC[$],#M=[$]CC[$]}")
    mf.Dataset.create(path, mapping(run, constraints="none"))


def drawn(data: mf.Dataset, frames: int, schooling: str, seed: int) -> mf.Dataset:
    """As many frames, the same share at each temperature of the schooling."""
    rng = np.random.default_rng([seed, 7])
    kelvin = data.column("temperature")
    taught = KELVIN if schooling == "both" else (float(schooling),)
    each = [rng.choice(np.flatnonzero(kelvin == t), frames // len(taught), replace=False) for t in taught]
    return data.at(np.sort(np.concatenate(each)))


def splines(data: mf.Dataset) -> mf.SplinePotential:
    return mf.SplinePotential(data.topology, cutoff=CUTOFF, spacing=SPACING, many_body=False)


def kernel(data: mf.Dataset) -> LinearSum:
    """Kernels in the surroundings on top of the splines, with inducing points from the frames drawn.

    A quarter of the default length, the typical distance of surroundings: away from all frames the splines are left.
    A longer kernel goes on there like a polynomial, and chains collapse into its holes.
    """
    length = mf.KernelPotential.of(data, count=1).kernel.length / 4
    return LinearSum((splines(data), mf.KernelPotential.of(data, count=POINTS, kernel=SquaredExponential(length))))


def priors(data: mf.Dataset) -> mf.Sum:
    """Harmonic bonds and angles and a repulsion, from where the beads are at the highest temperature."""
    return mf.priors(data.select(temperature=max(data.temperatures)), cutoff=CUTOFF)


def solved(make: Callable) -> Callable[..., mf.Model]:
    def learned(data: mf.Dataset, schooling: str, energies: bool, seed: int) -> mf.Model:
        potential = make(data)
        if schooling == "both" or energies:
            potential = mf.LinearThermal.of(potential, reference=float(np.mean(data.temperatures)))
        return mf.fit(potential, objectives(data, energies)).model

    return learned


def network(data: mf.Dataset, schooling: str, energies: bool, seed: int) -> mf.Model:
    """On harmonic bonds and angles and a repulsion, which are kept: the network learns what these are not."""
    net = lambda k: mf.LocalNetwork(data.topology.types, cutoff=SEEN, start=0.15, sizes=SIZES, seed=100 * seed + k)
    reference = float(np.mean(data.temperatures))
    learned = mf.Thermal(net(0), net(1), None, reference) if schooling == "both" or energies else net(0)
    each = max(1, round(0.8 * len(data) / BATCH))
    training = mf.Training(
        epochs=STEPS // each, batch=BATCH, learning_rate=1e-2, final_learning_rate=1e-4, ema=0.99, validation=0.2,
        validate_every=max(1, STEPS // each // 15), seed=seed,
    )  # fmt: skip
    return mf.fit(mf.Sum((priors(data), wall(data), learned)), objectives(data, energies), training=training).model


def objectives(data: mf.Dataset, energies: bool) -> list:
    return [mf.ForceMatching(data), *([mf.EnergyMatching(data)] if energies else [])]


MODELS: dict[str, Callable[..., mf.Model]] = {"splines": solved(splines), "kernel": solved(kernel), "network": network}


def judged(model: mf.Model, data: mf.Dataset, kelvin: float, length: float, seed: int, known: dict) -> dict:
    """Errors of the distributions of a run of `length` ps: [mean square, noise, error]."""
    atoms = data.select(temperature=kelvin)
    settings = mf.Settings(save_every=SAVED)
    try:
        run = mf.simulate(
            model, atoms.at([1000])[:], kelvin, time=SETTLING + length, timestep=TIMESTEP, seed=seed,
            thermostat=mf.Langevin(FRICTION), settings=settings,
        )  # fmt: skip
    except mf.SimulationStopped as stopped:
        return {"stopped": stopped.cause}
    kept = np.flatnonzero(run.frames.time > SETTLING + 1e-9)
    run = mf.Ensemble(
        run.frames[kept], run.topology, run.state, run.reduced[kept], run.log_weights[kept], run.chain[kept]
    )
    found = {}
    for name, curve in CURVES.items():
        if (name, kelvin) not in known:
            known[name, kelvin] = curve(atoms)
        error = structure_error(curve(run), known[name, kelvin])
        found[name] = [error.mean_square, error.noise, error.error]
    return found


def compare(options: argparse.Namespace) -> None:
    data = mf.Dataset.open(options.beads)
    options.results.touch()
    done = {key(json.loads(line)) for line in options.results.read_text().splitlines()}
    known: dict = {}
    tasks = [
        (name, schooling, frames, seed, loss)
        for schooling in options.schoolings for name in options.models for frames in options.frames
        for seed in range(options.seeds) for loss in ("F", "F+E")
    ]  # fmt: skip
    for name, schooling, frames, seed, loss in tasks:
        row = {"model": name, "schooling": schooling, "loss": loss, "frames": frames, "seed": seed}
        missing = [kelvin for kelvin in options.kelvin if key({**row, "kelvin": kelvin}) not in done]
        if not missing:
            continue
        started = time.process_time()
        model = MODELS[name](drawn(data, frames, schooling, seed), schooling, loss == "F+E", seed)
        learned = time.process_time() - started
        for kelvin in missing:
            started = time.process_time()
            found = judged(model, data, kelvin, options.time, seed, known)
            cost = [round(learned, 1), round(time.process_time() - started, 1)]
            line = json.dumps({**row, "kelvin": kelvin, "seconds": cost, **found})
            print(line, flush=True)
            with options.results.open("a") as file:
                file.write(line + "\n")


def key(row: dict) -> tuple:
    return tuple(row[name] for name in ("model", "schooling", "loss", "frames", "seed", "kelvin"))


def table(path: Path) -> None:
    """Errors over seeds, F and F+E, and the geometric mean of F+E/F over pairs of one seed with its error."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    cases = dict.fromkeys((r["schooling"], r["model"], r["frames"], r["kelvin"]) for r in rows)
    print("| schooling | model | frames | K |" + "".join(f" {c} F | {c} F+E | ratio |" for c in CURVES) + " seeds |")
    print("|---" * (5 + 3 * len(CURVES)) + "|")
    for case in sorted(cases):
        of = {loss: {r["seed"]: r for r in rows if key(r) == _key(case, loss, r["seed"])} for loss in ("F", "F+E")}
        seeds = sorted(of["F"].keys() & of["F+E"].keys())
        good = [s for s in seeds if all("stopped" not in of[loss][s] for loss in of)]
        line = f"| {case[0]} | {case[1]} | {case[2]} | {case[3]:g} |"
        for name in CURVES:
            found = np.array([[of[loss][s][name][:2] for s in good] for loss in of]).reshape(2, len(good), 2)
            without, beside = found[..., 0] - found[..., 1]
            ratio = spread(np.log(found[1, :, 0] / found[0, :, 0]), np.exp)
            line += f" {spread(without)} | {spread(beside)} | {ratio} |"
        print(line + f" {len(good)} of {len(seeds)} |")


def _key(case: tuple, loss: str, seed: int) -> tuple:
    schooling, model, frames, kelvin = case
    return (model, schooling, loss, frames, seed, kelvin)


def spread(values: Sequence[float], turned: Callable = lambda mean: mean) -> str:
    """Mean and standard error, of a logarithm where it is turned back by `exp`."""
    if len(values) < 2:
        return "-"
    mean, error = turned(np.mean(values)), np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean:.3g} ± {error * (mean if turned is np.exp else 1):.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    mapping, comparing, tabling = (commands.add_parser(name) for name in ("beads", "compare", "table"))
    mapping.add_argument("atoms", type=Path)
    mapping.add_argument("beads", type=Path)
    comparing.add_argument("beads", type=Path)
    comparing.add_argument("results", type=Path)
    comparing.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    comparing.add_argument("--schoolings", nargs="+", choices=["both", "400"], default=["both", "400"])
    comparing.add_argument("--frames", type=int, nargs="+", default=[10, 30, 100])
    comparing.add_argument("--kelvin", type=float, nargs="+", default=list(KELVIN))
    comparing.add_argument("--seeds", type=int, default=5)
    comparing.add_argument("--time", type=float, default=50.0)
    tabling.add_argument("results", type=Path)
    given = parser.parse_args()
    if given.command == "beads":
        beads(given.atoms, given.beads)
    elif given.command == "table":
        table(given.results)
    else:
        warnings.simplefilter("ignore", mf.ExtrapolationWarning)
        compare(given)


if __name__ == "__main__":
    main()
