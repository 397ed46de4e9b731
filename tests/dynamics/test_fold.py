"""At one temperature the heads of a free energy are one potential, and a run is the same as with all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from liquids import MASS, lattice

import meanforce as mf
from meanforce.dynamics import setup
from meanforce.dynamics.run import simulate
from meanforce.dynamics.settings import Settings
from meanforce.dynamics.thermostats import Langevin
from meanforce.potentials.base import holds
from meanforce.potentials.priors import LennardJones
from meanforce.potentials.splines import PairSpline
from meanforce.potentials.thermal import LinearThermal

T = 130.0
TOPOLOGY = mf.Topology.of(["A"] * 27, masses={"A": MASS})


def thermal():
    term = PairSpline(("A",), cutoff=0.7, start=0.2, spacing=0.1)
    draw = np.random.default_rng(0).standard_normal
    heads = tuple(term.with_coefficients(0.05 * draw(term.coefficients.shape)) for _ in range(3))
    core = LennardJones(("A",), sigma=jnp.array([0.34]), epsilon=jnp.array([0.996]), cutoff=0.7)
    return mf.Sum.of(LinearThermal(heads, 120.0), core)


def task(temperature, replicas=1):
    settings = Settings(replicas=replicas, precision="double")
    return setup.task(
        mf.Model(thermal(), TOPOLOGY), lattice(3), temperature, (0.1, 0.005), 1, Langevin(), None, settings
    )


def test_a_run_at_one_temperature_has_one_head_and_the_same_trajectory(monkeypatch):
    run = lambda: simulate(
        mf.Model(thermal(), TOPOLOGY), lattice(3, 0.6), T, 0.2, 0.005, 1,
        settings=Settings(save_every=0.02, precision="double"),
    ).frames  # fmt: skip
    folded = run()
    monkeypatch.setattr(setup, "folded", lambda potential, temperature: potential)
    whole = run()
    assert np.abs(folded.positions - whole.positions).max() < 1e-12
    assert folded.energy == pytest.approx(whole.energy, rel=1e-12)
    assert not np.array_equal(folded.energy, whole.energy), "folding rounds otherwise: was it done?"


def test_heads_stay_where_temperatures_differ():
    assert not holds(setup.at_work(task(T)), LinearThermal)
    assert not holds(setup.at_work(task(T, replicas=2)), LinearThermal)
    for varying in (mf.Ladder((T, T + 1), every=None), mf.Ladder((T, T + 1), every=0.05), mf.Ramp(T, T + 1)):
        assert holds(setup.at_work(task(varying)), LinearThermal)


def test_folding_reaches_every_depth():
    deep = mf.Sum((mf.Thermal(thermal(), thermal(), reference=300.0), thermal()))
    frozen = setup.folded(deep, T)
    assert not holds(frozen, LinearThermal)
    assert holds(frozen, mf.Thermal)
    assert len(jax.tree.leaves(frozen)) < len(jax.tree.leaves(deep))
    R = lattice(3).positions
    values = [mf.thermodynamics.free_energy(mf.Model(p, TOPOLOGY), R, temperature=T) for p in (deep, frozen)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
