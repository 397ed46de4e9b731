"""One OpenMM context at one temperature, and what is read from it."""

from __future__ import annotations

import platform as machine
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from meanforce.frames import Frames
from meanforce.reference.atomistic import AtomisticSystem, require_openmm
from meanforce.reference.recipe import ReferenceRun

if TYPE_CHECKING:
    import openmm

_BAROSTAT_STEPS = 25
_VIRIAL_STRAIN = 2e-4  # central difference: truncation and the rounding of single-precision energies balance here
_CONSTRAINT_TOLERANCE = 1e-6
_MINIMISER_TOLERANCE = 10.0  # kJ/(mol nm)
_MINIMISER_STEPS = 500


class BrokenSimulation(RuntimeError):
    """The engine stopped: coordinates became infinite, or constraints could not be met."""


@dataclass(frozen=True, eq=False)
class Engine:
    """A running simulation. `create` sets it up; `start` or `restore` gives it a configuration."""

    context: openmm.Context
    probe: Probe | None
    system: AtomisticSystem
    temperature: float
    leg: int
    seed: int
    dtype: type

    @staticmethod
    def create(
        recipe: ReferenceRun, system: AtomisticSystem, leg: int, done: int, platform: str, threads: int | None
    ) -> Engine:
        """For temperature number `leg`, of which `done` steps lie behind."""
        openmm = require_openmm()
        temperature = recipe.temperatures[leg]
        thermostat_seed, velocity_seed, barostat_seed = seeds(recipe.seed, leg)
        run_system = openmm.XmlSerializer.clone(system.system)
        if recipe.pressure is not None:
            barostat = openmm.MonteCarloBarostat(recipe.pressure, temperature, _BAROSTAT_STEPS)
            # no checkpoint holds the barostat's random numbers: after a resume they must not be the first ones again
            barostat.setRandomNumberSeed((barostat_seed + done) % (2**31 - 1) or 1)
            run_system.addForce(barostat)
        integrator = openmm.LangevinMiddleIntegrator(temperature, recipe.friction, recipe.step)
        integrator.setRandomNumberSeed(thermostat_seed)
        integrator.setConstraintTolerance(_CONSTRAINT_TOLERANCE)
        context = _context(run_system, integrator, platform, threads)
        probe = None
        if recipe.virial and system.box is not None:
            probe = Probe.create(system, context.getMolecules(), platform, threads)
        dtype = {"single": np.float32, "double": np.float64}[recipe.precision]
        return Engine(context, probe, system, temperature, leg, velocity_seed, dtype)

    def start(self) -> None:
        """The built configuration, relaxed, with velocities of the temperature."""
        openmm = require_openmm()
        self.context.setPositions(self.system.positions)
        self.context.computeVirtualSites()
        openmm.LocalEnergyMinimizer.minimize(self.context, _MINIMISER_TOLERANCE, _MINIMISER_STEPS)
        self.context.setVelocitiesToTemperature(self.temperature, self.seed)

    def restore(self, checkpoint: bytes) -> None:
        openmm = require_openmm()
        try:
            self.context.loadCheckpoint(checkpoint)
        except openmm.OpenMMException as error:
            raise ValueError(
                f"the checkpoint does not fit this machine's OpenMM ({error}); resume where the run was begun, "
                "or keep its frames with Dataset.recover and begin another"
            ) from error

    def checkpoint(self) -> bytes:
        return self.context.createCheckpoint()

    def integrate(self, steps: int) -> None:
        openmm = require_openmm()
        try:
            self.context.getIntegrator().step(steps)
        except openmm.OpenMMException as error:
            cure = "use a smaller time step, or start from a lower density"
            if "box size" in str(error):
                cure = "use more molecules or a shorter cut-off, so that the box may shrink"
            raise BrokenSimulation(f"the simulation broke at {self.temperature:g} K ({error}): {cure}.") from error

    def frame(self, time: float) -> Frames:
        """The present configuration with its labels. Forces are those of the potential: no constraint forces."""
        state = self.context.getState(positions=True, forces=True, energy=True)
        positions = state.getPositions(asNumpy=True)._value
        atoms, one = self.system.atoms, np.ones(1)
        box = None
        if self.system.box is not None:
            box = np.array(state.getPeriodicBoxVectors(asNumpy=True)._value)
        return Frames(
            positions=positions[atoms][None].astype(self.dtype),
            forces=state.getForces(asNumpy=True)._value[atoms][None].astype(self.dtype),
            box=None if box is None else box[None],
            energy=one * state.getPotentialEnergy()._value,
            virial=None if self.probe is None or box is None else one * self.probe.virial(positions, box),
            temperature=one * self.temperature,
            time=one * time,
            trajectory=np.full(1, self.leg),
        )


