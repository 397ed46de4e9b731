import numpy as np
import pytest

from meanforce.observables import averages
from meanforce.observables.rounding import number, with_error


def test_blocks_keep_chains_apart_and_even():
    chain = np.repeat([3, 1, 7], [100, 100, 50])
    label = averages.blocks(chain, 10)
    assert label.max() + 1 == 10 and (np.diff(label) >= 0).all()
    for name in (3, 1, 7):
        others = set(label[chain != name].tolist())
        assert not others & set(label[chain == name].tolist())
    assert np.bincount(label).tolist() == [25] * 10
    assert averages.blocks(np.zeros(3, int), 10).tolist() == [0, 1, 2]


def test_the_error_of_independent_frames():
    rng = np.random.default_rng(0)
    z = []
    for _ in range(200):
        mean = averages.average(rng.standard_normal((400, 1)), np.full(400, 1 / 400), np.zeros(400, int))
        z.append(mean.value[0] / mean.error[0])
    assert np.std(z) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("memory", [5.0, 60.0])
def test_the_error_of_frames_that_remember(memory):
    """A chain as long as a thousand, or fifteen, of its memories: the error is right, or close, not a tenth."""
    rng = np.random.default_rng(1)
    a, n = np.exp(-1 / memory), 2000
    z = []
    for _ in range(60):
        noise = rng.standard_normal((n, 8)) * np.sqrt(1 - a * a)
        x = np.empty((n, 8))
        x[0] = rng.standard_normal(8)
        for t in range(1, n):
            x[t] = a * x[t - 1] + noise[t]
        mean = averages.average(x, np.full(n, 1 / n), np.zeros(n, int))
        z.append(mean.value / mean.error)
    assert 0.85 < np.std(z) < 1.3


def test_rows_carry_mean_and_error():
    rng = np.random.default_rng(2)
    values, weights = rng.random((300, 4)), rng.random(300)
    mean = averages.average(values, weights / weights.sum(), np.zeros(300, int))
    np.testing.assert_allclose(mean.value, weights @ values / weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(mean.blocks.mean(0), mean.value, rtol=1e-12)
    np.testing.assert_allclose(mean.blocks.std(0, ddof=1) / np.sqrt(len(mean.blocks)), mean.error, rtol=1e-12)


def test_a_ratio_has_less_scatter_than_its_parts():
    rng = np.random.default_rng(3)
    amounts = rng.integers(1, 100, 500).astype(float)
    values = 0.25 * amounts[:, None]
    mean = averages.ratio(values, amounts, np.full(500, 1 / 500), np.zeros(500, int))
    assert mean.value[0] == pytest.approx(0.25, rel=1e-12) and mean.error[0] < 1e-12


def test_weights_that_differ_cost_precision():
    rng = np.random.default_rng(4)
    x, few = rng.standard_normal((1000, 1)), np.where(np.arange(1000) % 10 == 0, 1.0, 0.0)
    even = averages.average(x, np.full(1000, 1e-3), np.zeros(1000, int))
    uneven = averages.average(x, few / few.sum(), np.zeros(1000, int))
    assert uneven.error[0] > 2 * even.error[0]


def test_nothing_counted_is_an_error():
    with pytest.raises(ValueError, match="nothing was counted"):
        averages.ratio(np.zeros((3, 2)), np.zeros(3), np.full(3, 1 / 3), np.zeros(3, int))


def test_numbers_are_written_to_their_precision():
    assert with_error(3.0612, 0.0134) == "3.061 ± 0.013"
    assert with_error(1234.4, 25.0) == "1234 ± 25"
    assert with_error(-0.000012, 0.000034) == "(-1.2 ± 3.4) × 10⁻⁵"
    assert with_error(2.5, float("nan")) == "2.50" and with_error(0.0, 0.1) == "0.00 ± 0.10"
    assert with_error(1309.7, 1e-13) == "1310" and with_error(0.0, 0.0) == "0"
    assert with_error(1.0, 0.0999) == "1.00 ± 0.10"
    assert number(7.51e-5, 2) == "7.5 × 10⁻⁵" and number(0.0) == "0" and number(99.96) == "100"
