"""What each stage of a recipe is told: training, simulation, verdict; and which wishes do not go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from meanforce.dynamics.settings import whole_steps
from meanforce.learn.training import Training
from meanforce.reference.fixed import FixedSampling


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Positive = Annotated[float, Field(gt=0)]
Quadruple = tuple[int, int, int, int]
Temperatures = Annotated[tuple[Positive, ...], Field(min_length=1)]

#: Objectives whose labels say how the free energy changes with temperature, by their keys under `train`.
THERMAL = ("energy", "joint", "response", "variance", "second_response")


class Thermal(Options):
    """Makes the free energy depend on temperature, A(R; T): by an entropy and, if asked, a heat capacity."""

    reference: Positive | None = Field(
        None, description="K, T0, best amid the temperatures of the data; default: the middle one of the training"
    )
    heat_capacity: bool | Temperatures = Field(
        False,
        description="let energy and entropy change with temperature: for wide ranges; networks take temperatures in K, "
        "between which the heat capacity is a line",
    )


class Hold(FixedSampling):
    """Beads held where a reference run has been while its atoms move on: labels that are means and cumulants there."""

    frames: int = Field(100, ge=2, description="evenly spread frames of each temperature to learn from")


class CrossFit(Options):
    """How covariances of force and energy at fixed beads are made from instantaneous labels."""

    folds: int = Field(5, ge=2, description="parts of the frames, each centred by a model that has not seen it")
    local: Positive | None = Field(None, description="nm up to which energies of beads count; default: of all")


class Gradient(Options):
    """How a network is trained: Adam on the mean square of force errors, in batches."""

    epochs: int = Field(100, gt=0, description="how often every frame is seen")
    batch: int = Field(8, gt=0, description="frames in one step")
    learning_rate: Positive | None = Field(
        None, description="at the start, default: that which suits the network, 0.001 to 0.02; it decays ..."
    )
    final_learning_rate: Positive = Field(1e-5, description="... to this")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the running mean of the weights that is kept")
    validation: float = Field(0.1, gt=0, lt=1, description="part of the frames that chooses the weights")
    patience: int | None = Field(None, gt=0, description="validations without improvement before it stops")
    seed: int = Field(0, ge=0, description="of the order of frames")
    members: int = Field(1, gt=0, description="networks side by side; more than one is a committee, and has a spread")
    bootstrap: int = Field(
        0, ge=0, description="blocks of frames drawn anew for each member, which makes the spread an error bar; 0: none"
    )

    @model_validator(mode="after")
    def _as_training(self):
        """What training would refuse is refused before anything is computed."""
        rates = {name for name in ("learning_rate", "final_learning_rate") if self.learning_rate is None}
        Training(**self.model_dump(exclude=rates))
        return self


class Train(Options):
    temperature: Positive | None = Field(None, description="K, of the frames to learn from; default: the lowest")
    temperatures: Temperatures | None = Field(None, description="K, several, for thermal potentials; default: all")
    virial: float = Field(0.0, ge=0, description="weight of the stored virials beside the forces (pressure matching)")
    energy: float = Field(0.0, ge=0, description="weight of the atoms' energies beside the forces")
    joint: float = Field(
        0.0, ge=0, description="the same with the noise that energies share with forces taken out; in place of energy"
    )
    response: float = Field(0.0, ge=0, description="weight of covariances of force and energy: thermal response forces")
    variance: float = Field(0.0, ge=0, description="weight of variances of the energy at fixed beads")
    second_response: float = Field(0.0, ge=0, description="weight of third cumulants: second response forces")
    cross_fit: CrossFit = Field(CrossFit(), description="how such labels are made where the data hold none")
    held_out: float = Field(0.2, gt=0, lt=1, description="part of the frames, at the end of each run, for the verdict")
    regularisation: Literal["evidence", "cross-validation"] | None = Field(
        None, description="how strongly to smooth splines; default: evidence"
    )
    gradient: Gradient | None = Field(None, description="how to train a network; default: its own defaults")

    @property
    def asked(self) -> tuple[str, ...]:
        """The objectives that say how the free energy changes with temperature."""
        return tuple(name for name in THERMAL if getattr(self, name))

    @model_validator(mode="after")
    def _once(self):
        _refuse_both(self.temperature, self.temperatures)
        if self.energy and self.joint:
            raise ValueError("energy and joint are two ways to learn from the same energies; give one of them")
        return self


class Exchange(Options):
    """Replica exchange: one replica at each of the temperatures, neighbours change places, one ensemble for each."""

    every: Positive = Field(description="ps between attempts; often does no harm")


class MatchFriction(Options):
    """Friction found by runs of the model in which beads diffuse as the atoms do."""

    match: Annotated[Temperatures, BeforeValidator(lambda t: t if isinstance(t, list | tuple) else (t,))] = Field(
        description="K, where there are atoms: one, whose friction is used at all temperatures, or several, between "
        "and beyond which ln(friction) is a line in 1/T"
    )
    window: tuple[Positive, Positive] | None = Field(
        None, description="ps, where the slope of the mean-square displacement is read; default: where the atoms have "
        "moved by half the distance between molecules, and up to twice that time"
    )  # fmt: skip
    time: Positive | None = Field(None, description="ps, of each of the five runs of a match; default: `time`")

    @model_validator(mode="after")
    def _in_order(self):
        _refuse_both(None, self.match)
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError("window: it begins before it ends; give two times in ps, such as [2.0, 4.4]")
        return self


#: A number, or a match; told apart by their form, so that a mistake is answered once.
Pace = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[MatchFriction, Tag("matched")],
    Discriminator(lambda value: "matched" if isinstance(value, dict | MatchFriction) else "number"),
]


class Simulate(Options):
    temperature: Positive | None = Field(None, description="K; default: that of the training")
    temperatures: Temperatures | None = Field(None, description="K, several: one run at each, judged one by one")
    exchange: Exchange | None = Field(None, description="let neighbouring temperatures exchange replicas, in one run")
    ramp: tuple[Positive, Positive] | None = Field(
        None, description="K, from and to: also heat or cool the model at a constant rate over `time`, in its own run"
    )
    time: Positive = Field(200.0, description="ps to keep, in each replica")
    equilibration: float = Field(10.0, ge=0, description="ps thrown away first")
    timestep: Positive = Field(0.005, description="ps")
    save_every: Positive = Field(0.5, description="ps between stored frames")
    friction: Pace = Field(
        1.0,
        description="1/ps, of the Langevin thermostat; or {match: 300}, in K: found where beads diffuse as the atoms",
    )
    pressure: float | None = Field(None, description="bar; constant pressure. Without it: constant volume")
    replicas: int = Field(1, gt=0, description="independent copies, run side by side")
    precision: Literal["single", "double"] = Field("single", description="floating-point numbers of the run")
    guard: Literal["warn", "stop", "off"] = Field("warn", description="what to do where it leaves the training data")
    trajectories: tuple[str, ...] = Field(("xtc",), description="files for VMD and OVITO: xtc, dcd, h5md")
    seed: int = Field(1, ge=0, description="seed of velocities and thermostat")

    @model_validator(mode="after")
    def _once(self):
        _refuse_both(self.temperature, self.temperatures)
        return self

    @model_validator(mode="after")
    def _changes_that_go_together(self):
        if self.ramp is not None and self.ramp[0] == self.ramp[1]:
            raise ValueError("ramp: it begins and ends at the same temperature; give two, such as [300, 350]")
        if isinstance(self.friction, MatchFriction):
            self._matched(self.friction)
        if self.exchange is None:
            return self
        if self.ramp is not None:
            raise ValueError("exchange and ramp: replicas on a ladder keep to its temperatures; take one of the two")
        if self.temperatures is None or len(self.temperatures) < 2:
            raise ValueError("exchange: it is between temperatures; give two or more, temperatures: [300, 330, 360]")
        if self.replicas > 1:
            raise ValueError("exchange: there is one replica at each temperature; leave replicas out")
        whole_steps("exchange.every", self.exchange.every, self.timestep)
        return self

    def check_friction(self, known: Sequence[float] | None, *, moving: bool) -> None:
        """Refuses a match where no atoms move; `known` are their temperatures (K), None where they are not known."""
        wanted = self.friction.match if isinstance(self.friction, MatchFriction) else ()
        if wanted and not moving:
            raise ValueError("simulate.friction: frames of `exact` are drawn and have no motion; give a number in 1/ps")
        missing = [t for t in wanted if known is not None and not _among(t, known)]
        if missing:
            there = ", ".join(f"{t:g}" for t in sorted(known or ()))
            raise ValueError(
                f"simulate.friction: there are no atoms at {missing[0]:g} K to match; there are some at {there} K"
            )

    def _matched(self, friction: MatchFriction) -> None:
        """Refuses what has no diffusion to be matched."""
        if self.exchange is not None:
            raise ValueError(
                "friction: replicas that exchange temperatures do not diffuse at one; give a number in 1/ps"
            )
        if self.pressure is not None:
            raise ValueError("friction: diffusion is matched at constant volume; leave pressure out or give a number")
        if friction.time is not None:
            whole_steps("friction.time", friction.time, self.save_every)


class Validate(Options):
    adf_cutoff: Positive | None = Field(None, description="nm, first shell of the angles; without it: no angles")
    curves: Path | None = Field(None, description="json of curves of a longer reference run, instead of the data's own")
    surface: tuple[Quadruple, Quadruple] | None = Field(
        None, description="two dihedrals of four bead numbers each, from 0: their free-energy surface is judged"
    )
    pair_only: bool = Field(False, description="also fit and sample a potential of pairs alone, shown beside")


def check_temperatures(thermal: Thermal | None, train: Train, known: Sequence[float] | None) -> None:
    """Refuses what the temperatures of the atoms cannot teach; `known` are these (K), None where they are not known."""
    if thermal is None:
        if train.asked:
            raise ValueError(
                f"train.{train.asked[0]}: these labels say how A changes with temperature, and this potential does not "
                "change; give potential: {..., thermal: {reference: 300}}, or leave the weight out"
            )
        if train.temperatures is not None and len(train.temperatures) > 1:
            raise ValueError(
                "train.temperatures: one potential for several temperatures depends on temperature; give "
                "potential: {..., thermal: {reference: 300}}, or one temperature"
            )
    wanted = train.temperatures or ((train.temperature,) if train.temperature else None)
    missing = [t for t in wanted or () if known is not None and not _among(t, known)]
    if missing:
        there = ", ".join(f"{t:g}" for t in sorted(known or ()))
        raise ValueError(f"train: there are no atoms at {missing[0]:g} K; there are some at {there} K")
    learned = wanted or known
    if thermal is None or learned is None or len(set(learned)) > 1:
        return
    if not train.asked:
        raise ValueError(
            "potential.thermal: forces at one temperature say nothing of others; give train: {energy: 1.0}, or atoms "
            "at several temperatures"
        )
    if thermal.heat_capacity and not (train.variance or train.second_response):
        raise ValueError(
            "potential.thermal.heat_capacity: forces, energies and responses at one temperature say nothing of heat "
            "capacities; give atoms at several temperatures, or train: {variance: 1.0}"
        )


def _among(kelvin: float, known: Sequence[float]) -> bool:
    return any(abs(kelvin - t) <= 1e-6 * t for t in known)


def _refuse_both(one: float | None, several: Sequence[float] | None) -> None:
    if one is not None and several is not None:
        raise ValueError("give temperature or temperatures, not both")
    if several is not None and len(set(several)) < len(several):
        raise ValueError(f"a temperature stands twice in {', '.join(f'{t:g}' for t in several)}; give each once")
