"""Exactness is tested in double precision; shapes and types are checked while tests run."""

import warnings

import pytest

import meanforce.numerics.precision  # noqa: F401  (before any array is made)

# Native extensions built against an older NumPy ABI announce it on import; it concerns their authors.
warnings.filterwarnings("ignore", message="numpy.ndarray size changed")


@pytest.fixture(autouse=True, scope="session")
def _plots_without_a_screen():
    import matplotlib

    matplotlib.use("Agg")
