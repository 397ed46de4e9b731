"""Frames of an exactly solvable liquid as a data set: the one reference run whose answer is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from meanforce.data.writer import Writer
from meanforce.frames import Frames
from meanforce.reference.liquids import DiatomicLiquid, PairFunction
from meanforce.reference.two_state_liquid import TwoStateLiquid
from meanforce.topology import Topology

_FRAMES_AT_ONCE = 100
_CHAINS = 4


class Drawn(NamedTuple):
    """What a run writes of a liquid: particles, frames(count, temperature in K, seed) of them, and how they came."""

    topology: Topology
    frames: Callable[[int, float, int], Frames]
    said: dict[str, Any]


class ExactRun(BaseModel):
    """Independent canonical frames of a liquid whose coarse-grained free energy is known in closed form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: Literal["diatomic", "two-state"] = Field(
        "diatomic",
        description="diatomic: atoms, two a molecule; A is a sum over pairs, linear in temperature. two-state: beads "
        "of two inner states; A is many-body and takes second order in temperature",
    )
    molecules: int = Field(64, ge=8, description="number of molecules")
    temperatures: tuple[float, ...] = Field((300.0,), min_length=1, description="temperatures (K)")
    frames: int = Field(1000, ge=1, description="frames at each temperature")
    seed: int = Field(1, ge=0, description="seed of every random number")

    @property
    def of_beads(self) -> bool:
        """Whether the molecules are beads already, with nothing left to map."""
        return self.system == "two-state"

    @property
    def liquid(self) -> DiatomicLiquid | TwoStateLiquid:
        """At the density of 64 molecules in (2 nm)^3."""
        edge = 2.0 * (self.molecules / 64) ** (1 / 3)
        if not self.of_beads:
            return DiatomicLiquid(molecules=self.molecules, edge=edge)
        core, coordination = PairFunction.compact(30.0, 0.9, root=0.42), PairFunction.bump(4.0, 0.9)
        return TwoStateLiquid(self.molecules, edge, energetic=core, splitting=coordination, gap=-15.3)

    @property
    def drawn(self) -> Drawn:
        """What the data set is made of."""
        liquid = self.liquid
        if isinstance(liquid, DiatomicLiquid):
            atoms = lambda count, kelvin, seed: liquid.sample(count, kelvin, seed, "atoms", chains=_CHAINS)
            how = "Metropolis moves of the centres on the exact free energy, then Gaussian bonds"
            return Drawn(liquid.atom_topology, atoms, {"sampling": how, "constraints": []})
        beads = lambda count, kelvin, seed: liquid.sample(count, kelvin, seed, chains=_CHAINS)
        return Drawn(liquid.topology, beads, {"sampling": "Metropolis moves on the exact free energy, then states"})


def run(
    recipe: ExactRun, path: str | Path, *, resume: bool = False, progress: Callable[[float], None] = lambda _: None
) -> Path:
    """Draws the frames and writes a data set at `path`; a stopped run is resumed by committed batches."""
    topology, frames, said = recipe.drawn
    batches = [
        (temperature, first, min(_FRAMES_AT_ONCE, recipe.frames - first))
        for temperature in recipe.temperatures
        for first in range(0, recipe.frames, _FRAMES_AT_ONCE)
    ]
    made_by = {"made_by": f"meanforce {version('meanforce')}", "reference": recipe.model_dump(mode="json")}
    with Writer(path, topology, provenance=made_by | said, resume=resume) as writer:
        done = 0
        for number, (temperature, _, count) in enumerate(batches):
            done += count
            if done > writer.frames:
                seed = int(np.random.SeedSequence([recipe.seed, number]).generate_state(1)[0])
                found = frames(count, temperature, seed)
                writer.append(found.with_(trajectory=np.asarray(found.trajectory) + _CHAINS * number))
                writer.commit()
            progress((number + 1) / len(batches))
    return Path(path)
