"""The structure error: its noise part is noise, its excess the truth, its error the scatter of both."""

import numpy as np
import pytest

from meanforce.observables.base import Curve
from meanforce.observables.compare import adf_error, first_peak, rdf_error, structure_error

R = np.arange(0.0025, 0.93, 0.005)


def sampled(rng, value, axis=R, noise=0.01, smooth=1, blocks=20, name="RDF"):
    rows = rng.standard_normal((blocks, len(axis) + smooth - 1))
    rows = np.stack([np.convolve(row, np.ones(smooth) / np.sqrt(smooth), "valid") for row in rows])
    rows = value + noise * np.sqrt(blocks) * rows
    return Curve(name, axis, rows.mean(0), rows.std(0, ddof=1) / np.sqrt(blocks), "r / nm", "g(r)", rows)


@pytest.mark.parametrize("smooth", [1, 10], ids=["independent points", "correlated points"])
@pytest.mark.parametrize("shift", [0.0, 0.02])
def test_excess_and_its_error(smooth, shift):
    rng = np.random.default_rng(0)
    wave = shift * np.sqrt(2) * np.cos(40 * R)
    errors = [
        structure_error(sampled(rng, wave, smooth=smooth), sampled(rng, 0 * R, smooth=smooth)) for _ in range(300)
    ]
    excess, stated = np.array([e.excess for e in errors]), np.array([e.error for e in errors])
    true = np.mean(wave**2)
    assert abs(excess.mean() - true) < 4 * excess.std() / np.sqrt(300)
    assert np.mean([e.noise for e in errors]) == pytest.approx(2e-4, rel=0.03)
    assert 0.7 < np.sqrt(np.mean(stated**2)) / excess.std() < 1.6


def test_without_blocks_the_error_is_an_upper_bound():
    rng = np.random.default_rng(1)
    a, b = sampled(rng, 0.02 * np.cos(40 * R)), sampled(rng, 0 * R)
    bound = structure_error(a._replace(blocks=None), b._replace(blocks=None))
    assert bound.error > structure_error(a, b).error
    assert bound[:2] == structure_error(a, b)[:2]


def test_the_error_of_a_known_difference():
    flat = Curve("RDF", R, np.ones_like(R), np.zeros_like(R), "r / nm", "g(r)")
    above = flat._replace(value=flat.value + np.where((R > 0.2) & (R < 0.9), 0.1, 50.0))
    assert rdf_error(above, flat) == pytest.approx((0.01, 0.0, 0.0))


def test_it_is_defined_on_its_own_bins_only():
    rng = np.random.default_rng(2)
    coarse = np.arange(0.005, 0.93, 0.01)
    with pytest.raises(ValueError, match=r"bins of 0\.005 nm, not 0\.01"):
        rdf_error(sampled(rng, 0 * coarse, coarse), sampled(rng, 0 * coarse, coarse))
    short = R[R < 0.8]
    with pytest.raises(ValueError, match=r"up to 0\.9 nm"):
        rdf_error(sampled(rng, 0 * short, short), sampled(rng, 0 * short, short))
    with pytest.raises(ValueError, match="90 bins, not 186"):
        adf_error(sampled(rng, 0 * R), sampled(rng, 0 * R))
    theta = (np.arange(90) + 0.5) * np.pi / 90
    with pytest.raises(ValueError, match="same species and cut-off"):
        adf_error(
            sampled(rng, 0 * theta, theta, name="ADF, cut-off 0.3 nm"), sampled(rng, 0 * theta, theta, name="ADF")
        )
    with pytest.raises(ValueError, match="do not share their axis"):
        structure_error(sampled(rng, 0 * R), sampled(rng, 0 * R, R + 0.001))


def test_first_peak_and_its_error():
    rng = np.random.default_rng(3)
    g = 1 + 2 * np.exp(-(((R - 0.281) / 0.05) ** 2)) + 0.5 * np.exp(-(((R - 0.55) / 0.05) ** 2)) - 1.5 * (R < 0.15)
    found = [first_peak(sampled(rng, g, noise=0.02)) for _ in range(100)]
    for which, true in ((0, 0.281), (1, 3.0)):
        values = np.array([f[which].value for f in found])
        stated = np.mean([f[which].error for f in found])
        assert values.mean() == pytest.approx(true, rel=0.01)
        assert 0.7 < stated / values.std() < 1.4
    with pytest.raises(ValueError, match="never rises above 1"):
        first_peak(sampled(rng, 0 * R))
