"""The map of least noise for products of force and energy: two atoms of one bead, each in a well of its own shape."""

import numpy as np
import pytest

from meanforce.data.errors import MappingError, MissingLabel
from meanforce.data.mapping import Mapping
from meanforce.data.readers import Atoms
from meanforce.frames import Frames
from meanforce.topology import Topology
from meanforce.units import KB

KELVIN = 1 / KB
GRID = np.linspace(-4, 4, 801)
TOPOLOGY = Topology(("C", "C"), np.array([12.0, 12.0]), bonds=[(0, 1)])


def potential(x, y):
    """A steep well for one atom, a soft one for the other, and a bond."""
    return 2 * x**4 + 0.5 * y**2 + (x - y) ** 2


def slopes(x, y):
    return 8 * x**3 + 2 * (x - y), y - 2 * (x - y)


def drawn(count, seed):
    """Independent frames of the canonical ensemble, on a fine grid along one axis; the other axes are at rest."""
    x, y = np.meshgrid(GRID, GRID, indexing="ij")
    weight = np.exp(-potential(x, y))
    place = np.random.default_rng(seed).choice(weight.size, count, p=(weight / weight.sum()).ravel())
    x, y = x.ravel()[place], y.ravel()[place]
    along = lambda a, b: np.stack([np.stack([a, b], 1), np.zeros((count, 2)), np.zeros((count, 2))], -1)
    dx, dy = slopes(x, y)
    return Frames(
        along(x, y), forces=-along(dx, dy), energy=potential(x, y) + 500.0, temperature=np.full(count, KELVIN)
    )  # fmt: skip


def atoms(frames):
    return Atoms.from_frames(TOPOLOGY, frames, "none")


def coefficients(frames, forces):
    source = atoms(frames)
    mapping = Mapping.by_selection(source, {"A": ["index 0 to 1"]}, position="geometry")
    mapped = mapping(source, forces=forces)
    return mapped.forcemap.matrix.toarray()[0], mapped.forcemap.noise


def exact(weight):
    """B = (1 + a, 1 - a) of least mean weight |B f|^2, by quadrature."""
    x, y = np.meshgrid(GRID, GRID, indexing="ij")
    p = np.exp(-potential(x, y))
    p *= weight(potential(x, y), p)
    one, other = slopes(x, y)
    a = -np.sum(p * (one + other) * (one - other)) / np.sum(p * (one - other) ** 2)
    return np.array([1 + a, 1 - a])


@pytest.fixture(scope="module")
def taught():
    return drawn(40_000, 1)


def test_each_map_is_the_one_of_quadrature(taught):
    plain = exact(lambda u, p: 1.0)
    product = exact(lambda u, p: (u - np.sum(p * u) / p.sum()) ** 2)
    assert abs(plain - product).max() > 0.03
    np.testing.assert_allclose(coefficients(taught, "optimal")[0], plain, atol=0.01)
    np.testing.assert_allclose(coefficients(taught, "response")[0], product, atol=0.02)


def test_products_keep_their_mean_and_lose_noise(taught):
    """On frames that neither map has seen; the mean is the same for every g(R) in place of E."""
    fresh = drawn(400_000, 2)
    force, bead = fresh.forces[..., 0], fresh.positions[:, :, 0].mean(axis=1)
    labels = {k: force @ coefficients(taught, k)[0] for k in ("sum", "optimal", "response")}
    scatter = fresh.energy - fresh.energy.mean()
    for other in ("sum", "optimal"):
        apart = (labels["response"] - labels[other]) * np.stack([scatter, fresh.energy - bead**2 - 500])
        assert np.all(np.abs(apart.mean(1)) < 3 * apart.std(1) / np.sqrt(len(fresh)))
    noise = {k: np.mean((f * scatter) ** 2) for k, f in labels.items()}
    assert noise["response"] < noise["optimal"] < noise["sum"]


def test_the_noise_that_is_reported_is_that_of_the_products(taught):
    _, (noise,) = coefficients(taught, "response")
    scatter = (taught.energy - taught.energy.mean()) / taught.energy.std()
    np.testing.assert_allclose(noise.summed, np.mean((taught.forces[..., 0].sum(1) * scatter) ** 2), rtol=1e-6)
    assert noise.optimal < noise.summed


def test_what_is_missing_is_named(taught):
    few = taught[:50]
    with pytest.raises(MissingLabel, match="needs energies"):
        coefficients(few.with_(energy=None), "response")
    with pytest.raises(MappingError, match="all the same"):
        coefficients(few.with_(energy=np.ones(50)), "response")
