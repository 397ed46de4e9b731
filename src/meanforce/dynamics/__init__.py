"""Molecular dynamics of beads."""

from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.run import ladder, simulate
from meanforce.dynamics.settings import Progress, Settings, SimulationStopped
from meanforce.dynamics.thermostats import NVE, Langevin, NoseHoover, Rescaling
from meanforce.dynamics.trajectory import write_trajectory

__all__ = [
    "NVE", "Barostat", "Langevin", "NoseHoover", "Progress", "Rescaling", "Settings", "SimulationStopped", "ladder",
    "simulate", "write_trajectory",
]  # fmt: skip
