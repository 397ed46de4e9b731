"""Exactness is tested in double precision; shapes and types are checked while tests run."""

import inspect
import itertools
import os
import warnings
from pathlib import Path

import jax
import jaxtyping
import numba
import pytest

_njit = numba.njit


def _compiled(*functions, **options):
    """Numba compiles the functions themselves: their checks are Python."""
    if functions:
        return _njit(*map(inspect.unwrap, functions), **options)
    return lambda function: _njit(**options)(inspect.unwrap(function))


numba.njit = _compiled
jaxtyping.install_import_hook("meanforce", "typechecks.checked")  # before any of it is imported

import meanforce.numerics.precision  # noqa: E402, F401  (before any array is made)

# Small programs are kept too: for the other worker, programs that tests start, and when JAX has forgotten its own.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# Native extensions built against an older NumPy ABI announce it on import; it concerns their authors.
warnings.filterwarnings("ignore", message="numpy.ndarray size changed")

_raises = pytest.raises


class _Refuses:
    """What a test hands over to be refused goes past the checks of types, to the message that users see."""

    def __init__(self, *expected, **options):
        self._raises = _raises(*expected, **options)

    def __enter__(self):
        jaxtyping.config.update("jaxtyping_disable", True)
        return self._raises.__enter__()

    def __exit__(self, *error):
        jaxtyping.config.update("jaxtyping_disable", False)
        return self._raises.__exit__(*error)


pytest.raises = _Refuses


#: Where compiling takes most of the time; the command line, recipes and engines are tested as users run them.
_LIGHTLY_COMPILED = {"dynamics", "learn", "potentials"}
#: Where numbers take longer than compiling, or count to the last bit.
_FULLY_COMPILED = ("fold", "last_layer", "friction", "gradient", "thermal_networks", "training_resume")


@pytest.fixture(autouse=True, scope="module")
def _compiled_lightly(request):
    """XLA without its costly passes, here and in programs that a test starts, takes two thirds of the time."""
    if request.path.parent.name not in _LIGHTLY_COMPILED or request.path.stem.removeprefix("test_") in _FULLY_COMPILED:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="session")
def _plots_without_a_screen():
    import matplotlib

    matplotlib.use("Agg")


#: Maps of memory that a process may have by Linux's default are 65,530. Few tests add more than a thousand.
_MANY_MAPS, _TESTS = 30_000, 5
_counted = itertools.count(1)


@pytest.fixture(autouse=True)
def _programs_leave_room():
    """Compiled programs are maps of memory, thousands of them: a process that runs out of maps ends without a word."""
    yield
    maps = Path("/proc/self/maps")
    if next(_counted) % _TESTS == 0 and maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()
