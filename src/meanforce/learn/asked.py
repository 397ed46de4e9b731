"""What every way of learning checks before the work and writes down after it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from meanforce.model import Model
from meanforce.objectives.base import Composite, Objective, Quadratic
from meanforce.potentials.base import Potential
from meanforce.topology import Topology

_KINDS = ("bead types", "bonds", "angles", "dihedrals", "impropers")


def quadratic(potential: Potential, objectives: Sequence[Objective | Composite]) -> list[Quadratic]:
    """The objectives, checked; what is no least-squares objective is refused before the data are read."""
    if not objectives:
        raise ValueError("fit needs at least one objective, such as mf.ForceMatching(data)")
    accepted: list[Quadratic] = []
    each = (o.parts if isinstance(o, Composite) else (o,) for o in objectives)
    for objective in chain.from_iterable(each):
        if not isinstance(objective, Quadratic):
            raise ValueError(
                f"fit: {type(objective).__name__} is no quadratic objective (see meanforce.objectives.base.Quadratic); "
                "this release fits least squares, such as ForceMatching and PressureMatching"
            )
        accepted.append(objective)
    for objective in accepted:
        objective.check(potential)
    return accepted


def common_topology(objectives: Sequence[Quadratic]) -> Topology:
    """The topology of the first data set; the others have as many molecules as they like, of the same kinds.

    Parameters stand in the order of the kinds of beads, bonds, angles and dihedrals: other kinds would be taken for
    them without a word.
    """
    first = objectives[0].data.topology
    for objective in objectives[1:]:
        other = objective.data.topology
        for name, (ours, theirs) in {k: (_kinds(first, k), _kinds(other, k)) for k in _KINDS}.items():
            if ours != theirs:
                raise ValueError(
                    f"the data sets of {type(objectives[0]).__name__} and {type(objective).__name__} have different "
                    f"{name} ({', '.join(ours) or 'none'}; {', '.join(theirs) or 'none'}): one model needs one set. "
                    "Numbers of molecules may differ, their kinds may not; fit the others apart"
                )
    return first


def _kinds(topology: Topology, name: str) -> tuple[str, ...]:
    return topology.types if name == "bead types" else tuple("-".join(kind) for kind in topology.kinds(name))


def temperatures_of(objectives: Sequence[Quadratic]) -> list[float]:
    return sorted({state.temperature for objective in objectives for state in objective.states})


def model_of(potential: Potential, known: Model | None, objectives: Sequence[Quadratic], notes: Sequence[str]) -> Model:
    """The fitted potential with where it came from."""
    temperatures = temperatures_of(objectives)
    compromise = []
    if len(temperatures) > 1 and not potential.depends_on_temperature:
        kelvin = ", ".join(f"{t:g}" for t in temperatures)
        compromise = [f"the potential does not depend on temperature; it is a compromise between {kelvin} K"]
    return Model(
        potential=potential,
        topology=common_topology(objectives),
        mapping=objectives[0].data.provenance.get("mapping") if known is None else known.mapping,
        temperature=(temperatures[0], temperatures[-1]) if temperatures else None,
        data=tuple(dict.fromkeys(objective.data.hash for objective in objectives)),
        notes=(*notes, *compromise),
    )


def named(objectives: Sequence[Quadratic]) -> str:
    """The objectives with their weights, for notes."""
    return " + ".join(type(o).__name__ + ("" if o.weight == 1 else f" x {o.weight:g}") for o in objectives)
