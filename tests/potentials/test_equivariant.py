"""The equivariant network against its sums written out with e3nn-jax, its symmetries, its size and its limits."""

import subprocess
import sys

import e3nn_jax as e3nn
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.special import expit

from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.potentials import equivariant
from meanforce.potentials.equivariant import Equivariant, Sizes
from meanforce.potentials.manybody import ThreeBodySpline
from meanforce.topology import Topology

BEADS = 10
TYPES = ("A", "B")
TOPOLOGY = Topology.of([TYPES[b % 2] for b in range(BEADS)], dict.fromkeys(TYPES, 1.0))
POSITIONS = np.random.default_rng(3).uniform(size=(BEADS, 3)) * 0.6
SMALL = Sizes(layers=2, channels=3, degree=2, message=1, sent=2, radial=5, hidden=6)
RICH = SMALL._replace(layers=3, degree=3, message=2)


def drawn(sizes=SMALL, seed=1):
    """Random weights everywhere: nothing can hide in a zero."""
    rng = np.random.default_rng(seed)
    arrays, rest = eqx.partition(Equivariant(TYPES, sizes=sizes), eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a: a + jnp.asarray(rng.normal(size=a.shape)) / 8, arrays), rest)


def graph_of(positions, net, dtype=np.float64):
    return build(Frames(positions=positions[None]), TOPOLOGY, net.cutoffs, skin=0.05, dtype=dtype)


def at(graph, positions):
    return eqx.tree_at(lambda g: g.positions, graph, positions)


def coupled(one, two, total):
    """Every way in which features {l: (channels, m)} couple to one degree, in the order of e3nn-jax, ways first."""
    ways = []
    for a, x in one.items():
        for b, y in two.items():
            if abs(a - b) <= total <= a + b and (a + b + total) % 2 == 0:
                ways.append(np.einsum("ci,cj,ijk->ck", x, y, e3nn.clebsch_gordan(a, b, total)))
    return np.sqrt(2 * total + 1) * np.array(ways)


def swish(x):
    return x * expit(x)


def written_out(net, positions, species):
    """Energies of all beads by loops over pairs, coupled neighbour by neighbour."""
    net, sizes = jax.tree.map(np.asarray, net), net.sizes
    n, degree = len(positions), sizes.degree
    spacing = (net.cutoff - net.start) / (sizes.radial + 3)
    knots = net.start + spacing * np.arange(sizes.radial + 4)
    splines = [BSpline.basis_element(knots[k : k + 5], extrapolate=False) for k in range(sizes.radial)]
    features = [{0: net.embedding[s][:, None]} for s in species]
    states, energies = [net.kinds[s] for s in species], np.zeros(n)
    for t, layer in enumerate(net.layers):
        update = net.updates[t] if t < len(net.updates) else None
        told = [_told(layer, i, positions, features, splines, degree) for i in range(n)]
        results = [_at_bead(layer, update, told[i], features[i], states[i], species[i]) for i in range(n)]
        states = [state for state, _, _ in results]
        energies += [energy for _, energy, _ in results]
        features = [new for _, _, new in results]
    return net.scale * 10 * np.tanh(energies / 10)


def angular(vectors, degree):
    """Harmonics of mean square one for each degree."""
    irreps = e3nn.Irreps.spherical_harmonics(degree)
    values = e3nn.spherical_harmonics(irreps, e3nn.IrrepsArray("1o", vectors), True, normalization="component").array
    return {d: np.asarray(values)[:, d**2 : (d + 1) ** 2] for d in range(degree + 1)}


def _told(layer, i, positions, features, splines, degree):
    moments = dict.fromkeys(range(degree + 1), 0.0)
    vectors = positions - positions[i]
    every = angular(np.where(np.arange(len(positions))[:, None] == i, 1.0, vectors), degree)
    for j, vector in enumerate(vectors):
        radial = np.nan_to_num([s(np.linalg.norm(vector)) for s in splines]) @ layer.radial.T
        if i == j:
            continue
        sent = {d: radial[:, None] * v for d, v in features[j].items()}
        harmonics = {d: np.broadcast_to(y[j], (len(radial), 2 * d + 1)) for d, y in every.items()}
        for d, mix in enumerate(layer.moments):
            moments[d] = moments[d] + np.einsum("ocp,pcm->om", mix, coupled(sent, harmonics, d))
    return {d: m / np.sqrt(10) for d, m in moments.items()}


