"""Cumulants at fixed beads through labels, fit and thermodynamics: exact first, then from samples."""

import numpy as np
import pytest

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.learn.crossfit import _Labels
from meanforce.learn.result import Outcome
from meanforce.potentials.splines import ExternalSpline
from meanforce.reference.analytic import ExponentialBath, ModulatedBath, TwoStateBath
from meanforce.reference.exact import line_frames
from meanforce.reference.liquids import DiatomicLiquid
from meanforce.topology import Topology
from meanforce.units import KB

pytestmark = pytest.mark.filterwarnings("ignore:this model learned at")  # what is exact holds at every temperature

ONE = Topology.of(["A"], masses={"A": 1.0})
BATH = ExponentialBath()
R = np.linspace(-2.5, 1.0, 60)
BASIS = ExternalSpline(("A",), start=-2.6, end=1.1, intervals=6)
F, E, C, C2, V = (
    mf.ForceMatching,
    mf.EnergyMatching,
    mf.ResponseMatching,
    mf.SecondResponseMatching,
    mf.VarianceMatching,
)


def line(quantity, model, kelvin, r, **options):
    positions = np.zeros((len(r), 1, 3))
    positions[:, 0, 0] = r
    found = quantity(model, positions, temperature=kelvin, **options)
    return found[:, 0, 0] if found.ndim == 3 else found


def fitted(data, kinds, *, basis=BASIS, heat_capacity=True, reference=300.0, **options):
    thermal = mf.LinearThermal.of(basis, reference=reference, heat_capacity=heat_capacity)
    return mf.fit(thermal, [kind(data) for kind in kinds], **({"regularisation": 0} | options))


@pytest.mark.parametrize("kinds", [(F, C, C2), (F, E, C2), (F, E, C, C2)])
def test_labels_at_one_temperature_give_all_temperatures(kinds):
    """V6: any labels of first and of second order at 250 K carry the exact force to 700 K."""
    fit = fitted(Dataset.from_frames(ONE, BATH.noiseless(R, 250.0)), kinds)
    assert fit.outcome is Outcome.SOLVED
    for kelvin in (200.0, 250.0, 700.0):
        np.testing.assert_allclose(line(thermo.force, fit.model, kelvin, R), BATH.force(R, kelvin), atol=1e-8)
        np.testing.assert_allclose(line(thermo.covariance, fit.model, kelvin, R), BATH.covariance(R, kelvin), atol=1e-8)
        second = (KB * kelvin**2) ** 2 * line(thermo.response_force, fit.model, kelvin, R, order=2)
        third = second + 2 * KB * kelvin * line(thermo.covariance, fit.model, kelvin, R)
        np.testing.assert_allclose(third, BATH.third_cumulant(R, kelvin), atol=1e-7)


@pytest.mark.parametrize("kinds", [(F, E, C2), (F, C, V), (F, E, C, V, C2)])
def test_the_schottky_bath_at_its_own_temperature(kinds):
    """V3 at kT = 1: golden numbers from labels of first and second order; a cubic spline is near, not exact."""
    bath, kelvin, at = TwoStateBath(), 1.0 / KB, np.array([0.7])
    errors = []
    for intervals in (20, 40):
        basis = ExternalSpline(("A",), start=-1.6, end=1.6, intervals=intervals)
        data = Dataset.from_frames(ONE, bath.noiseless(np.linspace(-1.5, 1.5, 400), kelvin))
        model = fitted(data, kinds, basis=basis, reference=kelvin).model
        found = [
            line(thermo.force, model, kelvin, at)[0],
            line(thermo.covariance, model, kelvin, at)[0],
            (KB * kelvin**2) ** 2 * line(thermo.response_force, model, kelvin, at, order=2)[0]
            + 2 * line(thermo.covariance, model, kelvin, at)[0],
        ]
        known = [1.07149410428719, -0.504700772476597, bath.third_cumulant(at, kelvin)[0]]
        errors.append(np.abs(np.subtract(found, known)))
    assert errors[1].max() < 2e-4
    assert (errors[1] < errors[0] / 4).all()


