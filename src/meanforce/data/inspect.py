"""A look at a data set before anything is learned from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from meanforce.data import pairs, sumrules
from meanforce.data.dataset import Dataset
from meanforce.data.equilibration import RunReport, judge_run
from meanforce.data.inspection import ForceScale, Inspection, Range, TemperatureCheck
from meanforce.data.noise import noise_floor
from meanforce.frames import Frames
from meanforce.numerics.neighbours import smallest_height
from meanforce.numerics.statistics import weighted_mean
from meanforce.topology import Topology
from meanforce.units import KB

_DENSITY = 1.66053906660e-3  # g/cm^3 for 1 u/nm^3
_MEMORY = 400e6  # bytes of positions and forces held at once
_PAIR_BEADS = 20_000  # beads whose pairs are held at once
_ENOUGH = 20  # frames for an average with an error
_REACH = 2.4  # nearest-neighbour distances out to which pairs are looked at


def inspect(
    data: Dataset,
    *,
    model_error: float | None = None,
    replicas: Dataset | None = None,
    frames: int = 500,
) -> Inspection:
    """Looks through a data set: ranges, units, temperature, equilibration, and the noise floor of its forces.

    `model_error` is the root-mean-square force error (one component, kJ/(mol nm)) of a model on frames held out from
    its training; it lowers the upper end of the noise floor. `replicas` is a data set of repeated configurations
    with independent labels, which give the floor itself. At most `frames` frames, evenly spread, are looked at in
    detail; energies are read throughout.
    """
    rows = _spread(data, frames)
    sample = data[rows]
    few = sample[:: max(1, len(sample) // 10)]
    nearest = pairs.nearest_distance(few)
    cutoff = _cutoff(sumrules.of_molecules(few, data.topology))
    chain = _chain(data)[rows]
    forces = None if sample.forces is None else _force_scale(sample, data.topology, chain)
    checks = _temperature_checks(sample, data.topology, chain)
    runs = _runs(data, sample, chain)
    floor = None
    if sample.forces is not None:
        floor = noise_floor(data, cutoff=cutoff, model_error=model_error, replicas=replicas)
    edges, density = _box(sample, data.topology)
    found = Inspection(
        frames=len(data),
        particles=len(data.topology),
        molecules=len(np.unique(data.topology.molecules)),
        species=dict(sorted(Counter(data.topology.species).items())),
        labels=data.labels(),
        temperatures=data.temperatures,
        edges=edges,
        density=density,
        nearest=nearest,
        ranges=(*_pair_ranges(sample, data.topology, cutoff), *_bonded_ranges(sample, data.topology)),
        forces=forces,
        temperature_checks=checks,
        runs=runs,
        floor=floor,
        warnings=(),
        hash=data.hash,
    )
    return _with_warnings(found, model_error)


def _spread(data: Dataset, wanted: int) -> Int[np.ndarray, "rows"]:
    fitting = int(_MEMORY / (48 * len(data.topology)))
    count = max(1, min(len(data), wanted, fitting))
    return np.unique(np.linspace(0, len(data) - 1, count).round().astype(int))


def _cutoff(units: Frames) -> float | None:
    """How far pairs are looked at: two shells of molecules (of beads in a single one), and no bead twice."""
    few = units[:: max(1, len(units) // 10)]
    reach = _REACH * pairs.nearest_distance(few)
    if units.box is not None:
        reach = min(reach, 0.5 * smallest_height(np.asarray(units.box, float)))
    return reach if np.isfinite(reach) else None


def _box(frames: Frames, topology: Topology) -> tuple[tuple[float, float, float] | None, float | None]:
    if frames.box is None:
        return None, None
    edges = np.linalg.norm(frames.box, axis=2).mean(axis=0)
    density = topology.masses.sum() * _DENSITY / np.linalg.det(frames.box).mean()
    return (float(edges[0]), float(edges[1]), float(edges[2])), float(density)


def _force_scale(frames: Frames, topology: Topology, chain: Int[np.ndarray, "frames"]) -> ForceScale:
    forces = np.asarray(frames.forces, float)
    square = (forces**2).mean(axis=(0, 2))
    rms = float(np.sqrt(square.mean()))
    species = np.array(topology.species)
    net = forces.sum(axis=1)
    scale = np.sqrt(square.sum())
    errors = 0.0
    # A sum that vanishes by construction leaves rounding, which is no statistic.
    if len(net) >= _ENOUGH and np.abs(net).max() > 1e-3 * scale:
        estimate = weighted_mean(net, chain=chain)
        errors = float((np.abs(estimate.mean) / np.maximum(estimate.error, 1e-9 * scale)).max())
    kelvin = None if frames.temperature is None else float(frames.temperature.mean())
    return ForceScale(
        rms=rms,
        by_species={name: float(np.sqrt(square[species == name].mean())) for name in topology.types},
        thermal_length=KB * kelvin / rms if kelvin and rms > 0 else None,
        net=float(np.sqrt((net**2).mean()) / scale) if scale > 0 else 0.0,
        net_mean=errors,
    )


def _temperature_checks(
    frames: Frames, topology: Topology, chain: Int[np.ndarray, "frames"]
) -> tuple[TemperatureCheck, ...]:
    """The relation of Yvon, Born and Green at every temperature in the data."""
    if frames.forces is None or frames.temperature is None:
        return ()
    units = sumrules.of_molecules(frames, topology)
    cutoff = _cutoff(units)
    if cutoff is None and frames.box is not None:
        return ()
    checks = []
    for stated in np.unique(frames.temperature):
        here = frames.temperature == stated
        part = units[here]
        sums = sumrules.confined_field(part) if cutoff is None else sumrules.pair_field(part, cutoff)
        if len(part) < _ENOUGH or sums.divergence.mean() == 0:
            continue
        measured = weighted_mean(sumrules.temperature_of(sums), chain=chain[here])
        check = TemperatureCheck(float(stated), float(measured.mean), float(measured.error))
        remark = "" if check.consistent else sumrules.suspicion(check.measured / check.stated)
        checks.append(replace(check, remark=remark))
    return tuple(checks)


def _chain(data: Dataset) -> Int[np.ndarray, "frames"]:
    """The number of the run each frame belongs to."""
    chain = np.empty(len(data), int)
    for number, run in enumerate(data.runs()):
        chain[run] = number
    return chain


def _runs(data: Dataset, sample: Frames, chain: Int[np.ndarray, "frames"]) -> tuple[RunReport, ...]:
    """Every run of the data by its energy; without energies by the square of its forces, in the frames looked at."""
    energy = data.column("energy")
    reports = []
    for number, run in enumerate(data.runs()):
        if energy is not None:
            reports.append(judge_run(energy[run], number, "energy"))
        elif sample.forces is not None:
            squares = (np.asarray(sample.forces[chain == number], float) ** 2).mean(axis=(1, 2))
            if len(squares):
                reports.append(judge_run(squares, number, "square of forces"))
    return tuple(reports)


def _pair_ranges(frames: Frames, topology: Topology, cutoff: float | None) -> list[Range]:
    """Pairs between molecules, and non-bonded pairs within, by the species of their ends."""
    if cutoff is None:
        return []
    n, kinds = len(topology), len(topology.types)
    bonded = topology.excluded @ np.array([n, 1])
    species = topology.species_index.astype(int)
    low, high = np.full(kinds * kinds, np.inf), np.zeros(kinds * kinds)
    total, count = np.zeros(kinds * kinds), np.zeros(kinds * kinds, int)
    step = max(1, _PAIR_BEADS // n)
    for first in range(0, len(frames), step):
        found = pairs.find_pairs(frames[first : first + step], cutoff)
        one, two = found.first % n, found.second % n
        free = ~np.isin(np.minimum(one, two) * n + np.maximum(one, two), bonded) if len(bonded) else slice(None)
        key = (np.minimum(species[one], species[two]) * kinds + np.maximum(species[one], species[two]))[free]
        distance = found.distance[free]
        np.minimum.at(low, key, distance)
        np.maximum.at(high, key, distance)
        total += np.bincount(key, distance, len(total))
        count += np.bincount(key, minlength=len(count))
    return [
        Range(
            f"pair {topology.types[k // kinds]}-{topology.types[k % kinds]}", "nm",
            float(low[k]), float(total[k] / count[k]), float(high[k]), int(count[k]) // 2,
        )
        for k in np.flatnonzero(count)
    ]  # fmt: skip


def _bonded_ranges(frames: Frames, topology: Topology) -> list[Range]:
    measures = {
        "bonds": (pairs.bond_lengths, "nm"),
        "angles": (pairs.bond_angles, "deg"),
        "dihedrals": (pairs.dihedral_angles, "deg"),
        "impropers": (pairs.dihedral_angles, "deg"),
    }
    ranges = []
    for name, (measure, unit) in measures.items():
        terms = getattr(topology, name)
        if not len(terms):
            continue
        values, index = measure(frames, terms), topology.kind_index(name)
        for k, kind in enumerate(topology.kinds(name)):
            ranges.append(_range(f"{name[:-1]} {'-'.join(kind)}", unit, values[:, index == k]))
    return ranges


def _range(name: str, unit: str, values: np.ndarray) -> Range:
    return Range(name, unit, float(values.min()), float(values.mean()), float(values.max()), values.size)


def _with_warnings(found: Inspection, model_error: float | None) -> Inspection:
    return replace(found, warnings=tuple(_warnings(found, model_error)))


def _warnings(found: Inspection, model_error: float | None):
    """What a user should look into before training, in plain words."""
    yield from _unit_warnings(found)
    if not found.temperatures:
        yield "the temperature is not stated: give temperature= when the data set is made"
    if found.forces is None:
        yield "there are no forces: force matching cannot use these data"
    for check in found.temperature_checks:
        if not check.consistent:
            yield (
                f"forces and configurations belong to {check.measured:.1f} ± {check.error:.1f} K, "
                f"not to the stated {check.stated:g} K: {check.remark}"
            )
    if found.forces is not None and found.forces.net_mean > 5:
        yield f"the mean net force is {found.forces.net_mean:.1f} standard errors from zero: is there an outer field?"
    for run in found.runs:
        if run.drifts:
            yield f"run {run.run} drifts: its {run.quantity} changes by {run.drift:.3g} ± {run.drift_error:.2g}"
        if run.late and not run.drifts:
            yield f"run {run.run} is not equilibrated before frame {run.start}: leave these frames out"
        if run.independent < 20:
            yield f"run {run.run} holds only {run.independent:.0f} independent frames: simulate for longer"
    if found.floor is not None and model_error is not None and model_error < 0.98 * found.floor.rms[0]:
        yield (
            f"the model's error of {model_error:.4g} kJ/(mol nm) lies below the noise floor of "
            f"{found.floor.rms[0]:.4g}: it was measured on training frames, or on other forces"
        )


def _unit_warnings(found: Inspection):
    if 1.1 < found.nearest < np.inf:
        yield (
            f"nearest neighbours are {found.nearest:.3g} nm apart, ten times too far for molecules: "
            "were positions in angstrom read as nm?"
        )
    if found.nearest < 0.05:
        yield f"nearest neighbours are {found.nearest:.3g} nm apart, closer than any atoms: were nm read as angstrom?"
    if found.density is not None and found.density > 25:
        yield f"the density is {found.density:.3g} g/cm^3, more than any matter has: check box and positions"
    length, rms = (None, 0.0) if found.forces is None else (found.forces.thermal_length, found.forces.rms)
    if length is not None and not 1e-4 < length < 1.0:
        yield (
            f"a typical force of {rms:.3g} kJ/(mol nm) stands against kT over {length:.2g} nm, where "
            "molecules have 0.001 to 0.3: check the units of the forces"
        )
