"""The diatomic liquid (V9): labels -> fit -> force and pressure, against its exact pair potential."""

import numpy as np
import pytest
from scipy.interpolate import BSpline

import meanforce.numerics.precision  # noqa: F401
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.learn.fit import fit
from meanforce.objectives.matching import ForceMatching, PressureMatching
from meanforce.potentials.splines import PairSpline
from meanforce.reference.liquids import DiatomicLiquid, PairFunction

KELVIN = 300.0
CUTOFF = 0.9
INTERVALS = 18


def compact_spline(seed, height, cutoff=CUTOFF, intervals=INTERVALS):
    """A spline on uniform knots from 0 that vanishes at the cut-off with two derivatives."""
    h = cutoff / intervals
    knots = h * np.arange(-3, intervals + 4)
    coefficients = np.random.default_rng(seed).standard_normal(intervals + 3)
    coefficients += np.exp(-np.arange(intervals + 3) / 3)
    coefficients[-3:] = 0.0
    return BSpline(knots, height * coefficients, 3, extrapolate=False)


def inside(spline):
    """The part of a spline from 0 to its last knot, in pieces of polynomials."""
    h = CUTOFF / INTERVALS
    pieces = PairFunction.of_spline(spline)
    kept = (pieces.breaks[:-1] > -h / 2) & (pieces.breaks[:-1] < CUTOFF - h / 2)
    breaks = np.append(np.maximum(pieces.breaks[:-1][kept], 0.0), CUTOFF)
    return PairFunction(breaks, pieces.coefficients[:, kept])


@pytest.fixture(scope="module")
def in_span():
    """A liquid whose v + 3 kT g is a spline: v and g both are."""
    return DiatomicLiquid(energetic=inside(compact_spline(1, 2.0)), entropic=inside(compact_spline(2, 0.05)))


def random_centres(liquid, frames, seed):
    return np.random.default_rng(seed).uniform(0, liquid.edge, (frames, liquid.molecules, 3))


def spline_for(liquid, start=0.0, spacing=CUTOFF / INTERVALS):
    return PairSpline(liquid.topology.types, cutoff=CUTOFF, start=start, spacing=spacing)


def test_noiseless_labels_in_the_span_are_recovered(in_span):
    data = Dataset.from_frames(in_span.topology, in_span.noiseless(random_centres(in_span, 32, 3), KELVIN))
    found = fit(spline_for(in_span), ForceMatching(data))
    fresh = random_centres(in_span, 4, 4)
    box = np.eye(3) * in_span.edge
    forces = thermo.force(found.model, fresh, box, temperature=KELVIN)
    assert np.abs(forces - in_span.force(fresh, KELVIN)).max() < 1e-8
    virial = thermo.virial(found.model, fresh, box, temperature=KELVIN)
    assert np.abs(virial - in_span.virial(fresh, KELVIN)).max() < 1e-7
    energies = thermo.free_energy(found.model, fresh, box, temperature=KELVIN)
    exact = in_span.free_energy(fresh, KELVIN)
    assert np.abs((energies - energies[0]) - (exact - exact[0])).max() < 1e-8


def test_forces_and_virials_together_stay_exact(in_span):
    data = Dataset.from_frames(in_span.topology, in_span.noiseless(random_centres(in_span, 32, 3), KELVIN))
    found = fit(spline_for(in_span), [ForceMatching(data), PressureMatching(data)])
    fresh = random_centres(in_span, 4, 4)
    forces = thermo.force(found.model, fresh, np.eye(3) * in_span.edge, temperature=KELVIN)
    assert np.abs(forces - in_span.force(fresh, KELVIN)).max() < 1e-8


def test_virials_alone_give_the_pressure():
    """Virials of many random frames are enough for a pair potential; the ideal part is N kT."""
    liquid = DiatomicLiquid()
    data = Dataset.from_frames(liquid.topology, liquid.noiseless(random_centres(liquid, 400, 5), KELVIN))
    found = fit(spline_for(liquid, spacing=0.06), PressureMatching(data))
    fresh, box = random_centres(liquid, 50, 6), np.eye(3) * liquid.edge
    virial = thermo.virial(found.model, fresh, box, temperature=KELVIN)
    exact = liquid.virial(fresh, KELVIN)
    assert np.sqrt(np.mean((virial - exact) ** 2)) < 0.02 * exact.std()


