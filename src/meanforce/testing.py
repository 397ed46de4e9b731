"""Contract tests for potentials, yours included: plain functions that raise AssertionError with a reason.

    graph = meanforce.testing.disordered(topology, potential.cutoffs)
    meanforce.testing.check(potential, topology)

A frame of random positions comes from `disordered`; `check` runs every test that applies.
"""

from __future__ import annotations

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.frames import Frames
from meanforce.graph import Graph, build, strained
from meanforce.potentials.base import Design, LinearPotential, NetworkPotential, Potential
from meanforce.potentials.registry import REGISTRY, from_header, to_header
from meanforce.topology import Topology

_STEP = 1e-6  # nm: of finite differences
_KELVIN = np.array([310.0])


def check(potential: Potential, topology: Topology, *, seed: int = 0, external: bool = False, derivatives: int = 2):
    """Every contract that applies to the potential. `external`: it may depend on where the beads are, and on
    how they are turned. `derivatives`: how many of the energy it promises to be continuous at its cut-off."""
    frames = disordered(topology, potential.cutoffs, frames=2, seed=seed)
    for test in (divided, several_frames, single_precision, forces, virial):
        test(potential, topology, frames)
    if not external:
        for test in (translated, turned, wrapped):
            test(potential, topology, frames)
    permuted(potential, topology, frames)
    alone(potential, topology)
    fades(potential, topology, derivatives)
    if isinstance(potential, LinearPotential):
        design(potential, topology, frames)
        linear(potential, topology, frames)
    if isinstance(potential, NetworkPotential):
        drawn_anew(potential)
    if type(potential).__name__ in REGISTRY:
        written(potential, topology, frames)


def disordered(
    topology: Topology, cutoffs: tuple[float, ...], *, frames: int = 2, seed: int = 0, closest: float = 0.2
) -> Frames:
    """Random frames in a skewed box: molecules are chains of steps near 0.3 nm, beads at least `closest` apart."""
    rng = np.random.default_rng(seed)
    side = max(2.2 * max(cutoffs, default=0.0), 1.1 * (0.05 * len(topology)) ** (1 / 3), 1.0)
    box = side * np.array([[1.0, 0.0, 0.0], [0.1, 1.05, 0.0], [-0.1, 0.05, 0.95]])
    positions = np.array([_placed(topology, box, closest, rng) for _ in range(frames)])
    kelvin = np.linspace(310.0, 330.0, frames)
    field = {"field": np.linspace(0.2, 0.6, frames)}
    return Frames(positions=positions, box=np.tile(box, (frames, 1, 1)), temperature=kelvin, parameters=field)


def graph_of(potential: Potential, topology: Topology, frames: Frames, dtype=np.float64) -> Graph:
    """The graph that the potential needs."""
    return build(frames, topology, potential.cutoffs, dtype=dtype)


def divided(potential: Potential, topology: Topology, frames: Frames) -> None:
    """The energy of a frame is the sum over its beads, with the same gradient."""
    graph = graph_of(potential, topology, frames)
    assert jax.eval_shape(potential.energies, graph).shape == (len(graph.positions),), "energies: one for each bead"
    if type(potential).energy is Potential.energy:
        return  # no shorter way: it is that sum
    energy, force = _evaluated(potential, graph)
    summed, pushed = _evaluated(_BeadByBead(potential), graph)
    _same(summed, energy, 1e-11, "the sum of energies over beads")
    _same(pushed, force, 1e-10, "the gradient of the sum over beads")


