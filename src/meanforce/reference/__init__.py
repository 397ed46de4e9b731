"""Atomistic reference data: OpenMM recipes, and systems that are solved exactly."""

from meanforce.reference.analytic import (
    CurvedValley,
    ExactBead,
    ExponentialBath,
    ModulatedBath,
    PowerBath,
    RadialDistance,
    SquaredDistance,
    TwoStateBath,
)
from meanforce.reference.atoms import open_reference
from meanforce.reference.engine import BrokenSimulation
from meanforce.reference.ewald import RigidWater
from meanforce.reference.fixed import FixedSampling, draw_fixed, sample_fixed
from meanforce.reference.flexible import FlexibleWater
from meanforce.reference.held import evenly, hold, read_errors
from meanforce.reference.liquids import DiatomicLiquid, PairFunction
from meanforce.reference.openmm import Progress, run
from meanforce.reference.recipe import ReferenceRun
from meanforce.reference.systems import SYSTEMS, AlanineDipeptide, Alkane, Argon, AtomisticSystem, Water
from meanforce.reference.two_state_liquid import TwoStateLiquid

__all__ = [
    "SYSTEMS",
    "AlanineDipeptide",
    "Alkane",
    "Argon",
    "AtomisticSystem",
    "BrokenSimulation",
    "CurvedValley",
    "DiatomicLiquid",
    "ExactBead",
    "ExponentialBath",
    "FixedSampling",
    "FlexibleWater",
    "ModulatedBath",
    "PairFunction",
    "PowerBath",
    "Progress",
    "RadialDistance",
    "ReferenceRun",
    "RigidWater",
    "SquaredDistance",
    "TwoStateBath",
    "TwoStateLiquid",
    "Water",
    "draw_fixed",
    "evenly",
    "hold",
    "open_reference",
    "read_errors",
    "run",
    "sample_fixed",
]