@dataclass(frozen=True, eq=False)
class Probe:
    """A second context that measures energies, so that measuring never disturbs the trajectory."""

    context: openmm.Context
    molecule: np.ndarray  # of each particle
    weights: np.ndarray  # mass of each particle over that of its molecule

    @staticmethod
    def create(system: AtomisticSystem, molecules: Any, platform: str, threads: int | None) -> Probe:
        openmm = require_openmm()
        masses = np.array([system.system.getParticleMass(i)._value for i in range(system.system.getNumParticles())])
        molecule = np.zeros(len(masses), int)
        for number, members in enumerate(molecules):
            molecule[list(members)] = number
        weights = masses / np.bincount(molecule, masses)[molecule]
        context = _context(system.system, openmm.VerletIntegrator(0.001), platform, threads)
        return Probe(context, molecule, weights)

    def energy(self, positions: Float[np.ndarray, "particles 3"], box: Float[np.ndarray, "3 3"]) -> float:
        self.context.setPeriodicBoxVectors(*box)
        self.context.setPositions(positions)
        return self.context.getState(energy=True).getPotentialEnergy()._value

    def centres(self, positions: Float[np.ndarray, "particles 3"]) -> Float[np.ndarray, "molecules 3"]:
        return np.stack([np.bincount(self.molecule, self.weights * x) for x in positions.T], axis=1)

    def virial(self, positions: Float[np.ndarray, "particles 3"], box: Float[np.ndarray, "3 3"]) -> float:
        """-dU/d(ln L) in kJ/mol: centres of mass of the molecules and the box scaled, molecules rigid."""
        shift = _VIRIAL_STRAIN * self.centres(positions)[self.molecule]
        larger = self.energy(positions + shift, box * (1 + _VIRIAL_STRAIN))
        smaller = self.energy(positions - shift, box * (1 - _VIRIAL_STRAIN))
        return -(larger - smaller) / (2 * _VIRIAL_STRAIN)


def choose_platform(wanted: str, system: AtomisticSystem) -> str:
    """The named platform, or the fastest: a graphics card, else CPU, and Reference for a lone small molecule."""
    openmm = require_openmm()
    there = [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]
    if wanted != "auto":
        if wanted not in there:
            raise ValueError(f"OpenMM has no platform {wanted} here; use one of auto, {', '.join(there)}")
        return wanted
    if system.box is None and len(system.topology) < 100:
        return "Reference"
    return next(name for name in ("CUDA", "HIP", "OpenCL", "CPU", "Reference") if name in there)


def seeds(seed: int, leg: int) -> tuple[int, int, int]:
    """Seeds of the thermostat, the first velocities and the barostat; never 0, which OpenMM reads as 'any'."""
    drawn = np.random.SeedSequence([seed, leg]).generate_state(3)
    return tuple(int(s % (2**31 - 2)) + 1 for s in drawn)  # type: ignore[return-value]


def provenance(recipe: ReferenceRun, system: AtomisticSystem, platform: str) -> dict[str, Any]:
    """All that another person needs to make the same data."""
    barostat = None
    if recipe.pressure is not None:
        barostat = {"name": "Monte Carlo", "pressure_bar": recipe.pressure, "every_steps": _BAROSTAT_STEPS}
    return {
        "made_by": f"meanforce {version('meanforce')}",
        "engine": {"name": "OpenMM", "version": version("openmm"), "platform": platform, "machine": machine.machine()},
        "system": recipe.system.model_dump(),
        "force_field": system.description,
        "thermostat": {"name": "Langevin middle", "friction_per_ps": recipe.friction, "timestep_ps": recipe.step},
        "barostat": barostat,
        "temperatures_K": list(recipe.temperatures),
        "equilibration_ps": recipe.equilibration, "interval_ps": recipe.interval, "time_ps": recipe.time,
        "seed": recipe.seed, "seeds": [seeds(recipe.seed, leg) for leg in range(len(recipe.temperatures))],
        "constraints": system.constraints.tolist(),
        "degrees_of_freedom": system.degrees_of_freedom,
        "forces": "of the potential, without constraint forces; forces on virtual sites handed on to atoms",
        "virial": "-dU/d(ln L): centres of mass of molecules and box scaled, molecules rigid",
    }  # fmt: skip


def _context(
    system: openmm.System, integrator: openmm.Integrator, platform: str, threads: int | None
) -> openmm.Context:
    openmm = require_openmm()
    properties = {}
    if platform == "CPU" and threads is not None:
        properties["Threads"] = str(threads)
    if platform in ("CUDA", "HIP", "OpenCL"):
        properties["Precision"] = "mixed"
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
