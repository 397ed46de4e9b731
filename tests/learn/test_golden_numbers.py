"""Golden numbers of V2 to V5, V11 and V12 through labels -> fit -> derivatives, to 1e-8 where the basis spans them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline
from spanned import Spanned

import meanforce as mf
import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.learn.result import Outcome
from meanforce.potentials.splines import ExternalSpline
from meanforce.reference.analytic import (
    CurvedValley,
    ModulatedBath,
    PowerBath,
    RadialDistance,
    SquaredDistance,
    TwoStateBath,
)
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
LABELS = [(F, E), (F, C)]


def line(quantity, model, kelvin, r, **options):
    positions = np.zeros((np.size(r), 1, 3))
    positions[:, 0, 0] = r
    found = quantity(model, positions, temperature=kelvin, **options)
    return found[:, 0, 0] if found.ndim == 3 else found


def golden(value, expected):
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-8)


def fitted(system, r, kelvin, functions, kinds, *, heat_capacity=False):
    """Exact labels at one temperature on a basis that spans the answer."""
    data = Dataset.from_frames(ONE, system.noiseless(r, kelvin))
    thermal = mf.LinearThermal.of(Spanned.of(*functions), reference=kelvin, heat_capacity=heat_capacity)
    return mf.fit(thermal, [kind(data) for kind in kinds], regularisation=0)


BATH = (lambda x, t: x**2, lambda x, t: x**4, lambda x, t: jnp.log(1 + x**2 / 2))  # V2 and V4


@pytest.mark.parametrize("kinds", [*LABELS, (F, E, C)])
def test_modulated_bath(kinds):
    """V2 at R = 0.8, kT = 0.6."""
    kelvin, r = 0.6 / KB, np.linspace(-1.5, 1.5, 41)
    model = fitted(ModulatedBath(), r, kelvin, BATH, kinds).model
    golden(line(thermo.force, model, kelvin, 0.8), -0.257454545454546)
    golden(line(thermo.covariance, model, kelvin, 0.8), -0.327272727272727)
    golden(np.diff(line(thermo.energy, model, kelvin, [0.0, 0.8])), 0.6824 - 0.9)
    second = (KB * kelvin**2) ** 2 * line(thermo.response_force, model, kelvin, 0.8, order=2)
    golden(second + 2 * 0.6 * line(thermo.covariance, model, kelvin, 0.8), -0.392727272727273)
    golden(np.ptp(line(thermo.variance, model, kelvin, r)), 0.0)  # 0.54 is a gauge
    golden(line(thermo.force, model, 2 * kelvin, 0.8), ModulatedBath().force(np.array([0.8]), 2 * kelvin))


@pytest.mark.parametrize(
    ("kinds", "kt", "known"),
    [
        (
            (F, E, C2),
            0.5,
            (0.230311869871707, 0.387339901343611, 0.263737790462012, 1.37016368120745, -0.479523255385476),
        ),
        (
            (F, C, V),
            1.0,
            (-0.180742413934794, 1.04441297056818, 1.11034169944851, 1.07149410428719, -0.504700772476597),
        ),
        (
            (F, E, C, V, C2),
            2.0,
            (-1.69982431825671, 1.63438433731769, 1.13476810230220, 0.803325301219231, -0.128950920716159),
        ),
    ],
)
def test_schottky_bath(kinds, kt, known):
    """V3 at R = 0.7: the heads hold A, S and c_v at the temperature of the labels; levels count from R = -0.9."""
    bath, kelvin, ends = TwoStateBath(), kt / KB, np.array([-0.9, 0.7])
    a, e, var, f, response = known
    gap = lambda x: 1.5 + x
    odds = lambda x: 5 * jnp.exp(-gap(x) / kt)
    p = lambda x: odds(x) / (1 + odds(x))
    functions = (
        lambda x, t: (x**2 - 1) ** 2,
        lambda x, t: jnp.log1p(odds(x)),
        lambda x, t: gap(x) * p(x),
        lambda x, t: gap(x) ** 2 * p(x) * (1 - p(x)),
    )
    model = fitted(bath, np.linspace(-1.4, 1.4, 41), kelvin, functions, kinds, heat_capacity=True).model
    golden(line(thermo.force, model, kelvin, 0.7), f)
    golden(line(thermo.response_force, model, kelvin, 0.7) / KB, response)
    for quantity, value, truth in (
        (thermo.free_energy, a, bath.free_energy),
        (thermo.energy, e, bath.energy),
        (thermo.variance, var, bath.variance),
    ):
        golden(np.diff(line(quantity, model, kelvin, ends)), value - truth(ends[:1], kelvin))
    second = (KB * kelvin**2) ** 2 * line(thermo.response_force, model, kelvin, 0.7, order=2)
    third = second + 2 * kt * line(thermo.covariance, model, kelvin, 0.7)
    golden(third, bath.third_cumulant(ends[1:], kelvin))


@pytest.mark.parametrize("kinds", LABELS)
@pytest.mark.parametrize(
    ("system", "functions"),
    [
        (PowerBath(), BATH),
        (RadialDistance(spring=1.7), (lambda x, t: x**2, lambda x, t: jnp.log(x))),
        (SquaredDistance(spring=1.7), (lambda x, t: x, lambda x, t: jnp.log(x))),
    ],
    ids=["V4", "V5a", "V5b"],
)
def test_other_baths_and_curved_maps(system, functions, kinds):
    """V4 and V5: one temperature gives the force and its response at any other, the divergence of the map included."""
    kelvin, r = 0.7 / KB, np.linspace(0.2, 1.5, 41)
    model = fitted(system, r, kelvin, functions, kinds).model
    for t in (kelvin, 2 * kelvin):
        golden(line(thermo.force, model, t, r), system.force(r, t))
        golden(line(thermo.response_force, model, t, r), system.response_force(r, t))
        golden(np.diff(line(thermo.energy, model, t, r)), np.diff(system.energy(r, t)))


def test_a_map_whose_divergence_is_all_of_the_response():
    """V5c: covariance and divergence cancel, so that energies leave the entropy flat; zeros as labels are refused."""
    valley, kelvin, r = CurvedValley(), 0.7 / KB, np.linspace(-1.2, 1.2, 41)
    functions = tuple(lambda x, t, n=n: x**n for n in range(1, 5))
    model = fitted(valley, r, kelvin, functions, (F, E)).model
    golden(line(thermo.force, model, 3 * kelvin, r), valley.force(r, kelvin))
    golden(line(thermo.response_force, model, kelvin, r), 0.0)
    with pytest.raises(ValueError, match="labels are zero in all frames"):
        fitted(valley, r, kelvin, functions, (F, C))


def parametric(r, kelvin, lam):
    """V11 with V = x^4/4, g = x^2, kappa = 1 + x^2/2: U = V + kappa q^2/2 - lambda g q, from its closed forms."""
    kt, kappa = KB * kelvin, 1 + r**2 / 2
    slope = -lam * r**4 / kappa
    by_r = lambda power: (4 * r**3 * kappa - r**5) / kappa**2 * power
    force = -(r**3) + by_r(lam**2 / 2) - 0.5 * kt * r / kappa
    energy = r**4 / 4 - lam**2 * r**4 / (2 * kappa) + 0.5 * kt
    count = len(r)
    along = lambda values: np.stack([values, 0 * r, 0 * r], -1)[:, None]
    return Frames(
        along(r), forces=along(force), energy=energy, temperature=np.full(count, kelvin),
        parameters={"field": np.full(count, lam)}, slopes={"field": slope},
    )  # fmt: skip


def test_parameters():
    """V11: dA/dlambda = -lambda g^2/kappa, its slope -g^2/kappa, no response of it to T, and dF/dlambda."""
    kelvin, r = 0.6 / KB, np.linspace(-1.4, 1.4, 31)
    frames = Frames.concatenate([parametric(r, kelvin, lam) for lam in (0.0, 0.5, 1.3)])
    data = Dataset.from_frames(ONE, frames)
    functions = (
        lambda x, t, lam: x**4,
        lambda x, t, lam: t * KB * jnp.log(1 + x**2 / 2),
        lambda x, t, lam: lam * x**4 / (1 + x**2 / 2),
        lambda x, t, lam: lam**2 * x**4 / (1 + x**2 / 2),
    )
    objectives = [F(data), E(data), mf.SlopeMatching(data, parameter="field")]
    at, lam = np.array([0.8]), {"field": 0.9}
    kappa = 1.32
    alone = mf.fit(Spanned.of(*functions, thermal=True), [F(data), E(data)], regularisation=0)
    for fit in (mf.fit(Spanned.of(*functions, thermal=True), objectives, regularisation=0), alone):
        of = lambda **o: line(thermo.by_parameter, fit.model, kelvin, at, name="field", parameters=lam, **o)  # noqa: B023
        golden(of(), -0.9 * 0.8**4 / kappa)
        golden(of(order=2), -(0.8**4) / kappa)
        golden(of(response=1), 0.0)
        step = 1e-3
        force = lambda x: line(thermo.force, fit.model, kelvin, at, parameters={"field": x})  # noqa: B023
        by_r = (4 * 0.8**3 * kappa - 0.8**5) / kappa**2
        golden((force(0.9 + step) - force(0.9 - step)) / (2 * step), 0.9 * by_r)
        golden(line(thermo.force, fit.model, 2 * kelvin, at, parameters=lam),
               parametric(at, 2 * kelvin, 0.9).forces[:, 0, 0])  # fmt: skip


def test_a_stiffness_as_parameter():
    """V11, kappa = k0 e^lambda: dA/dlambda = kT/2 and d2A/dT dlambda = k/2 at every R: all of it gauge, no force."""
    kelvin, r = 0.6 / KB, np.linspace(-1.4, 1.4, 31)
    parts = []
    for t in (kelvin, 1.5 * kelvin):
        for lam in (0.0, 0.7):
            along = np.stack([-(r**3), 0 * r, 0 * r], -1)[:, None]
            state = {"stiffness": np.full(31, lam)}
            parts.append(Frames(
                np.stack([r, 0 * r, 0 * r], -1)[:, None], forces=along, energy=r**4 / 4 + 0.5 * KB * t,
                temperature=np.full(31, t), parameters=state, slopes={"stiffness": np.full(31, 0.5 * KB * t)},
            ))  # fmt: skip
    data = Dataset.from_frames(ONE, Frames.concatenate(parts))
    functions = (lambda x, t, lam: x**4, lambda x, t, lam: lam * t * x**2)
    with pytest.raises(ValueError, match="the same in all frames"):
        mf.fit(Spanned.of(*functions, thermal=True), [mf.SlopeMatching(data, parameter="stiffness")])
    model = mf.fit(Spanned.of(*functions, thermal=True), [F(data), E(data)], regularisation=0).model
    golden(line(thermo.by_parameter, model, kelvin, r, name="stiffness", parameters={"stiffness": 0.3}), 0.0)


# V12: basins x < -0.5 and x > 0.5 with baths of stiffness k_A and k_B in d dimensions, the second u higher.
OFFSET, STIFFER, DIMENSIONS, SPRING = 1.7, 3.0, 3, 20.0
LEFT, RIGHT = np.linspace(-1.45, -0.55, 30), np.linspace(0.55, 1.45, 30)
BASINS = np.concatenate([LEFT, RIGHT])
SPLINE = ExternalSpline(("A",), start=-1.5, end=1.5, intervals=12)


def energy_of(r):
    """<U> at R less the bath's own (d/2) kT."""
    return np.where(r < 0, SPRING * (r + 1) ** 2 / 2, OFFSET + SPRING * (r - 1) ** 2 / 2)


