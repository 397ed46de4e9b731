"""DimeNet++ beside chemtrain's: forces, steps of force matching and compiling, on the same frames. Prints JSON.

    python benchmarks/dimenet.py peers/bin/python beads.h5 [repeats]

Alanine dipeptide: 10 beads, step of 100 frames, from `data/alanine_obc2.h5`. Water: 864 beads, 2 x 2 x 1 copies of
the 216 beads of `beads.h5`, step of 4 frames. The two programs take turns, each in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from meanforce.data.dataset import Dataset

HERE = Path(__file__).parent
TASKS = [("dipeptide", "force"), ("dipeptide", "step"), ("water", "force"), ("water", "step")]
EDGE = 2.7  # nm, of the box of the dipeptide, which both see through minimum images


class Program:
    """One of the two, waiting for its turn."""

    def __init__(self, command: list[str], cache: Path):
        settings = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=settings, text=True, **pipes)
        self.said = self._answer()

    def time(self, system: str, quantity: str, repeats: int) -> dict[str, list[float]]:
        print(system, quantity, repeats, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.process.args[1]} ended with {self.process.wait()}; run it by hand to see why")

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def dipeptide() -> dict[str, np.ndarray]:
    data = Dataset.open(HERE / "data" / "alanine_obc2.h5")
    frames = data[np.arange(100) * (len(data) // 100)]
    centre = frames.positions.mean(axis=1, keepdims=True)
    return {
        "positions": frames.positions - centre + EDGE / 2,
        "forces": frames.forces,
        "box": np.eye(3) * EDGE,
        "species": np.arange(10),
    }


def water(path: str) -> dict[str, np.ndarray]:
    data = Dataset.open(path)
    frames = data[np.arange(4) * (len(data) // 4)]
    box = frames.box[0]
    copies = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]) @ box
    positions = np.concatenate([frames.positions + copy for copy in copies], axis=1)
    box = box * np.array([[2.0], [2.0], [1.0]])
    inside = (positions @ np.linalg.inv(box)) % 1.0
    return {
        "positions": inside @ box,
        "forces": np.concatenate([frames.forces] * 4, axis=1),
        "box": box,
        "species": np.zeros(positions.shape[1], int),
    }


def compared(found: dict[str, dict[str, list[float]]]) -> dict:
    """Medians in ms and their ratios, by the wall clock and by the time of the processors."""
    medians = {name: {k: float(np.median(v)) for k, v in times.items()} for name, times in found.items()}
    ratios = {k: medians["chemtrain"][k] / medians["meanforce"][k] for k in ("wall", "cpu")}
    return {name: {k: 1e3 * v for k, v in each.items()} for name, each in medians.items()} | {"ratio": ratios}


def main(peer: str, beads: str, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        given = []
        for name, frames in (("dipeptide", dipeptide()), ("water", water(beads))):
            np.savez(Path(folder) / f"{name}.npz", **frames)
            given.append(f"{name}={folder}/{name}.npz")
        commands = {
            "meanforce": [sys.executable, str(HERE / "peers" / "dimenet_meanforce.py"), *given],
            "chemtrain": [peer, str(HERE / "peers" / "dimenet_chemtrain.py"), *given],
        }
        start = lambda: {name: Program(command, Path(folder) / name) for name, command in commands.items()}
        report = lambda what, values: print(json.dumps({"what": what} | values), flush=True)
        programs = start()
        report("networks", {name: program.said for name, program in programs.items()})
        for task in TASKS:
            report(f"{' '.join(task)}: compile", compared({n: p.time(*task, 1) for n, p in programs.items()}))
        for task in TASKS:
            calls = 20 if task == ("dipeptide", "force") else 1
            found: dict[str, dict[str, list[float]]] = {n: {"wall": [], "cpu": []} for n in programs}
            for _ in range(repeats):
                for name, program in programs.items():
                    for kind, values in program.time(*task, calls).items():
                        found[name][kind] += values
            report(" ".join(task), compared(found))
        for program in programs.values():
            program.end()
        programs = start()
        for task in TASKS:
            kept = {n: p.time(*task, 1) for n, p in programs.items()}
            report(f"{' '.join(task)}: compile, kept programs", compared(kept))
        for program in programs.values():
            program.end()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 9)
