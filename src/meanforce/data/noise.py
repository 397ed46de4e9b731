"""The irreducible noise of force labels: the mean square of a label about the mean force at fixed beads.

No model can have a smaller loss, and a model at the floor has nothing left to learn: without this number nobody
knows whether a loss is good. The floor lies in an interval:

* above, by the held-out error of any model: E|f - F_model|^2 is the floor plus the square of what the model misses.
  The best of the given error, a quick fit of pair forces, and (for a bead or two) the differences between frames that
  are nearest to each other;
* below, by nothing that a plain trajectory can prove. No configuration occurs twice, and a mean force that varies
  wildly enough between the frames would explain any scatter; every estimate without replicas errs upwards. So the
  lower bound is zero unless frames at the same positions (replicas at fixed R) are there: these give the floor itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from meanforce.data.dataset import Dataset
from meanforce.data.errors import DatasetError
from meanforce.data.pairs import Pairs, find_pairs
from meanforce.frames import Frames
from meanforce.numerics.statistics import weighted_mean
from meanforce.topology import Topology

_KNOTS = 40
_TRAIN, _TEST = 160, 80  # frames of the quick fit, at most
_PAIRS = 6e6  # looked at in the quick fit, at most
_FEW_COORDINATES = 4
_STANDARD_ERRORS = 2.0
_SEARCHED = 4_000_000  # particles in all frames, up to which repeated positions are looked for unasked


@dataclass(frozen=True)
class NoiseFloor:
    """Mean square noise of one force component, (kJ/(mol nm))^2, as an interval; bounds hold within two errors."""

    lower: float
    upper: float
    lower_from: str
    upper_from: str

    @property
    def rms(self) -> tuple[float, float]:
        """The interval for the root mean square, in kJ/(mol nm)."""
        return float(np.sqrt(self.lower)), float(np.sqrt(self.upper))


def noise_floor(
    data: Dataset, *, cutoff: float | None, model_error: float | None = None, replicas: Dataset | None = None
) -> NoiseFloor:
    """The interval from a data set with forces.

    `model_error` is the root-mean-square force error of a model on frames it was not trained on, per component;
    `replicas` a data set in which configurations are repeated with independent labels.
    """
    small = len(data) * len(data.topology) <= _SEARCHED
    exact = replica_variance((replicas or data)[:]) if replicas is not None or small else None
    if replicas is not None and exact is None:
        raise DatasetError("replicas= holds no configuration twice; give frames with repeated positions")
    upper = {"the labels themselves": _mean(_squares(data[_spread(len(data), 400)]))}
    if cutoff is not None:
        upper["a quick fit of pair forces"] = _mean(pair_fit_errors(data, cutoff))
    differences = nearest_differences(data)
    if differences is not None:
        upper["differences of nearest frames"] = _mean(differences)
    bounds = {name: mean + _STANDARD_ERRORS * error for name, (mean, error) in upper.items()}
    if model_error is not None:
        bounds["the model's held-out error"] = float(model_error) ** 2
    best = min(bounds, key=bounds.__getitem__)
    if exact is None:
        return NoiseFloor(0.0, bounds[best], "nothing: a trajectory without replicas proves no more", best)
    mean, error = exact
    name = "replicas at fixed positions"
    return NoiseFloor(max(0.0, mean - _STANDARD_ERRORS * error), mean + _STANDARD_ERRORS * error, name, name)


def replica_variance(frames: Frames) -> tuple[float, float] | None:
    """Mean square noise and its error from repeated configurations; None where no configuration is repeated."""
    keys = [hash(np.ascontiguousarray(positions).tobytes()) for positions in frames.positions]
    group = np.unique(keys, return_inverse=True)[1]
    counts = np.bincount(group)
    if counts.max() < 2:
        return None
    forces = np.asarray(frames.forces, float).reshape(len(frames), -1)
    means = np.stack([np.bincount(group, column) for column in forces.T], axis=1) / counts[:, None]
    scatter = np.bincount(group, ((forces - means[group]) ** 2).mean(axis=1))
    repeated = counts > 1
    values, weights = scatter[repeated] / (counts[repeated] - 1), (counts[repeated] - 1).astype(float)
    mean = np.average(values, weights=weights)
    # Within a group the labels are independent; the scatter between groups holds everything.
    if repeated.sum() > 1:
        error = np.sqrt(np.sum((weights * (values - mean)) ** 2)) / weights.sum()
    else:
        error = mean * np.sqrt(2 / weights.sum())
    return float(mean), float(error)


def pair_fit_errors(data: Dataset, cutoff: float) -> Float[np.ndarray, "frames"]:
    """Held-out square errors, frame by frame, of straight-line pair forces fitted to the start of each run."""
    pairs = len(find_pairs(data[0], cutoff).first)
    share = min(1.0, _PAIRS / max(1, pairs * (_TRAIN + _TEST)))
    train, test = data.split(0.7)
    train = train.at(_spread(len(train), max(4, int(share * _TRAIN))))
    test = test.at(_spread(len(test), max(4, int(share * _TEST))))
    kinds = _pair_kinds(data.topology)
    width = _KNOTS * (int(kinds.max()) + 1)
    gram, moment = np.zeros((width, width)), np.zeros(width)
    for features, forces in _designs(train, cutoff, kinds):
        gram += (features.T @ features).toarray()
        moment += features.T @ forces
    scale = np.trace(gram) / width
    coefficients = np.linalg.solve(gram + 1e-8 * scale * np.eye(width), moment)
    errors = [
        ((forces - features @ coefficients) ** 2).reshape(-1, 3 * len(data.topology)).mean(axis=1)
        for features, forces in _designs(test, cutoff, kinds)
    ]
    return np.concatenate(errors)


def nearest_differences(data: Dataset) -> Float[np.ndarray, "frames"] | None:
    """Half the square difference of labels between each frame and its nearest, for very few coordinates."""
    if 3 * len(data.topology) > 6:
        return None
    frames = data[_spread(len(data), 4000)]
    positions = np.asarray(frames.positions, float).reshape(len(frames), -1)
    moving = positions.std(axis=0) > 0
    states = len(data.temperatures) > 1 or frames.parameters or frames.box is not None
    if states or moving.sum() > _FEW_COORDINATES or len(frames) < 10:
        return None
    from scipy.spatial import cKDTree

    nearest = cKDTree(positions[:, moving]).query(positions[:, moving], k=2)[1][:, 1]
    forces = np.asarray(frames.forces, float).reshape(len(frames), -1)
    return 0.5 * ((forces - forces[nearest]) ** 2).mean(axis=1)


def _designs(data: Dataset, cutoff: float, kinds: Int[np.ndarray, "particles particles"]):
    """(features, forces) of a few frames at a time: force components as sums of hat functions of the distance."""
    size = max(1, min(16, 20_000 // len(data.topology)))
    for frames in data.batches(size):
        pairs = find_pairs(frames, cutoff)
        yield _hats(pairs, frames, cutoff, kinds), np.asarray(frames.forces, float).reshape(-1)


def _hats(pairs: Pairs, frames: Frames, cutoff: float, kinds) -> csr_matrix:
    """Row 3 i + c: component c of the force on particle i; one column for each kind of pair and knot."""
    particles = frames.particles
    place = pairs.distance / cutoff * _KNOTS
    knot = np.minimum(place.astype(int), _KNOTS - 1)
    share = place - knot
    column = kinds[pairs.first % particles, pairs.second % particles] * _KNOTS + knot
    inside = knot + 1 < _KNOTS  # the last knot, at the cut-off, has no force
    rows = 3 * pairs.first[:, None] + np.arange(3)
    left, right = -pairs.direction * (1 - share)[:, None], -pairs.direction[inside] * share[inside, None]
    values = np.concatenate([left.ravel(), right.ravel()])
    row = np.concatenate([rows.ravel(), rows[inside].ravel()])
    columns = np.concatenate([np.repeat(column, 3), np.repeat(column[inside] + 1, 3)])
    width = _KNOTS * (int(kinds.max()) + 1)
    return csr_matrix((values, (row, columns)), shape=(3 * particles * len(frames), width))


def _pair_kinds(topology: Topology) -> Int[np.ndarray, "particles particles"]:
    """A number for each kind of pair: the two species, and whether they share a molecule."""
    species = topology.species_index.astype(np.int64)
    low, high = np.minimum.outer(species, species), np.maximum.outer(species, species)
    same = np.equal.outer(topology.molecules, topology.molecules)
    key = (low * (species.max() + 1) + high) * 2 + same
    return np.unique(key, return_inverse=True)[1].reshape(key.shape)


def _squares(frames: Frames) -> Float[np.ndarray, "frames"]:
    return (np.asarray(frames.forces, float) ** 2).mean(axis=(1, 2))


def _mean(values: Float[np.ndarray, "frames"]) -> tuple[float, float]:
    """The mean over frames and its error; frames of a run remember each other."""
    if len(values) < 2:
        return float(values.mean()), np.inf
    estimate = weighted_mean(values)
    return float(estimate.mean), float(estimate.error)


def _spread(count: int, wanted: int) -> Int[np.ndarray, "rows"]:
    """At most `wanted` frame numbers spread evenly over `count`."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(int))
