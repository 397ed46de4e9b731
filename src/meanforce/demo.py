"""The whole way on embedded data: SPC/E water atoms to a judged one-site model, in minutes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from meanforce import recipe as recipes
from meanforce import workflow
from meanforce.runfolder import RunFolder
from meanforce.runlog import Bars


def run(folder: Path | None, bars: Bars, *, resume: bool = False) -> RunFolder:
    """Carries the demo's recipe out, in a dated folder unless one is named."""
    with resources.as_file(resources.files("meanforce") / "resources") as home:
        place = home / "demo.yaml"
        text = place.read_text("utf-8")
        found = RunFolder.choose("demo", text, folder=folder, resume=resume)
        workflow.carry_out(recipes.parse(text, where=place), found, last="validate", bars=bars)
    return found
