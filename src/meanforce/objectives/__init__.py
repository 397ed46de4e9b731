"""What is wanted of a model."""

from meanforce.objectives.cumulants import ResponseMatching, SecondResponseMatching, SlopeMatching, VarianceMatching
from meanforce.objectives.joint import JointMatching
from meanforce.objectives.matching import EnergyMatching, ForceMatching, PressureMatching

__all__ = [
    "EnergyMatching",
    "ForceMatching",
    "JointMatching",
    "PressureMatching",
    "ResponseMatching",
    "SecondResponseMatching",
    "SlopeMatching",
    "VarianceMatching",
]
