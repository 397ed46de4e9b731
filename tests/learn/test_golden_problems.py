"""Exact problems through labels, fit and derivatives: V1 with several beads, V2, V4, V8, V11 and V12."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.special import gammaincinv

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.numerics import replicas
from meanforce.potentials.splines import BondSpline, ExternalSpline
from meanforce.reference.analytic import ExponentialBath, ModulatedBath, PowerBath
from meanforce.topology import Topology
from meanforce.units import KB

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

ONE = Topology.of(["A"], masses={"A": 1.0})
F, E, C, C2, V = (
    mf.ForceMatching,
    mf.EnergyMatching,
    mf.ResponseMatching,
    mf.SecondResponseMatching,
    mf.VarianceMatching,
)