def _at_bead(layer, update, moments, features, state, kind):
    moments = {d: layer.centre[kind][:, None] * m for d, m in moments.items()}
    if layer.itself is not None:
        moments |= {d: moments[d] + layer.itself[d] @ v for d, v in features.items()}
    partner = {d: layer.partner[d] @ m for d, m in moments.items()}
    raw = {d: coupled(moments, partner, d) for d in moments}
    squares = {d: np.einsum("ocp,pcm->om", layer.squares[d], raw[d]) for d in moments}
    cubes = {d: coupled(squares, moments, d) for d in moments}
    scalars = lambda ways: ways[:, :, 0].T.reshape(-1)  # channel by channel
    found = np.concatenate([moments[0][:, 0], scalars(raw[0]), scalars(cubes[0])])
    kept = state if layer.kept is None else state @ layer.kept.weight
    state = swish(found @ layer.state.weight + layer.state.bias + kept)
    inner, last = layer.readout
    energy = (swish(state @ inner.weight + inner.bias) @ last.weight + last.bias)[0]
    if update is None:
        return state, energy, None
    gates = (state @ update.gates.weight + update.gates.bias).reshape(-1, update.moments.shape[1])
    new = {0: gates[0][:, None]}
    for d, mix in enumerate(update.cubes, 1):
        linear = update.moments[d - 1] @ moments[d] + update.squares[d - 1] @ squares[d]
        new[d] = (1 + gates[d])[:, None] * (linear + np.einsum("ocp,pcm->om", mix, cubes[d]))
    return state, energy, new


@pytest.mark.parametrize("sizes", [SMALL, RICH], ids=["small", "rich"])
def test_the_energy_is_that_of_the_sums_written_out(sizes):
    net = drawn(sizes)
    graph = graph_of(POSITIONS, net)
    expected = written_out(net, POSITIONS, TOPOLOGY.species_index)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(net.energies(graph), expected, rtol=1e-10)


@pytest.mark.parametrize("mirrored", [1, -1], ids=["turned", "mirrored"])
def test_features_turn_by_wigner_matrices(mirrored):
    """e3nn-jax counts m about y, these harmonics about z: (y, z, x) there is (x, y, z) here."""
    net = drawn(RICH)
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    graph = graph_of(POSITIONS, net)
    before, after = (net.passed(at(graph, jnp.asarray(r)))[1] for r in (POSITIONS, mirrored * POSITIONS @ turn.T))
    axes = [1, 2, 0]
    for one, two in zip(before[1:], after[1:], strict=True):
        assert one.shape[1] == 9
        for d in range(3):
            wigner = np.asarray(e3nn.Irrep(d, 1).D_from_matrix(turn[np.ix_(axes, axes)]))
            order = [d, *(d + sign * m for m in range(1, d + 1) for sign in (1, -1))]
            own = slice(d**2, (d + 1) ** 2)
            turned = mirrored**d * jnp.einsum("mn,cni->cmi", wigner[np.ix_(order, order)], one[:, own])
            assert jnp.abs(one[:, own]).max() > 1e-2
            np.testing.assert_allclose(two[:, own], turned, atol=1e-9 * jnp.abs(turned).max())


def test_mirror_images_have_one_energy():
    net = drawn(RICH)
    energy = lambda positions: net.energies(at(graph_of(POSITIONS, net), jnp.asarray(positions)))
    np.testing.assert_allclose(energy(POSITIONS * [1, 1, -1]), energy(POSITIONS), rtol=1e-10)


def test_four_bodies_tell_apart_what_three_cannot():
    """Four of eight places on a circle about a bead, with the same distances between them: a homometric pair."""
    around = lambda places: np.array([[0.3 * np.cos(p * np.pi / 4), 0.3 * np.sin(p * np.pi / 4), 0.0] for p in places])
    topology = Topology.of(["W"] * 5, {"W": 1.0})
    middle = np.zeros((1, 3))
    frames = [Frames(positions=np.concatenate([middle, around(p)])[None]) for p in ([0, 1, 3, 4], [0, 1, 2, 5])]
    three = ThreeBodySpline(("W",), cutoff=0.5)
    three = three.with_coefficients(jnp.asarray(np.random.default_rng(0).normal(size=three.coefficients.shape)))
    net = Equivariant(("W",), sizes=Sizes(layers=1))
    one, two = ([p.energies(build(f, topology, (0.5,)))[0] for f in frames] for p in (three, net))
    np.testing.assert_allclose(*one, rtol=1e-12)
    assert abs(two[0] - two[1]) > 1e-2 * abs(two[0])


