"""What water does at fixed beads: orientations, and shapes if it is flexible, with the centres held where they are.

A rigid molecule whose centre is held can only turn, and exp(-U / kT) over all turns is its exact conditional
distribution: the centre's and the body's constraints are orthogonal, so that no metric factor appears. A flexible
molecule is sampled over all vectors from its first atom to the others, and put where its centre is held: exact for
every centre that is a weighted sum of the atoms, since such a map has a constant metric.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from meanforce.numerics import replicas as across
from meanforce.numerics.replicas import Scattered
from meanforce.numerics.statistics import inefficiency
from meanforce.reference.ewald import RigidWater, images
from meanforce.reference.ewald_kernels import Images, Tables
from meanforce.reference.fixed_kernels import Centre, Chain, Sums, begin, draw, relax, sample
from meanforce.reference.flexible import FlexibleWater
from meanforce.reference.shape_kernels import Inside
from meanforce.units import KB

_HOT = 3.0  # random orientations are cooled from this many times the temperature
_FIRST_REACH = 0.4  # rad
_FIRST_STRAIN = 1.0  # thermal widths


class FixedSampling(BaseModel):
    """How orientations at fixed centres are sampled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int = Field(4, ge=3, description="independent replicas, for unbiased cumulants and their errors")
    burn_in: int = Field(1500, ge=10, description="sweeps of each replica before its first sample")
    samples: int = Field(3200, ge=10, description="samples of each replica")
    stride: int = Field(
        5, ge=1, description="sweeps between samples; a sweep tries to turn each molecule once, and to reshape it"
    )
    start: Literal["atoms", "random"] = Field(
        "atoms",
        description="first orientations: those of the atoms, which are a draw from the distribution that is wanted, "
        "or random ones, which cold dense water does not forget: they show whether sampling is ergodic",
    )
    temperatures: tuple[float, ...] = Field(
        (), description="temperatures (K), ascending, that exchange copies; empty: that of each frame"
    )
    ranges: tuple[float, ...] = Field(
        (0.0, 0.35, 0.5, 0.62), description="ranges (nm) of local energies around a molecule; 0: its own alone"
    )
    accuracy: float = Field(1e-4, gt=0, lt=0.1, description="of Ewald's sum over waves, relative")
    seed: int = Field(1, ge=0, description="seed; the random numbers of a frame depend on it and the frame's number")


class Labels(NamedTuple):
    """What one configuration of beads teaches at one temperature, each value with its standard error.

    Energies in kJ/mol, lengths in nm. `near_covariance` is Cov(f_i, sum of u_j within a range of i), the local
    part of `covariance`; `noise` is the mean square of one sample's product (f - <f>)(U - <U>), a component, for
    these local energies and last for U itself.
    """

    forces: Scattered  # (molecules, 3)
    energy: Scattered
    local_energy: Scattered  # (molecules,)
    covariance: Scattered  # (molecules, 3)
    variance: Scattered
    third_cumulant: Scattered  # (molecules, 3)
    near_covariance: Scattered  # (ranges, molecules, 3)
    noise: np.ndarray  # (ranges + 1,)
    force_variance: np.ndarray  # (molecules, 3)
    effective: float  # independent samples of U
    replica_energy: np.ndarray  # (replicas,)
    replica_forces: np.ndarray  # (replicas, molecules, 3)
    acceptance: np.ndarray  # small turns, turns about own axes, exchanges with the next temperature, and shapes if any


def sample_fixed(
    water: RigidWater | FlexibleWater,
    atoms: Float[np.ndarray, "molecules atoms 3"],
    box: Float[np.ndarray, "3"],
    temperatures: tuple[float, ...],
    sampling: FixedSampling,
    *,
    number: int = 0,
) -> tuple[Labels, ...]:
    """Labels of whole molecules (nm) in a box with these edges (nm) at each temperature (K).

    The temperatures exchange copies, so that the hot ones help the cold ones on. `number` with the seed decides
    the random numbers: the same call gives the same bits.
    """
    held = _Held.of(water, atoms, box)
    shell = shells(held.centres, box, sampling.ranges)
    chains, generators, found = [], [], []
    for chain, generator, means in held.started(temperatures, sampling, number):
        chains.append(chain)
        generators.append(generator)
        found.append(means)
    centre = Centre(np.mean([c.force for c in found], 0), np.mean([c.share for c in found], 0))
    sums = [
        _run(chain, held, sampling, shell, centre, generator)
        for chain, generator in zip(chains, generators, strict=True)
    ]
    return tuple(_labels(sums, centre, chains, level) for level in range(len(temperatures)))


def draw_fixed(
    water: RigidWater | FlexibleWater,
    atoms: Float[np.ndarray, "molecules atoms 3"],
    box: Float[np.ndarray, "3"],
    temperature: float,
    sampling: FixedSampling,
    *,
    number: int = 0,
) -> Float[np.ndarray, "replicas samples molecules sites 3"]:
    """The samples themselves (nm): sites of whole molecules whose centres are held, at one temperature (K)."""
    held, drawn = _Held.of(water, atoms, box), []
    for chain, generator, _ in held.started((temperature,), sampling, number):
        out = np.empty((1, sampling.samples, *chain.sites.shape[1:]))
        draw(chain, held.around, held.tables, held.inside, sampling.stride, out, generator)
        drawn.append(out[0])
    return np.stack(drawn)


