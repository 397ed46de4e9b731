"""What `inspect` finds, as plain records that print as tables and as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass

import numpy as np

from meanforce.data.equilibration import RunReport
from meanforce.data.noise import NoiseFloor


@dataclass(frozen=True)
class Range:
    """Where a coordinate was sampled. Outside, a model knows nothing."""

    name: str
    unit: str
    low: float
    mean: float
    high: float
    count: int


@dataclass(frozen=True)
class TemperatureCheck:
    """The stated temperature beside the one at which forces and configurations belong together."""

    stated: float
    measured: float
    error: float
    remark: str = ""

    @property
    def consistent(self) -> bool:
        """Within four errors, or two per cent: what a good thermostat and time step leave."""
        return bool(abs(self.measured - self.stated) <= max(4 * self.error, 0.02 * self.stated))


@dataclass(frozen=True)
class ForceScale:
    """The size of force labels."""

    rms: float  # of one component, kJ/(mol nm)
    by_species: dict[str, float]
    thermal_length: float | None  # kT/rms in nm: how far a bead moves against a typical force
    net: float  # rms of the sum over all beads, by component, against that of independent forces
    net_mean: float  # its mean, in standard errors (the largest component): zero within 4


@dataclass(frozen=True)
class Inspection:
    """The state of a data set before anything is learned from it; `print` it, or ask for `to_json()`."""

    frames: int
    particles: int
    molecules: int
    species: dict[str, int]
    labels: tuple[str, ...]
    temperatures: tuple[float, ...]
    edges: tuple[float, float, float] | None  # mean lengths of the box vectors, nm
    density: float | None  # g/cm^3
    nearest: float  # median distance to the nearest neighbour, nm
    ranges: tuple[Range, ...]
    forces: ForceScale | None
    temperature_checks: tuple[TemperatureCheck, ...]
    runs: tuple[RunReport, ...]
    floor: NoiseFloor | None
    warnings: tuple[str, ...]
    hash: str

    def to_json(self) -> str:
        """Everything as JSON; numbers that are infinite or unknown become null."""
        data = asdict(self)
        for record, check in zip(data["temperature_checks"], self.temperature_checks, strict=True):
            record["consistent"] = check.consistent
        for record, run in zip(data["runs"], self.runs, strict=True):
            record.update(independent=run.independent, drifts=run.drifts)
        return json.dumps(_plain(data), indent=2, sort_keys=True)

    def __rich__(self):
        from rich.console import Group

        return Group(*(table for table in _tables(self) if table is not None))

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=100).print(self.__rich__())
        return text.getvalue().rstrip()


def _tables(found: Inspection):
    yield _summary(found)
    yield _table("sampled ranges", ("coordinate", "low", "mean", "high", "values"), [
        (r.name, f"{r.low:.3f} {r.unit}", f"{r.mean:.3f}", f"{r.high:.3f}", f"{r.count:,}") for r in found.ranges
    ])  # fmt: skip
    yield _table("temperature of the forces", ("stated", "measured", "verdict"), [
        (f"{c.stated:g} K", f"{c.measured:.1f} ± {c.error:.1f} K", "agrees" if c.consistent else c.remark)
        for c in found.temperature_checks
    ])  # fmt: skip
    yield _table("runs", ("run", "quantity", "frames", "equilibrated from", "independent", "drift"), [
        (str(r.run), r.quantity, str(r.frames), str(r.start), f"{r.independent:.0f}",
         f"{r.drift:.3g} ± {r.drift_error:.2g}") for r in found.runs
    ])  # fmt: skip
    yield _warnings(found.warnings)


def _summary(found: Inspection):
    from rich.table import Table

    table = Table(title="data set", title_justify="left", show_header=False)
    kelvin = ", ".join(f"{t:g} K" for t in found.temperatures) or "not stated"
    counts = ", ".join(f"{count} {name}" for name, count in found.species.items())
    table.add_row("frames", f"{found.frames:,} at {kelvin}")
    table.add_row("particles", f"{found.particles:,} in {found.molecules:,} molecules: {counts}")
    table.add_row("labels", ", ".join(found.labels) or "none")
    if found.edges is None:
        table.add_row("box", "none")
    else:
        lengths = " x ".join(f"{edge:.3f}" for edge in found.edges)
        table.add_row("box", f"{lengths} nm, {found.density:.4g} g/cm^3")
    table.add_row("nearest neighbour", f"{found.nearest:.3f} nm (median)")
    if found.forces is not None:
        per = ", ".join(f"{name} {rms:.4g}" for name, rms in found.forces.by_species.items())
        table.add_row("forces, rms of a component", f"{found.forces.rms:.4g} kJ/(mol nm): {per}")
        table.add_row(
            "net force", f"{found.forces.net:.2g} of independent forces; mean {found.forces.net_mean:.1f} errors"
        )
    if found.floor is not None:
        low, high = found.floor.rms
        table.add_row("noise floor of a component", f"{low:.4g} to {high:.4g} kJ/(mol nm) rms")
        table.add_row("  above", found.floor.upper_from)
        table.add_row("  below", found.floor.lower_from)
    return table


def _table(title: str, columns, rows):
    from rich.table import Table

    if not rows:
        return None
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    return table


def _warnings(warnings: tuple[str, ...]):
    from rich.text import Text

    if not warnings:
        return Text("nothing suspicious was found")
    return Text("\n".join(f"! {warning}" for warning in warnings), style="bold")


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
