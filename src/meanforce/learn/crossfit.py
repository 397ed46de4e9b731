"""Labels for the response of forces to temperature, from instantaneous forces and energies alone.

The covariance of force and energy at fixed beads is the mean of (f - F)(U - E) with F and E the conditional means.
Here both centres of a frame are predicted by a model that never saw it: the label is then wrong on average by the
product of two errors only, and, being data, cannot be bent by the model that learns from it. Centres by the global
means, or by the model under training, lead elsewhere.

    covariance      (f - F) dU + gamma kT B.grad v,           dU = U + gamma v - E
    variance        (U - E)^2
    displacement    w(R), by which energies go with forces: see `displacement`
    third cumulant  (f - F) dU^2 - 2 C dU - V (f - F),        dU = U - E;  C, V: covariance and variance

With local energies dU is that of the beads near the one whose force it is: distant ones add noise and little else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from meanforce.data import splits
from meanforce.data.dataset import Dataset
from meanforce.frames import Frames
from meanforce.graph import Graph
from meanforce.learn import displacement
from meanforce.learn.fit import fit
from meanforce.learn.gauge import states_of
from meanforce.learn.linear import Progress
from meanforce.learn.normal import Normal, Profile
from meanforce.learn.regression import regress
from meanforce.learn.rows import column_of
from meanforce.learn.weights import frame_weights
from meanforce.numerics.neighbours import FAR, Whole
from meanforce.objectives.base import Equations, Objective
from meanforce.objectives.cumulants import ResponseMatching
from meanforce.objectives.matching import EnergyMatching, ForceMatching
from meanforce.potentials.base import LinearPotential, Potential
from meanforce.potentials.thermal import LinearThermal
from meanforce.thermodynamics import frames_per_batch, graphs
from meanforce.topology import Topology
from meanforce.units import KB

_ROWS_BYTES = 64 * 2**20
_COLUMNS = 8  # functions of all beads at once


def cross_fit(
    potential: Potential,
    data: Dataset,
    *,
    folds: int = 5,
    third: bool = False,
    local: float | None = None,
    path: str | Path | None = None,
    progress: Progress | None = None,
    **options,
) -> Dataset:
    """The data with labels `covariance`, `variance` and `displacement`, and with `third` also `third_cumulant`.

    `potential` learns the centres of each of `folds` parts of the data from the other parts, by forces and energies,
    as `fit` does with `options`: it depends on temperature (`mf.LinearThermal`) and should be as good as it can be at
    the temperatures of the data. Frames count by their weights. `local` (nm) takes the energies of beads
    (`local_energy`) up to this distance instead of the whole energy; the variance stays that of the whole. A control
    variate in the data with its slope is used where the whole energy is. Force labels must come from maps without
    divergence, as all of `Mapping` do. With `path` the labels are kept in a file; only their centres are in memory:
    those of forces and, with `third`, of covariances, in single precision.
    """
    _check(potential, data, local)
    parts = [_Part(data, taught, left_out) for taught, left_out in splits.block_folds(data.runs(), folds, 0)]
    labels = _Labels.of(data, local)
    labels.check(parts)
    for number, part in enumerate(parts):
        own = _options(options, f"fold-{number}")
        model = fit(potential, [ForceMatching(part.seen), EnergyMatching(part.seen)], **own).model
        labels.centre(model.potential, part)
        if local is not None:
            labels.centre_locally(model.potential, part)
        if progress is not None:
            progress((number + 1) / (folds * (1 + third)))
    if third:
        with _to_learn_from(labels, path) as labelled:
            labels = labels.with_third()
            for number, part in enumerate(parts):
                seen = labelled.at(part.taught)
                wanted: list[Objective] = [ForceMatching(seen), EnergyMatching(seen), ResponseMatching(seen)]
                own = _options(options, f"third-{number}")
                labels.expect(fit(potential, wanted, **own).model.potential, part)
                if progress is not None:
                    progress((folds + number + 1) / (2 * folds))
    said = {"folds": folds, "third": third, "local_nm": local, "potential": type(potential).__name__}
    provenance = data.provenance | {"cross_fit": said}
    if path is None:
        return replace(Dataset.from_frames(data.topology, labels.frames()), provenance=provenance)
    return Dataset.create(path, labels, provenance=provenance)


@contextmanager
def _to_learn_from(labels: _Labels, path: str | Path | None) -> Iterator[Dataset]:
    """The labels made so far: in memory, or where the last ones go to a file, in one beside it for as long."""
    if path is None:
        yield Dataset.from_frames(labels.topology, labels.frames())
        return
    with TemporaryDirectory(dir=Path(path).parent, prefix=".cross-fit-") as folder:
        yield Dataset.create(Path(folder) / "labels.h5", labels)


def _options(options: dict[str, Any], name: str) -> dict[str, Any]:
    """The options of one fit of several: each has a checkpoint of its own."""
    training = options.get("training")
    if training is None or training.checkpoint is None:
        return options
    path = Path(training.checkpoint)
    return options | {"training": replace(training, checkpoint=path.with_name(f"{path.name}.{name}"))}


class _Part(NamedTuple):
    """One fold: frames that are learned from, and those that are left out, by their numbers."""

    data: Dataset
    taught: Int[np.ndarray, "_"]
    left_out: Int[np.ndarray, "_"]

    @property
    def seen(self) -> Dataset:
        return self.data.at(self.taught)


@dataclass(frozen=True, eq=False)
class _Labels:
    """The centres of all frames, filled fold by fold; a source of labelled frames."""

    data: Dataset
    local: float | None
    state: Int[np.ndarray, "frames"]
    weights: Float[np.ndarray, "frames"]
    forces: Float[np.ndarray, "frames beads 3"]  # F
    energy: Float[np.ndarray, "frames"]  # E
    share: Float[np.ndarray, "frames"]  # gamma
    displacement: Float[np.ndarray, "frames beads 3"]  # w
    energies: Float[np.ndarray, "frames beads"] | None = None  # E of each bead, where energies are local
    covariance: Float[np.ndarray, "frames beads 3"] | None = None  # C, for third cumulants
    variance: Float[np.ndarray, "frames beads"] | None = None  # V

    @staticmethod
    def of(data: Dataset, local: float | None) -> _Labels:
        n, beads = len(data), len(data.topology)
        energies = None if local is None else np.zeros((n, beads))
        state = states_of(data)[0]
        forces, moved = np.zeros((2, n, beads, 3), np.float32)
        return _Labels(data, local, state, frame_weights(data), forces, np.zeros(n), np.zeros(n), moved, energies)

    def check(self, parts: Sequence[_Part]) -> None:
        """Every state that is left out must be among those learned from, or its energies have no zero."""
        for part in parts:
            seen = self.state[part.taught[self.weights[part.taught] > 0]]
            lost = np.setdiff1d(self.state[part.left_out], seen)
            if len(lost):
                frame = int(np.flatnonzero(self.state == lost[0])[0])
                kelvin = float(self.data[frame].temperature[0])  # type: ignore[index]
                raise ValueError(
                    f"cross_fit: all frames of one state, at {kelvin:g} K, fall into one fold, and no other frames say "
                    "where its energies are; give more frames there, leave them out, or choose another number of folds"
                )

    def with_third(self) -> _Labels:
        shape = self.forces.shape
        return replace(self, covariance=np.zeros(shape, np.float32), variance=np.zeros(shape[:2]))

    @property
    def topology(self) -> Topology:
        return self.data.topology

    def frames(self) -> Frames:
        return Frames.concatenate(list(self.batches(256)))

    def batches(self, size: int) -> Iterator[Frames]:
        for first in range(0, len(self.data), size):
            yield self._labelled(np.arange(first, min(first + size, len(self.data))))

    def centre(self, model: Potential, part: _Part) -> None:
        """F and E from the model, E with the constants of its states, the share of the variate, and w."""
        energy, variate = self.data.column("energy"), self.data.column("variate")
        kinds, kt = self.topology.species_index, KB * np.asarray(self.data.column("temperature"), float)
        found, works = np.zeros(len(self.data)), []
        for said in _predictions(model, self.data):
            found[said.chosen] = said.energy
            out = np.isin(said.chosen, part.left_out)
            self.forces[said.chosen[out]] = said.forces[out]
            self.displacement[said.chosen[out]] = said.covariance[out]
            along = displacement.fields(said.covariance, said.forces, kt[said.chosen])
            works.append(displacement.works(along, said.labels - said.forces, kinds))
        left = np.asarray(energy, float) - found
        columns, misses = np.concatenate(works), np.zeros(len(left))
        for state in np.unique(self.state[part.left_out]):
            seen = part.taught[self.state[part.taught] == state]
            out = part.left_out[self.state[part.left_out] == state]
            weights = self.weights[seen]
            mean = np.average(left[seen], weights=weights)
            self.energy[out] = found[out] + mean
            misses[seen] = left[seen] - mean
            if variate is not None:
                v = np.asarray(variate[seen], float)
                self.share[out] = -(misses[seen] @ (weights * v)) / max(v @ (weights * v), 1e-300)
        out, seen = part.left_out, part.taught
        if variate is not None:
            columns = np.concatenate([columns, np.asarray(variate, float)[:, None]], axis=1)
        each = displacement.shares(misses[seen], columns[seen], self.weights[seen])
        along = displacement.fields(self.displacement[out], self.forces[out], kt[out])
        self.displacement[out] = displacement.displacement(along, each[: works[0].shape[1]], kinds)

    def centre_locally(self, model: Potential, part: _Part) -> None:
        """The energy of each bead as a linear function of its surroundings, with constants of its kind and state."""
        head, taught, states = _head(model), part.taught, int(self.state.max()) + 1
        sums = Equations(0.0, 0.0, 0.0, 0.0)
        for chosen, rows in _bead_rows(head, part.seen, self.state[taught], states):
            labels = np.asarray(self.data[taught[chosen]].local_energy, float).reshape(-1)
            each = np.repeat(self.weights[taught[chosen]], len(self.topology))
            heavy = rows * each[:, None]
            new = (rows.T @ heavy, heavy.T @ labels, labels @ (each * labels), each.sum())
            sums = Equations(*(np.add(one, other) for one, other in zip(sums, new, strict=True)))
        shares = _smooth(head, sums)
        assert self.energies is not None
        out = part.left_out
        for chosen, rows in _bead_rows(head, self.data.at(out), self.state[out], states):
            self.energies[out[chosen]] = (rows @ shares).reshape(len(chosen), -1)

    def expect(self, model: Potential, part: _Part) -> None:
        """C from the model, V as the mean of its state and bead kind: enough, since it multiplies an error."""
        assert self.covariance is not None and self.variance is not None
        kinds, out = self.topology.species_index, part.left_out
        for said in _predictions(model, self.data.at(out)):
            self.covariance[out[said.chosen]] = said.covariance
        for state in np.unique(self.state[out]):
            seen = part.taught[self.state[part.taught] == state]
            pieces = [seen[k : k + 256] for k in range(0, len(seen), 256)]
            squares = sum(self.weights[rows] @ self._scatter(rows) ** 2 for rows in pieces) / self.weights[seen].sum()
            of_kind = np.bincount(kinds, squares) / np.bincount(kinds)
            self.variance[out[self.state[out] == state]] = of_kind[kinds]

    def _labelled(self, rows: Int[np.ndarray, "n"]) -> Frames:
        frames = self.data[rows]
        kt = KB * np.asarray(frames.temperature, float)
        force = np.asarray(frames.forces, float) - self.forces[rows]
        around = self._scatter(rows)
        covariance = force * around[..., None]
        if self.local is None and frames.variate is not None and frames.variate_slope is not None:
            share = self.share[rows]
            covariance += force * (share * frames.variate)[:, None, None]
            covariance += (share * kt)[:, None, None] * frames.variate_slope
        third = None
        if self.covariance is not None and self.variance is not None:
            third = force * (around**2 - self.variance[rows])[..., None]
            third -= 2 * self.covariance[rows] * around[..., None]
        whole = np.asarray(frames.energy, float) - self.energy[rows]
        moved = self.displacement[rows]
        return frames.with_(covariance=covariance, variance=whole**2, third_cumulant=third, displacement=moved)

    def _scatter(self, rows: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n beads"]:
        """U - E around each bead: of the beads nearby, or of all."""
        frames = self.data[rows]
        if self.local is None:
            whole = np.asarray(frames.energy, float) - self.energy[rows]
            return np.broadcast_to(whole[:, None], frames.positions.shape[:2])
        assert self.energies is not None
        own = np.asarray(frames.local_energy, float) - self.energies[rows]
        found = []
        cutoff, first = Whole(self.local), 0
        for _, graph, count in graphs(
            (frames[k : k + 64] for k in range(0, len(frames), 64)), self.topology, (cutoff,)
        ):
            padded = np.zeros((graph.frames, own.shape[1]))
            padded[:count] = own[first : first + count]
            found.append(np.asarray(_nearby(graph, cutoff, padded.reshape(-1))).reshape(padded.shape)[:count])
            first += count
        return np.concatenate(found)


def _check(potential: Potential, data: Dataset, local: float | None) -> None:
    first = data[0]
    missing = [name for name in ("forces", "energy", "temperature") if getattr(first, name) is None]
    if missing:
        raise ValueError(f"cross_fit: the data hold no {missing[0]}; responses need forces, energies and temperatures")
    if local is None:
        return
    if first.local_energy is None:
        raise ValueError("cross_fit: local= needs energies of the beads, and the data hold no local_energy")
    if not (np.isfinite(local) and local > 0):
        raise ValueError(f"cross_fit: local={local}; a distance in nm up to which energies of beads count")
    boxes = data.column("box")
    if boxes is not None and 2 * local > min(abs(np.linalg.det(box)) / _largest_face(box) for box in boxes):
        raise ValueError(
            f"cross_fit: local={local:g} nm is more than half of the smallest box; take the whole energy, local=None"
        )
    _head(potential)


def _largest_face(box: Float[np.ndarray, "3 3"]) -> float:
    return max(float(np.linalg.norm(np.cross(box[i], box[j]))) for i, j in ((0, 1), (1, 2), (2, 0)))


def _head(potential: Potential) -> LinearPotential:
    """The functions of beads that centre local energies: those of the first head."""
    if isinstance(potential, LinearThermal):
        return potential.heads[0]
    raise ValueError("cross_fit: local= centres energies with the functions of a mf.LinearThermal; give one")


def _smooth(head: LinearPotential, sums: Equations) -> Float[np.ndarray, "k"]:
    """Coefficients and constants of the energies of beads, as smooth as the evidence says.

    Least squares alone would follow the noise where hardly any frame has been, and a frame left out that goes further
    would get a centre, and with it a label, far from all others.
    """
    size = len(head.coefficients)
    normal = Normal.of(Equations(*(np.asarray(part)[None] for part in sums)), size, 1.0)
    found = regress([normal], head.penalties(), head.basis_names()).coefficients
    slope, shift, _ = Profile.of(sums, size)
    return np.concatenate([found, shift - slope @ found])


class _Predicted(NamedTuple):
    """What a model says of frames, numbered from the first of its data."""

    chosen: Int[np.ndarray, "n"]
    forces: Float[np.ndarray, "n beads 3"]
    energy: Float[np.ndarray, "n"]
    covariance: Float[np.ndarray, "n beads 3"]
    labels: Float[np.ndarray, "n beads 3"]  # of the forces


def _predictions(model: Potential, data: Dataset) -> Iterator[_Predicted]:
    size, first = frames_per_batch(data.topology, len(data), model), 0
    for frames, graph, count in graphs(data.batches(size), data.topology, model.cutoffs):
        forces, energy, covariance = (np.asarray(x) for x in _predicted(model, graph))
        of_beads = lambda rows, n=count: rows.reshape(-1, len(data.topology), 3)[:n]
        chosen, labels = np.arange(first, first + count), np.asarray(frames.forces, float)
        yield _Predicted(chosen, of_beads(forces), energy[:count], of_beads(covariance), labels)
        first += count


@eqx.filter_jit
def _predicted(model: Potential, graph: Graph) -> tuple[Array, Array, Array]:
    design = column_of(model, graph, 1, ())
    return design.forces[..., 0], design.mean_energy[:, 0], design.covariance[..., 0]


def _bead_rows(
    head: LinearPotential, data: Dataset, state: Int[np.ndarray, "frames"], states: int
) -> Iterator[tuple[Int[np.ndarray, "n"], Float[np.ndarray, "rows k"]]]:
    """Functions of the surroundings of each bead, and a constant for each kind of bead at each state."""
    kinds = data.topology.species_index
    groups = kinds * states + state[:, None]
    constants = np.eye(len(data.topology.types) * states)
    each = 8 * len(kinds) * (len(head.coefficients) + len(constants))
    size, first = max(1, min(frames_per_batch(data.topology, len(data), head), _ROWS_BYTES // each)), 0
    for _, graph, count in graphs(data.batches(size), data.topology, head.cutoffs):
        chosen = np.arange(first, first + count)
        rows = np.asarray(_of_beads(head, graph))[: count * len(kinds)]
        yield chosen, np.concatenate([rows, constants[groups[chosen].reshape(-1)]], axis=1)
        first += count


@eqx.filter_jit
def _of_beads(head: LinearPotential, graph: Graph) -> Float[Array, "beads k"]:
    """The part of each bead in every function: energies are linear in the coefficients."""
    at = lambda c: head.with_coefficients(c).energies(graph)
    start = jnp.zeros_like(head.coefficients)
    change = jax.linearize(at, start)[1]
    return jax.lax.map(change, jnp.eye(len(start), dtype=start.dtype), batch_size=_COLUMNS).T


@eqx.filter_jit
def _nearby(graph: Graph, cutoff: Whole, values: Float[Array | np.ndarray, "beads"]) -> Array:
    """The sum over each bead and its neighbours."""
    neighbours = graph.within(cutoff)
    there = neighbours.image != FAR
    each = jnp.asarray(values)
    return each + jnp.sum(jnp.where(there, each[neighbours.index], 0.0), axis=1)
