"""HIP-NN-TS against its published sums written out, its number of weights, and its own limits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from meanforce.frames import Frames
from meanforce.graph import build
from meanforce.potentials.hipnn import HipNN, Sizes, softplus
from meanforce.topology import Topology

BEADS = 11
TYPES = ("A", "B", "C")
TOPOLOGY = Topology.of([TYPES[b % 3] for b in range(BEADS)], dict.fromkeys(TYPES, 1.0))
FRAMES = Frames(positions=np.random.default_rng(3).uniform(size=(1, BEADS, 3)) * 0.7)
SMALL = Sizes(features=7, sensitivities=5, degree=2, interactions=2, layers=2)


def drawn(net):
    """Random weights everywhere: nothing can hide in a zero."""
    rng = np.random.default_rng(1)
    arrays, rest = eqx.partition(net, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a: a + jnp.asarray(rng.normal(size=a.shape)) / 4, arrays), rest)


def force(net, graph):
    at = lambda positions: eqx.tree_at(lambda g: g.positions, graph, positions)
    return -jax.grad(lambda positions: net.energy(at(positions)).sum())(graph.positions)


def published(net, positions, species):
    """Energies of the beads, neighbour by neighbour, with tensors as matrices."""
    cells = jax.tree.map(np.asarray, eqx.filter(net, eqx.is_array))
    f = lambda x: np.log(1 + np.exp(x))
    layer = lambda weights, x: x @ weights.weight + weights.bias
    z = np.eye(len(net.types))[species]
    energies = z @ cells.readouts[0]
    for block, atoms, readout in zip(cells.interactions, cells.layers, cells.readouts[1:], strict=True):
        mu, sigma = np.exp(block.centres), np.exp(block.widths)
        met = np.zeros((len(z), block.mixing.shape[-1]))
        for i, here in enumerate(positions):
            one, vectors, matrices = met[i], np.zeros((3, met.shape[1])), np.zeros((3, 3, met.shape[1]))
            for j, there in enumerate(positions):
                r = np.linalg.norm(there - here)
                if j == i or r >= net.cutoff:
                    continue
                unit = (there - here) / r
                cut = np.cos(np.pi * r / (2 * net.cutoff)) ** 2
                s = np.exp(-((1 / r - 1 / mu) ** 2) / (2 * sigma**2)) * cut
                value = np.einsum("n,b,bna->a", s, z[j], block.mixing)
                one += value
                vectors += unit[:, None] * value
                matrices += (np.outer(unit, unit) - np.eye(3) / 3)[..., None] * value
            lengths = [(vectors**2).sum(0), (matrices**2).sum((0, 1))]
            for strength, squared in zip(block.strengths, lengths, strict=False):
                one += strength * (np.sqrt(squared + 1e-4) - 1e-2)
        carried = z if block.skip is None else z @ block.skip.weight
        z = carried + layer(block.out, f(met + layer(block.own, z)))
        for atom in atoms:
            z = z + layer(atom.out, f(layer(atom.own, z)))
        energies = energies + z @ readout
    return net.scale * energies


@pytest.mark.parametrize("interactions", [1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_the_published_sums_neighbour_by_neighbour(degree, interactions):
    net = drawn(HipNN(TYPES, sizes=SMALL._replace(degree=degree, interactions=interactions)))
    graph = build(FRAMES, TOPOLOGY, net.cutoffs, skin=0.05)
    expected = published(net, FRAMES.positions[0], np.asarray(graph.species))
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(jax.jit(lambda n, g: n.energies(g))(net, graph), expected, rtol=1e-10, atol=1e-10)


def test_one_type_takes_the_short_way():
    topology = Topology.of(["A"] * BEADS, {"A": 1.0})
    net = drawn(HipNN(("A",), sizes=SMALL))
    expected = published(net, FRAMES.positions[0], np.zeros(BEADS, int))
    np.testing.assert_allclose(net.energies(build(FRAMES, topology, net.cutoffs)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("types", [1, 3])
@pytest.mark.parametrize("sizes", [Sizes(), SMALL, SMALL._replace(degree=0, interactions=1)])
def test_number_of_weights(types, sizes):
    f, s, degree, interactions, layers = sizes
    dense = f * f + f
    first = 2 * s + types * s * f + degree * f + types * f + f + dense + types * f
    later = 2 * s + f * s * f + degree * f + 2 * dense
    expected = types + first + (interactions - 1) * later + interactions * (2 * layers * dense + f)
    net = HipNN(TYPES[:types], sizes=sizes)
    assert sum(a.size for a in jax.tree.leaves(net) if eqx.is_array(a)) == expected
    assert net.sizes == sizes
    if sizes == Sizes():
        assert expected == 118_953 + (types - 1) * 2_817  # as the class says


def test_sensitivities_begin_equally_spaced_in_inverse_distance():
    net = HipNN(TYPES, cutoff=0.5, inner=0.2, outer=0.4, sizes=SMALL)
    block = net.interactions[0]
    np.testing.assert_allclose(np.exp(-block.centres), np.linspace(5, 2.5, 5))
    np.testing.assert_allclose(np.exp(block.widths), 2.5 / 4)
    np.testing.assert_allclose(HipNN(TYPES, cutoff=1.5).outer, 1.3)


def test_the_force_is_continuous_at_the_cutoff_and_its_derivative_is_not():
    net = drawn(HipNN(TYPES, sizes=SMALL))
    pair = Topology.of(["A", "B", "C"], dict.fromkeys(TYPES, 1.0))
    far = np.array([[[0.0, 0, 0], [0.5, 0, 0], [0, 20, 0]]])
    graph = build(Frames(positions=far), pair, net.cutoffs, skin=0.05)
    energy = lambda r: net.energy(eqx.tree_at(lambda g: g.positions, graph, graph.positions.at[1, 0].set(r)))[0]
    slope, bend = jax.jit(jax.grad(energy)), jax.jit(jax.grad(jax.grad(energy)))
    inside, outside = (net.cutoff * (1 + step) for step in (-1e-7, 1e-7))
    bending = bend(inside)
    assert abs(bending) > 1
    np.testing.assert_allclose(energy(inside), energy(outside), atol=1e-10)
    np.testing.assert_allclose(slope(inside) / bending, inside - net.cutoff, rtol=1e-3)
    assert slope(outside) == bend(outside) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_on_beads_alone_is_finite(dtype):
    apart = 2.0 * np.arange(BEADS)
    apart[1] = 0.3  # the first two are a pair, the others have no neighbour
    frames = Frames(positions=np.stack([apart, 0 * apart, 0 * apart], -1)[None])
    net = drawn(HipNN(TYPES, sizes=SMALL))
    graph = build(frames, TOPOLOGY, net.cutoffs, dtype=dtype)
    value, slopes = eqx.filter_value_and_grad(lambda n: (force(n, graph) ** 2).sum() + n.energy(graph)[0])(net)
    assert jnp.isfinite(value)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert jnp.isfinite(slope).all(), jax.tree_util.keystr(path)


def test_every_weight_moves_the_force_but_those_that_add_a_constant():
    net = drawn(HipNN(TYPES, sizes=SMALL))
    graph = build(FRAMES, TOPOLOGY, net.cutoffs)
    loss = lambda n: (force(n, graph) ** 2).sum()
    slopes = eqx.filter_jit(eqx.filter_grad(loss))(net)
    constant = {".readouts[0]", ".layers[1][1].out.bias"}
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        moves = bool(jnp.abs(slope).max() > 1e-12)
        assert moves == (jax.tree_util.keystr(path) not in constant), jax.tree_util.keystr(path)
    arrays, rest = eqx.partition(net, eqx.is_array)
    way = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(2).normal(size=a.shape)), arrays)
    moved = lambda step: loss(eqx.combine(jax.tree.map(lambda a, w: a + step * w, arrays, way), rest))
    along = sum(jnp.vdot(s, w) for s, w in zip(jax.tree.leaves(slopes), jax.tree.leaves(way), strict=True))
    np.testing.assert_allclose(along, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-5)


def test_an_untrained_network_adds_little():
    positions = np.random.default_rng(0).uniform(size=(1, BEADS, 3)) * 0.7
    graph = build(Frames(positions=positions), TOPOLOGY, (0.5,))
    energies = HipNN(TYPES).energies(graph)
    assert 0 < jnp.std(energies) < 2.5  # kJ/mol


def test_single_precision_at_the_published_size():
    net = drawn(HipNN(TYPES, sizes=SMALL._replace(features=128, sensitivities=20)))
    single, double = (force(net, build(FRAMES, TOPOLOGY, net.cutoffs, dtype=t)) for t in (np.float32, np.float64))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, double, atol=1e-4 * jnp.abs(double).max())


def test_no_derivative_scatters():
    net = drawn(HipNN(TYPES, sizes=SMALL))
    graph = build(FRAMES, TOPOLOGY, net.cutoffs)
    loss = lambda n: (force(n, graph) ** 2).sum() + n.energy(graph).sum()
    slopes = lambda n: eqx.filter_grad(loss)(n)  # noqa: PLW0108  (jit cannot hash what filter_grad returns)
    assert "scatter" not in jax.jit(slopes).lower(net).as_text()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="not features=0"):
        HipNN(TYPES, sizes=SMALL._replace(features=0))
    with pytest.raises(ValueError, match="not degree=3"):
        HipNN(TYPES, sizes=SMALL._replace(degree=3))
    with pytest.raises(ValueError, match="0 < inner < outer <= cutoff"):
        HipNN(TYPES, cutoff=0.5, outer=0.6)
    with pytest.raises(ValueError, match="do not fit 2 readouts"):
        eqx.tree_at(lambda n: n.readouts[0], HipNN(TYPES), jnp.zeros(2)).__check_init__()


def test_softplus_to_third_order():
    x = jnp.linspace(-9.0, 9.0, 50)
    mine, plain = softplus, jax.nn.softplus
    for _ in range(4):
        np.testing.assert_allclose(jax.vmap(mine)(x), jax.vmap(plain)(x), atol=1e-13)
        mine, plain = jax.grad(mine), jax.grad(plain)
