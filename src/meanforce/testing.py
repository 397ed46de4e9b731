"""Contract tests for potentials, yours included: plain functions that raise AssertionError with a reason.

    graph = meanforce.testing.disordered(topology, potential.cutoffs)
    meanforce.testing.check(potential, topology)

A frame of random positions comes from `disordered`; `check` runs every test that applies.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from meanforce.frames import Frames
from meanforce.graph import Graph, build, strained
from meanforce.potentials.base import LinearPotential, Potential
from meanforce.potentials.registry import REGISTRY, from_header, to_header
from meanforce.topology import Topology

_STEP = 1e-5  # nm: of finite differences


def check(potential: Potential, topology: Topology, *, seed: int = 0, external: bool = False, smooth: bool = True):
    """Every contract that applies to the potential. `external`: it may depend on where the beads are, and on
    how they are turned. `smooth`: it promises two derivatives at its cut-off."""
    frames = disordered(topology, potential.cutoffs, frames=3, seed=seed)
    for test in (compiled, divided, several_frames, single_precision, forces, virial):
        test(potential, topology, frames)
    if not external:
        for test in (translated, turned, wrapped):
            test(potential, topology, frames)
    permuted(potential, topology, frames)
    alone(potential, topology)
    if smooth:
        fades(potential, topology)
    if isinstance(potential, LinearPotential):
        for test in (design, linear):
            test(potential, topology, frames)
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
    return Frames(positions=positions, box=np.tile(box, (frames, 1, 1)))


def graph_of(potential: Potential, topology: Topology, frames: Frames, dtype=np.float64) -> Graph:
    """The graph that the potential needs."""
    return build(frames, topology, potential.cutoffs, dtype=dtype)


def compiled(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Compiled and not, the energy is the same."""
    graph = graph_of(potential, topology, frames)
    plain = potential.energy(graph)
    _same(eqx.filter_jit(lambda p, g: p.energy(g))(potential, graph), plain, 1e-12, "the compiled energy")


def divided(potential: Potential, topology: Topology, frames: Frames) -> None:
    """The energy of a frame is the sum over its beads, with the same gradient."""
    graph = graph_of(potential, topology, frames)
    per_bead = lambda g: potential.energies(g).reshape(g.frames, -1).sum(1)
    assert potential.energies(graph).shape == (len(graph.positions),), "energies: one number for each bead"
    _same(per_bead(graph), potential.energy(graph), 1e-11, "the sum of energies over beads")
    _same(_force(per_bead, graph), _force(potential.energy, graph), 1e-10, "the gradient of the sum over beads")


