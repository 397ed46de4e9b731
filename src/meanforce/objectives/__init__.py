"""What is wanted of a model."""

from meanforce.objectives.matching import ForceMatching, PressureMatching

__all__ = ["ForceMatching", "PressureMatching"]
