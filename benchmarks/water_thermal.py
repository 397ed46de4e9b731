"""One-site water over temperatures: what labels at 300 K alone say of the liquid from 250 to 700 K.

python benchmarks/water_thermal.py atoms ATOMS.h5          # seven temperatures, 64 SPC/E, about half an hour; resumable
python benchmarks/water_thermal.py hold ATOMS.h5 HELD.h5   # labels at fixed beads, two hours of one core; resumable
python benchmarks/water_thermal.py compare ATOMS.h5 HELD.h5 FOLDER [--models force response ...]

python benchmarks/water_thermal.py diffuse ATOMS.h5 HELD.h5 FOLDER [--match 300 600]    # friction over temperatures
python benchmarks/water_thermal.py report data/water_thermal.jsonl water.html     # what `compare` printed, as a page

Every model is the same sum of pair and three-body splines. `compare` prints one line of JSON for each model and
temperature; references of structure, of energies and of mean forces (ten frames a temperature) come from the atoms.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce import reference
from meanforce.observables.compare import structure_error
from meanforce.observables.consistency import Seen
from meanforce.observables.gauge import Gauge
from meanforce.observables.structure import adf, rdf
from meanforce.reference import openmm
from meanforce.reference.atoms import open_reference
from meanforce.reference.recipe import ReferenceRun
from meanforce.reference.water import Water
from meanforce.report import learning
from meanforce.report.page import write
from meanforce.report.sections import Report

KELVIN = (300.0, 250.0, 350.0, 400.0, 500.0, 600.0, 700.0)
CUTOFF, SHELL, TAUGHT = 0.6, 0.36, 300.0
HELD = (250.0, 400.0, 500.0, 600.0, 700.0)
WINDOW = (2.0, 4.4)  # ps, where the mean-square displacement is a line; lags reach to a sixteenth of a run
F, E, C, C2 = mf.ForceMatching, mf.EnergyMatching, mf.ResponseMatching, mf.SecondResponseMatching


def atoms(path: Path) -> None:
    run = ReferenceRun(
        system=Water(model="spce", molecules=64, density=1.0, cutoff=CUTOFF), temperatures=KELVIN, time=1000.0,
        interval=0.2, equilibration=50.0, seed=11, virial=False,
    )  # fmt: skip
    openmm.run(run, path, resume=True, threads=1)


def hold(source: Path, path: Path) -> None:
    """Three hundred frames at 300 K, and ten at five other temperatures beside them, for the mean forces there."""
    kelvin = mf.Dataset.open(source).column("temperature")
    of = lambda t, count: reference.evenly(np.flatnonzero(kelvin == t), count)
    long = reference.FixedSampling(replicas=4, burn_in=1000, samples=2000, stride=5, seed=20)
    reference.hold(source, path, of(TAUGHT, 300), long, resume=True)
    short = reference.FixedSampling(replicas=4, burn_in=500, samples=800, stride=5, seed=21)
    rows = [row for rows in zip(*(of(t, 10) for t in HELD), strict=True) for row in rows]
    reference.hold(source, others(path), rows, short, resume=True)


def others(path: Path) -> Path:
    return path.with_name(f"{path.stem}-others.h5")


class Compared:
    """The data of all models, and the potential they share."""

    def __init__(self, source: Path, held: Path, folder: Path, frames: int):
        folder.mkdir(parents=True, exist_ok=True)
        beads = folder / "beads.h5"
        if not beads.exists():
            run = open_reference(source)
            mf.Dataset.create(beads, mf.Mapping.by_residue(run, {"HOH": {"W": "all"}})(run))
        self.beads = mf.Dataset.open(beads)
        self.held = mf.Dataset.open(held).at(slice(0, frames))
        self.near = reference.read_errors(held)["near_covariance"][:frames]
        self.others = mf.Dataset.open(others(held))
        self.folder = folder
        self._gauges: dict[str, Gauge] = {}

    def at(self, kelvin: float, every: int = 1) -> mf.Dataset:
        found = self.beads.select(temperature=kelvin)
        return found.at(slice(0, None, every))

    def spline(self) -> mf.SplinePotential:
        return mf.SplinePotential(self.beads.topology, cutoff=CUTOFF)

    def thermal(self, heat_capacity: bool = False) -> mf.LinearThermal:
        return mf.LinearThermal.of(self.spline(), reference=TAUGHT, heat_capacity=heat_capacity)

    def nearby(self, radius: int) -> mf.Dataset:
        """The held labels with the covariance owed to the molecules within one of the ranges."""
        frames = self.held[:]
        return mf.Dataset.from_frames(self.held.topology, frames.with_(covariance=self.near[:, radius]))

    def gauge(self, name: str, model: mf.Model) -> Gauge:
        """What no force knows of E, from a thousand instantaneous energies at each temperature learned from."""
        if name not in self._gauges:
            kelvins = sorted(KELVIN) if name == "all temperatures" else [TAUGHT]
            self._gauges[name] = Gauge.of(Seen.each(model, [self.at(kelvin, 5) for kelvin in kelvins]))
        return self._gauges[name]

    def several(self) -> mf.Dataset:
        """Every tenth frame of all temperatures."""
        return self.beads.at(slice(0, None, 10))


def models() -> dict[str, Callable[[Compared], mf.Model]]:
    held = lambda kinds, **options: lambda c: mf.fit(c.thermal(**options), [k(c.held) for k in kinds], blocks=10).model
    return {
        "force": lambda c: mf.fit(c.spline(), [F(c.held)], blocks=10).model,
        "energy": held((F, E)),
        "response": held((F, C)),
        "energy+response": held((F, E, C)),
        "near response": lambda c: mf.fit(c.thermal(), [k(c.nearby(1)) for k in (F, E, C)], blocks=10).model,
        "second": held((F, E, C, C2), heat_capacity=True),
        "instantaneous force": lambda c: mf.fit(c.spline(), [F(c.at(TAUGHT))]).model,
        "instantaneous energy": lambda c: mf.fit(c.thermal(), [k(c.at(TAUGHT)) for k in (F, E)]).model,
        "instantaneous response": responses,
        "all temperatures": lambda c: mf.fit(c.thermal(True), [k(c.several()) for k in (F, E)]).model,
    }


def responses(c: Compared) -> mf.Model:
    labelled = mf.cross_fit(c.thermal(), c.at(TAUGHT))
    return mf.fit(c.thermal(), [k(labelled) for k in (F, E, C)]).model


def judged(c: Compared, name: str, model: mf.Model, kelvin: float, options: argparse.Namespace) -> dict:
    """Forces against the held references, structure and energy against the atoms."""
    row: dict = {"model": name, "kelvin": kelvin, "frames": options.frames}
    if kelvin == TAUGHT or kelvin in c.others.temperatures:
        frames = (c.held if kelvin == TAUGHT else c.others.select(temperature=kelvin))[:]
        found = thermo.force(model, frames.positions, frames.box, temperature=kelvin)
        row["force"] = float(np.sqrt(np.mean((found - frames.forces) ** 2) / np.mean(frames.forces**2)))
    atoms = c.at(kelvin)
    output = c.folder / f"{name.replace(' ', '-')}-{options.frames}-{kelvin:g}.h5"
    start = atoms.at(np.linspace(0, len(atoms) - 1, options.replicas).astype(int))[:]
    run = mf.simulate(
        model, start, kelvin, time=options.time, timestep=0.005, seed=1, thermostat=mf.Langevin(2.0),
        settings=mf.Settings(save_every=0.2, replicas=options.replicas, output=output, resume=True),
    )  # fmt: skip
    kept = np.flatnonzero(run.frames.time > 10.0)
    run = mf.Ensemble(
        run.frames[kept], run.topology, run.state, run.reduced[kept], run.log_weights[kept], run.chain[kept]
    )
    for label, curve in (("rdf", lambda s: rdf(s, ("W", "W"))), ("adf", lambda s: adf(s, ("W",) * 3, cutoff=SHELL))):
        error = structure_error(curve(run), curve(atoms))
        row[label] = [error.mean_square, error.noise, error.error]
    if model.potential.depends_on_temperature:
        some = run.frames[:: max(1, len(run.frames) // 400)]
        own = np.mean(thermo.energy(model, some.positions, some.box, temperature=kelvin))
        gauge = c.gauge(name, model)
        row["mean_energy"] = float(own + gauge.energy(kelvin).value)
        here = thermo.heat_capacity(model, some.positions, some.box, temperature=kelvin)
        row["concave"] = bool((here + gauge.heat_capacity(kelvin).value > 0).all())
    row["atoms_energy"] = float(np.mean(atoms.column("energy")))
    return row


def diffused(c: Compared, options: argparse.Namespace) -> None:
    """Diffusion at every temperature with the friction that is right at those matched; of models and of the atoms."""
    measure = lambda run: mf.observables.diffusion(run, window=WINDOW)
    of_atoms = {kelvin: measure(c.at(kelvin)).coefficient for kelvin in {*options.kelvin, *options.match}}
    settings = mf.Settings(save_every=0.2, replicas=options.replicas)
    places = np.linspace(0, len(c.at(TAUGHT)) - 1, options.replicas).astype(int)
    for name in options.models:
        model = models()[name](c)
        found = mf.Friction.through(*(
            mf.match_diffusion(
                model, c.at(kelvin).at(places)[:], of_atoms[kelvin], kelvin, options.time, 0.005, 1, settings=settings,
                measure=measure,
            )
            for kelvin in options.match
        ))  # fmt: skip
        for kelvin in options.kelvin:
            run = mf.simulate(
                model, c.at(kelvin).at(places)[:], kelvin, time=options.time, timestep=0.005, seed=2,
                thermostat=found.thermostat, settings=settings,
            )  # fmt: skip
            mine, known = measure(run).coefficient, of_atoms[kelvin]
            error = float(np.hypot(mine.error, found.uncertainty(mine, model.topology.masses, kelvin)))
            row = {
                "model": name, "matched": options.match, "kelvin": kelvin, "friction": list(found.at(kelvin)[1:3]),
                "diffusion": [mine.value, error], "atoms": [known.value, known.error],
            }  # fmt: skip
            print(json.dumps(row), flush=True)


def page(found: Path, path: Path) -> None:
    """Errors of g(r) by temperature and by number of frames, with the claim that responses take most of the excess."""
    shown = ("force", "response", "instantaneous energy", "all temperatures", "own")
    rows = [row for row in learning.read_rows(found, "rdf") if row.model in shown]
    quantity = learning.Quantity("RDF of water", "mean-square error beyond noise")
    claim = learning.Claim("response", "force", "own", 400.0, 100)
    section = learning.learning(rows, quantity, reference="own", claims=[claim])
    told = "64 SPC/E molecules at 1 g/cm3; own and instantaneous: 5,000 frames, all temperatures: every tenth of 35,000"
    write(Report("One-site water, learned at 300 K", told, (section,), model="response"), path)


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("atoms").add_argument("atoms", type=Path)
    holding = commands.add_parser("hold")
    comparing = commands.add_parser("compare")
    diffusing = commands.add_parser("diffuse")
    for each in (holding, comparing, diffusing):
        each.add_argument("atoms", type=Path)
        each.add_argument("held", type=Path)
    for each in (comparing, diffusing):
        each.add_argument("folder", type=Path)
        each.add_argument("--kelvin", nargs="+", type=float, default=sorted(KELVIN))
        each.add_argument("--frames", type=int, default=100)
        each.add_argument("--time", type=float, default=60.0)
        each.add_argument("--replicas", type=int, default=8)
    comparing.add_argument("--models", nargs="+", choices=[*models(), "own"], default=[*models(), "own"])
    diffusing.add_argument("--match", nargs="+", type=float, default=[TAUGHT])
    diffusing.add_argument("--models", nargs="+", choices=list(models()), default=["force", "response"])
    reporting = commands.add_parser("report")
    reporting.add_argument("found", type=Path)
    reporting.add_argument("page", type=Path)
    given = parser.parse_args()
    if given.command == "report":
        page(given.found, given.page)
    elif given.command == "atoms":
        atoms(given.atoms)
    elif given.command == "hold":
        hold(given.atoms, given.held)
    else:
        warnings.simplefilter("ignore", mf.ExtrapolationWarning)
        compared = Compared(given.atoms, given.held, given.folder, given.frames)
        if given.command == "diffuse":
            diffused(compared, given)
            return
        for name in given.models:
            shared = None if name == "own" else models()[name](compared)
            for kelvin in given.kelvin:
                own = shared or mf.fit(compared.spline(), [F(compared.at(kelvin))]).model
                print(json.dumps(judged(compared, name, own, kelvin, given)), flush=True)


if __name__ == "__main__":
    main()
