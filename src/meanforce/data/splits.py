"""Parts of a data set for training and testing: contiguous blocks of each run, or whole runs.

Neighbouring frames of a trajectory are nearly the same frame, so a random choice of frames would test on what
was trained on. Every run is cut at the same fractions: each part holds every temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from meanforce.data.errors import DatasetError

Rows = Int[np.ndarray, "_"]


def runs(state: np.ndarray, trajectory: Int[np.ndarray, "frames"] | None) -> list[Rows]:
    """The continuous runs of a data set as frame numbers, in order of appearance.

    `state` numbers the state point of each frame. A run is one trajectory at one state. Where the states of a
    trajectory come and go, as in replica exchange, or change with every frame, as in a swept field, it is the
    whole trajectory.
    """
    trajectories = np.zeros(len(state), np.int64) if trajectory is None else _number(trajectory)
    both = _number(trajectories * (state.max(initial=0) + 1) + state)
    stretches = 1 + np.count_nonzero(np.diff(both))
    key = trajectories if stretches > both.max(initial=0) + 1 or 2 * stretches > len(both) > 1 else both
    return [np.flatnonzero(key == k) for k in key[np.sort(np.unique(key, return_index=True)[1])]]


def by_block(runs_: list[Rows], fractions: Sequence[float], gap: int = 0) -> list[Rows]:
    """Cuts each run at the same fractions, leaving out `gap` frames at every cut."""
    edges = np.concatenate([[0.0], np.cumsum(_fractions(fractions))])
    parts: list[list[Rows]] = [[] for _ in fractions]
    for rows in runs_:
        cuts = np.round(edges * len(rows)).astype(int)
        for k, (first, last) in enumerate(pairwise(cuts)):
            left = first + (gap - gap // 2 if k else 0)
            right = last - (gap // 2 if k < len(fractions) - 1 else 0)
            parts[k].append(rows[left : max(left, right)])
    return _filled([np.sort(np.concatenate(part)) for part in parts], "use fewer parts or a smaller gap")


def by_trajectory(runs_: list[Rows], fractions: Sequence[float]) -> list[Rows]:
    """Gives whole runs to the parts, in order, each to the part that lacks most of its share."""
    share = np.array(_fractions(fractions)) * sum(map(len, runs_))
    held: list[list[Rows]] = [[] for _ in fractions]
    if len(runs_) < len(share):
        raise DatasetError(f"{len(runs_)} trajectories cannot fill {len(share)} parts; split by='block'")
    for left, rows in zip(range(len(runs_), 0, -1), runs_, strict=True):
        empty = [k for k, part in enumerate(held) if not part]
        lack = share - [sum(map(len, part)) for part in held]
        k = empty[0] if len(empty) == left else int(np.argmax(lack))
        held[k].append(rows)
    return [np.sort(np.concatenate(part)) for part in held]


def block_folds(runs_: list[Rows], count: int, gap: int = 0) -> list[tuple[Rows, Rows]]:
    """(train, test) for each of `count` contiguous blocks of every run, `gap` frames around it left out."""
    folds = []
    for k in range(count):
        train: list[Rows] = []
        test: list[Rows] = []
        for rows in runs_:
            first, last = len(rows) * k // count, len(rows) * (k + 1) // count
            test.append(rows[first:last])
            train.extend((rows[: max(0, first - gap)], rows[last + gap :]))
        folds.append((np.sort(np.concatenate(train)), np.sort(np.concatenate(test))))
    _filled([part for fold in folds for part in fold], "use fewer folds or a smaller gap")
    return folds


def trajectory_folds(runs_: list[Rows], count: int) -> list[tuple[Rows, Rows]]:
    """(train, test) with whole runs: the k-th fold tests on every `count`-th run."""
    if len(runs_) < max(count, 2):
        raise DatasetError(f"{len(runs_)} trajectories cannot make {count} folds; use by='block'")
    folds = []
    for k in range(count):
        train = [rows for i, rows in enumerate(runs_) if i % count != k]
        folds.append((np.sort(np.concatenate(train)), np.sort(np.concatenate(runs_[k::count]))))
    return folds


def _fractions(fractions: Sequence[float]) -> list[float]:
    values = [float(f) for f in fractions]
    if not values or min(values) <= 0 or sum(values) > 1 + 1e-9:
        raise DatasetError(f"fractions {values}: positive numbers with a sum of at most 1 are needed")
    return values


def _filled(parts: list[Rows], remedy: str) -> list[Rows]:
    if not all(len(part) for part in parts):
        raise DatasetError(f"a part of the split would hold no frame: {remedy}")
    return parts


def _number(values: np.ndarray) -> Int[np.ndarray, "frames"]:
    return np.unique(values, return_inverse=True)[1]
