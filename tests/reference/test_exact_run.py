"""The data set of the exactly solvable liquid: stopped and resumed, it is the same."""

import numpy as np
import pytest

from meanforce.data.dataset import Dataset
from meanforce.reference.atoms import open_reference
from meanforce.reference.exact_run import ExactRun, run


def test_a_stopped_draw_continues_to_the_same_data(tmp_path):
    recipe = ExactRun(molecules=64, temperatures=(280.0, 320.0), frames=150, seed=4)

    class Stop(Exception):
        pass

    def stop(fraction):
        if fraction > 0.4:
            raise Stop

    with pytest.raises(Stop):
        run(recipe, tmp_path / "stopped.h5", progress=stop)
    seen = []
    stopped = Dataset.open(run(recipe, tmp_path / "stopped.h5", resume=True, progress=seen.append))
    whole = Dataset.open(run(recipe, tmp_path / "whole.h5"))
    assert stopped.hash == whole.hash
    assert seen == sorted(seen)
    assert seen[-1] == 1
    np.testing.assert_array_equal(whole[:].temperature, np.repeat([280.0, 320.0], 150))
    atoms = open_reference(tmp_path / "whole.h5")
    assert len(atoms) == 300
    assert atoms.constraints.shape == (0, 2)


def test_atoms_have_the_energy_of_the_temperature(tmp_path):
    """<U> = <sum v> + (3/2) N kT holds for the stored frames, within three standard errors."""
    recipe = ExactRun(frames=200, seed=5)
    frames = Dataset.open(run(recipe, tmp_path / "liquid.h5"))[:]
    liquid = recipe.liquid
    centres = frames.positions.reshape(200, -1, 2, 3).mean(axis=2)
    rest = frames.energy - liquid.energy(centres, 300.0)
    assert abs(rest.mean()) < 3 * rest.std() / 200**0.5
