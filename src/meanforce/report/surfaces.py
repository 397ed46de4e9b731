"""The section on a free-energy surface: the atoms' and every model's, side by side, and judged."""

from __future__ import annotations

from collections.abc import Sequence

from meanforce.observables.surface import Surface, surface_error
from meanforce.report import verdicts
from meanforce.report.figures import maps
from meanforce.report.sections import Section

_CAPTION = (
    "Free energy over two dihedrals, each surface above its own minimum; white where it is higher than 6 kT or was "
    "never visited."
)


def surfaces(reference: Surface, models: Sequence[tuple[str, Surface]], names: str = "φ, ψ") -> Section:
    """The first of the models is the one judged; the others stand beside."""
    judged = tuple(
        verdicts.judge_surface(
            verdicts.SURFACE, surface_error(surface, reference), name, f"free-energy surface {names}"
        )
        for name, surface in models
    )
    panels = [("atoms", reference.free_energy), *((name, surface.free_energy) for name, surface in models)]
    title = f"Free-energy surface {names}"
    figure = maps(panels, reference.axis, reference.labels, title, _CAPTION)
    return Section("Free-energy surface", figures=(figure,), verdicts=judged)
