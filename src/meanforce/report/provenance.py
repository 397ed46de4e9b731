"""The sections on where a result comes from: data, recipe, versions, seeds, hashes and time."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata

from meanforce.report.sections import Section, Table

#: Packages whose version can change a number.
PACKAGES = ("meanforce", "jax", "jaxlib", "equinox", "numpy", "scipy", "numba", "MDAnalysis", "h5py", "openmm")


def versions() -> dict[str, str]:
    """The interpreter, the machine and the packages that can change a number."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}, "
             f"{os.cpu_count()} processors"}  # fmt: skip
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def provenance(
    *,
    seeds: Mapping[str, int],
    hashes: Mapping[str, str],
    seconds: Mapping[str, float],
    written: datetime | None = None,
) -> Section:
    """Everything needed to make the same numbers again."""
    written = written or datetime.now(UTC)
    tables = [_table("Versions", "Part", "Version", versions())]
    if seeds:
        tables.append(_table("Seeds", "Step", "Seed", {k: str(v) for k, v in seeds.items()}))
    if hashes:
        tables.append(_table("Hashes of content", "File", "SHA-256", hashes))
    if seconds:
        total = {**seconds, "total": sum(seconds.values())} if len(seconds) > 1 else dict(seconds)
        tables.append(_table("Wall time", "Step", "Time", {k: duration(v) for k, v in total.items()}))
    text = (f"Written on {written.astimezone(UTC):%d %B %Y at %H:%M} UTC.",)
    return Section("Provenance", text, tables=tuple(tables))


def recipe(yaml: str) -> Section:
    """The recipe as it was run, to the letter."""
    return Section("Recipe", ("This file, as it was run, makes the same result again.",), verbatim=yaml)


def facts(title: str, values: Mapping[str, str], text: tuple[str, ...] = (), verbatim: str = "") -> Section:
    """A section of plain facts, such as what `inspect` found in the data."""
    tables = (_table("What the data hold", "Property", "Value", values),) if values else ()
    return Section(title, text, tables=tables, verbatim=verbatim)


def duration(seconds: float) -> str:
    """'0.42 s', '12 s', '3 min 20 s', '2 h 05 min'."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _table(title: str, left: str, right: str, values: Mapping[str, str]) -> Table:
    return Table(title, (left, right), tuple((str(k), str(v)) for k, v in values.items()))
