"""OpenMM, CPU platform: the same liquid in argon's units, Langevin-middle, single precision. Prints steps/s as JSON."""

import json
import sys
import time

import numpy as np
import openmm as mm

n, steps, threads = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sigma, epsilon, mass = 0.34, 0.996, 39.948
tau = sigma * np.sqrt(mass / epsilon)
side = (n / 0.8) ** (1 / 3) * sigma
cells = int(np.ceil(n ** (1 / 3)))
sites = (np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)[:n] + 0.5) * side / cells
system = mm.System()
system.setDefaultPeriodicBoxVectors(*(np.eye(3) * side))
force = mm.NonbondedForce()
force.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)
force.setCutoffDistance(2.5 * sigma)
force.setUseDispersionCorrection(False)
for _ in range(n):
    system.addParticle(mass)
    force.addParticle(0.0, sigma, epsilon)
system.addForce(force)
integrator = mm.LangevinMiddleIntegrator(epsilon / 8.314462618e-3, 1 / tau, 0.005 * tau)
context = mm.Context(system, integrator, mm.Platform.getPlatformByName("CPU"), {"Threads": threads})
context.setPositions(sites)
context.setVelocitiesToTemperature(epsilon / 8.314462618e-3, 1)
integrator.step(1000)
start = time.perf_counter()
integrator.step(steps)
context.getState(energy=True)
print(
    json.dumps(
        {"steps_per_s": steps / (time.perf_counter() - start), "precision": "single", "version": mm.version.version}
    )
)