def test_what_second_order_needs():
    """Forces and covariances at one temperature leave the heat capacity open; variances or third cumulants do not."""
    data = Dataset.from_frames(ONE, TwoStateBath().noiseless(R, 1.0 / KB))
    functions = len(BASIS.coefficients) - 1
    for kinds, rank in (((F,), 1), ((F, C), 2), ((F, E), 2), ((F, C, V), 3), ((F, E, C2), 3)):
        assert fitted(data, kinds, reference=0.8 / KB).history.identifiability.rank == rank * functions, kinds


def test_cross_fitted_labels_give_the_response():
    """V6 from 20,000 frames at one temperature, six times: within the errors of the posterior; labels do not drift."""
    kelvin, at, deviations = 200.0, np.linspace(-1.2, 0.5, 8), []
    basis = ExternalSpline(("A",), start=-4.0, end=3.0, intervals=1)
    thermal = mf.LinearThermal.of(basis, reference=kelvin)
    for seed in range(6):
        data = Dataset.from_frames(ONE, BATH.sample(20_000, kelvin, seed))
        labelled = mf.cross_fit(thermal, data, regularisation=1e-6)
        fit = mf.fit(thermal, [F(labelled), C(labelled)], regularisation=1e-6)
        errors = [line(thermo.response_force, mf.Model(p, ONE), kelvin, at) for p in fit.posterior.sample(200, seed)]
        found = line(thermo.response_force, fit.model, kelvin, at)
        deviations.append((found - BATH.response_force(at, kelvin)) / np.std(errors, 0))
    assert np.abs(deviations).max() < 4.5
    assert 0.5 < np.sqrt(np.mean(np.square(deviations))) < 1.6


def test_centres_that_do_not_depend_on_the_beads_lead_elsewhere():
    """V6: products of deviations from the global means have the conditional mean C + F(E - <U>), and not C."""
    kelvin = 1 / (1.25 * KB)
    frames = BATH.sample(200_000, kelvin, seed=4)
    r, f, u = frames.positions[:, 0, 0], frames.forces[:, 0, 0], frames.energy
    powers = r[:, None] ** np.arange(4)
    wrong = np.linalg.lstsq(powers, (f - f.mean()) * (u - u.mean()))[0]
    np.testing.assert_allclose(wrong, [-0.162816, 1.2608, -0.96, -2.0], atol=0.12)
    thermal = mf.LinearThermal.of(ExternalSpline(("A",), start=-4.0, end=3.0, intervals=1), reference=kelvin)
    labelled = mf.cross_fit(thermal, Dataset.from_frames(ONE, frames[:50_000]), regularisation=1e-6)
    y = labelled[:].covariance[:, 0, 0]
    right, pieces = np.linalg.lstsq(powers[:50_000], y)[0], [slice(k, None, 20) for k in range(20)]
    spread = np.std([np.linalg.lstsq(powers[:50_000][p], y[p])[0] for p in pieces], 0, ddof=1) / np.sqrt(20)
    assert (np.abs(right - [-0.768, 0, 0, 0]) < 3.5 * spread).all()
    assert spread.max() < 0.05


def test_third_cumulants_forgive_small_errors_of_their_centres():
    """V3 at one R, centres off by d and e: the mean is kappa - d e^2, where plain products are off by 2 e C + d V."""
    bath, kelvin, off = TwoStateBath(), 1.0 / KB, 0.1
    r = np.full(400_000, 0.7)
    frames = line_frames(r, bath.labels(r, kelvin, np.random.default_rng(5)), kelvin)
    exact = bath.noiseless(r, kelvin)
    none = np.zeros(len(r))
    labels = _Labels(
        Dataset.from_frames(ONE, frames), None, none.astype(int), none + 1, exact.forces + off * np.array([1.0, 0, 0]),
        exact.energy + off, none, 0 * exact.forces, covariance=exact.covariance, variance=exact.variance[:, None],
    )  # fmt: skip
    found = np.concatenate([part.third_cumulant[:, 0, 0] for part in labels.batches(100_000)])
    error = found.mean() - (exact.third_cumulant[0, 0, 0] - off**3)
    assert abs(error) < 3.5 * found.std() / np.sqrt(len(r)) < 0.02


