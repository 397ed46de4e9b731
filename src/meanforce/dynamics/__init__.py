"""Molecular dynamics of beads."""

from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.exchange import Ladder
from meanforce.dynamics.ramp import Ramp
from meanforce.dynamics.replicas import Replicas, replica_exchange
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Progress, Settings, SimulationStopped
from meanforce.dynamics.thermostats import NVE, Langevin, NoseHoover, Rescaling
from meanforce.dynamics.trajectory import write_trajectory

__all__ = [
    "NVE", "Barostat", "Ladder", "Langevin", "NoseHoover", "Progress", "Ramp", "Replicas", "Rescaling", "Settings",
    "SimulationStopped", "replica_exchange", "simulate", "write_trajectory",
]  # fmt: skip
