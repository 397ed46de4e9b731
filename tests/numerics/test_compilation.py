"""What is compiled in one session is at hand in the next, and a folder that cannot be used stops nothing."""

import os
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest

from meanforce.numerics.compilation import QUIET_SINCE

QUIET = tuple(map(int, jaxlib.__version__.split(".")[:2])) >= QUIET_SINCE

PROGRAM = """
import jax, jax.numpy as jnp
jax.jit(lambda x: x + 1)(1.0)  # compiled before: it does not settle that nothing is kept
import meanforce.numerics.precision
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("cache_hits")))
jax.jit(lambda x: jnp.sin(x) ** 3 + 17)(jnp.arange(5.0)).block_until_ready()
print(jax.config.jax_compilation_cache_dir, sum(hits))
"""


def session(**environment) -> list[str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("MEANFORCE_CACHE", "JAX_COMPILATION", "XDG_CACHE"))
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], env={**kept, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (QUIET and done.stderr)
    return done.stdout.split()


def test_the_second_session_finds_what_the_first_compiled(tmp_path):
    folder, before = session(MEANFORCE_CACHE=str(tmp_path))
    again, after = session(MEANFORCE_CACHE=str(tmp_path))
    assert Path(folder).is_relative_to(tmp_path)
    assert folder == again
    assert (int(before), int(after) > 0) == (0, True)


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder of the user has another name elsewhere")
def test_the_cache_is_in_the_folder_of_the_user(tmp_path):
    folder = session(XDG_CACHE_HOME=str(tmp_path))[0]
    assert folder == "None" if not QUIET else Path(folder).is_relative_to(tmp_path / "meanforce" / "compiled")


def test_the_cache_is_switched_off_moved_by_jax_or_left_out(tmp_path):
    assert session(MEANFORCE_CACHE="off")[0] == "None"
    assert session(MEANFORCE_CACHE=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "x"))[0] == str(
        tmp_path / "x"
    )
    (tmp_path / "file").write_text("no folder")
    assert session(MEANFORCE_CACHE=str(tmp_path / "file"))[0] == "None"
