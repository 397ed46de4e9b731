"""Graphs: lists repaired after overflow, gradients that gather, boxes under strain."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import meanforce.numerics.precision  # noqa: F401
from meanforce import graph as graphs
from meanforce.frames import Frames
from meanforce.graph import FAR, Graph, pair_energy
from meanforce.numerics.edges import IMAGES
from meanforce.topology import Topology

BOXES = np.array([[[2.2, 0, 0], [0.3, 2.1, 0], [0.2, -0.5, 1.9]], np.eye(3) * 2.5])
CUTOFF = 1.0
PARAMETERS = {"size": jnp.array([[0.2, 0.23], [0.23, 0.25]]), "depth": jnp.array(3.0)}


def symmetric(table):
    return (table + table.T) / 2


def soft(parameters, squared, first, second):
    """A smooth pair energy with a parameter matrix by species, zero beyond the cut-off."""
    size = symmetric(parameters["size"])[first, second]
    inside = jnp.where(squared < CUTOFF**2, CUTOFF**2 - squared, 0.0)
    return parameters["depth"] * inside**3 / (squared + size**2)


def soft_slope(parameters, squared, first, second):
    size = symmetric(parameters["size"])[first, second]
    inside = jnp.where(squared < CUTOFF**2, CUTOFF**2 - squared, 0.0)
    bottom = squared + size**2
    return -parameters["depth"] * inside**2 * (3 / bottom + inside / bottom**2)


def make(box=BOXES, n=30, seed=0, skin=0.0, spread=(-3, 4), capacities=None, dtype=np.float64) -> Graph:
    positions = np.random.default_rng(seed).uniform(*spread, (2, n, 3))
    topology = Topology.of(["A", "B", "B"] * (n // 3), {"A": 12.0, "B": 20.0})
    return graphs.build(
        Frames(positions, box=box), topology, [0.6, CUTOFF], skin=skin, capacities=capacities, dtype=dtype
    )


def placed(graph, positions, box):
    graph = eqx.tree_at(lambda g: g.positions, graph, positions)
    return graph if box is None else eqx.tree_at(lambda g: g.box, graph, box)


def plain(graph, parameters, positions, box):
    """The pair energy in plain JAX: rows of three, scatter in reverse, no custom rule."""
    near = graph.within(CUTOFF)
    vectors = positions[near.index] - positions[:, None]
    if box is not None:
        images = jnp.asarray(IMAGES)[near.image] - graph.home[near.index] + graph.home[:, None]
        vectors = vectors + jnp.einsum("nck,nka->nca", images, box[graph.frame])
    squared = (vectors**2).sum(-1) + jnp.where(near.image == FAR, 1e8, 0.0)
    values = soft(parameters, squared, graph.species[:, None], graph.species[near.index])
    return jax.ops.segment_sum(values.sum(1), graph.frame, graph.frames) / 2


def by_edges(graph, parameters, positions, box):
    graph = placed(graph, positions, box)
    squared = graphs.edges(graph, CUTOFF).squared
    values = soft(parameters, squared, graph.species[:, None], graphs.neighbour_species(graph, CUTOFF))
    return graphs.frame_sum(graph, values.sum(1)) / 2


def by_rule(graph, parameters, positions, box):
    return pair_energy(placed(graph, positions, box), CUTOFF, soft, parameters)


def by_slope(graph, parameters, positions, box):
    return pair_energy(placed(graph, positions, box), CUTOFF, soft, parameters, soft_slope)


def close(left, right, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(b).max(initial=0))))


@pytest.mark.parametrize("box", [BOXES, None], ids=["boxes", "none"])
@pytest.mark.parametrize("way", [by_edges, by_rule, by_slope])
def test_derivatives_are_those_of_plain_differentiation(way, box):
    graph = make(box, spread=(-3, 4) if box is not None else (0, 2))
    arguments = (PARAMETERS, graph.positions, graph.box)
    which = (0, 1) if box is None else (0, 1, 2)
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), arguments)
    weights = jnp.array([1.0, -0.7])

    @partial(jax.jit, static_argnums=0)
    def derivatives(energy, arguments, direction):
        f = lambda *a: energy(graph, *a) @ weights
        along = lambda *a: jax.jvp(f, a, direction)[1]
        return (
            jax.grad(f, which)(*arguments),
            along(*arguments),
            jax.jvp(jax.grad(f, which), arguments, direction)[1],
            jax.grad(along, which)(*arguments),
        )

    ours, theirs = (derivatives(f, arguments, direction) for f in (way, plain))
    for k in range(4):
        close(ours[k], theirs[k])


@pytest.mark.parametrize("way", [by_edges, by_rule])
def test_derivatives_by_finite_differences(way):
    graph = make(n=12)
    start = (PARAMETERS, graph.positions, graph.box)
    rng = np.random.default_rng(7)
    one, two = (jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), start) for _ in range(2))
    at = lambda s, t: jax.tree.map(lambda a, b, c: a + s * b + t * c, start, one, two)
    traced = jax.jit(lambda s, t: way(graph, *at(s, t)).sum())
    slopes = jax.jit(lambda: (jax.grad(traced)(0.0, 0.0), jax.grad(jax.grad(traced), 1)(0.0, 0.0)))()
    first, second = (float(d) for d in slopes)
    energy = lambda s, t: float(traced(s, t))
    h = 1e-4
    assert first == pytest.approx((energy(h, 0) - energy(-h, 0)) / (2 * h), rel=1e-6)
    mixed = energy(h, h) - energy(h, -h) - energy(-h, h) + energy(-h, -h)
    assert second == pytest.approx(mixed / (4 * h * h), rel=1e-4)


@pytest.mark.parametrize("way", [by_edges, by_rule])
def test_forces_and_their_derivatives_do_not_scatter(way):
    graph = make(BOXES[:1].repeat(2, 0))
    force = lambda p, r: jax.grad(lambda r: way(graph, p, r, graph.box).sum())(r)
    loss = lambda p, r: (force(p, r) ** 2).sum()
    size = PARAMETERS["size"]
    one = lambda p: {"size": size, "depth": p}  # the gradient of a table look-up is a scatter of its own
    for f in (lambda d, r: force(one(d), r), jax.grad(lambda d, r: loss(one(d), r))):
        assert "scatter" not in jax.jit(f).lower(PARAMETERS["depth"], graph.positions).as_text()


def test_vmap_over_tangents():
    graph = make(n=6)
    energy = lambda r: by_rule(graph, PARAMETERS, r, graph.box).sum()
    reference = lambda r: plain(graph, PARAMETERS, r, graph.box).sum()
    expected = jax.jit(jax.hessian(reference))(graph.positions)
    close(jax.jit(jax.hessian(energy))(graph.positions), expected)
    close(jax.jit(jax.jacrev(jax.grad(energy)))(graph.positions), expected)


def test_strain_derivative_is_the_virial_of_the_pairs():
    graph = make()
    near = graphs.edges(graph, CUTOFF)
    slope = soft_slope(PARAMETERS, near.squared, graph.species[:, None], graphs.neighbour_species(graph, CUTOFF))
    pairs = graphs.frame_sum(graph, (slope * near.squared).sum(1))
    energy = lambda e: pair_energy(graphs.strained(graph, e), CUTOFF, soft, PARAMETERS)
    energy = jax.jit(energy)
    close(jnp.diag(jax.jit(jax.jacfwd(energy))(jnp.zeros(2))), pairs)
    whole = jax.jit(jax.grad(lambda e: energy(e).sum()))(jnp.zeros((2, 3, 3)))
    close(jnp.trace(whole, axis1=1, axis2=2), pairs)
    close(whole, whole.transpose(0, 2, 1))  # no torque
    step = 1e-5
    close((energy(jnp.full(2, step)) - energy(jnp.full(2, -step))) / (2 * step), pairs, 1e-7)


def test_energy_does_not_depend_on_the_image_a_bead_is_given_in():
    graph = make()
    shifts = np.random.default_rng(2).integers(-40, 40, (60, 3))
    moved = graph.positions + jnp.einsum("nk,nka->na", shifts, graph.box[graph.frame])
    graph_moved = graphs.rebuild(placed(graph, moved, graph.box))
    close(pair_energy(graph_moved, CUTOFF, soft, PARAMETERS), pair_energy(graph, CUTOFF, soft, PARAMETERS))


def test_overflow_is_told_and_repaired_with_the_same_forces():
    large = make(capacities=[200, 200])
    start = make(spread=(0, 9), box=BOXES * 4)  # dilute: short rows
    tight = placed(eqx.tree_at(lambda g: g.box, start, large.box), large.positions, large.box)
    tight = jax.jit(graphs.rebuild)(tight)
    assert bool(tight.overflow)
    needed = [int(n.needed) for n in tight.neighbours]
    assert needed == [int(n.needed) for n in large.neighbours]
    repaired = graphs.rebuild(make(capacities=needed))
    assert not bool(repaired.overflow)
    assert [n.capacity for n in repaired.neighbours] == needed
    force = lambda g: jax.grad(lambda r: by_rule(g, PARAMETERS, r, g.box).sum())(g.positions)
    close(force(repaired), force(large))


def test_rebuild_inside_a_scan_equals_a_fresh_build():
    graph = make(skin=0.1)

    def step(g, shift):
        g = eqx.tree_at(lambda g: g.positions, g, g.positions + shift)
        g = jax.lax.cond(graphs.moved(g, graph.positions), graphs.rebuild, lambda g: g, g)
        return g, pair_energy(g, CUTOFF, soft, PARAMETERS)

    shifts = jnp.asarray(np.random.default_rng(3).normal(0, 0.01, (20, 60, 3)))
    last, energies = jax.jit(lambda g: jax.lax.scan(step, g, shifts))(graph)
    assert not bool(last.overflow)
    topology = Topology.of(["A", "B", "B"] * 10, {"A": 12.0, "B": 20.0})
    for k in (0, 7, 19):
        positions = np.asarray(graph.positions + shifts[: k + 1].sum(0)).reshape(2, 30, 3)
        fresh = graphs.build(Frames(positions, box=BOXES), topology, [CUTOFF])
        close(energies[k], pair_energy(fresh, CUTOFF, soft, PARAMETERS), 1e-10)


def test_single_precision_follows_the_graph():
    graph = make(dtype=np.float32)
    energy = pair_energy(graph, CUTOFF, soft, jax.tree.map(lambda a: a.astype(np.float32), PARAMETERS))
    assert energy.dtype == np.float32
    np.testing.assert_allclose(energy, pair_energy(make(), CUTOFF, soft, PARAMETERS), rtol=1e-4)


def test_bonded_terms_are_repeated_for_every_frame_and_excluded():
    topology = Topology.of(
        ["A", "B", "A", "B"], {"A": 1.0, "B": 2.0}, bonds=[(0, 1), (1, 2), (2, 3)], angles=[(0, 1, 2)], exclude=2
    )
    positions = np.random.default_rng(4).uniform(0, 0.4, (3, 4, 3))
    graph = graphs.build(Frames(positions, box=np.eye(3)[None].repeat(3, 0) * 2), topology, [0.9])
    assert graph.bonded.bonds.tolist() == [[4 * f + i, 4 * f + i + 1] for f in range(3) for i in range(3)]
    assert graph.bonded.angles.tolist() == [[4 * f, 4 * f + 1, 4 * f + 2] for f in range(3)]
    near = graph.within(0.9)
    pairs = {(i, int(j)) for i in range(12) for j in np.asarray(near.index[i])[np.asarray(near.image[i]) != FAR]}
    assert pairs == {(4 * f + i, 4 * f + j) for f in range(3) for i, j in [(0, 3), (3, 0)]}


def test_bonded_vectors_cross_the_box_and_differentiate_in_it():
    graph = make(BOXES)
    rng = np.random.default_rng(5)
    first, second = jnp.arange(60), jnp.asarray(np.concatenate([rng.permutation(30), 30 + rng.permutation(30)]))
    short = jnp.asarray(rng.uniform(-0.45, 0.45, (60, 3)))
    images = rng.integers(-5, 5, (60, 3))
    boxes = graph.box[graph.frame]
    far = short + jnp.einsum("nk,nka->na", images, boxes)
    close(graphs.minimum_image(far, boxes), short, 1e-11)
    vectors = graphs.bonded_vectors(graph, first, second)
    strain = lambda e: graphs.bonded_vectors(graphs.strained(graph, e), first, second)
    close(jax.jvp(strain, (jnp.zeros(2),), (jnp.ones(2),))[1], vectors, 1e-11)


def test_refusals_say_what_to_do():
    topology = Topology.of(["A"] * 4, {"A": 1.0})
    positions = np.random.default_rng(6).uniform(0, 1, (2, 4, 3))
    with pytest.raises(ValueError, match="larger box"):
        graphs.build(Frames(positions, box=BOXES * 0.1), topology, [0.9])
    with pytest.raises(ValueError, match="topology of 4"):
        graphs.build(Frames(positions[:, :3]), topology, [0.9])
    with pytest.raises(ValueError, match=r"reaches 1\.2 nm"):
        graphs.build(Frames(positions), topology, [0.9]).within(1.2)
    with pytest.raises(ValueError, match="1 capacities"):
        graphs.build(Frames(positions), topology, [0.5, 0.9], capacities=[4])
    positions[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match="frame 1"):
        graphs.build(Frames(positions), topology, [0.9])


def test_not_finite_positions_inside_jit_are_an_overflow():
    graph = make()
    broken = jax.jit(graphs.rebuild)(placed(graph, graph.positions.at[3, 0].set(jnp.nan), graph.box))
    assert bool(broken.overflow)
    assert int(broken.neighbours[0].needed) == graphs.IMPOSSIBLE


def test_a_row_is_no_longer_than_there_are_others():
    """A small molecule on its own has room for its beads; images of a small box are neighbours too."""
    positions = np.random.default_rng(0).uniform(0, 0.6, (3, 10, 3))
    topology = Topology.of(["A"] * 10, {"A": 12.0})
    rows = lambda box: graphs.build(Frames(positions, box=box), topology, [CUTOFF]).neighbours[0]
    for box in (None, np.eye(3)[None].repeat(3, 0) * 2.1):
        assert rows(box).capacity == int(rows(box).needed) == 9
    tight = rows(np.eye(3)[None].repeat(3, 0) * 0.9)
    assert tight.capacity >= int(tight.needed) > 9


@pytest.mark.parametrize("box", [None, np.eye(3) * 2.5])
def test_whole_lists_hold_what_the_topology_excludes(box):
    """Of a chain of four with neighbours and their neighbours excluded, a plain list holds the ends alone."""
    topology = Topology.of(["A"] * 4, {"A": 1.0}, bonds=[(0, 1), (1, 2), (2, 3)], exclude=2)
    line = np.zeros((2, 4, 3))
    line[:, :, 0] = 0.2 * np.arange(4)
    frames = Frames(line, box=None if box is None else np.tile(box, (2, 1, 1)))
    graph = graphs.build(frames, topology, [0.7, graphs.Whole(0.7), graphs.Whole(0.25)], skin=0.1)
    assert len(graph.neighbours) == 3
    for found in (graph, jax.jit(graphs.rebuild)(graph)):
        count = lambda cutoff, of=found: (np.asarray(of.within(cutoff).image) != FAR).sum(1).tolist()[:4]
        assert count(0.7) == [1, 0, 0, 1]
        assert count(graphs.Whole(0.7)) == [3, 3, 3, 3]
        assert count(graphs.Whole(0.25)) == [1, 2, 2, 1]
    loose = Topology.of(["A"] * 4, {"A": 1.0})
    assert [n.cutoff for n in graphs.build(frames, loose, [0.7, graphs.Whole(0.7)]).neighbours] == [0.7]