def test_error_falls_as_the_order_of_the_spline():
    """The liquid's own potential is a polynomial of degree 14: h^3 for the force."""
    liquid = DiatomicLiquid()
    data = Dataset.from_frames(liquid.topology, liquid.noiseless(random_centres(liquid, 32, 7), KELVIN))
    r = np.linspace(0.1, 0.85, 151)
    errors = []
    for spacing in (0.1, 0.05, 0.025):
        model = fit(spline_for(liquid, spacing=spacing), ForceMatching(data)).model
        errors.append(np.sqrt(np.mean((pair_force(model, r) - liquid.pair_force(r, KELVIN)) ** 2)))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all((orders > 2.4) & (orders < 4.2))


def pair_force(model, r):
    """Of two beads alone, the others far away from everything."""
    beads = len(model.topology)
    R = np.zeros((len(r), beads, 3))
    R[:, :, 1] = 10.0 * np.arange(beads)
    R[:, 1, 1] = 0.0
    R[:, 1, 0] = r
    return thermo.force(model, R, temperature=KELVIN)[:, 1, 0]


@pytest.fixture(scope="module")
def sampled():
    liquid = DiatomicLiquid()
    data = Dataset.from_frames(liquid.topology, liquid.sample(600, KELVIN, seed=8))
    return liquid, data, fit(spline_for(liquid, start=0.2, spacing=0.04), ForceMatching(data))


def test_sampled_labels_agree_within_three_standard_errors(sampled):
    liquid, data, found = sampled
    distances = pair_distances(data)
    r = np.linspace(np.quantile(distances, 0.002), 0.85, 30)
    beads = len(liquid.topology)
    R = np.zeros((len(r), beads, 3))
    R[:, :, 1] = 10.0 * np.arange(beads)
    R[:, 1, 1], R[:, 1, 0] = 0.0, r
    error = np.asarray(found.posterior.force_std(build(Frames(R), liquid.topology, (CUTOFF,))))
    error = error.reshape(len(r), beads, 3)[:, 1, 0]
    z = (pair_force(found.model, r) - liquid.pair_force(r, KELVIN)) / error
    assert np.abs(z).max() < 3
    assert np.sqrt(np.mean(z**2)) < 1.6


def test_held_out_error_is_the_noise_floor(sampled):
    liquid, data, found = sampled
    floor = np.sqrt(liquid.noise_floor(data[:].positions, KELVIN))
    score = found.history.scores[0]
    assert abs(score.held_out - floor) < 4 * score.held_out_error
    assert score.labels > 1.02 * score.held_out


def test_no_hole_below_the_data(sampled):
    """From the shortest distance in the data down to contact the potential only rises."""
    _, data, found = sampled
    r = np.linspace(0.02, pair_distances(data).min(), 60)
    force = pair_force(found.model, r)
    assert np.all(force > 0)
    at_edge = pair_force(found.model, r[-1:])[0]
    assert force[0] > 0.5 * at_edge


def pair_distances(data):
    frames = data[:]
    edge = frames.box[0, 0, 0]
    i, j = np.triu_indices(frames.particles, 1)
    step = frames.positions[:60, i] - frames.positions[:60, j]
    distance = np.linalg.norm(step - edge * np.round(step / edge), axis=-1)
    return distance[distance < CUTOFF]


def test_a_hole_that_the_data_invite_is_filled_by_a_core():
    """Labels that attract at the shortest distances: below them the model must still push apart."""
    liquid = DiatomicLiquid()
    centres = liquid.sample(40, KELVIN, seed=9).positions
    sticky = DiatomicLiquid(energetic=PairFunction.compact(-60.0, CUTOFF, root=0.42))
    data = Dataset.from_frames(liquid.topology, sticky.noiseless(centres, KELVIN))
    potential = spline_for(liquid, start=0.1, spacing=0.04)
    bare = fit(potential, ForceMatching(data), core=False).model
    guarded = fit(potential, ForceMatching(data)).model
    r = np.linspace(0.02, pair_distances(data).min() - 0.12, 40)
    assert pair_force(bare, r).max() < 0
    assert pair_force(guarded, r).min() > 0
