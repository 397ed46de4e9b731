"""From atoms made here to beads: the whole way, against the exact liquid and a real water run."""

import numpy as np
import pytest

from meanforce.data.mapping import Mapping
from meanforce.data.readers import Atoms
from meanforce.reference.atoms import open_reference
from meanforce.reference.liquids import DiatomicLiquid
from meanforce.reference.openmm import run
from meanforce.reference.recipe import ReferenceRun
from meanforce.reference.water import Water


def joined(mapped):
    batches = list(mapped.batches(7))
    return {name: np.concatenate([getattr(b, name) for b in batches]) for name in ("positions", "forces", "energy")}


def test_molecules_broken_across_the_box_map_to_the_exact_beads():
    liquid = DiatomicLiquid()
    drawn = liquid.draw(20, 300.0, seed=1)
    atoms = Atoms.from_frames(liquid.atom_topology, liquid.atoms(drawn, wrapped=True), constraints="none")
    mapped, beads = joined(Mapping.by_residue(atoms, {"DIA": {"D": "all"}})(atoms)), liquid.beads(drawn)
    images = (mapped["positions"] - beads.positions) / liquid.edge
    np.testing.assert_allclose(images, np.round(images), atol=1e-9)
    np.testing.assert_allclose(mapped["forces"], beads.forces, atol=1e-9)
    np.testing.assert_array_equal(mapped["energy"], beads.energy)


def test_a_water_run_maps_to_centres_of_mass(tmp_path):
    """TIP4P/2005: virtual sites are gone, constraints are known, and nothing warns."""
    pytest.importorskip("openmm")
    recipe = ReferenceRun(
        system=Water(model="tip4p-2005", molecules=27, edge=0.95, cutoff=0.45), temperatures=(300.0,), time=0.4,
        interval=0.1, equilibration=0.2, platform="CPU",
    )  # fmt: skip
    atoms = open_reference(run(recipe, tmp_path / "water.h5", threads=1))
    assert len(atoms.constraints) == 81
    mapped = joined(Mapping.by_residue(atoms, {"HOH": {"W": "all"}})(atoms))
    frames = next(iter(atoms.batches(4)))
    weights = atoms.topology.masses[:3] / atoms.topology.masses[:3].sum()
    centres = np.einsum("fmad,a->fmd", frames.positions.reshape(4, 27, 3, 3), weights)
    np.testing.assert_allclose(mapped["positions"], centres, atol=1e-6)
    np.testing.assert_allclose(mapped["forces"], frames.forces.reshape(4, 27, 3, 3).sum(axis=2), atol=1e-2)
    # the forces are of pairs of molecules: they add up to nothing, up to the mesh of the Ewald sum
    assert np.abs(mapped["forces"].sum(axis=1)).max() < 0.05 * np.abs(mapped["forces"]).max()
