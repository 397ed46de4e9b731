"""What is measured on samples of a model and on reference data alike."""

from meanforce.observables.base import Curve, Observable, Scalar
from meanforce.observables.bonded import (
    BondedDistribution,
    angle_distribution,
    bond_distribution,
    dihedral_distribution,
)
from meanforce.observables.compare import StructureError, adf_error, first_peak, rdf_error, structure_error
from meanforce.observables.ends import EndToEnd, end_to_end_distribution
from meanforce.observables.learned import learned_error, left_open
from meanforce.observables.mechanical import Pressure, pressure
from meanforce.observables.overlap import FreeEnergy, free_energy, free_energy_distributions
from meanforce.observables.samples import Samples, measure, samples_of, values
from meanforce.observables.structure import AngularDistribution, RadialDistribution, adf, coordination, rdf
from meanforce.observables.surface import DihedralSurface, Surface, SurfaceError, free_energy_surface, surface_error
from meanforce.observables.thermodynamic import Density, Energy, HeatCapacity, density, energy, heat_capacity
from meanforce.observables.transport import Diffusion, MeanSquareDisplacement, diffusion, msd, yeh_hummer
from meanforce.observables.velocities import Memory, VelocityAutocorrelation, vacf, velocity_memory

__all__ = [
    "AngularDistribution",
    "BondedDistribution",
    "Curve",
    "Density",
    "Diffusion",
    "DihedralSurface",
    "EndToEnd",
    "Energy",
    "FreeEnergy",
    "HeatCapacity",
    "MeanSquareDisplacement",
    "Memory",
    "Observable",
    "Pressure",
    "RadialDistribution",
    "Samples",
    "Scalar",
    "StructureError",
    "Surface",
    "SurfaceError",
    "VelocityAutocorrelation",
    "adf",
    "adf_error",
    "angle_distribution",
    "bond_distribution",
    "coordination",
    "density",
    "diffusion",
    "dihedral_distribution",
    "end_to_end_distribution",
    "energy",
    "first_peak",
    "free_energy",
    "free_energy_distributions",
    "free_energy_surface",
    "heat_capacity",
    "learned_error",
    "left_open",
    "measure",
    "msd",
    "pressure",
    "rdf",
    "rdf_error",
    "samples_of",
    "structure_error",
    "surface_error",
    "vacf",
    "values",
    "velocity_memory",
    "yeh_hummer",
]
