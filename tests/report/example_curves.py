"""Curves that look like water, with blocks and errors as sampling gives them."""

import numpy as np

from meanforce.observables.base import Curve, Scalar
from meanforce.observables.consistency import Check
from meanforce.observables.surface import Surface
from meanforce.report.thermodynamics import Distribution, Energetics, Exchanged, Heating, Motion, Report


def curve(name, axis, value, noise, rng, labels, blocks=20):
    rows = value + noise * np.sqrt(blocks) * rng.standard_normal((blocks, len(axis)))
    return Curve(name, axis, rows.mean(0), rows.std(0, ddof=1) / np.sqrt(blocks), *labels, rows)


def rdf(rng, height=3.1, noise=0.004):
    r = np.arange(0.0025, 0.93, 0.005)
    g = 1 / (1 + np.exp(-(r - 0.262) / 0.004)) * (1 + (height - 1) * np.exp(-(((r - 0.277) / 0.03) ** 2)))
    return curve("RDF W–W", r, g, noise, rng, ("r / nm", "g(r)"))


def adf(rng, tilt=0.0, noise=0.004):
    theta = (np.arange(90) + 0.5) * np.pi / 90
    p = np.sin(theta) / 2 * (1 + tilt * np.cos(theta))
    return curve("ADF W–W–W, cut-off 0.37 nm", theta, p, noise, rng, ("angle / rad", "probability density / rad⁻¹"))


def surface(rng, bins=60, blocks=20):
    """Two basins, seen through a finite number of frames in each block."""
    axis = -np.pi + (np.arange(bins) + 0.5) * 2 * np.pi / bins
    well = lambda a, b: np.exp(3 * np.cos(axis[:, None] - a) + 2 * np.cos(axis - b))
    density = well(-1.4, 2.5) + 0.5 * well(-1.2, -0.5) + 0.02 * well(1.0, 0.8)
    cell = (2 * np.pi / bins) ** 2
    share = density / density.sum()
    rows = rng.multinomial(5000, share.ravel(), blocks).reshape(blocks, bins, bins) / (5000 * cell)
    return Surface("free-energy surface", rows.mean(0), rows.std(0, ddof=1) / np.sqrt(blocks), rows)


def over_temperatures(rng, kelvins=(250.0, 300.0, 400.0, 500.0, 600.0), learned=(250.0, 400.0, 600.0)):
    """What a report over temperatures is made of."""
    u = lambda kelvin, name: Scalar(name, -48 + 0.03 * kelvin + 0.05 * rng.standard_normal(), 0.05, "kJ/mol")
    c = lambda kelvin, name: Scalar(name, 66 - 0.03 * kelvin + rng.standard_normal(), 1.0, "J/(mol K)")
    s = lambda kelvin: Scalar("S", 60 * np.log(kelvin / 250.0) + 0.2 * rng.standard_normal(), 0.2, "J/(mol K)")
    d = lambda kelvin: Scalar("D", 0.02 * (kelvin - 200) + 0.05 * rng.standard_normal(), 0.05, "1e-9 m²/s")
    gamma = Scalar("friction", 28.4, 0.7, "1/ps")
    flat = lambda at, e: Curve("E", np.array(at), -48 + 0.03 * np.array(at), e + 0 * np.array(at), "temperature / K",
                               "energy per molecule / (kJ/mol)")  # fmt: skip
    ramp = Heating((300.0, 500.0), flat(np.linspace(312.5, 487.5, 8), 0.05), flat([300.0, 400.0, 500.0], 0.02),
                   ((400.0, u(400.0, "E"), u(400.0, "E")),))  # fmt: skip
    names = ("forces against configurations", "response of forces against configurations")
    return Report(
        "spline model", learned,
        tuple(Distribution("rdf", k, rdf(rng, 3.6 - k / 500), rdf(rng, 3.6 - k / 500), k in learned) for k in kelvins),
        tuple(Energetics(k, u(k, "U"), u(k, "U"), c(k, "C"), c(k, "C"), k in learned, s(k), s(k)) for k in kelvins),
        (*(Check(names[0], k + 1, 2.0, k, "K", k) for k in kelvins),
         *(Check(names[1], 1.02, 0.03, 1.0, "", k) for k in kelvins)),
        (70, 70), tuple(Motion(k, d(k), d(k), k == 400.0, gamma, (2.0, 4.4)) for k in kelvins), ramp,
        (Exchanged(250.0, 300.0, 200, 0.34),), 5,
    )  # fmt: skip
