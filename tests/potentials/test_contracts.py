"""Every potential of the registry through the contract tests that ship with the package."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from meanforce import testing
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.potentials import equivariant, hipnn, local, priors, splines, sums
from meanforce.potentials.committee import Committee
from meanforce.potentials.concave import ConcaveThermal
from meanforce.potentials.dimenet import DimeNet, Sizes
from meanforce.potentials.heads import LinearCoupled
from meanforce.potentials.hipnn import HipNN
from meanforce.potentials.kernels import DotProduct, KernelPotential, SquaredExponential
from meanforce.potentials.manybody import ThreeBodySpline
from meanforce.potentials.registry import REGISTRY
from meanforce.potentials.surroundings import Coordinate, Surroundings
from meanforce.potentials.thermal import LinearThermal, Thermal
from meanforce.thermodynamics import derivatives
from meanforce.topology import Topology

TYPES = ("A", "B")


def chains(count: int = 5, length: int = 4) -> Topology:
    """Chains of alternating beads, with bonds, angles and dihedrals."""
    beads = range(count * length)
    runs = lambda width: [(b, *range(b + 1, b + width)) for b in beads if b % length + width <= length]
    return Topology.of(
        [TYPES[b % 2] for b in beads], {"A": 12.0, "B": 16.0}, bonds=runs(2), angles=runs(3), dihedrals=runs(4),
        exclude=2, scale14=0.5,
    )  # fmt: skip


TOPOLOGY = chains()
WATER = Topology.of(["W"] * 20, {"W": 18.0})
#: Five stars of a centre and three beads around it.
BRANCHED = Topology.of(
    ["B", "A", "A", "B"] * 5, {"A": 12.0, "B": 16.0}, bonds=[(b, b + k) for b in range(0, 20, 4) for k in (1, 2, 3)]
)
BONDS, ANGLES, DIHEDRALS = (TOPOLOGY.kinds(name) for name in ("bonds", "angles", "dihedrals"))


def drawn(linear, seed=7):
    """Random coefficients: nothing can hide in a zero."""
    size = linear.coefficients.shape[0]
    return linear.with_coefficients(jnp.asarray(np.random.default_rng(seed).normal(size=size)))


def pair(**options):
    return drawn(splines.PairSpline(TYPES, **{"cutoff": 0.6, "start": 0.25, "spacing": 0.08, **options}))


def many(types=TYPES, **options):
    return drawn(ThreeBodySpline(types, **{"cutoff": 0.5, "start": 0.1, "radial": 2, "degree": 3, **options}))


def bond(**options):
    return priors.HarmonicBond(BONDS, length=[0.3], stiffness=[900.0], **options)


def lennard_jones(**options):
    return priors.LennardJones.mixed(
        TYPES, sigma=[0.25, 0.3], epsilon=[1.0, 0.5], **{"cutoff": 0.7, "scale14": 0.5, **options}
    )


def repulsion(types=TYPES, pairs=3):
    constants = {"height": [1.0, 2.0, 3.0], "distance": [0.3, 0.25, 0.28], "width": [0.03, 0.04, 0.05]}
    return priors.Repulsion(types, cutoff=0.6, **{name: values[:pairs] for name, values in constants.items()})


def dimenet(types=TYPES):
    """A small network whose last layer is not zero."""
    sizes = Sizes(embedding=8, blocks=2, output=8, output_layers=1, type=4, angle=4, basis=3, radial=3, spherical=4)
    net = DimeNet(types, cutoff=0.5, sizes=sizes)
    last = np.random.default_rng(7).normal(size=net.readouts.last.weight.shape)
    return eqx.tree_at(lambda n: n.readouts.last.weight, net, jnp.asarray(last))


def kernel(topology=TOPOLOGY, width=0.2, form=None, descriptor=None):
    """Inducing points from disordered frames: of two species, and at two temperatures."""
    descriptor = Surroundings(topology.types, cutoff=0.5, radial=3, degree=2) if descriptor is None else descriptor
    data = Dataset.from_frames(topology, testing.disordered(topology, descriptor.cutoffs, frames=4, seed=9))
    return drawn(KernelPotential.of(data, count=15, descriptor=descriptor, width=width, kernel=form))


EXAMPLES = {
    "Sum": lambda: sums.Sum((lennard_jones(), bond())),
    "LinearSum": lambda: sums.Sum.of(pair(), bond(), drawn(splines.AngleSpline(ANGLES, intervals=6))),
    "SplinePotential": lambda: drawn(
        sums.SplinePotential(WATER, cutoff=0.6, spacing=0.1, many_body=many(types=("W",)), prior=repulsion(("W",), 1))
    ),
    "PairSpline": pair,
    "BondSpline": lambda: drawn(splines.BondSpline(BONDS, spacing=0.05)),
    "AngleSpline": lambda: drawn(splines.AngleSpline(ANGLES, intervals=7)),
    "DihedralSpline": lambda: drawn(splines.DihedralSpline(DIHEDRALS, intervals=6)),
    "ImproperSpline": lambda: drawn(splines.ImproperSpline(BRANCHED.kinds("impropers"), intervals=6)),
    "ExternalSpline": lambda: drawn(splines.ExternalSpline(TYPES, start=0.2, end=0.9, intervals=4)),
    "ThreeBodySpline": many,
    "HarmonicBond": bond,
    "HarmonicAngle": lambda: priors.HarmonicAngle(ANGLES, angle=[1.9, 2.0], stiffness=[30.0, 40.0]),
    "PeriodicDihedral": lambda: priors.PeriodicDihedral(DIHEDRALS, barrier=[[1.0, 2.0, 3.0]], phase=[[0.0, 3.1, 0.5]]),
    "Repulsion": repulsion,
    "Wall": lambda: priors.Wall(TYPES, distance=[0.5, 0.6, 0.0], stiffness=[2e2, 1e2, 0.0]),
    "LennardJones": lennard_jones,
    "Committee": lambda: Committee((pair(), sums.Sum((lennard_jones(), bond())))),
    "StillingerWeber": priors.StillingerWeber,
    "DimeNet": dimenet,
    "LocalNetwork": lambda: local.LocalNetwork(TYPES, cutoff=0.5, sizes=local.Sizes(6, 3, 4, 5, 3, 8, 2)),
    "Equivariant": lambda: equivariant.Equivariant(TYPES, sizes=equivariant.Sizes(channels=3, radial=5, hidden=6)),
    "HipNN": lambda: HipNN(TYPES, sizes=hipnn.Sizes(8, 5, interactions=2, layers=1)),
    "KernelPotential": kernel,
    "ConcaveThermal": lambda: ConcaveThermal(
        pair(), lennard_jones(), (repulsion(), pair()), temperatures=(250.0, 400.0), reference=280.0
    ),
    "Thermal": lambda: Thermal(pair(), sums.Sum((lennard_jones(), bond())), repulsion(), reference=280.0),
    "LinearThermal": lambda: drawn(
        LinearThermal.of(sums.Sum.of(pair(), bond()), reference=280.0, heat_capacity=True), seed=3
    ),
    "LinearCoupled": lambda: drawn(
        LinearCoupled.of(sums.Sum.of(pair(), bond()), parameter="field", reference=0.4), seed=4
    ),
}
#: Continuous derivatives of the energy at the cut-off, where they are not two.
DERIVATIVES = {"HipNN": 1}  # cos^2, as published


@pytest.mark.parametrize("name", REGISTRY)
def test_every_entry_of_the_registry_keeps_the_contract(name):
    topology = {"SplinePotential": WATER, "ImproperSpline": BRANCHED}.get(name, TOPOLOGY)
    external, derivatives = name == "ExternalSpline", DERIVATIVES.get(name, 2)
    testing.check(EXAMPLES[name](), topology, external=external, derivatives=derivatives)


@pytest.mark.parametrize("make", [ThreeBodySpline])
def test_one_species_takes_the_short_way(make):
    testing.check(drawn(make(("W",), cutoff=0.5)), WATER)


@pytest.mark.parametrize("form", [None, DotProduct(3)], ids=["distance", "product"])
def test_kernels_of_one_species_that_do_not_depend_on_temperature(form):
    testing.check(kernel(WATER, None, form), WATER)


def test_a_kernel_in_an_external_field():
    testing.check(kernel(TOPOLOGY, 0.2, SquaredExponential(0.3), Coordinate()), TOPOLOGY, external=True)


def test_a_truncated_pair_is_caught():
    with pytest.raises(AssertionError, match="jumps at the cut-off"):
        testing.fades(lennard_jones(truncation="truncated"), TOPOLOGY)


@pytest.mark.parametrize("name", ["DimeNet", "LocalNetwork", "Equivariant", "HipNN"])
def test_networks_see_the_pairs_that_pair_terms_leave_to_bonds(name):
    """In a chain of three, all pairs are excluded: a pair spline is blind, a network is not, for any of the beads."""
    trimer = Topology.of(["A", "B", "A"], {"A": 12.0, "B": 16.0}, bonds=[(0, 1), (1, 2)], exclude=3)
    frames = Frames(np.array([[[0, 0, 0], [0.3, 0, 0], [0.35, 0.29, 0.05]]]))
    forces = []
    for potential in (pair(), EXAMPLES[name]()):
        graph = testing.graph_of(potential, trimer, frames)
        forces.append(np.abs(eqx.filter_jit(derivatives)(potential, graph).forces).max(1))
    assert (forces[0] == 0).all()
    assert (forces[1] > 1e-6).all()
