"""What a person types. Exit codes: 0 done, 1 could not be done (one message says why), 2 wrong usage,
3 done, but with `--strict` a verdict is not "agrees", 130 interrupted (`--resume` goes on)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from meanforce import demo as demonstration
from meanforce import recipe as recipes
from meanforce import workflow
from meanforce.model import Model
from meanforce.runfolder import RunFolder
from meanforce.terminal import Bars, summary_table

app = typer.Typer(
    name="meanforce",
    help="Coarse-grained molecular models from atomistic simulation, with their errors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeFile = Annotated[Path, typer.Argument(help="the recipe; `meanforce template water` prints one")]
Resume = Annotated[bool, typer.Option("--resume", help="go on in the newest folder of this recipe")]
Folder = Annotated[Path | None, typer.Option("--folder", help="run folder; default: a dated one under runs/")]
Strict = Annotated[bool, typer.Option("--strict", help="exit code 3 unless every verdict agrees")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]

STRICT_EXIT = 3
out = Console()
err = Console(stderr=True)


def _carry(recipe: Path, last: str, *, resume: bool, folder: Path | None) -> RunFolder:
    loaded = recipes.load(recipe)
    run_folder = RunFolder.choose(loaded.name, recipe.read_text("utf-8"), folder=folder, resume=resume)
    with Bars(err) as bars:
        workflow.carry_out(loaded, run_folder, last=last, bars=bars)
    return run_folder


def _verdicts(folder: RunFolder, *, strict: bool, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(folder.verdicts.read_text() + "\n")
    else:
        out.print(summary_table(json.loads(folder.verdicts.read_text())))
        out.print(f"Report: {folder.report}", soft_wrap=True)
    outcomes = [verdict["outcome"] for verdict in json.loads(folder.verdicts.read_text())["verdicts"]]
    if strict and any(outcome != "agrees" for outcome in outcomes):
        raise typer.Exit(STRICT_EXIT)


@app.command()
def demo(resume: Resume = False, folder: Folder = None, strict: Strict = False) -> None:
    """Learn a water model from embedded atomistic data, sample it, judge it: report.html, in minutes."""
    with Bars(err) as bars:
        run_folder = demonstration.run(folder, bars, resume=resume)
    _verdicts(run_folder, strict=strict, as_json=False)


@app.command()
def run(
    recipe: RecipeFile, resume: Resume = False, folder: Folder = None, strict: Strict = False, as_json: AsJson = False
) -> None:
    """Carry a recipe out: atoms, beads, model, simulation, report."""
    _verdicts(_carry(recipe, "validate", resume=resume, folder=folder), strict=strict, as_json=as_json)


@app.command()
def reference(recipe: RecipeFile, resume: Resume = False, folder: Folder = None) -> None:
    """Make the atomistic data of a recipe, and stop there."""
    done = _carry(recipe, "reference", resume=resume, folder=folder)
    out.print(str(workflow.made(recipes.load(recipe), done)), soft_wrap=True)


@app.command(name="map")
def map_(recipe: RecipeFile, resume: Resume = False, folder: Folder = None) -> None:
    """Go as far as the beads."""
    out.print(str(_carry(recipe, "map", resume=resume, folder=folder).beads), soft_wrap=True)


@app.command()
def hold(recipe: RecipeFile, resume: Resume = False, folder: Folder = None) -> None:
    """Go as far as means and covariances at held beads."""
    if recipes.load(recipe).hold is None:
        raise recipes.RecipeError(f"{recipe} holds no beads; give it hold: {{frames: 100}}, or go on with train")
    out.print(str(_carry(recipe, "hold", resume=resume, folder=folder).held), soft_wrap=True)


@app.command()
def train(recipe: RecipeFile, resume: Resume = False, folder: Folder = None) -> None:
    """Go as far as the fitted model."""
    out.print(str(_carry(recipe, "train", resume=resume, folder=folder).model), soft_wrap=True)


@app.command()
def simulate(recipe: RecipeFile, resume: Resume = False, folder: Folder = None) -> None:
    """Go as far as the simulation of the model."""
    done = _carry(recipe, "simulate", resume=resume, folder=folder)
    for path in sorted(done.path.glob(f"{done.simulation.stem}*.h5")):
        out.print(str(path), soft_wrap=True)


@app.command()
def validate(
    recipe: RecipeFile, resume: Resume = False, folder: Folder = None, strict: Strict = False, as_json: AsJson = False
) -> None:
    """Judge the model against the atoms (the last step of `run`)."""
    _verdicts(_carry(recipe, "validate", resume=resume, folder=folder), strict=strict, as_json=as_json)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="a data set (.h5) or a model (.mf)")], as_json: AsJson = False
) -> None:
    """Say what is in a data set or a model, and whether the data are sane."""
    found = workflow.inspect_file(path)
    if as_json:
        sys.stdout.write(found.to_json() + "\n")
    else:
        out.print(str(found) if isinstance(found, Model) else found, markup=False)


@app.command()
def template(name: Annotated[str, typer.Argument(help=", ".join(recipes.templates()))] = "water") -> None:
    """Print a recipe to start from."""
    sys.stdout.write(recipes.template(name))


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    sys.stdout.write(json.dumps(recipes.schema(), indent=2) + "\n")


def main() -> None:
    """Runs the command line; what a user can mend becomes one message, anything else stays a traceback."""
    try:
        app(standalone_mode=True)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("MEANFORCE_TRACEBACK"):
            raise
        err.print(f"[bold red]meanforce:[/] {type(error).__name__}:", end=" ")
        err.print(str(error), markup=False, soft_wrap=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        err.print("Interrupted; what was finished is kept: --resume goes on.")
        raise SystemExit(130) from None
