"""DimeNet++ against its sums written out, its published size, and its own limits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import legendre
from scipy.special import spherical_jn

from meanforce.frames import Frames
from meanforce.graph import build, edges
from meanforce.numerics.edges import reverse_rows
from meanforce.numerics.radial import bessel_roots
from meanforce.potentials.dimenet import DimeNet, Sizes, triplet_sum
from meanforce.potentials.networks import orthogonal, swish
from meanforce.topology import Topology

BEADS = 12
TYPES = ("A", "B")
TOPOLOGY = Topology.of([TYPES[b % 2] for b in range(BEADS)], dict.fromkeys(TYPES, 1.0))
FRAMES = Frames(positions=np.random.default_rng(3).uniform(size=(1, BEADS, 3)) * 0.7)
SMALL = Sizes(embedding=8, blocks=2, output=8, output_layers=1, type=4, angle=5, basis=3, radial=3, spherical=4)


def drawn(net):
    """Random weights everywhere: nothing can hide in a zero."""
    rng = np.random.default_rng(1)
    arrays, rest = eqx.partition(net, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a: a + jnp.asarray(rng.normal(size=a.shape)) / 4, arrays), rest)


def test_triplets_are_summed_one_by_one():
    net = DimeNet(TYPES, sizes=SMALL)
    graph = build(FRAMES, TOPOLOGY, net.cutoffs, skin=0.05)
    near, index = edges(graph, net.cutoff), np.asarray(graph.within(net.cutoff).index)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(SMALL.spherical, SMALL.radial, SMALL.angle))
    arriving = rng.normal(size=(*index.shape, SMALL.angle))

    x, p = np.sqrt(np.asarray(near.squared)) / net.cutoff, SMALL.envelope
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    roots = bessel_roots(SMALL.spherical - 1, SMALL.radial)
    vectors = np.stack([near.x, near.y, near.z], -1)
    inside = x < 1
    expected = np.zeros_like(arriving)
    triplets = 0
    for j in range(BEADS):
        for i in np.flatnonzero(near.squared[j] < 1e4):
            for k in np.flatnonzero(inside[j]):
                if k == i:
                    continue
                triplets += 1
                a, b = vectors[j, i], vectors[j, k]
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                for n in range(SMALL.spherical):
                    angular = np.sqrt((2 * n + 1) / 4 / np.pi) * legendre.legval(cosine, np.eye(n + 1)[n])
                    norm = np.sqrt(2) / np.abs(spherical_jn(n + 1, roots[n]))
                    bessel = norm * envelope[j, k] * spherical_jn(n, roots[n] * x[j, k])
                    expected[j, i] += angular * (bessel @ weights[n]) * arriving[j, k]
    assert triplets > 500
    used = (np.asarray(near.squared) < 1e4)[..., None]
    got = triplet_sum(jnp.asarray(weights), jnp.asarray(arriving), net._basis(near))
    np.testing.assert_allclose(got * used, expected, atol=1e-10)


def test_messages_meet_at_the_bead_where_they_arrive():
    graph = build(FRAMES, TOPOLOGY, (0.5,))
    row = graph.within(0.5)
    here = jnp.broadcast_to(jnp.arange(BEADS)[:, None, None], (*row.index.shape, 1)).astype(float)
    ends = jnp.concatenate([here, row.index[..., None].astype(float)], -1)
    np.testing.assert_array_equal(reverse_rows(ends, row.index, row.slot), ends[..., ::-1])


@pytest.mark.parametrize(("types", "count"), [(1, 121_430), (10, 121_574)])
def test_published_size(types, count):
    net = DimeNet(tuple("ABCDEFGHIJ"[:types]))
    assert sum(a.size for a in jax.tree.leaves(net) if eqx.is_array(a)) == count


def test_an_untrained_network_adds_nothing_but_learns():
    net = DimeNet(TYPES, sizes=SMALL)
    graph = build(FRAMES, TOPOLOGY, net.cutoffs)
    assert (net.energies(graph) == 0).all()
    slopes = eqx.filter_grad(lambda n: n.energy(graph).sum())(net)
    assert jnp.abs(slopes.readouts.last.weight).min() > 0


def test_every_weight_moves_the_force():
    net = drawn(DimeNet(TYPES, sizes=SMALL))
    graph = build(FRAMES, TOPOLOGY, net.cutoffs)
    at = lambda positions: eqx.tree_at(lambda g: g.positions, graph, positions)
    force = lambda n: jax.grad(lambda positions: n.energy(at(positions)).sum())(graph.positions)
    loss = lambda n: (force(n) ** 2).sum()
    slopes = eqx.filter_jit(eqx.filter_grad(loss))(net)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert jnp.abs(slope).max() > 0, jax.tree_util.keystr(path)
    arrays, rest = eqx.partition(net, eqx.is_array)
    way = jax.tree.map(lambda a: jnp.asarray(np.random.default_rng(2).normal(size=a.shape)), arrays)
    moved = lambda step: loss(eqx.combine(jax.tree.map(lambda a, w: a + step * w, arrays, way), rest))
    along = sum(jnp.vdot(s, w) for s, w in zip(jax.tree.leaves(slopes), jax.tree.leaves(way), strict=True))
    np.testing.assert_allclose(along, (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-5)


def test_single_precision_at_the_published_size():
    net = drawn(DimeNet(TYPES))
    values = []
    for dtype in (np.float64, np.float32):
        graph = build(FRAMES, TOPOLOGY, net.cutoffs, dtype=dtype)
        at = lambda positions, graph=graph: eqx.tree_at(lambda g: g.positions, graph, positions)
        values.append(jax.jit(jax.value_and_grad(lambda r, at=at: net.energy(at(r)).sum()))(graph.positions))
    (energy, slope), (single, single_slope) = values
    assert single.dtype == single_slope.dtype == jnp.float32
    np.testing.assert_allclose(single, energy, rtol=1e-5)
    np.testing.assert_allclose(single_slope, slope, atol=1e-4 * jnp.abs(slope).max())


def test_no_derivative_scatters():
    net = drawn(DimeNet(TYPES, sizes=SMALL))
    graph = build(FRAMES, TOPOLOGY, net.cutoffs)
    at = lambda positions: eqx.tree_at(lambda g: g.positions, graph, positions)
    loss = lambda n: (jax.grad(lambda r: n.energy(at(r)).sum())(graph.positions) ** 2).sum()
    slopes = lambda n: eqx.filter_grad(loss)(n)  # noqa: PLW0108  (jit cannot hash what filter_grad returns)
    assert "scatter" not in jax.jit(slopes).lower(net).as_text()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="blocks is less"):
        DimeNet(TYPES, sizes=SMALL._replace(blocks=0))
    with pytest.raises(ValueError, match="cut-off above 0"):
        DimeNet(TYPES, cutoff=0.0)
    with pytest.raises(ValueError, match="do not fit 3 rows"):
        eqx.tree_at(lambda n: n.embedding.types, DimeNet(TYPES), jnp.zeros((3, 16))).__check_init__()


def test_swish_to_third_order():
    x = jnp.linspace(-9.0, 9.0, 50)
    mine, plain = swish, lambda x: x * jax.nn.sigmoid(x)
    for _ in range(4):
        np.testing.assert_allclose(jax.vmap(mine)(x), jax.vmap(plain)(x), atol=1e-13)
        mine, plain = jax.grad(mine), jax.grad(plain)


@pytest.mark.parametrize(("inputs", "outputs"), [(32, 32), (42, 8), (8, 16)])
def test_orthogonal_weights(inputs, outputs):
    weight = orthogonal(np.random.default_rng(0), inputs, outputs)
    small = weight.T @ weight if inputs >= outputs else weight @ weight.T
    np.testing.assert_allclose(small, small[0, 0] * np.eye(len(small)), atol=1e-12)
    np.testing.assert_allclose(np.mean(weight**2), 2 / (inputs + outputs))