def several_frames(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Frames in one graph do not see each other."""
    together = graph_of(potential, topology, frames)
    alone_ = [graph_of(potential, topology, frame) for frame in frames]
    _same(potential.energy(together), jnp.concatenate([potential.energy(g) for g in alone_]), 1e-11, "one graph")
    parts = jnp.concatenate([_force(potential.energy, g) for g in alone_])
    _same(_force(potential.energy, together), parts, 1e-10, "the force in one graph")


def single_precision(potential: Potential, topology: Topology, frames: Frames) -> None:
    """float32 stays float32, and close to float64."""
    double, single = (graph_of(potential, topology, frames, dtype) for dtype in (np.float64, np.float32))
    energy, force = potential.energy(single), _force(potential.energy, single)
    assert energy.dtype == force.dtype == jnp.float32, f"float32 in, {energy.dtype} and {force.dtype} out"
    _same(energy, potential.energy(double), 1e-3, "the energy in float32")
    _same(force, _force(potential.energy, double), 1e-3, "the force in float32")


def forces(potential: Potential, topology: Topology, frames: Frames) -> None:
    """The force is minus the gradient, by central differences along random directions; so is its own derivative."""
    graph = graph_of(potential, topology, frames)
    rng = np.random.default_rng(1)
    for _ in range(3):
        way = jnp.asarray(rng.normal(size=graph.positions.shape))
        moved = lambda step, way=way: _at(graph, graph.positions + step * way)
        slope = (potential.energy(moved(_STEP)) - potential.energy(moved(-_STEP))) / (2 * _STEP)
        exact = -(_force(potential.energy, graph) * way).reshape(graph.frames, -1).sum(1)
        _same(exact, slope, 1e-5, "the gradient against central differences")


def virial(potential: Potential, topology: Topology, frames: Frames) -> None:
    """The virial by strain is minus the change of the energy with the logarithm of the length."""
    graph = graph_of(potential, topology, frames)
    scaled = lambda step: potential.energy(strained(graph, jnp.full(graph.frames, step)))
    exact = jax.jvp(scaled, (jnp.zeros(()),), (jnp.ones(()),))[1]
    _same(exact, (scaled(_STEP) - scaled(-_STEP)) / (2 * _STEP), 1e-5, "the strain derivative")


def translated(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Nothing changes when everything moves along."""
    shift = np.random.default_rng(2).normal(size=(len(frames), 1, 3))
    _same_energy(potential, topology, frames, frames.with_(positions=frames.positions + shift), "moved")


def turned(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Nothing changes when beads and box are turned together."""
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    after = frames.with_(positions=frames.positions @ turn, box=frames.box @ turn)
    _same_energy(potential, topology, frames, after, "turned", lambda force: force @ turn)


def wrapped(potential: Potential, topology: Topology, frames: Frames) -> None:
    """Nothing changes when beads are replaced by their periodic images."""
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
    before, after = (
        graph_of(potential, t, f)
        for t, f in ((topology, frames), (renamed, frames.with_(positions=frames.positions[:, order])))
    )
    _same(potential.energy(after), potential.energy(before), 1e-10, "the energy in another order")
    force = _force(potential.energy, before).reshape(len(frames), -1, 3)[:, order]
    _same(_force(potential.energy, after).reshape(force.shape), force, 1e-9, "the force in another order")


def alone(potential: Potential, topology: Topology) -> None:
    """A system without box, in which no bead has a neighbour, gives finite energies and forces."""
    reach = max(potential.cutoffs, default=0.0) + 0.3
    line = np.zeros((1, len(topology), 3))
    line[0, :, 0] = reach * np.arange(len(topology))
    line[0, :, 1] = 0.05 * np.arange(len(topology)) ** 2 % 0.13
    graph = graph_of(potential, topology, Frames(positions=line))
    assert jnp.isfinite(potential.energy(graph)).all(), "beads without neighbours have no finite energy"
    assert jnp.isfinite(_force(potential.energy, graph)).all(), "beads without neighbours have no finite force"


def fades(potential: Potential, topology: Topology) -> None:
    """Value, force and its derivative vanish at each cut-off: two beads drift apart through it."""
    kinds = {name: k for k, name in reversed(list(enumerate(topology.species)))}
    for cutoff in potential.cutoffs:
        for first in kinds:
            for second in kinds:
                _fades(potential, (first, second), topology, cutoff)


def written(potential: Potential, topology: Topology, frames: Frames) -> None:
    """What is written to a header is read back to the last bit."""
    structure, arrays = to_header(potential)
    again = from_header(structure, arrays)
    graph = graph_of(potential, topology, frames)
    assert type(again) is type(potential), "another class came back from the header"
    assert (again.energy(graph) == potential.energy(graph)).all(), "another energy came back from the header"


def design(potential: LinearPotential, topology: Topology, frames: Frames) -> None:
    """Every column of the design against the derivatives of the energy of that basis function."""
    graph = graph_of(potential, topology, frames)
    rows = potential.design(graph)
    size = potential.coefficients.shape[0]
    assert len(potential.basis_names()) == size, "one name for each coefficient"
    basis = lambda g: jax.jacrev(lambda c: potential.with_coefficients(c).energy(g))(jnp.zeros(size))
    _same(rows.energy, basis(graph), 1e-10, "the energy rows")
    push = lambda k: _force(lambda g: _unit(potential, k).energy(g), graph)
    columns = range(size) if size <= 40 else np.random.default_rng(6).choice(size, 40, replace=False)
    for k in columns:
        _same(rows.forces[..., k], push(k), 1e-9, f"the force of {potential.basis_names()[k]}")
    strain = lambda step: basis(strained(graph, jnp.full(graph.frames, step)))
    slope = (strain(_STEP) - strain(-_STEP)) / (2 * _STEP)
    _same(rows.virial, -slope, 1e-5, "the virial rows")


def linear(potential: LinearPotential, topology: Topology, frames: Frames) -> None:
    """Energy and forces are the fixed part and the design times the coefficients."""
    graph = graph_of(potential, topology, frames)
    rows, c = potential.design(graph), potential.coefficients
    rest = potential.fixed
    zero = jnp.zeros(())
    energy = rows.energy @ c + (zero if rest is None else rest.energy(graph))
    force = rows.forces @ c + (zero if rest is None else _force(rest.energy, graph))
    _same(potential.energy(graph), energy, 1e-10, "design @ coefficients")
    _same(_force(potential.energy, graph), force, 1e-9, "design.forces @ coefficients")
    runs = sorted((p.start, p.start + len(p.matrix)) for p in potential.penalties())
    assert all(a[1] <= b[0] for a, b in pairwise(runs)), "penalties overlap"
    assert not runs or runs[-1][1] <= c.shape[0], "a penalty reaches beyond the coefficients"
    for penalty in potential.penalties():
        assert np.linalg.eigvalsh(penalty.matrix).min() > -1e-10, f"the penalty {penalty.name} is not positive"


def _unit(potential: LinearPotential, k: int) -> Potential:
    """The k-th basis function alone, without the fixed part."""
    return _Difference(
        potential.with_coefficients(jnp.zeros(potential.coefficients.shape[0]).at[k].set(1.0)),
        potential.with_coefficients(jnp.zeros(potential.coefficients.shape[0])),
    )


class _Difference(Potential):
    one: Potential
    other: Potential

    @property
    def cutoffs(self) -> tuple[float, ...]:
        return self.one.cutoffs

    def energies(self, graph: Graph) -> Float[Array, "beads"]:
        return self.one.energies(graph) - self.other.energies(graph)


def _fades(potential: Potential, species: tuple[str, str], topology: Topology, cutoff: float) -> None:
    names = sorted(topology.types)
    listed = [*species, *names]  # one of every type, far away: the order of the types stays that of the model
    pair = Topology.of(listed, dict.fromkeys(names, 1.0))
    far = np.zeros((1, len(listed), 3))
    far[0, 2:, 1] = 50.0 + 20.0 * np.arange(len(names))

    def energy(distance):
        positions = jnp.asarray(far[0]).at[1, 0].set(distance)
        return potential.energy(_at(graph, positions))[0]

    at = far.copy()
    at[0, 1, 0] = cutoff
    graph = build(Frames(positions=at), pair, potential.cutoffs, skin=0.05)
    scale = 1e-12 + abs(energy(0.8 * cutoff) - energy(cutoff + 0.02))
    order = [energy, jax.grad(energy), jax.grad(jax.grad(energy))]
    near, beyond = cutoff * (1 - 1e-7), cutoff * (1 + 1e-7)
    for n, function in enumerate(order):
        jump = abs(function(near) - function(beyond)) * cutoff**n / scale
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


def _force(energy: Callable[[Graph], Float[Array, "frames"]], graph: Graph) -> Float[Array, "beads 3"]:
    return -jax.grad(lambda positions: energy(_at(graph, positions)).sum())(graph.positions)


def _same_energy(potential, topology, before: Frames, after: Frames, how: str, push=lambda force: force) -> None:
    one, two = graph_of(potential, topology, before), graph_of(potential, topology, after)
    _same(potential.energy(two), potential.energy(one), 1e-9, f"the energy {how}")
    _same(_force(potential.energy, two), push(_force(potential.energy, one)), 1e-8, f"the force {how}")


def _same(value, expected, tolerance: float, what: str) -> None:
    value, expected = np.asarray(value, float), np.asarray(expected, float)
    assert value.shape == expected.shape, f"{what}: shape {value.shape} where {expected.shape} is expected"
    error = np.abs(value - expected).max(initial=0.0)
    scale = 1.0 + np.abs(expected).max(initial=0.0)
    assert error <= tolerance * scale, f"{what} differs by {error:.3g} (values up to {scale:.3g})"
