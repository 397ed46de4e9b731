"""Several networks trained side by side: each as if it were alone, together a committee."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from networks import KELVIN, PAIR, TOPOLOGY, WALL, data_of, network

import meanforce.thermodynamics as thermo
from meanforce.data.dataset import Dataset
from meanforce.graph import build
from meanforce.learn import Spread, Training, batches, fit, gradient, trainable
from meanforce.model import Model
from meanforce.objectives.matching import ForceMatching, PressureMatching
from meanforce.potentials import dimenet, equivariant, hipnn, local
from meanforce.potentials.committee import Committee
from meanforce.potentials.dimenet import DimeNet
from meanforce.potentials.equivariant import Equivariant
from meanforce.potentials.hipnn import HipNN
from meanforce.potentials.local import LocalNetwork
from meanforce.potentials.registry import from_header, to_header
from meanforce.potentials.sums import Sum

START = Sum((network(), WALL))
OPTIONS = Training(epochs=3, batch=4, learning_rate=1e-2, precision="double", members=3, ema=0.9)


@cache
def data():
    return data_of(Sum((PAIR, WALL)), frames=22, noise=5.0)


def go(training, start=START, **options):
    wanted = [ForceMatching(data()), PressureMatching(data(), weight=0.5)]
    return fit(start, wanted, training=training, **options)


@cache
def committee():
    return go(OPTIONS)


def test_each_member_is_trained_as_if_it_were_alone():
    """The first from the weights given, the others from those that their seeds draw; on the same batches."""
    found = committee().model.potential
    assert isinstance(found, Committee)
    seeds = np.random.SeedSequence(OPTIONS.seed).generate_state(3)
    starts = [START, trainable.reinitialised(START, int(seeds[1])), trainable.reinitialised(START, int(seeds[2]))]
    for member, start in zip(found.members[:2], starts[:2], strict=True):
        alone = go(replace(OPTIONS, members=1), start).model.potential
        for one, other in zip(jax.tree.leaves(member), jax.tree.leaves(alone), strict=True):
            assert np.allclose(one, other, rtol=1e-8, atol=1e-10)
    first = [np.asarray(member.terms[0].inner) for member in found.members]
    assert np.abs(first[0] - first[1]).max() > 0.1 < np.abs(first[1] - first[2]).max()


def test_the_committee_is_scored_as_a_whole_and_knows_its_spread():
    found = committee()
    _, held = data().split((0.9, 0.1))
    R, box = held[:].positions, held[:].box
    force = thermo.force(found.model, R, box, temperature=KELVIN)
    each = np.stack(
        [thermo.force(Model(m, TOPOLOGY), R, box, temperature=KELVIN) for m in found.model.potential.members]
    )
    assert np.allclose(force, each.mean(0), atol=1e-9)
    assert found.history.scores[0].held_out == pytest.approx(np.sqrt(np.mean((force - held[:].forces) ** 2)), rel=1e-8)
    assert isinstance(found.posterior, Spread)
    graph = build(held[:], TOPOLOGY, found.model.potential.cutoffs)
    assert np.allclose(found.posterior.force_std(graph), each.std(0, ddof=1).reshape(-1, 3), atol=1e-9)
    assert (np.asarray(found.posterior.energy_std(graph)) > 0).all()
    virials = [thermo.virial(Model(m, TOPOLOGY), R, box, temperature=KELVIN) for m in found.model.potential.members]
    assert np.allclose(found.posterior.virial_std(graph), np.std(virials, axis=0, ddof=1), atol=1e-9)
    drawn = [[m is one for m in found.model.potential.members].index(True) for one in found.posterior.sample(8, seed=1)]
    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2] and len(set(drawn[6:])) == 2
    assert found.posterior.sample(0, seed=1) == []
    assert found.history.compilations == 2


REAL = {
    "local": lambda: LocalNetwork(TOPOLOGY.types, cutoff=0.6, sizes=local.Sizes(4, 2, 2, 2, 2, 4, 1)),
    "dimenet": lambda: DimeNet(TOPOLOGY.types, cutoff=0.6, sizes=dimenet.Sizes(4, 1, 1, 1, 4, 1, 2, 3, 2, 2, 2)),
    "equivariant": lambda: Equivariant(TOPOLOGY.types, cutoff=0.6, sizes=equivariant.Sizes(2, 2, 2, 1, 2, 3, 4)),
    "hipnn": lambda: HipNN(TOPOLOGY.types, cutoff=0.6, sizes=hipnn.Sizes(4, 3, 2, 2, 1)),
}


@pytest.mark.parametrize(
    "name", ["local", *(pytest.param(name, marks=pytest.mark.long) for name in ("dimenet", "equivariant", "hipnn"))]
)
def test_real_networks_make_committees(name):
    """Their own derivatives hold under the map over members; one member is what it is alone."""
    options = replace(OPTIONS, members=2, epochs=1, batch=10)
    start = Sum((PAIR, REAL[name]()))
    found = go(options, start).model.potential
    alone = go(replace(options, members=1), start).model.potential
    for one, other in zip(jax.tree.leaves(found.members[0]), jax.tree.leaves(alone), strict=True):
        assert np.allclose(one, other, rtol=1e-8, atol=1e-10)
    again = from_header(*to_header(found))
    pairs = zip(jax.tree.leaves(again), jax.tree.leaves(found), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_member_learns_from_blocks_drawn_for_it():
    """As if it were alone with weights that count how often each block of three frames was drawn."""
    options = replace(OPTIONS, members=2, bootstrap=6, validation=4 / 22)
    found = fit(START, ForceMatching(data()), training=options)
    task = gradient._task(START, (ForceMatching(data()),), options)
    drawn = batches._weights(task.groups[0], 0, options)
    assert np.array_equal(drawn, np.repeat(drawn[::3], 3, 0)) and np.array_equal(drawn.sum(0), [18, 18])
    assert np.abs(drawn[:, 0] - drawn[:, 1]).max() >= 1 and set(drawn.ravel()) <= set(range(7))
    frames = data()[:]
    second = trainable.reinitialised(START, int(np.random.SeedSequence(options.seed).generate_state(2)[1]))
    for k, start in enumerate((START, second)):
        counted = Dataset.from_arrays(
            TOPOLOGY, positions=frames.positions, forces=frames.forces, box=frames.box, temperature=KELVIN,
            weights=np.append(drawn[:, k], np.ones(4)),
        )  # fmt: skip
        alone = fit(start, ForceMatching(counted), training=replace(options, members=1, bootstrap=0))
        pairs = zip(*map(jax.tree.leaves, (found.model.potential.members[k], alone.model.potential)), strict=True)
        assert all(np.allclose(one, other, rtol=1e-8, atol=1e-10) for one, other in pairs)


def test_a_bootstrap_is_of_members():
    with pytest.raises(ValueError, match="give members= too"):
        Training(bootstrap=10)
    with pytest.raises(ValueError, match="0 or blocks from 2 on"):
        Training(members=2, bootstrap=1)


def test_a_stopped_committee_goes_on_bit_by_bit(tmp_path):
    class Stop(Exception):
        pass

    def stop(part):
        if part > 0.5:
            raise Stop

    drawn = replace(OPTIONS, bootstrap=5)
    kept = replace(drawn, checkpoint=tmp_path / "run.ckpt", checkpoint_every=0.0)
    with pytest.raises(Stop):
        go(kept, progress=stop)
    again = go(replace(kept, resume=True))
    pairs = zip(*(jax.tree.leaves(f.model.potential) for f in (again, go(drawn))), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_committee_is_not_trained_as_a_whole():
    with pytest.raises(ValueError, match="not trained as a whole"):
        go(OPTIONS, committee().model)
