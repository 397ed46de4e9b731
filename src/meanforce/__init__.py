"""Coarse-grained molecular models from atomistic simulation and experiment, with their errors."""

from meanforce import observables, thermodynamics
from meanforce.data.dataset import Dataset
from meanforce.data.inspect import inspect
from meanforce.data.mapping import Mapping
from meanforce.data.readers import read
from meanforce.dynamics.barostat import Barostat
from meanforce.dynamics.exchange import Ladder
from meanforce.dynamics.guard import Guard
from meanforce.dynamics.ramp import Ramp
from meanforce.dynamics.replicas import Replicas, replica_exchange
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings, SimulationStopped
from meanforce.dynamics.thermostats import NVE, Langevin, NoseHoover, Rescaling
from meanforce.ensemble import Ensemble, State
from meanforce.frames import Frames
from meanforce.learn.crossfit import cross_fit
from meanforce.learn.fit import fit
from meanforce.learn.friction import Friction, match_diffusion
from meanforce.learn.lastlayer import last_layer
from meanforce.learn.priors import priors, wall
from meanforce.learn.training import Training
from meanforce.learn.tuning import tuned
from meanforce.model import Model
from meanforce.objectives.cumulants import (
    ResponseMatching,
    SecondResponseMatching,
    SlopeMatching,
    VarianceMatching,
)
from meanforce.objectives.joint import JointMatching
from meanforce.objectives.matching import EnergyMatching, ForceMatching, PressureMatching
from meanforce.potentials.concave import ConcaveThermal
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.equivariant import Equivariant
from meanforce.potentials.heads import LinearCoupled
from meanforce.potentials.hipnn import HipNN
from meanforce.potentials.kernels import KernelPotential
from meanforce.potentials.local import LocalNetwork
from meanforce.potentials.sums import SplinePotential, Sum
from meanforce.potentials.thermal import LinearThermal, Thermal
from meanforce.potentials.validity import ExtrapolationWarning
from meanforce.topology import Topology

__all__ = [
    "NVE",
    "Barostat",
    "ConcaveThermal",
    "Dataset",
    "DimeNet",
    "EnergyMatching",
    "Ensemble",
    "Equivariant",
    "ExtrapolationWarning",
    "ForceMatching",
    "Frames",
    "Friction",
    "Guard",
    "HipNN",
    "JointMatching",
    "KernelPotential",
    "Ladder",
    "Langevin",
    "LinearCoupled",
    "LinearThermal",
    "LocalNetwork",
    "Mapping",
    "Model",
    "NoseHoover",
    "PressureMatching",
    "Ramp",
    "Replicas",
    "Rescaling",
    "ResponseMatching",
    "SecondResponseMatching",
    "Settings",
    "SimulationStopped",
    "SlopeMatching",
    "SplinePotential",
    "State",
    "Sum",
    "Thermal",
    "Topology",
    "Training",
    "VarianceMatching",
    "cross_fit",
    "fit",
    "inspect",
    "last_layer",
    "match_diffusion",
    "observables",
    "priors",
    "read",
    "replica_exchange",
    "simulate",
    "thermodynamics",
    "tuned",
    "wall",
]
