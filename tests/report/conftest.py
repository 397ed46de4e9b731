"""A report with every kind of section, and a browser to open it in."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from example_curves import adf, curve, over_temperatures, rdf, surface

from meanforce.observables.base import Scalar
from meanforce.report import (
    energies,
    forces,
    page,
    provenance,
    quantities,
    structure,
    surfaces,
    thermodynamics,
    verdicts,
)
from meanforce.report.sections import Report

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@pytest.fixture(scope="session")
def report():
    rng = np.random.default_rng(5)
    compared = (
        structure.Comparison("rdf", rdf(rng), (("spline model", rdf(rng)), ("pair only", rdf(rng, 3.6)))),
        structure.Comparison("adf", adf(rng), (("spline model", adf(rng)), ("pair only", adf(rng, 0.3)))),
    )
    truth = 200 * rng.standard_normal((40, 30, 3))
    labels = truth + 150 * rng.standard_normal(truth.shape)
    held = [forces.HeldOut("spline model", labels, truth), forces.HeldOut("pair only", labels, 0.8 * truth)]
    ours, theirs = Scalar("pressure", 40.0, 12.0, "bar"), Scalar("pressure", 1.0, 8.0, "bar")
    pressure = quantities.Pair("spline model", ours, theirs, verdicts.PRESSURE)
    axis = np.linspace(-1, 1, 40)
    spread = curve("A", axis, np.exp(-((3 * axis) ** 2)), 0.02, rng, ("A / (kT per bead)", "probability density"))
    mean = Scalar("free energy of the beads", 0.0, 0.01, "kT per bead")
    overlap = energies.Overlap("spline model", mean, mean, spread, spread)
    sections = (
        structure.structure(compared),
        surfaces.surfaces(surface(rng), [("spline model", surface(rng))]),
        forces.forces(held, floor=(144.0, 150.0)),
        energies.energies([overlap]),
        quantities.quantities([pressure], title="Pressure"),
        thermodynamics.thermodynamics(over_temperatures(rng)),
        provenance.facts("Data", {"frames": "400", "temperature": "300 K"}),
        provenance.recipe("system: water  # <script>alert(1)</script>\ntemperature: 300\n"),
        provenance.provenance(
            seeds={"sampling": 1}, hashes={"data": "ab" * 32}, seconds={"fit": 12.0, "sampling": 61.0}
        ),
    )
    return Report("Coarse-grained water", "One bead per molecule.", sections, (("Beads", "216"),), "spline model")


@pytest.fixture(scope="session")
def page_path(report, tmp_path_factory):
    return page.write(report, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Runs headless Chromium with some flags on an address, and gives back what it says."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("MEANFORCE_NO_BROWSER") == "1":
            pytest.skip("no browser, as MEANFORCE_NO_BROWSER=1 says")
        pytest.fail("the report is to be opened in Chromium, which is not installed: apt-get install chromium, or set "
                    "MEANFORCE_NO_BROWSER=1 to leave this out knowingly")  # fmt: skip

    def run(*flags: str) -> str:
        profile = tmp_path_factory.mktemp("profile")
        command = [program, *QUIET, f"--user-data-dir={profile}", *flags]
        # Not through a pipe: helpers of the browser may outlive it and hold a pipe open.
        output, noise = profile / "stdout", profile / "stderr"
        with output.open("w") as out, noise.open("w") as err:
            done = subprocess.run(command, stdout=out, stderr=err, timeout=120, check=False)
        assert done.returncode == 0, noise.read_text()[-2000:]
        return output.read_text()

    return run
