"""What is asked of an atomistic simulation."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from meanforce.reference.systems import System


class ReferenceRun(BaseModel):
    """An atomistic simulation to learn from: canonical (NVT) or at constant pressure (NPT), Langevin dynamics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: System = Field(description="what is simulated: argon, water, alkane or alanine-dipeptide, with its options")
    temperatures: tuple[float, ...] = Field(min_length=1, description="temperatures (K), one run each")
    pressure: float | None = Field(None, description="pressure (bar) of a Monte Carlo barostat; none: constant volume")
    time: float = Field(gt=0, description="time that is recorded at each temperature (ps)")
    interval: float = Field(1.0, gt=0, description="time between stored frames (ps)")
    equilibration: float = Field(100.0, ge=0, description="time before the recording starts (ps)")
    timestep: float | None = Field(None, gt=0, description="time step (ps); none: what suits the system and interval")
    friction: float = Field(
        1.0, gt=0, description="Langevin friction (1/ps); 0.2 where motion is to be learned: 1 slows water by a sixth"
    )
    seed: int = Field(1, ge=0, description="seed of every random number of the run")
    virial: bool = Field(True, description="store the molecular virial of periodic systems (two energies a frame)")
    precision: Literal["single", "double"] = Field("single", description="of stored positions and forces")
    platform: Literal["auto", "Reference", "CPU", "CUDA", "HIP", "OpenCL"] = Field("auto", description="OpenMM's")

    @model_validator(mode="after")
    def _consistent(self) -> ReferenceRun:
        for temperature in self.temperatures:
            if not 0 < temperature < math.inf:
                raise ValueError(f"temperatures are in K and positive, not {temperature:g}")
        if len(set(self.temperatures)) < len(self.temperatures):
            raise ValueError(f"a temperature stands twice in {self.temperatures}; give each once and a longer time")
        if self.pressure is not None and not self.system.periodic:
            raise ValueError("there is no pressure without a periodic box; leave pressure out")
        _steps(self.interval, self.step, "interval")
        _whole(self.time, self.interval, "time")
        return self

    @property
    def step(self) -> float:
        """The time step in ps: as given, or the system's own, shortened until an interval holds a whole number."""
        if self.timestep is not None:
            return self.timestep
        return self.interval / math.ceil(self.interval / self.system.timestep * (1 - 1e-9))

    @property
    def frames(self) -> int:
        """Frames at each temperature."""
        return _whole(self.time, self.interval, "time")

    @property
    def stride(self) -> int:
        """Time steps between stored frames."""
        return _steps(self.interval, self.step, "interval")


def _whole(value: float, unit: float, name: str) -> int:
    count = round(value / unit)
    if count < 1 or not math.isclose(count * unit, value, rel_tol=1e-6):
        raise ValueError(f"{name} of {value:g} ps is no whole number of intervals of {unit:g} ps")
    return count


def _steps(interval: float, step: float, name: str) -> int:
    count = round(interval / step)
    if count < 1 or not np.isclose(count * step, interval, rtol=1e-6):
        nearest = max(count, 1) * step
        raise ValueError(
            f"{name} of {interval:g} ps is no whole number of time steps of {step:.6g} ps; {nearest:.6g} ps would be"
        )
    return count
