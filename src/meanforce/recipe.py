"""The YAML a person writes: every key documented with its unit, every typo answered with the nearest key."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from meanforce.reference.exact_run import ExactRun
from meanforce.reference.recipe import ReferenceRun
from meanforce.reference.water import Water
from meanforce.stages import Gradient, Hold, Options, Positive, Simulate, Thermal, Train, Validate, check_temperatures

_FOLDER = resources.files("meanforce") / "resources" / "recipes"

#: Where atoms may come from.
SOURCES = ("reference", "exact", "trajectory", "dataset")


class RecipeError(ValueError):
    """A recipe that cannot be carried out, said in one message before the work starts."""


Paths = Annotated[tuple[Path, ...], BeforeValidator(lambda p: p if isinstance(p, list | tuple) else (p,))]


class Trajectory(Options):
    """Your own atomistic run."""

    topology: Path = Field(description="TPR, PSF, PDB, GRO, DATA, PRMTOP, ... as MDAnalysis reads them")
    trajectories: Paths = Field(description="TRR, NetCDF, H5MD, LAMMPS dump, extxyz, ... with forces; in order")
    energies: Path | None = Field(None, description=".edr, log or csv with the potential energy; matched by time")
    units: str | None = Field(None, description="unit style of files that state none: real, metal (LAMMPS)")
    constraints: str | None = Field(None, description="h-bonds, all-bonds or rigid-water, where no TPR says so")
    temperature: Positive = Field(description="K, of the thermostat")


Runs = Annotated[tuple[Trajectory, ...], BeforeValidator(lambda r: r if isinstance(r, list | tuple) else (r,))]


class Mapping(Options):
    """Which atoms make a bead. Exactly one of residues, selections, cgsmiles."""

    residues: dict[str, dict[str, Literal["all"] | tuple[str, ...]]] | None = Field(
        None, description="residue name -> bead name -> 'all' or the atom names"
    )
    selections: dict[str, str] | None = Field(None, description="bead name -> MDAnalysis selection, one bead a residue")
    cgsmiles: str | None = Field(None, description="a CGsmiles string for the molecule")
    leave: tuple[str, ...] = Field((), description="residues without beads, such as a solvent: [HOH, NA, CL]")
    position: str | dict[str, str] = Field(
        "mass", description="mass, geometry, or the name of the atom that is the bead; for all, or bead name -> which"
    )
    forces: Literal["sum", "optimal", "response", "comoving"] = Field(
        "sum",
        description="summed, the linear map of least noise of forces or of responses to temperature, or summed with "
        "atoms that turn with the beads",
    )

    @model_validator(mode="after")
    def _exactly_one(self):
        if sum(value is not None for value in (self.residues, self.selections, self.cgsmiles)) != 1:
            raise ValueError("give exactly one of residues, selections, cgsmiles")
        if self.leave and self.selections is not None:
            raise ValueError("leave: selections name what has beads; leave it out")
        return self


def _one_heat_capacity(thermal: Thermal | None) -> Thermal | None:
    """The closed form has one, which is true or false."""
    if thermal is not None and isinstance(thermal.heat_capacity, tuple):
        raise ValueError("heat_capacity: that of splines has one fixed form; say true, or take a network (kind: local)")
    return thermal


ClosedThermal = Annotated[Thermal | None, AfterValidator(_one_heat_capacity)]


class Spline(Options):
    """Splines in distances, bonds, angles and dihedrals, with a three-body part: fitted in closed form."""

    kind: Literal["spline"] = "spline"
    cutoff: Positive = Field(0.9, description="nm, of the pair splines")
    spacing: Positive = Field(0.02, description="nm, between the knots of the pair splines")
    many_body: bool = Field(True, description="three-body splines on top of the pairs")
    thermal: ClosedThermal = Field(None, description="make it depend on temperature: A(R; T)")


class Kernel(Options):
    """A Gaussian process of each bead's surroundings on top of splines, sparse: fitted in closed form."""

    kind: Literal["kernel"] = "kernel"
    cutoff: Positive = Field(0.5, description="nm, to which the surroundings reach ...")
    start: float = Field(0.15, ge=0, description="... nm, and where they begin: closer than beads come")
    points: int = Field(
        100, gt=0, description="beads of the data, at most, whose surroundings the others are likened to"
    )
    length: Positive | None = Field(
        None,
        description="over which it forgets, in typical distances between surroundings; default: 4 (0.5 of one number), "
        "and 1 in molecules of several beads, where a longer one goes astray beyond the data",
    )
    radial: int = Field(5, gt=0, description="radial functions of the surroundings")
    degree: int = Field(4, ge=0, description="of their angular functions; 0: coordination alone, no angles")
    reach: Positive = Field(0.9, description="nm, of the pair splines under it")
    spacing: Positive = Field(0.02, description="nm, between their knots")
    many_body: bool = Field(False, description="three-body splines under it as well")
    thermal: ClosedThermal = Field(None, description="make it depend on temperature: A(R; T)")

    @model_validator(mode="after")
    def _begins_before_it_ends(self):
        if self.start >= self.cutoff:
            raise ValueError(f"start {self.start:g} nm must lie below the cutoff {self.cutoff:g} nm")
        return self


