"""The last layer of a network as a linear fit: exact where it is all there is, and its error bars."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from networks import BEADS, EDGE, KELVIN, PAIR, TOPOLOGY, WALL, SplineNetwork, data_of, network, truth

import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.graph import build
from meanforce.learn import Training, fit, last_layer
from meanforce.learn.lastlayer import LastLayer
from meanforce.model import Model
from meanforce.objectives.matching import ForceMatching, PressureMatching
from meanforce.potentials import dimenet, equivariant, hipnn, local
from meanforce.potentials.base import Design, LinearPotential, NetworkPotential
from meanforce.potentials.committee import Committee
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.equivariant import Equivariant
from meanforce.potentials.hipnn import HipNN
from meanforce.potentials.local import LocalNetwork
from meanforce.potentials.splines import PairSpline
from meanforce.potentials.sums import Sum
from meanforce.reference.liquids import DiatomicLiquid


class PlainSpline(LinearPotential):
    """A spline whose coefficients are kept small, as those of a last layer are."""

    spline: PairSpline

    @property
    def coefficients(self) -> Float[Array, "k"]:
        return self.spline.coefficients

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.spline.cutoffs

    def energies(self, graph) -> Float[Array, "beads"]:
        return self.spline.energies(graph)

    def design(self, graph) -> Design:
        return self.spline.design(graph)

    def with_coefficients(self, coefficients) -> "PlainSpline":
        return PlainSpline(self.spline.with_coefficients(coefficients))

    def basis_names(self) -> tuple[str, ...]:
        return self.spline.basis_names()


def frames(potential=None, count=40, seed=0, noise=20.0):
    data = data_of(potential, frames=count, noise=noise, seed=seed)
    return data, build(data_of(frames=3, seed=99)[:], TOPOLOGY, (WALL.cutoff, *PAIR.cutoffs))


@pytest.mark.parametrize("regularisation", ["evidence", 1e-3])
def test_a_network_that_is_all_last_layer_has_the_closed_form_of_a_linear_potential(regularisation):
    data, graph = frames()
    wanted = [ForceMatching(data), PressureMatching(data, weight=0.5)]
    found = last_layer(SplineNetwork(truth(5)), wanted, regularisation=regularisation)
    linear = fit(PlainSpline(truth(7)), wanted, regularisation=regularisation)
    assert np.allclose(found.posterior.linear.mean, linear.posterior.mean, rtol=1e-8, atol=1e-8)
    assert np.allclose(found.posterior.linear.covariance, linear.posterior.covariance, rtol=1e-8, atol=1e-8)
    for of in ("force_std", "energy_std", "virial_std"):
        one, other = (getattr(f.posterior, of)(graph) for f in (found, linear))
        assert np.allclose(one, other, rtol=1e-8, atol=1e-8)
    assert np.allclose(found.model.potential.spline.coefficients, linear.posterior.mean, rtol=1e-8, atol=1e-8)
    assert isinstance(found.model.potential, SplineNetwork)
    assert found.outcome == linear.outcome
    assert found.history.scores[0].noise == pytest.approx(linear.history.scores[0].noise, rel=1e-8)


def test_the_design_is_what_each_weight_alone_brings():
    """Priors, and splines on top, stand in `fixed` as they are."""
    net = network(3)
    view = LastLayer.of(Sum.of(truth(2), net, WALL))
    graph = frames()[1]
    design = view.design(graph)
    for k in range(len(net.outer)):
        alone = eqx.tree_at(lambda n: n.outer, net, jnp.zeros_like(net.outer).at[k].set(1.0))
        known = thermo.derivatives(alone, graph)
        for part, expected in zip(design[:3], known, strict=True):
            assert np.allclose(part[..., k], expected, rtol=1e-9, atol=1e-10)
    rest, under = thermo.derivatives(view.fixed, graph), thermo.derivatives(Sum((truth(2), WALL)), graph)
    for one, other in zip(rest, under, strict=True):
        assert np.allclose(one, other, rtol=1e-9, atol=1e-9)


REAL = {
    "local": lambda: LocalNetwork(("A",), cutoff=0.6, sizes=local.Sizes(4, 2, 2, 2, 2, 4, 1)),
    "dimenet": lambda: DimeNet(("A",), cutoff=0.6, sizes=dimenet.Sizes(4, 1, 1, 1, 4, 1, 2, 3, 2, 2, 2)),
    "hipnn": lambda: HipNN(("A",), cutoff=0.6, sizes=hipnn.Sizes(4, 3, interactions=2, layers=1)),
    "equivariant": lambda: Equivariant(
        ("A",), cutoff=0.6, sizes=equivariant.Sizes(channels=2, degree=2, message=1, radial=4, hidden=4)
    ),
}


@pytest.mark.parametrize("name", [n if n == "local" else pytest.param(n, marks=pytest.mark.long) for n in REAL])
def test_the_design_of_real_networks_is_the_slope_of_their_forces(name):
    """Also of those whose output is bounded, which are linear only near their own weights."""
    if name == "equivariant":
        pytest.importorskip("e3nn_jax")
    graph = build(data_of(frames=3, seed=99)[:], TOPOLOGY, (0.6,))
    view = LastLayer.of(REAL[name]())
    drawn = view.with_coefficients(np.random.default_rng(0).normal(size=view.coefficients.shape))
    view = LastLayer.of(drawn.network())
    design = eqx.filter_jit(LastLayer.design)(view, graph)
    known = eqx.filter_jit(lambda weights: thermo.derivatives(view.with_coefficients(weights).network(), graph))
    step = 1e-4
    for k in (0, len(view.coefficients) - 1):
        one = step * np.eye(len(view.coefficients))[k]
        sides = [known(view.coefficients + sign * one) for sign in (1, -1)]
        for column, high, low in zip(design[:3], *sides, strict=True):
            assert np.abs(column[..., k]).max() > 1e-6
            assert np.allclose(column[..., k], (high - low) / (2 * step), rtol=1e-5, atol=1e-6)
    assert np.allclose(
        eqx.filter_jit(thermo.derivatives)(view, graph).forces, known(view.coefficients).forces, atol=1e-9
    )


def test_labels_of_the_network_itself_are_its_own_answer():
    teacher = Sum((network(1), WALL))
    start = eqx.tree_at(lambda s: s.terms[0].outer, teacher, jnp.ones_like(teacher.terms[0].outer))
    found = last_layer(Model(start, TOPOLOGY), ForceMatching(frames(teacher, noise=0.0)[0]))
    R, box = np.random.default_rng(4).uniform(0, EDGE, (5, BEADS, 3)), EDGE * np.eye(3)
    forces = [thermo.force(Model(p, TOPOLOGY), R, box, temperature=KELVIN) for p in (found.model.potential, teacher)]
    assert np.allclose(*forces, atol=1e-6 * np.abs(forces[1]).max())
    assert np.array_equal(found.model.potential.terms[0].inner, teacher.terms[0].inner)


def test_error_bars_fall_with_the_root_of_the_frames():
    few, many = (
        last_layer(SplineNetwork(truth(1)), ForceMatching(frames(count=count, seed=8)[0])) for count in (100, 1600)
    )
    graph = frames()[1]
    for of in ("force_std", "energy_std", "virial_std"):
        wide, narrow = (np.asarray(getattr(f.posterior, of)(graph)) for f in (few, many))
        near = narrow > 0  # beads without neighbours have no force, and no error
        assert np.median(wide[near] / narrow[near]) == pytest.approx(4.0, rel=0.15)


def test_drawn_networks_differ_by_the_error_bars():
    teacher = Sum((network(1), WALL))
    found = last_layer(teacher, ForceMatching(frames(teacher)[0]))
    graph = frames()[1]
    drawn = found.posterior.sample(300, seed=3)
    assert all(np.array_equal(d.terms[0].inner, teacher.terms[0].inner) for d in drawn)
    force = jax.jit(jax.vmap(lambda outer: thermo.derivatives(
        eqx.tree_at(lambda s: s.terms[0].outer, teacher, outer), graph).forces))  # fmt: skip
    spread = np.asarray(force(jnp.stack([d.terms[0].outer for d in drawn]))).std(0)
    told = np.asarray(found.posterior.force_std(graph))
    assert np.median(spread[told > 0] / told[told > 0]) == pytest.approx(1.0, abs=0.1)


@pytest.fixture(scope="module")
def liquid():
    """A liquid whose mean forces are known, and a committee that learned from its noisy ones."""
    exact = DiatomicLiquid(molecules=32, edge=1.85)
    data = Dataset.from_frames(exact.topology, exact.sample(200, KELVIN, seed=8))
    training = Training(epochs=100, batch=20, learning_rate=1e-2, members=6, bootstrap=180, seed=1)
    found = fit(network(features=12, hidden=16, cutoff=exact.cutoff), ForceMatching(data), training=training)
    return exact, data, found


def deviations(exact, model, posterior):
    """Errors of the mean forces of frames that nothing was learned from, in units of those that are told."""
    held = exact.sample(40, KELVIN, seed=99)
    forces = thermo.force(model, held.positions, held.box, temperature=KELVIN)
    told = np.asarray(posterior.force_std(build(held, exact.topology, (exact.cutoff,))))
    return (forces - exact.force(held.positions, KELVIN)) / told.reshape(forces.shape)


def test_members_that_saw_frames_drawn_anew_tell_their_error(liquid):
    """On the same frames they differ by their beginnings alone, and the same ratio is above two."""
    exact, _, found = liquid
    assert 0.7 < deviations(exact, found.model, found.posterior).std() < 1.4


def test_a_last_layer_tells_its_error(liquid):
    exact, data, found = liquid
    member = found.model.with_(potential=found.model.potential.members[0])
    solved = last_layer(member, ForceMatching(data))
    assert 0.7 < deviations(exact, solved.model, solved.posterior).std() < 1.4


class Opaque(NetworkPotential):
    weight: Array

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return (0.5,)

    def energies(self, graph) -> Float[Array, "beads"]:
        return self.weight * graph.positions[:, 0]

    def reinitialised(self, seed: int) -> "Opaque":
        return self


@pytest.mark.parametrize(
    "potential, message",
    [
        (truth(), "holds no network"),
        (Committee((network(0), network(1))), "one of its members"),
        (Opaque(jnp.ones(())), "Opaque does not say where its last layer is"),
    ],
)
def test_what_has_no_last_layer_is_refused(potential, message):
    with pytest.raises(ValueError, match=message):
        last_layer(potential, ForceMatching(frames()[0]))