def gap(kelvin):
    """A_B - A_A."""
    return OFFSET + 0.5 * DIMENSIONS * KB * kelvin * np.log(STIFFER)


def frames_of(r, force, energy, kelvin):
    along = lambda values: np.stack([values, 0 * r, 0 * r], -1)[:, None]
    return Frames(along(r), forces=along(force), energy=energy, temperature=np.full(len(r), kelvin))


def basins(kelvin):
    force = -SPRING * np.where(BASINS < 0, BASINS + 1, BASINS - 1)
    return frames_of(BASINS, force, energy_of(BASINS) + 0.5 * DIMENSIONS * KB * kelvin, kelvin)


def connected(kelvin):
    """Forces all the way from one basin to the other, of a spline that is exact in both."""
    knots = 0.25 * np.arange(-9, 10)
    inside = BSpline.design_matrix(np.clip(BASINS, -1.499, 1.499), knots, 3).toarray()
    target = energy_of(BASINS) + (gap(kelvin) - OFFSET) * (BASINS > 0)
    spline = BSpline(knots, np.linalg.lstsq(inside, target)[0], 3)
    r = np.linspace(-1.45, 1.45, 120)
    return frames_of(r, -spline(r, 1), np.zeros(len(r)), kelvin)


def difference(quantity, model, kelvin):
    return np.diff(line(quantity, model, kelvin, [-1.0, 1.0]))[0]


