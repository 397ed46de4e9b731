"""What is wanted of a model."""

from meanforce.objectives.matching import EnergyMatching, ForceMatching, PressureMatching

__all__ = ["EnergyMatching", "ForceMatching", "PressureMatching"]