def test_third_cumulants_of_samples():
    """V3 from 60,000 frames with centres that are learned: the mean label is the mean third cumulant."""
    bath, kelvin = TwoStateBath(), 1.0 / KB
    data = Dataset.from_frames(ONE, bath.sample(60_000, kelvin, seed=5))
    basis = ExternalSpline(("A",), start=-2.2, end=2.2, intervals=3)  # too coarse for centres without an error
    labelled = mf.cross_fit(mf.LinearThermal.of(basis, reference=kelvin), data, third=True)[:]
    r = labelled.positions[:, 0, 0]
    near = np.abs(r) < 1.4  # where the spline is no extrapolation
    error = (labelled.third_cumulant[:, 0, 0] - bath.third_cumulant(r, kelvin))[near]
    assert abs(error.mean()) < 3.5 * error.std() / np.sqrt(len(error))
    variance = (labelled.variance - bath.variance(r, kelvin))[near]
    assert abs(variance.mean()) < 0.05


def test_third_cumulants_in_a_file_are_the_same_and_never_all_in_memory(tmp_path, monkeypatch):
    bath, kelvin = TwoStateBath(), 1.0 / KB
    data = Dataset.from_frames(ONE, bath.sample(600, kelvin, seed=5))
    potential = mf.LinearThermal.of(ExternalSpline(("A",), start=-2.2, end=2.2, intervals=3), reference=kelvin)
    plain = mf.cross_fit(potential, data, folds=2, third=True)[:]
    monkeypatch.setattr(_Labels, "frames", lambda _: pytest.fail("all labels at once"))
    kept = mf.cross_fit(potential, data, folds=2, third=True, path=tmp_path / "labels.h5")[:]
    for name in ("covariance", "variance", "third_cumulant"):
        one, other = getattr(kept, name), getattr(plain, name)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())
    assert [path.name for path in tmp_path.iterdir()] == ["labels.h5"]


LIQUID = DiatomicLiquid()
PAIRS = mf.SplinePotential(LIQUID.topology, cutoff=0.9, many_body=False)


def at_twice(fit, kelvin):
    """Relative errors of force and response over configurations of twice the temperature."""
    box, centres = np.eye(3) * LIQUID.edge, LIQUID.draw(20, 2 * kelvin, seed=99).centres
    pairs = (
        (thermo.force(fit.model, centres, box, temperature=2 * kelvin), LIQUID.force(centres, 2 * kelvin)),
        (
            thermo.response_force(fit.model, centres, box, temperature=2 * kelvin),
            LIQUID.response_force(centres, 2 * kelvin),
        ),
    )
    return [np.sqrt(np.mean((found - true) ** 2) / np.mean(true**2)) for found, true in pairs]


def test_a_liquid_from_one_temperature():
    """V9, 400 frames at 300 K: each kind of label brings the force at 600 K closer, as far as its noise allows."""
    frames = LIQUID.sample(400, 300.0, seed=150)
    thermal = mf.LinearThermal.of(PAIRS, reference=300.0)
    noise, force = {}, {}
    plain = frames.with_(variate=None, variate_slope=None)
    for name, given, local in (("whole", plain, None), ("local", plain, 0.9), ("variate", frames, None)):
        data = mf.cross_fit(thermal, Dataset.from_frames(LIQUID.topology, given), local=local, folds=3, blocks=8)
        fit = mf.fit(thermal, [F(data), E(data), C(data)], blocks=8)
        force[name], response = at_twice(fit, 300.0)
        noise[name] = fit.history.scores[2].noise
        assert response < 0.2
    assert force["variate"] < force["local"] < force["whole"] < 0.05
    assert force["variate"] < 0.02 and force["local"] < 0.03
    assert noise["variate"] < noise["local"] / 4 and noise["local"] < noise["whole"] / 1.4
    forces = mf.fit(PAIRS, [F(Dataset.from_frames(LIQUID.topology, plain))], blocks=8)
    assert np.sqrt(np.mean((force_of(forces) - (true := LIQUID.force(CENTRES, 600.0))) ** 2) / np.mean(true**2)) > 0.12