class _Held(NamedTuple):
    """Molecules at fixed centres, as the compiled loops see them."""

    centres: np.ndarray
    bodies: np.ndarray
    tables: Tables
    inside: Inside
    around: Images

    @staticmethod
    def of(water: RigidWater | FlexibleWater, atoms: np.ndarray, box: np.ndarray) -> _Held:
        centres, sites = water.centres(atoms), water.place(atoms)
        bodies = sites - centres[:, None]
        around = images(centres, box, water.cutoff, water.radius(bodies))
        return _Held(centres, bodies, water.tables(sites, box), water.inside, around)

    def started(
        self, temperatures: tuple[float, ...], sampling: FixedSampling, number: int
    ) -> Iterator[tuple[Chain, np.random.Generator, Centre]]:
        """Each replica after its burn-in, its random numbers, and its first means."""
        if list(temperatures) != sorted(set(temperatures)) or temperatures[0] <= 0:
            raise ValueError(f"temperatures are positive and ascend, each once; not {temperatures}")
        random = sampling.start == "random"
        for stream in np.random.SeedSequence([sampling.seed, number]).spawn(sampling.replicas):
            generator, chain = np.random.default_rng(stream), self._chain(temperatures)
            begin(chain, self.around, self.tables, self.inside, random, generator)
            hot = _HOT if random else 1.0
            means = relax(chain, self.around, self.tables, self.inside, sampling.burn_in, hot, generator)
            yield chain, generator, means

    def _chain(self, temperatures: tuple[float, ...]) -> Chain:
        k, n, waves = len(temperatures), len(self.centres), len(self.tables.strength)
        return Chain(
            self.centres, np.repeat(self.bodies[None], k, 0), np.zeros((k, n, 4)), np.zeros((k, *self.bodies.shape)),
            np.zeros((k, n, n)), np.zeros((k, n, 2, waves)), np.zeros((k, 2, waves)), np.zeros((k, n)), np.arange(k),
            KB * np.array(temperatures, float), np.full(k, _FIRST_REACH), np.full(k, _FIRST_STRAIN),
            np.zeros((k, 4)), np.zeros((k, 4)),
        )  # fmt: skip


def _run(
    chain: Chain, held: _Held, sampling: FixedSampling, shell: np.ndarray, centre: Centre,
    generator: np.random.Generator,
) -> Sums:  # fmt: skip
    k, n, ranges = len(chain.kt), len(chain.centres), len(sampling.ranges)
    vectors = lambda: np.zeros((k, n, 3))
    sums = Sums(
        energy=np.zeros((k, sampling.samples)), force=vectors(), force_square=vectors(), force_energy=vectors(),
        force_energies=vectors(), share=np.zeros((k, n)), near=np.zeros((k, ranges, n)),
        force_near=np.zeros((k, ranges, n, 3)), noise=np.zeros((k, ranges + 1)),
    )  # fmt: skip
    chain.tried[:], chain.taken[:] = 0, 0
    sample(chain, held.around, held.tables, held.inside, sampling.stride, shell, centre, sums, generator)
    return sums


def _labels(sums: list[Sums], centre: Centre, chains: list[Chain], level: int) -> Labels:
    """Cumulants across the replicas; sums are of deviations from the centre, which only the means feel."""
    series = np.stack([s.energy[level] for s in sums])
    count = series.shape[1]
    stack = lambda name: np.stack([getattr(s, name)[level] for s in sums]) / count
    f, fu, share, near = stack("force"), stack("force_energy"), stack("share"), stack("near")
    u, uu = series.mean(1), (series**2).mean(1)
    whole = lambda x: x[:, None, None]
    force, share_mean = across.mean(f), across.mean(share)
    energy = across.mean(u)
    chain_of = np.repeat(np.arange(len(sums)), count)
    tried, taken = sum(c.tried[level] for c in chains), sum(c.taken[level] for c in chains)
    return Labels(
        forces=Scattered(force.value + centre.force[level], force.error),
        energy=Scattered(energy.value + centre.share[level].sum(), energy.error),
        local_energy=Scattered(share_mean.value + centre.share[level], share_mean.error),
        covariance=across.covariance(f, whole(u), fu),
        variance=across.covariance(u, u, uu),
        third_cumulant=across.third_cumulant(f, whole(u), fu, whole(uu), stack("force_energies")),
        near_covariance=across.covariance(f[:, None], near[..., None], stack("force_near")),
        noise=stack("noise").mean(0) / f[0].size,
        force_variance=across.covariance(f, f, stack("force_square")).value,
        effective=float(series.size / inefficiency(series.reshape(-1), chain_of)),
        replica_energy=u + centre.share[level].sum(),
        replica_forces=f + centre.force[level],
        acceptance=(taken / np.maximum(tried, 1))[: 4 if tried[3] else 3],
    )


def shells(centres: np.ndarray, box: np.ndarray, ranges: tuple[float, ...]) -> np.ndarray:
    """For each pair of molecules the first range that holds it, or the number of ranges."""
    if list(ranges) != sorted(set(ranges)) or (ranges and ranges[0] < 0):
        raise ValueError(f"ranges (nm) ascend from 0, each once; not {ranges}")
    apart = centres[:, None] - centres
    apart -= box * np.round(apart / box)
    return np.searchsorted(np.array(ranges, float), np.linalg.norm(apart, axis=2) - 1e-12)
