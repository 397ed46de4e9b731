"""The one place with conversion factors. Inside: nm, ps, u, kJ/mol, K.

With these, 1 u nm^2/ps^2 is 1 kJ/mol, so no constant stands in any integrator.
"""

KB = 8.31446261815324e-3  # kJ/(mol K), exact in the 2019 SI
BAR = 0.0602214076  # kJ/(mol nm^3): 1 bar
KCAL = 4.184  # kJ
EV = 96.4853321233100184  # kJ/mol

LENGTH = {"nm": 1.0, "angstrom": 0.1, "A": 0.1, "pm": 1e-3, "m": 1e9, "cm": 1e7, "um": 1e3, "bohr": 0.0529177210903}
TIME = {"ps": 1.0, "fs": 1e-3, "ns": 1e3, "us": 1e6, "s": 1e12}
ENERGY = {"kJ/mol": 1.0, "kcal/mol": KCAL, "eV": EV, "hartree": 2625.4996394798254, "J": 6.02214076e20}
PRESSURE = {"kJ/mol/nm^3": 1.0, "bar": BAR, "atm": 1.01325 * BAR, "MPa": 10 * BAR, "GPa": 1e4 * BAR}
DENSITY = 1.66053906892  # kg/m^3: 1 u/nm^3
DIFFUSION = 1e3  # 1e-9 m^2/s: 1 nm^2/ps
VISCOSITY = PRESSURE["GPa"]  # kJ ps/(mol nm^3): 1 mPa s, which is 1 GPa ps

#: Unit styles of LAMMPS: (length, time, energy) in the names above.
LAMMPS_STYLES = {
    "real": ("angstrom", "fs", "kcal/mol"),
    "metal": ("angstrom", "ps", "eV"),
    "electron": ("bohr", "fs", "hartree"),
}


def factor(table: dict[str, float], unit: str) -> float:
    """The number that turns a value in `unit` into the internal unit of `table`."""
    if unit not in table:
        raise ValueError(f"unknown unit {unit!r}; use one of {', '.join(table)}")
    return table[unit]


def force_factor(energy: str, length: str) -> float:
    """Turns a force in energy/length into kJ/(mol nm)."""
    return factor(ENERGY, energy) / factor(LENGTH, length)


def beta(temperature):
    """1/kT in mol/kJ for a temperature in K."""
    return 1.0 / (KB * temperature)