CENTRES = LIQUID.draw(20, 600.0, seed=99).centres


def force_of(fit):
    return thermo.force(fit.model, CENTRES, np.eye(3) * LIQUID.edge, temperature=600.0)


def test_the_noise_of_energies_goes_with_their_variate():
    """V9: the bonds are harmonic, and half of their virial is all the noise there is."""
    data = Dataset.from_frames(LIQUID.topology, LIQUID.sample(100, 300.0, seed=3))
    thermal = mf.LinearThermal.of(PAIRS, reference=300.0)
    fit = mf.fit(thermal, [F(data), E(data)], blocks=8)
    assert fit.history.scores[1].noise < 0.01 * np.sqrt(LIQUID.variance(300.0))


def test_the_scatter_of_energies_is_the_variance():
    """V2: Var_R(U) = d kT^2/2 at every R, whatever the centres were learned with."""
    bath, kelvin = ModulatedBath(), 0.6 / KB
    data = Dataset.from_frames(ONE, bath.sample(20_000, kelvin, seed=2))
    basis = ExternalSpline(("A",), start=-2.5, end=2.5, intervals=12)
    variance = mf.cross_fit(mf.LinearThermal.of(basis, reference=kelvin), data)[:].variance
    assert abs(variance.mean() - 0.54) < 3 * variance.std() / np.sqrt(len(variance))


def test_frames_without_weight_change_nothing():
    """Every fifth frame has weight 0 and an energy wrong by 1000 kJ/mol: labels of the others stay as they were."""
    thermal = mf.LinearThermal.of(ExternalSpline(("A",), start=-4.0, end=3.0, intervals=1), reference=300.0)
    frames = BATH.sample(1000, 300.0, seed=0)
    bad = np.arange(1000) % 5 == 0
    spoilt = frames.with_(energy=frames.energy + 1000.0 * bad, weights=1.0 - bad)
    plain = frames.with_(weights=1.0 - bad)
    found, known = (mf.cross_fit(thermal, Dataset.from_frames(ONE, f), regularisation=1e-6)[:] for f in (spoilt, plain))
    np.testing.assert_allclose(found.covariance[~bad], known.covariance[~bad], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.variance[~bad], known.variance[~bad], rtol=1e-6, atol=1e-6)


def test_a_state_that_one_fold_holds_alone_is_named():
    """One trajectory whose temperatures come and go: all frames at 300 K lie in its first part."""
    parts = [BATH.sample(200, kelvin, seed=1) for kelvin in (300.0, 320.0)]
    mixed = Frames.concatenate(parts)[np.random.default_rng(0).permutation(80).tolist() + list(range(200, 400))]
    data = Dataset.from_frames(ONE, mixed.with_(trajectory=np.zeros(280, int)))
    thermal = mf.LinearThermal.of(BASIS, reference=300.0)
    if len(data.runs()) == 1:
        with pytest.raises(ValueError, match="at 300 K, fall into one fold"):
            mf.cross_fit(thermal, data)
    one = Dataset.from_frames(ONE, Frames.concatenate([parts[0][:1], parts[1]]))
    with pytest.raises(ValueError, match="at 300 K, fall into one fold"):
        mf.cross_fit(thermal, one)


