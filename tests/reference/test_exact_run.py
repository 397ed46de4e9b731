"""Data sets of exactly solvable liquids: stopped and resumed, they are the same."""

import numpy as np
import pytest

from meanforce.data.dataset import Dataset
from meanforce.data.mapping import Mapping
from meanforce.frames import Frames
from meanforce.reference import exact_run
from meanforce.reference.atoms import open_reference
from meanforce.reference.exact_run import ExactRun, run


@pytest.mark.parametrize("system", ["diatomic", "two-state"])
def test_a_stopped_draw_continues_to_the_same_data(tmp_path, monkeypatch, system):
    monkeypatch.setattr(exact_run, "_FRAMES_AT_ONCE", 20)
    monkeypatch.setattr(exact_run, "_CHAINS", 1)
    recipe = ExactRun(system=system, molecules=64, temperatures=(280.0, 320.0), frames=30, seed=4)

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
    np.testing.assert_array_equal(whole[:].temperature, np.repeat([280.0, 320.0], 30))
    np.testing.assert_allclose(whole[:].local_energy.sum(1), whole[:].energy, atol=1e-3)


def test_atoms_can_be_mapped_with_the_energies_of_their_molecules(tmp_path):
    recipe = ExactRun(frames=30, seed=4)
    atoms = open_reference(run(recipe, tmp_path / "atoms.h5"))
    assert len(atoms) == 30 and atoms.constraints.shape == (0, 2)
    mapped = Mapping.by_residue(atoms, {"DIA": {"M": "all"}})(atoms)
    frames = Frames.concatenate(list(mapped.batches(30)))
    stiff = recipe.liquid.stiffness(frames.positions)
    bonds = np.diff(Dataset.open(tmp_path / "atoms.h5")[:].positions.reshape(30, 64, 2, 3), axis=2)[:, :, 0]
    pairs = recipe.liquid._sums(frames.positions, 0.0).potential
    np.testing.assert_allclose(frames.local_energy, pairs + 0.5 * stiff * (bonds**2).sum(-1), atol=1e-3)


def test_beads_of_two_states_have_the_labels_of_the_exact_answer(tmp_path):
    """No atoms are left to map; <U> and <f> at fixed beads are the closed form's, within three standard errors."""
    recipe = ExactRun(system="two-state", frames=200, seed=5)
    data = Dataset.open(run(recipe, tmp_path / "liquid.h5"))
    liquid, frames = recipe.liquid, data[:]
    assert data.topology == liquid.topology and recipe.of_beads
    rest = frames.energy - liquid.energy(frames.positions, 300.0)
    assert abs(rest.mean()) < 3 * rest.std() / 200**0.5
    noise = frames.forces - liquid.force(frames.positions, 300.0)
    assert np.mean(noise**2) == pytest.approx(liquid.noise_floor(frames.positions, 300.0), rel=0.05)
    with pytest.raises(ValueError, match="was not made by a reference run"):
        open_reference(tmp_path / "liquid.h5")


def test_atoms_have_the_energy_of_the_temperature(tmp_path):
    """<U> = <sum v> + (3/2) N kT holds for the stored frames, within three standard errors."""
    recipe = ExactRun(frames=200, seed=5)
    frames = Dataset.open(run(recipe, tmp_path / "liquid.h5"))[:]
    liquid = recipe.liquid
    centres = frames.positions.reshape(200, -1, 2, 3).mean(axis=2)
    rest = frames.energy - liquid.energy(centres, 300.0)
    assert abs(rest.mean()) < 3 * rest.std() / 200**0.5