class Network(Options):
    """A network on top of splines, trained by gradient."""

    learning_rate: ClassVar[float] = 1e-3  # that suits it, where train.gradient says none

    cutoff: Positive = Field(0.5, description="nm, of the network")
    reach: Positive = Field(0.9, description="nm, of the pair splines under it")
    spacing: Positive = Field(0.02, description="nm, between their knots")
    many_body: bool = Field(False, description="three-body splines under it as well")
    seed: int = Field(0, ge=0, description="of the weights it starts from")
    thermal: Thermal | None = Field(None, description="make it depend on temperature: A(R; T)")


class Local(Network):
    """Invariants of each bead's surroundings, up to four bodies, through a perceptron: fast."""

    learning_rate: ClassVar[float] = 2e-2

    kind: Literal["local"] = "local"
    cutoff: Positive = Field(0.45, description="nm, of the network")
    size: Literal["small", "large"] = Field("small", description="large: for molecules, at twice the cost")


class Dimenet(Network):
    """DimeNet++: messages along edges that see angles, in the size published for coarse-grained beads."""

    kind: Literal["dimenet"] = "dimenet"


class Hipnn(Network):
    """HIP-NN with tensor sensitivities (HIP-NN-TS), in the size published for thermal responses of beads."""

    learning_rate: ClassVar[float] = 1e-2

    kind: Literal["hipnn"] = "hipnn"


class Equivariant(Network):
    """Equivariant messages between beads and products up to four bodies: needs the extra `equivariant`."""

    learning_rate: ClassVar[float] = 5e-3

    kind: Literal["equivariant"] = "equivariant"

    @model_validator(mode="after")
    def _has_its_library(self):
        if find_spec("e3nn_jax") is None:
            raise ValueError("equivariant needs e3nn-jax: pip install 'meanforce[equivariant]'")
        return self


PotentialOptions = Spline | Kernel | Local | Dimenet | Hipnn | Equivariant


def _shorthand(value):
    """`potential: spline` is `potential: {kind: spline}`."""
    return {"kind": value} if isinstance(value, str) else value


