"""Frames divided among devices: the same curve as on one, on devices that XLA makes out of one processor."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

CHILD = textwrap.dedent(
    """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    import jax, numpy as np
    from networks import WALL, PAIR, data_of, network
    from meanforce.learn import Training, fit
    from meanforce.objectives.matching import ForceMatching, PressureMatching
    from meanforce.potentials.sums import Sum

    data = data_of(Sum((PAIR, WALL)), frames=22, noise=5.0, weights=1.0 + np.arange(22) % 3)
    wanted = [ForceMatching(data), PressureMatching(data, weight=0.5)]

    def go(**options):
        found = fit(Sum((network(), WALL)), wanted, training=Training(batch=8, learning_rate=1e-2, ema=0.9, **options))
        leaf = jax.tree.leaves(found.model.potential)[0]
        return {
            "held_out": [p.held_out for p in found.history.points],
            "training": [p.training for p in found.history.points[1:]],
            "norm": [p.gradient_norm for p in found.history.points[1:]],
            "scores": [[s.held_out, s.training] for s in found.history.scores],
            "weights": np.asarray(leaf).ravel().tolist(),
            "compilations": found.history.compilations,
        }

    path = sys.argv[2]
    stopped = dict(epochs=4, checkpoint=path, checkpoint_every=0.0)

    class Stop(Exception): pass

    def stop(part):
        if part > 0.4:
            raise Stop

    try:
        fit(Sum((network(), WALL)), wanted, progress=stop,
            training=Training(batch=8, learning_rate=1e-2, ema=0.9, devices=4, **stopped))
    except Stop:
        pass
    print(json.dumps([
        jax.device_count(), go(epochs=4), go(epochs=4, devices=4), go(devices=2, resume=True, **stopped),
        go(epochs=4, precision="double"), go(epochs=4, devices=4, precision="double"),
    ]))
    """
)


def test_four_devices_learn_what_one_learns(tmp_path):
    """The last batch of an epoch is short: some devices then have frames of no weight only."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD, str(Path(__file__).parent), str(tmp_path / "run.ckpt")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    count, one, four, moved, exact, divided = json.loads(done.stdout)
    assert count == 4
    for name in ("held_out", "training", "norm", "scores"):
        assert np.allclose(one[name], four[name], rtol=2e-5), name
        assert np.allclose(one[name], moved[name], rtol=2e-5), name
        assert np.allclose(exact[name], divided[name], rtol=1e-11), name
    assert np.allclose(exact["weights"], divided["weights"], rtol=1e-9)
    assert one["compilations"] == four["compilations"] == 2