def test_the_second_layer_sees_beads_beyond_the_cutoff():
    topology = Topology.of(["W"] * 3, {"W": 1.0})
    line = lambda far: Frames(positions=np.array([[[0.0, 0, 0], [0.4, 0, 0], [0.8, far, 0]]]))
    for layers, seen in ((1, False), (2, True)):
        net = Equivariant(("W",), sizes=Sizes(layers=layers))
        one, two = (net.energies(build(line(far), topology, net.cutoffs))[0] for far in (0.0, 0.1))
        assert (one != two) == seen


@pytest.mark.parametrize("sizes", [SMALL, RICH, Sizes()], ids=["small", "rich", "default"])
@pytest.mark.parametrize("types", [1, 3])
def test_number_of_weights(sizes, types):
    t, c, d, m, s, r, h = sizes
    ways = lambda first, total: sum(
        (a + b + total) % 2 == 0 and abs(a - b) <= total <= a + b for a in range(first + 1) for b in range(d + 1)
    )
    mixes = lambda first: c * sum(ways(first, total) for total in range(d + 1))
    readout = h * h + h + h + 1
    state = (1 + 2 * (d + 1)) * c * h + h
    layer = types * c + (d + 1) * c * c + mixes(d) * c + state + readout
    first = r * c + mixes(0) * c
    later = r * s + mixes(m) * s + (m + 1) * c * s + h * h
    update = 2 * m * c * s + c * s * sum(ways(d, total) for total in range(1, m + 1)) + (h + 1) * s * (m + 1)
    expected = types * (c + h) + t * layer + first + (t - 1) * (later + update)
    net = Equivariant(tuple("ABC"[:types]), sizes=sizes)
    assert sum(a.size for a in jax.tree.leaves(net) if eqx.is_array(a)) == expected
    assert net.sizes == sizes


def test_every_weight_moves_the_force():
    net = drawn()
    graph = graph_of(POSITIONS, net)
    force = lambda n: jax.grad(lambda positions: n.energy(at(graph, positions)).sum())(graph.positions)
    loss = eqx.filter_jit(lambda n: (force(n) ** 2).sum())
    slopes = eqx.filter_jit(eqx.filter_grad(loss))(net)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        if "readout[1].bias" not in jax.tree_util.keystr(path):
            assert jnp.abs(slope).max() > 0, jax.tree_util.keystr(path)
    arrays, rest = eqx.partition(net, eqx.is_array)
    way = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(2).normal(size=a.shape)), arrays)
    moved = lambda step: loss(eqx.combine(jax.tree.map(lambda a, w: a + step * w, arrays, way), rest))
    along = sum(jnp.vdot(s, w) for s, w in zip(jax.tree.leaves(slopes), jax.tree.leaves(way), strict=True))
    np.testing.assert_allclose(along, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-5)


def test_no_derivative_scatters():
    net = drawn()
    graph = graph_of(POSITIONS, net)
    loss = lambda n: (jax.grad(lambda r: n.energy(at(graph, r)).sum())(graph.positions) ** 2).sum()
    slopes = lambda n: eqx.filter_grad(loss)(n)  # noqa: PLW0108  (jit cannot hash what filter_grad returns)
    assert "scatter" not in jax.jit(slopes).lower(net).as_text()


def test_an_untrained_network_adds_little():
    net = Equivariant(TYPES)
    energies = net.energies(graph_of(POSITIONS, net))
    assert 0 < jnp.abs(energies).max() < net.scale


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="channels=0"):
        Equivariant(TYPES, sizes=SMALL._replace(channels=0))
    with pytest.raises(ValueError, match="message=3"):
        Equivariant(TYPES, sizes=SMALL._replace(message=3))
    with pytest.raises(ValueError, match="below the cut-off"):
        Equivariant(TYPES, cutoff=0.1)
    with pytest.raises(ValueError, match="do not fit 3 rows"):
        eqx.tree_at(lambda n: n.embedding, Equivariant(TYPES), jnp.zeros((3, 16))).__check_init__()


def test_without_its_library_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(equivariant, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'meanforce\[equivariant\]'"):
        Equivariant(TYPES)


def test_the_library_is_imported_only_when_asked_for():
    code = "import sys, meanforce; sys.exit('e3nn_jax' in sys.modules or 'sympy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
