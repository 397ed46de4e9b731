"""Curves in a file that people and programs can read: JSON, with the block means that gave their errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meanforce.observables.base import Curve

FORMAT = "meanforce-curves"


def to_json(curves: Sequence[Curve], note: str = "", digits: int = 6) -> str:
    """`note` says where the curves come from."""
    plain = lambda a: None if a is None else np.char.mod(f"%.{digits}g", np.asarray(a)).astype(float).tolist()
    rows = [{k: plain(v) if isinstance(v, np.ndarray) else v for k, v in c._asdict().items()} for c in curves]
    return json.dumps({"format": FORMAT, "version": 1, "note": note, "curves": rows})


def load(path: Path) -> dict[str, Curve]:
    """The curves of a file, by name."""
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no curves: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{path} holds no curves: it should be what meanforce.observables.curves.to_json writes")
    if data["version"] > 1:
        raise ValueError(f"{path} is newer than this meanforce; update meanforce (pip install -U meanforce)")
    arrays = ("axis", "value", "error", "blocks")
    rows: list[dict[str, Any]] = [
        {k: np.asarray(v, float) if k in arrays and v is not None else v for k, v in row.items()}
        for row in data["curves"]
    ]
    return {row["name"]: Curve(**row) for row in rows}