def test_basins_that_only_energies_link():
    """V12: forces leave DeltaA free; energies fix its van 't Hoff line, and one connected temperature all of it."""
    first, second = 300.0, 450.0
    data = Dataset.from_frames(ONE, Frames.concatenate([basins(first), basins(second)]))
    thermal = mf.LinearThermal.of(SPLINE, reference=first)
    forces, energies = (mf.fit(thermal, kinds, regularisation=0) for kinds in ([F(data)], [F(data), E(data)]))
    turn = lambda model: (
        difference(thermo.free_energy, model, second) / (KB * second)
        - difference(thermo.free_energy, model, first) / (KB * first)
    )
    known = OFFSET / KB * (1 / second - 1 / first)
    assert forces.outcome is Outcome.EXTRAPOLATED
    assert abs(turn(forces.model) - known) > 0.01
    golden(turn(energies.model), known)
    golden(difference(thermo.energy, energies.model, first), OFFSET)
    assert abs(difference(thermo.free_energy, energies.model, first) - gap(first)) > 0.1, "nothing says so yet"
    bridge = Dataset.from_frames(ONE, connected(first))
    linked = mf.fit(thermal, [F(data), E(data), F(bridge)], regularisation=0).model
    for kelvin in (200.0, first, second, 700.0):
        golden(difference(thermo.free_energy, linked, kelvin), gap(kelvin))
        golden(difference(thermo.entropy, linked, kelvin), -0.5 * DIMENSIONS * KB * np.log(STIFFER))