def test_what_no_coefficient_changes_is_refused():
    data = Dataset.from_frames(ONE, TwoStateBath().noiseless(R, 300.0))
    with pytest.raises(ValueError, match="no coefficient of this potential changes what the variance labels"):
        mf.fit(mf.LinearThermal.of(BASIS, reference=300.0), [V(data)])


def test_what_cannot_be_labelled_is_refused():
    thermal = mf.LinearThermal.of(BASIS, reference=300.0)
    frames = BATH.sample(200, 300.0, seed=0)
    data = Dataset.from_frames(ONE, frames)
    with pytest.raises(ValueError, match="the same in all frames"):
        second = mf.LinearThermal.of(BASIS, reference=300.0, heat_capacity=True)
        mf.fit(second, [V(Dataset.from_frames(ONE, BATH.noiseless(R, 300.0)))])
    for kind, label in ((C, "covariance"), (C2, "third_cumulant"), (V, "variance")):
        with pytest.raises(ValueError, match=f"no label '{label}'.*mf.cross_fit"):
            mf.fit(thermal, [kind(data)])
    with pytest.raises(ValueError, match="no local_energy"):
        mf.cross_fit(thermal, data, local=0.5)
    with pytest.raises(ValueError, match="the data hold no energy"):
        mf.cross_fit(thermal, Dataset.from_frames(ONE, frames.with_(energy=None)))
    with pytest.raises(ValueError, match="this potential does not change"):
        mf.fit(BASIS, [C(Dataset.from_frames(ONE, BATH.noiseless(R, 300.0)))])
    liquid = Dataset.from_frames(LIQUID.topology, LIQUID.sample(10, 300.0, seed=0))
    with pytest.raises(ValueError, match="more than half of the smallest box"):
        mf.cross_fit(mf.LinearThermal.of(PAIRS, reference=300.0), liquid, local=1.2)


def test_labels_are_kept_in_a_file(tmp_path):
    thermal = mf.LinearThermal.of(BASIS, reference=300.0)
    data = Dataset.from_frames(ONE, BATH.sample(300, 300.0, seed=0))
    there = mf.cross_fit(thermal, data, path=tmp_path / "labelled.h5")
    here = mf.cross_fit(thermal, data)
    assert there.provenance["cross_fit"]["folds"] == 5
    np.testing.assert_array_equal(there[:].covariance, here[:].covariance)
    assert isinstance(there[:], Frames)


def test_the_virial_inside_of_beads_is_a_variate_of_mapped_atoms():
    """V9 by its atoms: the mapped variate is that of the molecules, and bonds of fixed length refuse it."""
    drawn = LIQUID.draw(20, 300.0, seed=1)
    atoms = Dataset.from_frames(LIQUID.atom_topology, LIQUID.atoms(drawn, wrapped=True))
    mapping = mf.Mapping.by_residue(atoms, {"DIA": {"D": "all"}})
    found = next(mapping(atoms, constraints="none", variate=True).batches(20))
    np.testing.assert_allclose(found.variate, LIQUID.beads(drawn).variate, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match=r"64 bonds were held fixed.*no control variate"):
        mapping(atoms, constraints=np.arange(128).reshape(64, 2), variate=True)
    with pytest.raises(ValueError, match="not known which bonds"):
        mapping(atoms, variate=True)


def test_local_labels_of_few_frames_do_not_run_away():
    """V9, 100 frames with two contacts closer than the rest: their centres are extrapolated, and must stay smooth."""
    frames = LIQUID.sample(800, 300.0, seed=1000, chains=1)[:100].with_(variate=None, variate_slope=None)
    thermal = mf.LinearThermal.of(PAIRS, reference=300.0)
    data = mf.cross_fit(thermal, Dataset.from_frames(LIQUID.topology, frames), local=0.9, folds=3, blocks=8)
    force, response = at_twice(mf.fit(thermal, [F(data), C(data)], blocks=8), 300.0)
    assert force < 0.08 and response < 0.4