class Recipe(Options):
    """The whole way from atoms to a judged coarse-grained model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the run folder")
    reference: ReferenceRun | None = Field(None, description="make atomistic data here with OpenMM ...")
    exact: ExactRun | None = Field(None, description="... or draw it from an exactly solvable liquid ...")
    trajectory: Runs | None = Field(None, description="... or read your own run, or a list of runs ...")
    dataset: Path | None = Field(None, description="... or start from a data set: of beads, or of atoms with a mapping")
    mapping: Mapping | None = None
    hold: Hold | None = Field(None, description="learn from means and covariances at held beads (water of one bead)")
    potential: Annotated[PotentialOptions, Field(discriminator="kind"), BeforeValidator(_shorthand)] = Spline()
    train: Train = Train()
    simulate: Simulate = Simulate()
    validate_: Validate = Field(Validate(), alias="validate")

    @model_validator(mode="after")
    def _one_source(self):
        sources = [s for s in SOURCES if getattr(self, s) is not None]
        if len(sources) != 1:
            raise ValueError(f"give exactly one of {', '.join(SOURCES)}; found {', '.join(sources) or 'none'}")
        beads = self.exact if self.exact is not None and self.exact.of_beads else None
        if beads is not None and self.mapping is not None:
            raise ValueError(
                f"mapping: the molecules of exact.system {beads.system} are beads already; leave mapping out"
            )
        if self.mapping is None and self.dataset is None and beads is None:
            raise ValueError("mapping is missing: say which atoms make a bead")
        return self

    @model_validator(mode="after")
    def _atoms_that_can_be_held(self):
        if self.hold is None:
            return self
        made_here = self.reference is not None and isinstance(self.reference.system, Water)
        if not (made_here or (self.dataset is not None and self.mapping is not None)):
            raise ValueError("hold: only the atoms of a reference run of water can be sampled again; leave it out")
        whole = (self.mapping is not None and self.mapping.position == "mass" and self.mapping.residues) or {}
        if [[*bead.values()] for bead in whole.values()] != [["all"]]:
            raise ValueError("hold: molecules are held by their centres of mass; map residues: {HOH: {W: all}}")
        if self.train.joint:
            raise ValueError("hold: means at held beads have no noise that energies share with forces; give energy")
        return self

    @model_validator(mode="after")
    def _one_way_to_learn(self):
        network = isinstance(self.potential, Network)
        if not network and self.train.gradient is not None:
            raise ValueError(
                "train.gradient is for networks; splines and kernels are solved in closed form, leave it out"
            )
        if network and self.train.regularisation is not None:
            raise ValueError(
                f"train.regularisation is for splines and kernels; leave it out with potential {self.potential.kind}"
            )
        return self

    @model_validator(mode="after")
    def _temperatures_that_tell(self):
        check_temperatures(self.potential.thermal, self.train, self.temperatures)
        self.simulate.check_friction(self.temperatures, moving=self.exact is None)
        return self

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """Those of the atoms (K), where the recipe itself says them."""
        made = self.reference or self.exact
        if made is not None:
            return made.temperatures
        return None if self.trajectory is None else tuple(run.temperature for run in self.trajectory)

    @property
    def gradient(self) -> Gradient:
        """How to train the network, at the learning rate that suits it where none is said."""
        said = self.train.gradient or Gradient()
        if said.learning_rate is not None or not isinstance(self.potential, Network):
            return said
        return said.model_copy(update={"learning_rate": self.potential.learning_rate})

    @property
    def hash(self) -> str:
        """Of everything but the name."""
        text = json.dumps(self.model_dump(mode="json", exclude={"name"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(path: Path) -> Recipe:
    """Reads a recipe; paths inside are relative to its folder."""
    path = Path(path)
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; `meanforce template water > {path.name}` writes one to start from")
    return parse(path.read_text(), where=path)


def parse(text: str, where: Path = Path("recipe.yaml")) -> Recipe:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{where} holds no recipe: it should be `key: value` lines; see `meanforce template water`")
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(f"{where}: " + "; ".join(_explain(e) for e in error.errors())) from None
    return _resolve(recipe, where.parent)


def templates() -> list[str]:
    """The recipes that ship."""
    return sorted(p.name.removesuffix(".yaml") for p in _FOLDER.iterdir() if p.name.endswith(".yaml"))


def template(name: str) -> str:
    """The text of a recipe that ships."""
    if name not in templates():
        raise RecipeError(f"no recipe {name!r}{_nearest(name, templates())}")
    return (_FOLDER / f"{name}.yaml").read_text("utf-8")


def schema() -> dict:
    """JSON schema of the recipe, for editors."""
    return Recipe.model_json_schema(by_alias=True)


def _resolve(recipe: Recipe, folder: Path) -> Recipe:
    absolute = lambda p: p if p is None else (folder / p).resolve()
    curves = absolute(recipe.validate_.curves)
    changes: dict = {
        "dataset": absolute(recipe.dataset),
        "validate_": recipe.validate_.model_copy(update={"curves": curves}),
    }
    if recipe.trajectory is not None:
        changes["trajectory"] = tuple(_absolute(run, absolute) for run in recipe.trajectory)
    return recipe.model_copy(update=changes)


def _absolute(run: Trajectory, absolute: Callable[[Path | None], Path | None]) -> Trajectory:
    places = {"topology": absolute(run.topology), "energies": absolute(run.energies)}
    return run.model_copy(update=places | {"trajectories": tuple(absolute(p) for p in run.trajectories)})


def _explain(error) -> str:
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {place!r}{_nearest(str(error['loc'][-1]), _keys_at(error['loc'][:-1]))}"
    if error["type"] == "union_tag_invalid":
        known = [tag.strip(" '") for tag in error["ctx"]["expected_tags"].split(",")]
        return f"{place}: unknown {error['ctx']['tag']!r}{_nearest(error['ctx']['tag'], known)}"
    if error["type"] == "literal_error":
        known = [word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ",").split(",")]
        return f"{place}: unknown {error['input']!r}{_nearest(str(error['input']), known)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _keys_at(location) -> list[str]:
    """The keys allowed at a place in the recipe; the tag of a union narrows it to the member with that name."""
    models: list[type[BaseModel]] = [Recipe]
    for part in (part for part in location if not isinstance(part, int)):
        tagged = [
            m for m in models if any(f.default == part for n, f in m.model_fields.items() if n in ("name", "kind"))
        ]
        deeper = [f for m in models for n, f in m.model_fields.items() if (f.alias or n) == part]
        models = [found for field in deeper for found in _models_in(field.annotation)] if deeper else tagged or models
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _models_in(annotation) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]


def _nearest(word: str, known) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}" if known else ""
