"""Alanine dipeptide's free-energy surface over phi and psi: atoms, and models learned from their forces.

python benchmarks/alanine.py atoms RUN.h5 --time 80000 --seed 1     # ps; about 3 ns a minute on one core; resumable
python benchmarks/alanine.py surface RUN.h5 ...                     # writes data/alanine_surface.npz
python benchmarks/alanine.py learn FOLDER --kind local --seed 0     # prints a line of JSON; resumable

A free run of 100 ns crosses phi = 0 three times, and no surface can be judged by that. So the atoms here are simulated
with V(phi) = -8 kT exp((cos phi - 1) / 0.2) beside their force field, which lowers this barrier, and every frame is
weighted by exp(V / kT); models are sampled with the same V and weighted in the same way. Forces are learned from the
free run of `data/alanine_obc2.h5`.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from scipy.special import ive

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.mapping import Mapping
from meanforce.learn.priors import wall
from meanforce.observables.surface import Surface, free_energy_surface, surface_error
from meanforce.potentials.local import LARGE
from meanforce.potentials.priors import PeriodicDihedral
from meanforce.potentials.sums import Sum
from meanforce.reference import openmm
from meanforce.reference.atomistic import require_openmm
from meanforce.reference.peptide import AlanineDipeptide
from meanforce.reference.recipe import ReferenceRun
from meanforce.units import KB
from meanforce.workflow import open_reference

HERE = Path(__file__).parent
FRAMES, SURFACE = HERE / "data" / "alanine_obc2.h5", HERE / "data" / "alanine_surface.npz"
PHI, PSI = (1, 3, 4, 6), (3, 4, 6, 8)  # beads
KELVIN = 300.0
#: Networks with learning rates that suit them; the fast one sees the whole molecule from every bead.
KINDS = {
    "local": (lambda types, seed: mf.LocalNetwork(types, cutoff=1.4, sizes=LARGE, seed=seed), 0.015),
    "hipnn": (lambda types, seed: mf.HipNN(types, cutoff=1.0, seed=seed), 0.01),
    "equivariant": (lambda types, seed: mf.Equivariant(types, cutoff=1.0, seed=seed), 0.005),
    "dimenet": (lambda types, seed: mf.DimeNet(types, cutoff=0.6, seed=seed), 0.003),
}
DEPTH, WIDTH, WAVES = 8.0 * KB * KELVIN, 0.2, 24


class Lowered(AlanineDipeptide):
    """With V(phi) beside the force field; forces and energies of the frames hold V."""

    def build(self):
        built = super().build()
        force = require_openmm().CustomTorsionForce("-depth * exp((cos(theta) - 1) / width)")
        force.addGlobalParameter("depth", DEPTH)
        force.addGlobalParameter("width", WIDTH)
        force.addTorsion(4, 6, 8, 14)
        built.system.addForce(force)
        return built


def lowering(topology: mf.Topology) -> PeriodicDihedral:
    """V(phi) + constant on the beads: exp(cos(phi) / w) = I_0(1/w) + 2 sum_n I_n(1/w) cos(n phi)."""
    kinds = topology.kinds("dihedrals")
    barrier = np.zeros((len(kinds), WAVES))
    barrier[kinds.index(("C1", "N2", "CA2", "C2"))] = -2 * DEPTH * ive(np.arange(1, WAVES + 1), 1 / WIDTH)
    return PeriodicDihedral(kinds, barrier=barrier, phase=np.zeros_like(barrier))


def without_lowering(sampled: mf.Ensemble) -> mf.Ensemble:
    """Samples of A + V as samples of A."""
    model = mf.Model(lowering(sampled.topology), sampled.topology)
    v = thermo.free_energy(model, sampled.frames.positions, temperature=KELVIN) / (KB * KELVIN)
    return sampled._replace(log_weights=sampled.log_weights + v)


def surface_of(paths: list[Path]) -> Surface:
    """Of the atoms, from runs with V."""
    mapping = Mapping.from_json(mf.Dataset.open(FRAMES).provenance["mapping"])
    positions, chains = [], []
    for number, path in enumerate(paths):
        found = mapping.positions(mf.Dataset.open(path)[:])
        positions.append(found)
        chains.append(np.full(len(found), number))
    frames, none = mf.Frames(np.concatenate(positions)), np.zeros(sum(map(len, chains)))
    with_v = mf.Ensemble(frames, mapping.topology, mf.State(KELVIN), none, none, np.concatenate(chains))
    return free_energy_surface(without_lowering(with_v), PHI, PSI)


def learn(folder: Path, kind: str, seed: int, options: argparse.Namespace) -> dict:
    """Trains on the free run, samples with V, and compares, or weights the samples of another model."""
    data = mf.Dataset.open(FRAMES) if options.atoms is None else without_v(options.atoms)
    data = data.at(slice(0, None, options.stride))
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{seed}"
    splines = folder / "splines.mf"
    if not splines.exists():
        few = mf.Dataset.open(FRAMES).at(slice(0, None, 8))
        potential = mf.SplinePotential(data.topology, cutoff=1.2, spacing=0.04, many_body=False)
        mf.fit(potential, [mf.ForceMatching(few)]).model.save(splines)
    make, rate = KINDS[kind]
    network = make(data.topology.types, seed)
    potential = Sum((mf.Model.load(splines).potential, wall(data), network))
    checkpoint = folder / f"{name}.checkpoint"
    started = time.perf_counter()
    fit = mf.fit(
        potential, [mf.ForceMatching(data)],
        training=mf.Training(
            epochs=options.epochs, batch=64, learning_rate=rate, final_learning_rate=rate / 100, ema=0.99, seed=seed,
            checkpoint=checkpoint, resume=checkpoint.exists(),
        ),
    )  # fmt: skip
    fit.model.save(folder / f"{name}.mf")
    fit.history.to_csv(folder / f"{name}.csv")
    score = fit.history.scores[0]
    row = {
        "kind": kind, "seed": seed, "frames": len(data), "weights": sum(x.size for x in jax.tree.leaves(network)),
        "held_out": score.held_out, "train_seconds": round(time.perf_counter() - started),
    }  # fmt: skip
    return row | judged(fit.model, folder, name, options)


def without_v(run: Path) -> mf.Dataset:
    """100,000 frames of beads from a run of atoms with V, whose force is taken away again: V depends on beads alone."""
    mapping = Mapping.from_json(mf.Dataset.open(FRAMES).provenance["mapping"])
    atoms = open_reference(run)
    parts = mapping(atoms, forces="comoving").batches(10_000)
    frames = mf.Frames.concatenate(list(parts))
    frames = frames[np.linspace(0, len(frames) - 1, 100_000).astype(int)]
    v = thermo.force(mf.Model(lowering(mapping.topology), mapping.topology), frames.positions, temperature=KELVIN)
    return mf.Dataset.from_frames(mapping.topology, frames.with_(forces=frames.forces - v, energy=None))


def judged(model: mf.Model, folder: Path, name: str, options: argparse.Namespace) -> dict:
    """The surface of the model: by its own dynamics with V, or by weights of the samples of a faster model."""
    started = time.perf_counter()
    if options.samples_of is None:
        found = without_lowering(sampled(model, folder / f"{name}-samples.h5", options))
    else:
        fast = mf.Model.load(folder / f"{options.samples_of}.mf")
        theirs = sampled(fast, folder / f"{options.samples_of}-samples.h5", options)
        found = thermo.reweighted(part(theirs, np.arange(0, len(theirs.reduced), options.every)), model)
    surface = free_energy_surface(found, PHI, PSI)
    np.savez(folder / f"{name}-surface.npz", density=surface.density, error=surface.error, blocks=surface.blocks)
    error = surface_error(surface, load(SURFACE))
    return {
        "sample_seconds": round(time.perf_counter() - started), "effective_frames": found.effective_frames(),
        "density": error.density._asdict(), "rms_kT": [error.rms, error.rms_error],
        "within_half_kT": error.within_half, "never_visited": error.unseen,
    }  # fmt: skip


def sampled(model: mf.Model, output: Path, options: argparse.Namespace) -> mf.Ensemble:
    """Dynamics with V; what is on the disk already is not done again."""
    with_v = model.with_(potential=Sum((model.potential, lowering(model.topology))))
    data = mf.Dataset.open(FRAMES)
    start = data.at(np.linspace(0, len(data) - 1, options.replicas).astype(int))[:]
    found = mf.simulate(
        with_v, start, KELVIN, time=options.time, timestep=0.002, thermostat=mf.Langevin(5.0), seed=1,
        settings=mf.Settings(save_every=0.25, replicas=options.replicas, output=output, resume=True),
    )  # fmt: skip
    return part(found, np.flatnonzero(found.frames.time > 50))


def part(found: mf.Ensemble, kept: np.ndarray) -> mf.Ensemble:
    columns = (found.reduced[kept], found.log_weights[kept], found.chain[kept])
    return mf.Ensemble(found.frames[kept], found.topology, found.state, *columns)


def load(path: Path) -> Surface:
    with np.load(path) as kept:
        return Surface("surface", kept["density"], kept["error"], kept["blocks"])


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    atoms = commands.add_parser("atoms")
    atoms.add_argument("out", type=Path)
    atoms.add_argument("--time", type=float, default=80_000.0)
    atoms.add_argument("--seed", type=int, default=1)
    commands.add_parser("surface").add_argument("runs", type=Path, nargs="+")
    model = commands.add_parser("learn")
    model.add_argument("folder", type=Path)
    model.add_argument("--kind", choices=list(KINDS), default="local")
    model.add_argument("--seed", type=int, default=0)
    model.add_argument("--epochs", type=int, default=8)
    model.add_argument("--stride", type=int, default=1)
    model.add_argument("--atoms", type=Path, help="learn from this run with V, instead of the free run")
    model.add_argument("--time", type=float, default=150.0)
    model.add_argument("--replicas", type=int, default=48)
    model.add_argument("--samples-of", help="such as local-0: its samples are weighted, instead of new dynamics")
    model.add_argument("--every", type=int, default=4, help="of those samples")
    given = parser.parse_args()
    if given.command == "atoms":
        free = ReferenceRun(
            system=AlanineDipeptide(solvent="obc2"), temperatures=[KELVIN], time=given.time, interval=0.5,
            seed=given.seed,
        )  # fmt: skip
        openmm.run(free.model_copy(update={"system": Lowered(solvent="obc2")}), given.out, resume=True)
    elif given.command == "surface":
        surface = surface_of(given.runs)
        np.savez_compressed(SURFACE, density=surface.density, error=surface.error, blocks=surface.blocks)
    else:
        print(json.dumps(learn(given.folder, given.kind, given.seed, given)), flush=True)


if __name__ == "__main__":
    main()
