"""The joint likelihood of forces and energies: unbiased, and as precise as its noise allows."""

import numpy as np
import pytest
from spanned import Spanned

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.potentials.splines import ExternalSpline
from meanforce.reference.analytic import ExponentialBath
from meanforce.reference.exact import line_frames
from meanforce.reference.liquids import DiatomicLiquid
from meanforce.topology import Topology
from meanforce.units import KB

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")

ONE = Topology.of(["A"], masses={"A": 1.0})
BATH = ExponentialBath()
KELVIN = 1.0 / KB
R = np.tile(np.linspace(-1.5, 1.0, 40), 400)
#: Of the force labels, beside that of the bath: noise that has nothing to do with the energy.
EXTRA = 0.5
NOISE = np.array([
    [BATH.force_variance(R, KELVIN)[0] + EXTRA**2, BATH.covariance(R, KELVIN)[0]],
    [BATH.covariance(R, KELVIN)[0], BATH.variance(R, KELVIN)[0]],
])  # fmt: skip
BEST = NOISE[0, 1] / NOISE[0, 0]
#: A = c0 x + c1 x^2 + tau (c2 x + c3 x^2): V6 is in its span.
POTENTIAL = Spanned.of(
    lambda x, t: x, lambda x, t: x**2, lambda x, t: (t / KELVIN - 1) * x, lambda x, t: (t / KELVIN - 1) * x**2,
    thermal=True,
)  # fmt: skip
TRUTH = np.array([1.2, 1.0, 1.2, 0.0])
BLOCKS = 400


def labelled(seed, along=BEST):
    rng = np.random.default_rng(seed)
    frames = line_frames(R, BATH.labels(R, KELVIN, rng), KELVIN)
    forces = frames.forces + np.array([EXTRA, 0, 0]) * rng.standard_normal((len(R), 1, 1))
    moved = np.zeros_like(forces)
    moved[:, 0, 0] = along
    return frames.with_(forces=forces, displacement=moved)


def fitted(frames, *kinds, **options):
    data = Dataset.from_frames(ONE, frames)
    fit = mf.fit(POTENTIAL, [kind(data) for kind in kinds], regularisation=0, **options)
    return fit.posterior.mean, fit.posterior.covariance


def predicted(weight):
    """Variances of least squares with a weight matrix of (f, U), constants beside, for labels of the true noise."""
    zero, one = np.zeros_like(R), np.ones_like(R)
    f = np.stack([-one, -2 * R, zero, zero, zero], -1)
    u = np.stack([R, R**2, -R, -(R**2), one], -1)
    rows = np.stack([f, u], axis=1)
    information = np.einsum("tai,ab,tbj->ij", rows, weight, rows)
    scores = np.einsum("tai,ab,tbj->ij", rows, weight @ NOISE @ weight, rows)
    return np.diag(np.linalg.solve(information, np.linalg.solve(information, scores).T))[:4]


@pytest.mark.parametrize("along", [BEST, -BEST, 0.3 * np.cos(4 * R)], ids=["best", "worst", "any"])
def test_no_displacement_moves_the_answer(along):
    """The best field, its opposite, and one that has nothing to do with the noise: 16 000 frames, three errors."""
    found, covariance = fitted(labelled(3, along), mf.JointMatching, blocks=BLOCKS)
    assert np.all(np.abs(found - TRUTH) < 3 * np.sqrt(np.diag(covariance)))


def test_the_errors_are_those_of_the_joint_likelihood():
    """V6 with another noise in the forces: 0.79 of the energy's noise goes with the force.

    Errors as measured from the scatter of blocks, against those of the noise: 400 blocks know them to 7 percent.
    """
    best = predicted(np.linalg.inv(NOISE))
    apart = predicted(np.diag(1 / np.diag(NOISE)))
    assert best[2] < 0.75 * apart[2]
    measured = np.diag(fitted(labelled(4), mf.JointMatching, blocks=BLOCKS)[1])
    np.testing.assert_allclose(measured, best, rtol=3 * np.sqrt(2 / BLOCKS))


def test_labels_are_those_of_the_rows():
    """Noiseless forces and energies with any field: the coefficients come out exactly."""
    frames = BATH.noiseless(R, KELVIN).with_(displacement=np.random.default_rng(1).normal(size=(len(R), 1, 3)))
    np.testing.assert_allclose(fitted(frames, mf.JointMatching)[0], TRUTH, atol=1e-9)


def test_cross_fit_finds_the_displacement():
    """V6: w is the same everywhere, at both temperatures of the frames."""
    basis = ExternalSpline(("A",), start=-4.0, end=3.0, intervals=1)
    thermal = mf.LinearThermal.of(basis, reference=KELVIN)
    frames = Frames.concatenate([BATH.sample(2000, t, seed=3) for t in (KELVIN, 1.5 * KELVIN)])
    found = mf.cross_fit(thermal, Dataset.from_frames(ONE, frames), regularisation=0)[:].displacement
    assert np.sqrt(np.mean((found[:, 0, 0] + 1 / BATH.growth) ** 2)) < 0.04
    np.testing.assert_allclose(found[:, 0, 1:], 0, atol=1e-9)


def test_a_liquid_is_learned_better_together():
    """V9: the noise of the energies given the forces, and the response that comes of it."""
    liquid = DiatomicLiquid()
    frames = liquid.sample(200, 300.0, seed=5).with_(variate=None, variate_slope=None)
    thermal = mf.LinearThermal.of(mf.SplinePotential(liquid.topology, cutoff=0.9, many_body=False), reference=300.0)
    data = mf.cross_fit(thermal, Dataset.from_frames(liquid.topology, frames), folds=2, blocks=8)
    together = mf.fit(thermal, mf.JointMatching(data), blocks=8)
    apart = mf.fit(thermal, [mf.ForceMatching(data), mf.EnergyMatching(data)], blocks=8)
    centres = liquid.draw(20, 300.0, seed=6).centres
    truth = liquid.response_force(centres, 300.0)

    def error(fit):
        found = thermo.response_force(fit.model, centres, np.eye(3) * liquid.edge, temperature=300.0)
        return np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2))

    assert together.history.scores[1].noise < 0.9 * np.sqrt(liquid.variance(300.0))
    assert error(together) < 0.9 * error(apart)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"no label 'displacement'.*mf\.cross_fit"):
        fitted(labelled(0).with_(displacement=None), mf.JointMatching)
    with pytest.raises(ValueError, match="no forces"):
        fitted(labelled(0).with_(forces=None), mf.JointMatching)
