"""Units: constants of nature and conversions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import constants

from meanforce import units


def test_constants_of_nature():
    mole = constants.N_A
    assert pytest.approx(constants.R / 1000, rel=1e-12) == units.KB
    assert pytest.approx(1e5 * 1e-27 * mole / 1000, rel=1e-12) == units.BAR
    assert pytest.approx(constants.e * mole / 1000, rel=1e-12) == units.EV
    assert units.ENERGY["J"] == pytest.approx(mole / 1000)
    assert units.ENERGY["hartree"] == pytest.approx(constants.value("Hartree energy") * mole / 1000, rel=1e-8)
    assert units.LENGTH["bohr"] == pytest.approx(constants.value("Bohr radius") * 1e9, rel=1e-8)


def test_the_units_are_consistent():
    """1 u nm^2/ps^2 is 1 kJ/mol."""
    joule = constants.value("atomic mass constant") * (1e-9 / 1e-12) ** 2
    assert joule * constants.N_A / 1000 == pytest.approx(1, rel=1e-8)


def test_forces():
    assert units.force_factor("kcal/mol", "angstrom") == pytest.approx(41.84)
    assert units.force_factor("eV", "angstrom") == pytest.approx(964.85332, rel=1e-7)
    assert units.force_factor("kJ/mol", "nm") == 1


def test_lammps_styles_name_known_units():
    for length, time, energy in units.LAMMPS_STYLES.values():
        assert units.factor(units.LENGTH, length) > 0
        assert units.factor(units.TIME, time) > 0
        assert units.factor(units.ENERGY, energy) > 0


@given(st.floats(1.0, 5000.0))
def test_beta(temperature):
    assert units.beta(temperature) * units.KB * temperature == pytest.approx(1)
    np.testing.assert_allclose(units.beta(np.array([temperature])), [units.beta(temperature)])


def test_unknown_units_are_answered_with_the_known():
    with pytest.raises(ValueError, match=r"'parsec'.*angstrom"):
        units.factor(units.LENGTH, "parsec")
