"""The motion of a recipe's beads: over which times diffusion is read, in the atoms and in the model alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from meanforce import units
from meanforce.data.dataset import Dataset
from meanforce.ensemble import Ensemble
from meanforce.learn.friction import Friction
from meanforce.material import among, beads
from meanforce.numerics.neighbours import smallest_height
from meanforce.observables.base import Curve
from meanforce.observables.transport import PIECES, Diffusion, diffusion, msd
from meanforce.recipe import Recipe, RecipeError
from meanforce.report.motion import Motion
from meanforce.runfolder import RunFolder
from meanforce.stages import MatchFriction

#: Diffusion begins when molecules have moved by this part of the distance between them, root-mean-square ...
_CAGE = 0.5
#: ... and after this many times the memory of a velocity; it is read up to twice that time.
_MEMORIES = 5.0
_SPAN = 2.0
#: Between frames beads move by this part of the box at most, root-mean-square along each axis.
_STEP = 0.12
_EDGE = 1e-3  # relative; a window includes the lags at its ends


def diffusion_of_atoms(recipe: Recipe, folder: RunFolder, kelvin: float) -> Diffusion:
    """That of the mapped atoms at `kelvin` over the window of the recipe, or over one that suits them."""
    asked, options, data = recipe.simulate.friction, recipe.simulate, beads(recipe, folder)
    assert isinstance(asked, MatchFriction)
    if not among(kelvin, data):
        there = ", ".join(f"{t:g}" for t in data.temperatures) or "no known temperature"
        raise RecipeError(
            f"simulate.friction: there are no atoms at {kelvin:g} K to match; there are some at {there} K"
        )
    atoms = data.select(temperature=kelvin)
    longest = longest_lag(min(options.time, 0.8 * (asked.time or options.time)), options.save_every)
    try:
        curve = msd(atoms)
        _refuse_rare(curve, atoms, options.save_every)
        if asked.window is not None and asked.window[1] > longest * (1 + _EDGE):
            raise ValueError(f"the window ends at {asked.window[1]:g} ps, and chains of the model have lags up to "
                             f"{longest:.3g} ps; give an earlier window or a longer time")  # fmt: skip
        return diffusion(atoms, window=asked.window or window(curve, atoms, options.save_every, longest))
    except ValueError as error:
        raise RecipeError(f"simulate.friction: the motion at {kelvin:g} K cannot be followed: {error}") from None


def check_motion(recipe: Recipe, folder: RunFolder) -> None:
    """Refuses atoms whose motion cannot be followed where friction is to be matched, before the long work."""
    if isinstance(recipe.simulate.friction, MatchFriction):
        for kelvin in recipe.simulate.friction.match:
            diffusion_of_atoms(recipe, folder, kelvin)


def longest_lag(time: float, interval: float) -> float:
    """The longest time lag (ps) of a chain of `time` ps with a frame each `interval` ps."""
    return max(0, round(time / interval) // PIECES // 2 - 1) * interval


def window(curve: Curve, atoms: Dataset, interval: float, longest: float) -> tuple[float, float]:
    """The times (ps) at which beads of this mean-square displacement diffuse, or the longest that there are.

    Molecules have then left their cage, and the memory of their velocity lies far behind. The model, with a frame each
    `interval` ps, has lags up to `longest`; two of both are in the window.
    """
    time, square, box = curve.axis[1:], curve.value[1:], atoms[0].box
    molecules, longest = int(atoms.topology.molecules.max()) + 1, min(longest, float(time[-1]))
    apart = np.inf if box is None else float(np.cbrt(np.linalg.det(np.asarray(box[0], float)) / molecules))
    pace = units.KB * atoms.temperatures[0] * float((1 / atoms.topology.masses).mean())  # kT/m, nm^2/ps^2
    diffuses = (square > (_CAGE * apart) ** 2) & (_MEMORIES * square / (6 * pace * time) < time)
    begin = min(float(time[np.argmax(diffuses)]) if diffuses.any() else np.inf, longest / _SPAN)
    spacing = max(interval, float(time[0]))
    end = min(max(_SPAN * begin, begin + 2 * spacing), longest)
    if end - begin < spacing * (1 - _EDGE):
        raise ValueError(
            f"chains with lags up to {longest:.3g} ps and a frame each {spacing:.3g} ps show no slope of the "
            "mean-square displacement; give a longer time, or store frames more often"
        )
    return begin * (1 - _EDGE), end * (1 + _EDGE)


def motion(
    recipe: Recipe, folder: RunFolder, sampled: Sequence[tuple[float, Ensemble]], note: Callable[[str], None]
) -> tuple[Motion, ...]:
    """Diffusion of the model beside that of the atoms at every temperature where both can be followed."""
    if not isinstance(recipe.simulate.friction, MatchFriction):
        return ()
    friction, data, found = read(folder), beads(recipe, folder), []
    for kelvin, ensemble in sampled:
        if not among(kelvin, data):
            continue
        try:
            atoms = diffusion_of_atoms(recipe, folder, kelvin)
            model = diffusion(ensemble, window=atoms.window).coefficient
        except ValueError as error:
            note(f"Diffusion at {kelvin:g} K is not in the report: {error}")
            continue
        owed = friction.uncertainty(model, ensemble.topology.masses, kelvin)
        model = model._replace(error=float(np.hypot(model.error, owed)))
        matched = any(np.isclose(kelvin, match.kelvin, rtol=1e-6) for match in friction.matches)
        found.append(Motion(kelvin, model, atoms.coefficient, matched, friction.at(kelvin), atoms.window))
    return tuple(found)


def read(folder: RunFolder) -> Friction:
    """The friction that was matched."""
    if not folder.friction.exists():
        raise RecipeError(f"no friction has been matched yet in {folder.path}; begin with `meanforce simulate`")
    return Friction.from_json(folder.friction.read_text("utf-8"))


def _refuse_rare(curve: Curve, atoms: Dataset, interval: float) -> None:
    """The model moves like the atoms: their path must be seen through its frames, too."""
    box = atoms[0].box
    if box is None or interval > curve.axis[-1]:
        return
    step = float(np.sqrt(np.interp(interval, curve.axis, curve.value) / 3)) / smallest_height(np.asarray(box, float))
    if step > _STEP:
        raise ValueError(
            f"beads move {step:.2g} of the box along each axis in {interval:g} ps; give simulate: {{save_every: ...}} "
            "less, so that their paths can be followed"
        )
