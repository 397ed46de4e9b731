"""What every frame must satisfy before it is written: finite, whole and of the right shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from meanforce.data.errors import DatasetError
from meanforce.frames import LABELS, TABLES, Frames
from meanforce.topology import Topology


def arrays(frames: Frames) -> dict[str, np.ndarray]:
    """The arrays that are present, by name; parameters as 'parameters/<name>', slopes likewise."""
    named = {name: getattr(frames, name) for name in ("positions", "box", *LABELS)}
    for table in TABLES:
        named.update({f"{table}/{name}": value for name, value in sorted(getattr(frames, table).items())})
    return {name: value for name, value in named.items() if value is not None}


def frames_of(named: dict[str, np.ndarray]) -> Frames:
    """The inverse of `arrays`."""
    found: dict[str, Any] = {name: value for name, value in named.items() if "/" not in name}
    found |= {t: {n.split("/", 1)[1]: v for n, v in named.items() if n.startswith(f"{t}/")} for t in TABLES}
    return Frames(**found)


def normalised(frames: Frames) -> Frames:
    """Contiguous arrays of float32 or float64 as given (anything else becomes float64), integers for runs."""
    named = {}
    for name, value in arrays(frames).items():
        array = np.asarray(value)
        if name == "trajectory":
            array = array.astype(np.int64)
        elif array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float64)
        named[name] = np.ascontiguousarray(array)
    return frames_of(named)


def check(frames: Frames, topology: Topology, first: int = 0) -> None:
    """Refuses frames that do not fit the topology or hold a value that is not finite.

    `first` is the number of the first frame in the whole data set, for the message.
    """
    if frames.particles != len(topology):
        raise DatasetError(f"the frames hold {frames.particles} particles and the topology {len(topology)}")
    for name, value in arrays(frames).items():
        finite = np.isfinite(value)
        if not finite.all():
            where = np.argwhere(~finite)[0]
            particle = f", particle {where[1]}" if value.ndim > 1 and name != "box" else ""
            raise DatasetError(
                f"{name} of frame {first + where[0]}{particle} is {value[tuple(where)]}: "
                f"leave the frame out, or find why the simulation broke there"
            )
    _refuse(frames.temperature, lambda t: t <= 0, "temperature", first, "temperatures are in K and positive")
    _refuse(frames.weights, lambda w: w < 0, "weights", first, "weights are never negative")
    if frames.box is not None:
        volume = np.linalg.det(frames.box)
        _refuse(volume, lambda v: v <= 0, "box volume", first, "rows are the box vectors in nm, right-handed")


def check_same_labels(frames: Frames, begun: Frames) -> None:
    """Every frame of one data set carries the same labels, in the same precision."""
    ours = {name: value.dtype.name for name, value in arrays(begun).items()}
    theirs = {name: value.dtype.name for name, value in arrays(frames).items()}
    if ours != theirs:
        raise DatasetError(
            f"these frames carry {_words(theirs)}, and the data set was begun with {_words(ours)}: "
            "keep what differs in two data sets"
        )


def box_array(box, n: int) -> Float[np.ndarray, "frames 3 3"] | None:
    """A box for each frame from edge lengths (3,), vectors (3, 3) or one box per frame; None stays None."""
    if box is None:
        return None
    box = np.asarray(box, float)
    if box.shape == (3,):
        box = np.diag(box)
    if box.shape == (3, 3):
        box = np.broadcast_to(box, (n, 3, 3))
    if box.shape != (n, 3, 3):
        raise DatasetError(f"box has shape {box.shape}; give (3,) lengths, (3, 3) or ({n}, 3, 3), in nm, or None")
    return box.copy()


def per_frame(value, n: int, name: str) -> np.ndarray | None:
    """A label for each frame from one number or n of them."""
    if value is None:
        return None
    array = np.asarray(value)
    if array.ndim == 0:
        return np.full(n, array[()])
    if array.shape != (n,):
        raise DatasetError(f"{name} has shape {array.shape}; give one number or one for each of the {n} frames")
    return array


def _refuse(value, bad, name: str, first: int, rule: str) -> None:
    if value is not None and bad(value).any():
        frame = int(np.argmax(bad(value)))
        raise DatasetError(f"{name} of frame {first + frame} is {value[frame]:g}: {rule}")


def _words(dtypes: dict[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in dtypes.items())
