"""Cost of kernel regression by frames and inducing points, on exact samples of a liquid. Prints JSON, a line for each.

    python benchmarks/kernels.py --frames 50 100 200 400 --points 50 100 200 400 > costs.jsonl
    python benchmarks/kernels.py --plot costs.jsonl figures/kernel_cost.svg

The diatomic liquid of 64 molecules, forces with the noise of their bonds; kernels in the surroundings to 0.5 nm on top
of pair splines to 0.9 nm. In processor seconds, `equations` is one pass over the data, compiled before, and `solution`
noise, strengths, coefficients and errors; `error` is the root mean square error of forces on other frames, against the
exact ones, in kJ/(mol nm).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.learn.linear import normal_equations
from meanforce.learn.regression import regress
from meanforce.learn.unsampled import Sampled
from meanforce.potentials.kernels import KernelPotential
from meanforce.reference.liquids import DiatomicLiquid

KELVIN = 300.0


def measured(liquid: DiatomicLiquid, data: Dataset, points: int) -> dict[str, float]:
    started = time.process_time()
    kernel = KernelPotential.of(data, count=points, sample=2000, tolerance=1e-12)
    chosen = time.process_time() - started
    potential = mf.Sum.of(mf.SplinePotential(liquid.topology, spacing=0.05, many_body=False), kernel)
    seconds = []
    for _ in range(2):  # the first compiles
        started = time.process_time()
        normals, energy, places = normal_equations(potential, [mf.ForceMatching(data)])
        seconds.append(time.process_time() - started)
    started = time.process_time()
    sampled = Sampled.of(places, potential.penalties(), potential.basis_names())
    found = sampled.whole(regress(normals, sampled.penalties, sampled.names, energy=energy))
    solution = time.process_time() - started
    centres = liquid.draw(20, KELVIN, seed=99, chains=4).centres
    model = mf.Model(potential.with_coefficients(found.coefficients), liquid.topology)
    wrong = thermo.force(model, centres, np.eye(3) * liquid.edge, temperature=KELVIN) - liquid.force(centres, KELVIN)
    return {
        "frames": len(data),
        "asked": points,
        "points": len(kernel.points),
        "coefficients": len(potential.coefficients),
        "choice": chosen,
        "compiling": seconds[0] - seconds[1],
        "equations": seconds[1],
        "solution": solution,
        "error": float(np.sqrt(np.mean(wrong**2))),
    }


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Seconds of a pass against frames and points, and of the solution against points, with lines of powers."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    drawing, panels = plt.subplots(1, 3, figsize=(12.5, 4), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0.1, 0.8, 4))
    shown = (("frames", "asked", "equations", (1,)), ("points", "frames", "equations", (1, 2)),
             ("points", "frames", "solution", (2,)))  # fmt: skip
    named = {"frames": "frames of 64 beads", "points": "inducing points", "asked": "inducing points",
             "equations": "one pass over the data / s", "solution": "strengths and coefficients / s"}  # fmt: skip
    for axes, (x, other, y, powers) in zip(panels, shown, strict=True):
        for kind, colour in zip(sorted({row[other] for row in rows}), colours, strict=False):
            line = sorted((row[x], row[y]) for row in rows if row[other] == kind)
            most = "at most " if other == "asked" else ""
            axes.loglog(*zip(*line, strict=True), "o-", color=colour, label=f"{most}{kind:g} {named[other]}")
        ends = np.array(sorted({row[x] for row in rows}), float)[[0, -1]]
        least = min(row[y] for row in rows)
        for power in powers:
            axes.loglog(ends, 0.7 * least * (ends / ends[0]) ** power, ":", color="0.4", lw=1)
            axes.annotate(
                f"as {x}" + ("²" if power == 2 else ""), (ends[1], 0.7 * least * (ends[1] / ends[0]) ** power),
                ha="right", va="top", color="0.3", fontsize=9,
            )  # fmt: skip
        ticks = [50, 100, 200, 400]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.set_xlabel(named[x])
        axes.set_ylabel(named[y])
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("JSONL", "SVG"))
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--points", type=int, nargs="+", default=[50, 100, 200, 400])
    options = parser.parse_args()
    if options.plot:
        plot([json.loads(line) for line in options.plot[0].read_text().splitlines()], options.plot[1])
        raise SystemExit
    liquid = DiatomicLiquid()
    data = Dataset.from_frames(liquid.topology, liquid.sample(max(options.frames), KELVIN, seed=1))
    for frames in options.frames:
        for points in options.points:
            print(json.dumps(measured(liquid, data.at(slice(0, frames)), points)), flush=True)
