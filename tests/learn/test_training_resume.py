"""A training run that is stopped and gone on with is the run that was not: bit by bit."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from networks import TOPOLOGY, WALL, data_of, growing, network

from meanforce.learn import Outcome, Training, batches, fit
from meanforce.learn.checkpoint import CheckpointError, _opened
from meanforce.model import Model
from meanforce.objectives.matching import ForceMatching, PressureMatching

OPTIONS = Training(epochs=4, batch=4, learning_rate=1e-2, checkpoint_every=0.0, ema=0.9)


class Interrupted(Exception):
    pass


def objectives(weight=0.5):
    data = data_of(frames=22, noise=5.0)
    return [ForceMatching(data), PressureMatching(data, weight=weight)]


def go(training, stop_at=None, potential=None, wanted=None):
    def progress(part):
        if stop_at is not None and part >= stop_at:
            raise Interrupted

    return fit(
        network() if potential is None else potential, wanted or objectives(), training=training, progress=progress
    )


@cache
def undisturbed():
    return go(OPTIONS)


def assert_same(found, whole):
    for new, old in zip(*(jax.tree.leaves(f.model.potential) for f in (found, whole)), strict=True):
        assert np.array_equal(new, old)
    clockless = lambda fit: [point._replace(seconds=0.0) for point in fit.history.points]
    assert repr(clockless(found)) == repr(clockless(whole))
    assert found.history.scores == whole.history.scores or repr(found.history.scores) == repr(whole.history.scores)
    assert found.outcome is whole.outcome


@pytest.mark.parametrize("stop_at", [0.3, 0.5], ids=["within an epoch", "between two"])
def test_a_resumed_run_is_the_same_bit_by_bit(tmp_path, stop_at):
    kept = replace(OPTIONS, checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(Interrupted):
        go(kept, stop_at)
    with pytest.raises(CheckpointError, match="go on with it by resume=True"):
        go(kept)
    again = go(replace(kept, resume=True))
    assert_same(again, undisturbed())
    assert again.history.seconds > 0
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_finished_run_is_read_and_not_run_again(tmp_path):
    kept = replace(OPTIONS, checkpoint=tmp_path / "run.ckpt", checkpoint_every=1e6)
    first = go(kept)
    assert first.outcome is Outcome.TRAINED
    again = go(replace(kept, resume=True), stop_at=0.0)  # a single step would interrupt it
    assert_same(again, first)
    assert again.history.message == first.history.message


def refused(path):
    kept = replace(OPTIONS, checkpoint=path, resume=True)
    data = data_of(frames=22, noise=5.0, seed=1)
    return {
        r"learning_rate=0\.01 there, 0\.02 here": lambda: go(replace(kept, learning_rate=0.02)),
        "epochs=4 there, 8 here": lambda: go(replace(kept, epochs=8)),
        "another potential": lambda: go(kept, potential=network(1)),
        "other data": lambda: go(kept, wanted=[ForceMatching(data), PressureMatching(data, weight=0.5)]),
        "other objectives": lambda: go(kept, wanted=objectives(0.25)),
    }


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path):
    path = tmp_path / "run.ckpt"
    with pytest.raises(Interrupted):
        go(replace(OPTIONS, checkpoint=path), 0.1)
    for message, attempt in refused(path).items():
        with pytest.raises(CheckpointError, match=message):
            attempt()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        go(replace(OPTIONS, checkpoint=path, resume=True))
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="damaged"):
        go(replace(OPTIONS, checkpoint=path, resume=True))
    Model(WALL, TOPOLOGY).save(path)
    with pytest.raises(CheckpointError, match="no checkpoint of a training run"):
        go(replace(OPTIONS, checkpoint=path, resume=True))


def test_the_interval_of_checkpoints_is_kept(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "meanforce.learn.checkpoint.write", lambda path, who, state, ledger: written.append(int(state.step))
    )
    go(replace(OPTIONS, checkpoint=tmp_path / "run.ckpt", checkpoint_every=1e6))
    assert written == [20]
    written.clear()
    go(replace(OPTIONS, checkpoint=tmp_path / "run.ckpt"))
    assert written == list(range(1, 21))


CHILD = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[1])
    from dataclasses import replace
    import test_training_resume as runs

    def tell(part):
        print(round(part * 20), flush=True)

    kept = replace(runs.OPTIONS, checkpoint=sys.argv[2], resume=True)
    runs.fit(runs.network(), runs.objectives(), training=kept, progress=tell)
    """
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_loses_no_step_that_was_kept(tmp_path):
    """SIGKILL to a real process, in two lives; what it told of as done is on the disk."""
    path = tmp_path / "run.ckpt"
    for die_at in (3, 11):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(path)], stdout=subprocess.PIPE, text=True
        ) as child:
            told = 0
            for line in child.stdout:
                told = int(line)
                if told >= die_at:
                    os.kill(child.pid, signal.SIGKILL)
                    break
        assert child.returncode == -signal.SIGKILL
        told_on_disk, arrays = _opened(path)
        assert told_on_disk["outcome"] is None
        assert any(a.dtype == np.int32 and a.ndim == 0 and told <= a < 20 for a in arrays.values())
    assert_same(go(replace(OPTIONS, checkpoint=path, resume=True)), undisturbed())


def test_other_devices_may_go_on_with_a_run():
    binding = OPTIONS.binding()
    assert "devices" not in binding
    assert "checkpoint" not in binding
    assert binding["learning_rate"] == 1e-2


def test_rows_that_have_grown_are_part_of_the_checkpoint(tmp_path, monkeypatch):
    """The length of rows decides how sums are rounded: a resumed run has the rows it was left with."""
    look = batches.look
    monkeypatch.setattr(batches, "look", lambda *a: look(*a)._replace(rooms=((8,),)))
    options = Training(epochs=2, batch=2, learning_rate=1e-2, validation=0.2, seed=2, checkpoint_every=0.0)
    wanted = [ForceMatching(growing())]
    kept = replace(options, checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(Interrupted):
        go(kept, 0.7, wanted=wanted)
    told, _ = _opened(tmp_path / "run.ckpt")
    assert told["rooms"] == told["judged_rooms"] == [[13]]  # every other bead of the frame
    again = go(replace(kept, resume=True), wanted=wanted)
    assert again.history.compilations == 2
    assert_same(again, go(options, wanted=wanted))
