"""Atoms of an exactly solvable liquid as a data set: the one reference run whose answer is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from meanforce.data.writer import Writer
from meanforce.reference.liquids import DiatomicLiquid

_FRAMES_AT_ONCE = 100
_CHAINS = 4


class ExactRun(BaseModel):
    """Independent canonical frames of a liquid whose coarse-grained free energy is known in closed form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: Literal["diatomic"] = Field("diatomic", description="the exactly solvable liquid")
    molecules: int = Field(64, ge=8, description="number of molecules")
    temperatures: tuple[float, ...] = Field((300.0,), min_length=1, description="temperatures (K)")
    frames: int = Field(1000, ge=1, description="frames at each temperature")
    seed: int = Field(1, ge=0, description="seed of every random number")

    @property
    def liquid(self) -> DiatomicLiquid:
        """At the density of 64 molecules in (2 nm)^3."""
        return DiatomicLiquid(molecules=self.molecules, edge=2.0 * (self.molecules / 64) ** (1 / 3))


def run(
    recipe: ExactRun, path: str | Path, *, resume: bool = False, progress: Callable[[float], None] = lambda _: None
) -> Path:
    """Draws the frames and writes a data set of atoms at `path`; a stopped run is resumed by committed batches."""
    liquid = recipe.liquid
    batches = [
        (temperature, first, min(_FRAMES_AT_ONCE, recipe.frames - first))
        for temperature in recipe.temperatures
        for first in range(0, recipe.frames, _FRAMES_AT_ONCE)
    ]
    provenance = {
        "made_by": f"meanforce {version('meanforce')}",
        "reference": recipe.model_dump(mode="json"),
        "sampling": "Metropolis moves of the centres on the exact free energy, then Gaussian bonds",
        "constraints": [],
    }
    with Writer(path, liquid.atom_topology, provenance=provenance, resume=resume) as writer:
        done = 0
        for number, (temperature, _, count) in enumerate(batches):
            done += count
            if done > writer.frames:
                seed = int(np.random.SeedSequence([recipe.seed, number]).generate_state(1)[0])
                drawn = liquid.sample(count, temperature, seed, "atoms", chains=_CHAINS)
                writer.append(drawn.with_(trajectory=np.asarray(drawn.trajectory) + _CHAINS * number))
                writer.commit()
            progress((number + 1) / len(batches))
    return Path(path)