def several_frames(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Frames in one graph do not see each other."""
    together = _evaluated(potential, graph_of(potential, topology, frames))
    single = [graph_of(potential, topology, frame) for frame in frames]
    room = [max(n.capacity for n in lists) for lists in zip(*(g.neighbours for g in single), strict=True)]
    apart = [_evaluated(potential, build(f, topology, potential.cutoffs, capacities=room or None)) for f in frames]
    for value, parts, what in zip(together, zip(*apart, strict=True), ("energy", "force"), strict=True):
        _same(value, jnp.concatenate(parts), 1e-10, f"the {what} in one graph")


def single_precision(potential: Potential, topology: Topology, frames: Frames) -> None:
    """float32 stays float32, and close to float64."""
    double, single = (_evaluated(potential, graph_of(potential, topology, frames, t)) for t in (np.float64, np.float32))
    for value, exact, what in zip(single, double, ("energy", "force"), strict=True):
        assert value.dtype == jnp.float32, f"float32 in, {value.dtype} out: {what}"
        _same(value, exact, 1e-3, f"the {what} in float32")


def forces(potential: Potential, topology: Topology, frames: Frames) -> None:
    """The force is minus the gradient, by central differences along random directions."""
    graph = graph_of(potential, topology, frames)
    rng = np.random.default_rng(1)
    force = _evaluated(potential, graph)[1]
    for _ in range(3):
        way = jnp.asarray(rng.normal(size=graph.positions.shape))
        ahead, behind = (_evaluated(potential, _at(graph, graph.positions + s * way))[0] for s in (_STEP, -_STEP))
        along = (force * way).reshape(graph.frames, -1).sum(1)
        _same(along, (behind - ahead) / (2 * _STEP), 1e-5, "the force against central differences")


def virial(potential: Potential, topology: Topology, frames: Frames) -> None:
    """The virial by strain is minus the change of the energy with the logarithm of the length."""
    graph = graph_of(potential, topology, frames)
    at = lambda step: _labels(potential, graph, jnp.full(graph.frames, step))
    _same(at(0.0)[2], (at(-_STEP)[0] - at(_STEP)[0]) / (2 * _STEP), 1e-5, "the strain derivative")


def translated(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Nothing changes when everything moves along."""
    shift = np.random.default_rng(2).normal(size=(len(frames), 1, 3))
    _same_energy(potential, topology, frames, frames.with_(positions=frames.positions + shift), "moved")


def turned(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Nothing changes when beads and box are turned together."""
    assert frames.box is not None, "turned: give frames in a box, which is turned with the beads"
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    after = frames.with_(positions=frames.positions @ turn, box=frames.box @ turn)
    _same_energy(potential, topology, frames, after, "turned", lambda force: force @ turn)


def wrapped(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Nothing changes when beads are replaced by their periodic images."""
    assert frames.box is not None, "wrapped: give frames in a box; without one there are no periodic images"
    image = np.random.default_rng(4).integers(-2, 3, frames.positions.shape)
    positions = frames.positions + np.einsum("fbk,fkc->fbc", image, frames.box)
    _same_energy(potential, topology, frames, frames.with_(positions=positions), "in other images")


def permuted(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Nothing changes when the beads are counted in another order."""
    order = np.random.default_rng(5).permutation(len(topology))
    place = np.argsort(order)
    renamed = Topology(
        species=tuple(topology.species[i] for i in order),
        masses=topology.masses[order],
        molecules=topology.molecules[order],
        bonds=place[topology.bonds],
        angles=place[topology.angles],
        dihedrals=place[topology.dihedrals],
        exclude=topology.exclude,
        scale14=topology.scale14,
    )
    before = _evaluated(potential, graph_of(potential, topology, frames))
    after = _evaluated(potential, graph_of(potential, renamed, frames.with_(positions=frames.positions[:, order])))
    force, again = (f.reshape(len(frames), -1, 3) for f in (before[1], after[1]))
    _same(after[0], before[0], 1e-10, "the energy in another order")
    _same(again, force[:, order], 1e-9, "the force in another order")


def alone(potential: Potential, topology: Topology) -> None:
    """A system without box, in which no bead has a neighbour, gives finite energies and forces."""
    reach = max(potential.cutoffs, default=0.0) + 0.3
    line = np.zeros((1, len(topology), 3))
    line[0, :, 0] = reach * np.arange(len(topology))
    line[0, :, 1] = 0.05 * np.arange(len(topology)) ** 2 % 0.13
    for value, what in zip(
        _evaluated(
            potential,
            graph_of(
                potential, topology, Frames(positions=line, temperature=_KELVIN, parameters={"field": np.full(1, 0.3)})
            ),
        ),
        ("energy", "force"),
        strict=True,
    ):
        assert jnp.isfinite(value).all(), f"beads without neighbours have no finite {what}"


def fades(potential: Potential, topology: Topology, derivatives: int = 2) -> None:
    """Value, force and its derivative vanish at each cut-off: two beads drift apart through it."""
    kinds = {name: k for k, name in reversed(list(enumerate(topology.species)))}
    for cutoff in potential.cutoffs:
        for first in kinds:
            for second in kinds:
                _fades(potential, (first, second), topology, cutoff, derivatives)


def written(potential: Potential, topology: Topology, frames: Frames) -> None:
    """What is written to a header is read back to the last bit."""
    structure, arrays = to_header(potential)
    again = from_header(structure, arrays)
    graph = graph_of(potential, topology, frames)
    assert type(again) is type(potential), "another class came back from the header"
    assert (_evaluated(again, graph)[0] == _evaluated(potential, graph)[0]).all(), (
        "another energy came back from the header"
    )


def drawn_anew(network: NetworkPotential) -> None:
    """Another seed draws other weights for the same network, the same seed the same."""
    first, again, other = (network.reinitialised(seed) for seed in (11, 11, 12))
    shape = lambda tree: repr(jax.tree.structure(tree))
    assert shape(first) == shape(network), "another network was drawn, not other weights"
    leaves = lambda tree: jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))
    assert [a.shape for a in leaves(first)] == [a.shape for a in leaves(network)], "weights of other shapes were drawn"
    same = lambda a, b: all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))
    assert same(first, again), "one seed draws different weights"
    assert not same(first, other), "two seeds draw the same weights"


def design(potential: LinearPotential, topology: Topology, frames: Frames) -> None:
    """Every column of the design against the derivatives of the energy of that basis function."""
    graph = graph_of(potential, topology, frames)
    rows = jax.tree.map(np.asarray, _design(potential, graph))
    size = potential.coefficients.shape[0]
    assert len(potential.basis_names()) == size, "one name for each coefficient"
    energy, force, virial = map(np.asarray, _by_coefficient(potential, graph))
    _same(rows.energy, energy, 1e-10, "the energy rows")
    _same(rows.virial, virial, 1e-9, "the virial rows")
    for k, name in enumerate(potential.basis_names()):
        _same(rows.forces[..., k], force[..., k], 1e-9, f"the force of {name}")


def linear(potential: LinearPotential, topology: Topology, frames: Frames) -> None:
    """Energy and forces are the fixed part and the design times the coefficients."""
    graph = graph_of(potential, topology, frames)
    rows, c = _design(potential, graph), potential.coefficients
    nothing = (jnp.zeros(graph.frames), jnp.zeros_like(graph.positions))
    rest = nothing if potential.fixed is None else _evaluated(potential.fixed, graph)
    energy, force = _evaluated(potential, graph)
    _same(energy, rows.energy @ c + rest[0], 1e-10, "design @ coefficients")
    _same(force, rows.forces @ c + rest[1], 1e-9, "design.forces @ coefficients")
    runs = sorted((p.start, p.start + len(p.matrix)) for p in potential.penalties())
    assert all(a[1] <= b[0] for a, b in pairwise(runs)), "penalties overlap"
    assert not runs or runs[-1][1] <= c.shape[0], "a penalty reaches beyond the coefficients"
    for penalty in potential.penalties():
        assert np.linalg.eigvalsh(penalty.matrix).min() > -1e-10, f"the penalty {penalty.name} is not positive"


class _BeadByBead(Potential):
    """The energy as the sum over beads, whatever shorter way the potential has."""

    whole: Potential

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.whole.cutoffs

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return self.whole.energies(graph)


def _evaluated(potential: Potential, graph: Graph) -> tuple[Float[Array, "frames"], Float[Array, "beads 3"]]:
    """Energy and force."""
    return _labels(potential, graph, jnp.zeros(graph.frames, graph.positions.dtype))[:2]


@eqx.filter_jit
def _labels(potential: Potential, graph: Graph, strain: Float[Array, "frames"]):
    """Energy, force and virial of strained frames: one program for graphs of one shape."""
    at = lambda positions, strain: potential.energy(strained(_at(graph, positions), strain))
    energy, pull = jax.vjp(at, graph.positions, strain)
    along, slope = pull(jnp.ones_like(energy))
    return energy, -along, -slope


@eqx.filter_jit
def _design(potential: LinearPotential, graph: Graph) -> Design:
    return potential.design(graph)


@eqx.filter_jit
def _by_coefficient(potential: LinearPotential, graph: Graph):
    """Energy, force and virial of each basis function, by derivatives of the energy alone."""

    labels = lambda c: _labels(potential.with_coefficients(c), graph, jnp.zeros(graph.frames))
    return jax.jacfwd(labels)(jnp.zeros_like(potential.coefficients))


@eqx.filter_jit
def _along(potential: Potential, graph: Graph, distance: Float[Array, ""]):
    """The energy and two derivatives, as the second bead is drawn away from the first."""
    energy = lambda r: potential.energy(_at(graph, graph.positions.at[1, 0].set(r)))[0]
    first = lambda r: jax.jvp(energy, (r,), (jnp.ones_like(r),))  # forwards twice: half of the program
    (value, slope), (_, second) = jax.jvp(first, (distance,), (jnp.ones_like(distance),))
    return jnp.stack([value, slope, second])


def _fades(potential: Potential, species: tuple[str, str], topology: Topology, cutoff: float, derivatives: int) -> None:
    names = sorted(topology.types)
    listed = [*species, *names]  # one of every type, far away: the order of the types stays that of the model
    pair = Topology.of(listed, dict.fromkeys(names, 1.0))
    far = np.zeros((1, len(listed), 3))
    far[0, 2:, 1] = 50.0 + 20.0 * np.arange(len(names))

    at = far.copy()
    at[0, 1, 0] = cutoff
    kelvin, field = np.full(len(at), _KELVIN[0]), np.full(len(at), 0.3)
    frames = Frames(positions=at, temperature=kelvin, parameters={"field": field})
    graph = build(frames, pair, potential.cutoffs, skin=0.05)
    inner, near, beyond, outer = (
        _along(potential, graph, jnp.asarray(cutoff * x)) for x in (0.8, 1 - 1e-9, 1 + 1e-9, 1.02)
    )
    scale = 1e-12 + abs(inner[0] - outer[0])
    for n in range(derivatives + 1):
        jump = abs(near[n] - beyond[n]) * cutoff**n / scale
        assert jump < 1e-3, f"derivative {n} jumps at the cut-off {cutoff} nm of {'-'.join(species)}"


def _placed(topology: Topology, box: np.ndarray, closest: float, rng: np.random.Generator) -> np.ndarray:
    """One frame: each bead takes the best of some trial places, near its molecule's last bead if it has one."""
    positions = np.zeros((len(topology), 3))
    inverse = np.linalg.inv(box)
    for i in range(len(topology)):
        same = np.flatnonzero(topology.molecules[:i] == topology.molecules[i])
        best, widest = positions[i], -1.0
        for _ in range(200):
            trial = rng.uniform(size=3) @ box
            if len(same):
                step = rng.normal(size=3)
                trial = positions[same[-1]] + step / np.linalg.norm(step) * rng.normal(0.3, 0.02)
            away = (positions[:i] - trial) @ inverse
            gap = np.linalg.norm((away - np.round(away)) @ box, axis=-1).min(initial=np.inf)
            if gap > widest:
                best, widest = trial, gap
            if widest > closest:
                break
        positions[i] = best
    return positions


def _at(graph: Graph, positions: Float[Array, "beads 3"]) -> Graph:
    return eqx.tree_at(lambda g: g.positions, graph, positions)


def _same_energy(potential, topology, before: Frames, after: Frames, how: str, push=lambda force: force) -> None:
    one, two = (_evaluated(potential, graph_of(potential, topology, frames)) for frames in (before, after))
    _same(two[0], one[0], 1e-9, f"the energy {how}")
    _same(two[1], push(one[1]), 1e-8, f"the force {how}")


def _same(value, expected, tolerance: float, what: str) -> None:
    value, expected = np.asarray(value, float), np.asarray(expected, float)
    assert value.shape == expected.shape, f"{what}: shape {value.shape} where {expected.shape} is expected"
    error = np.abs(value - expected).max(initial=0.0)
    scale = 1.0 + np.abs(expected).max(initial=0.0)
    assert error <= tolerance * scale, f"{what} differs by {error:.3g} (values up to {scale:.3g})"
