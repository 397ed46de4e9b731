"""Compiled Metropolis sampling of molecules that turn about fixed centres, and bend, with exchange of temperatures."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from meanforce.reference.ewald_kernels import pair_forces, pair_row, rooms, structure, wave_terms
from meanforce.reference.shape_kernels import inner_energy, reshape

_WANTED_ACCEPTANCE = 0.4
_JUMPS = 0.25  # share of the moves that turn a molecule by any angle about one of its own axes
_WIDEST = 1.0  # rad, of the small moves
_SHAPES = 3  # the column of moves that change a shape


class Chain(NamedTuple):
    """Copies of the molecules, one for each temperature, and the sums that moves keep up to date."""

    centres: np.ndarray  # (molecules, 3) nm
    bodies: np.ndarray  # (copies, molecules, sites, 3) nm from the centre, before turning
    turns: np.ndarray  # (copies, molecules, 4) unit quaternions
    sites: np.ndarray  # (copies, molecules, sites, 3) nm
    pairs: np.ndarray  # (copies, molecules, molecules) kJ/mol
    waves: np.ndarray  # (copies, molecules, 2, waves)
    total: np.ndarray  # (copies, 2, waves), their sum
    within: np.ndarray  # (copies, molecules) kJ/mol, of flexible molecules
    copy: np.ndarray  # (temperatures,) the copy at each temperature
    kt: np.ndarray  # (temperatures,) kJ/mol
    reach: np.ndarray  # (temperatures,) largest angle of a small move
    strain: np.ndarray  # (temperatures,) largest change of a bond or an angle, in thermal widths
    tried: (
        np.ndarray
    )  # (temperatures, 4) small turns, turns about own axes, exchanges with the next temperature, shapes
    taken: np.ndarray  # (temperatures, 4)


class Sums(NamedTuple):
    """Sums over samples of deviations from `Centre`, at each temperature."""

    energy: np.ndarray  # (temperatures, samples) U of each, kJ/mol
    force: np.ndarray  # (temperatures, molecules, 3)
    force_square: np.ndarray  # (temperatures, molecules, 3)
    force_energy: np.ndarray  # (temperatures, molecules, 3) f U
    force_energies: np.ndarray  # (temperatures, molecules, 3) f U^2
    share: np.ndarray  # (temperatures, molecules) u_j
    near: np.ndarray  # (temperatures, ranges, molecules) sum of u_j within each range of a molecule
    force_near: np.ndarray  # (temperatures, ranges, molecules, 3) f times that sum
    noise: np.ndarray  # (temperatures, ranges + 1) squares of these products, and last of f U


class Centre(NamedTuple):
    """Forces on the molecules and their energies near the means, taken off before sums are formed."""

    force: np.ndarray  # (temperatures, molecules, 3)
    share: np.ndarray  # (temperatures, molecules)


@numba.njit(cache=True)
def _turn(body, turn, centre, out):
    """The sites of a molecule that is turned by a unit quaternion."""
    w, x, y, z = turn
    for site in range(body.shape[0]):
        a, b, c = body[site]
        p = 2 * (y * c - z * b)
        q = 2 * (z * a - x * c)
        r = 2 * (x * b - y * a)
        out[site, 0] = centre[0] + a + w * p + y * r - z * q
        out[site, 1] = centre[1] + b + w * q + z * p - x * r
        out[site, 2] = centre[2] + c + w * r + x * q - y * p


@numba.njit(cache=True)
def _propose(i, chain, copy, reach, rng, out):
    """A new orientation: a small turn about any axis, or a turn by any angle about an axis of the molecule.

    Both are as likely as their reverse: the molecule's own axis stays where it is while it turns about it.
    Returns whether the turn is a small one.
    """
    small = rng.random() >= _JUMPS
    if small:
        up = 2 * rng.random() - 1
        angle = 2 * np.pi * rng.random()
        across = np.sqrt(1 - up * up)
        x, y, z = across * np.cos(angle), across * np.sin(angle), up
        half = 0.5 * reach * (2 * rng.random() - 1)
    else:
        site = int(rng.random() * chain.sites.shape[2])
        x, y, z = chain.sites[copy, i, site] - chain.centres[i]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0:
            x, y, z = x / length, y / length, z / length
        else:  # the site is the centre
            x, y, z = 0.0, 0.0, 1.0
        half = np.pi * rng.random()
    s, c = np.sin(half), np.cos(half)
    w, a, b, d = chain.turns[copy, i]
    x, y, z = s * x, s * y, s * z
    out[0] = c * w - x * a - y * b - z * d
    out[1] = c * a + x * w + y * d - z * b
    out[2] = c * b + y * w + z * a - x * d
    out[3] = c * d + z * w + x * b - y * a
    out /= np.sqrt((out * out).sum())
    return small


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _change(new, old, total, strength):
    """Change of the waves' energy when one molecule's structure goes from old to new."""
    change = 0.0
    for k in range(strength.shape[0]):
        re, im = new[0, k] - old[0, k], new[1, k] - old[1, k]
        change += strength[k] * (re * (2 * total[0, k] + re) + im * (2 * total[1, k] + im))
    return change


@numba.njit(cache=True)
def _sweep(chain, level, heat, images, tables, inside, rng):
    """One try a molecule to turn it, and one to reshape it, at `heat` times the temperature of this level."""
    copy, n, flexible = chain.copy[level], chain.centres.shape[0], inside.pairs.shape[0] > 0
    sites, pairs, waves, total = chain.sites[copy], chain.pairs[copy], chain.waves[copy], chain.total[copy]
    turn, here, row, wave = np.empty(4), np.empty(sites.shape[1:]), np.empty(n), np.empty(total.shape)
    body = np.empty(sites.shape[1:])
    room, phases = rooms(images, tables, sites.shape[1])
    kt = heat * chain.kt[level]
    for _ in range(2 * n if flexible else n):
        i = int(rng.random() * n)
        factor, within = 1.0, chain.within[copy, i]
        if flexible and rng.random() < 0.5:
            kind = _SHAPES
            turn[:] = chain.turns[copy, i]
            factor = reshape(chain.bodies[copy, i], inside, kt, chain.strain[level], rng, body)
            chain.tried[level, kind] += 1
            if factor == 0:
                continue
            within = inner_energy(body, inside)
        else:
            kind = 0 if _propose(i, chain, copy, chain.reach[level], rng, turn) else 1
            chain.tried[level, kind] += 1
            body[:] = chain.bodies[copy, i]
        _turn(body, turn, chain.centres[i], here)
        change = pair_row(i, here, sites, images, tables, room, row) - pairs[i].sum()
        structure(here, tables, phases, wave)
        change += _change(wave, waves[i], total, tables.strength) + within - chain.within[copy, i]
        if (change <= 0 and factor == 1) or rng.random() < factor * np.exp(min(-change / kt, 50.0)):
            chain.turns[copy, i] = turn
            chain.bodies[copy, i] = body
            chain.within[copy, i] = within
            sites[i] = here
            pairs[i] = row
            pairs[:, i] = row
            total += wave - waves[i]
            waves[i] = wave
            chain.taken[level, kind] += 1


@numba.njit(cache=True)
def _energy(chain, copy, tables):
    """U of one copy, up to what is constant."""
    total = 0.5 * chain.pairs[copy].sum() + chain.within[copy].sum()
    for k in range(tables.strength.shape[0]):
        total += tables.strength[k] * (chain.total[copy, 0, k] ** 2 + chain.total[copy, 1, k] ** 2)
    return total


@numba.njit(cache=True)
def _exchange(chain, start, tables, rng):
    """Swaps the copies of neighbouring temperatures, of every second pair from `start` on."""
    for level in range(start, chain.kt.shape[0] - 1, 2):
        cold, hot = chain.copy[level], chain.copy[level + 1]
        gain = _energy(chain, cold, tables) - _energy(chain, hot, tables)
        exponent = gain * (1 / chain.kt[level] - 1 / chain.kt[level + 1])
        chain.tried[level, 2] += 1
        if exponent >= 0 or rng.random() < np.exp(exponent):
            chain.copy[level], chain.copy[level + 1] = hot, cold
            chain.taken[level, 2] += 1


@numba.njit(cache=True)
def begin(chain, images, tables, inside, random, rng):
    """Random orientations, uniform on all turns, for each copy, or those of the bodies."""
    room, phases = rooms(images, tables, chain.sites.shape[2])
    for copy in range(chain.kt.shape[0]):
        for i in range(chain.centres.shape[0]):
            chain.turns[copy, i] = np.array([1.0, 0.0, 0.0, 0.0])
            if random:
                for k in range(4):
                    chain.turns[copy, i, k] = rng.normal()
                chain.turns[copy, i] /= np.sqrt((chain.turns[copy, i] ** 2).sum())
            _turn(chain.bodies[copy, i], chain.turns[copy, i], chain.centres[i], chain.sites[copy, i])
            chain.within[copy, i] = inner_energy(chain.bodies[copy, i], inside) if inside.pairs.shape[0] else 0.0
        for i in range(chain.centres.shape[0]):
            sites = chain.sites[copy]
            pair_row(i, sites[i], sites, images, tables, room, chain.pairs[copy, i])
            structure(sites[i], tables, phases, chain.waves[copy, i])
        chain.total[copy] = chain.waves[copy].sum(axis=0)


@numba.njit(cache=True)
def observe(chain, level, images, tables):
    """Energies of the molecules, which sum to U, and forces on them at one level; renews the sum of the waves."""
    copy = chain.copy[level]
    room = rooms(images, tables, chain.sites.shape[2])[0]
    chain.total[copy] = chain.waves[copy].sum(axis=0)
    shares, forces = wave_terms(chain.waves[copy], chain.total[copy], tables)
    shares += tables.constant + 0.5 * chain.pairs[copy].sum(axis=1) + chain.within[copy]
    forces += pair_forces(chain.sites[copy], images, tables, room).sum(axis=1)
    return shares, forces


@numba.njit(cache=True)
def _scale(tried, taken):
    """For the size of moves, towards the acceptance that is wanted."""
    return 1.05 if taken > _WANTED_ACCEPTANCE * tried else 0.95


@numba.njit(cache=True)
def relax(chain, images, tables, inside, sweeps, hot, rng):
    """Cools from `hot` times the temperatures in the first third, and sizes the small moves all the way.

    Returns the means of the forces on the molecules and of their energies over the last third.
    """
    levels, n = chain.kt.shape[0], chain.centres.shape[0]
    centre = Centre(np.zeros((levels, n, 3)), np.zeros((levels, n)))
    samples = 0
    for step in range(sweeps):
        heat = 1 + (hot - 1) * max(0.0, 1 - 3 * step / sweeps)
        sampled = 3 * step >= 2 * sweeps and step % 10 == 0
        for level in range(levels):
            tried, taken = chain.tried[level].copy(), chain.taken[level].copy()
            _sweep(chain, level, heat, images, tables, inside, rng)
            tried, taken = chain.tried[level] - tried, chain.taken[level] - taken
            chain.reach[level] = min(max(chain.reach[level] * _scale(tried[0], taken[0]), 0.01), _WIDEST)
            chain.strain[level] = min(max(chain.strain[level] * _scale(tried[_SHAPES], taken[_SHAPES]), 0.01), 10.0)
            if sampled:
                shares, forces = observe(chain, level, images, tables)
                centre.share[level] += shares
                centre.force[level] += forces
        samples += sampled
        if heat == 1:
            _exchange(chain, step % 2, tables, rng)
    return Centre(centre.force / max(samples, 1), centre.share / max(samples, 1))


@numba.njit(cache=True)
def _add(sums, level, sample, shares, forces, shell):
    """Adds one sample of deviations; `shell` is the first range that holds j around i, or the number of ranges."""
    energy = shares.sum()
    n, ranges = shell.shape[0], sums.near.shape[1]
    near = np.zeros(ranges + 1)
    sums.energy[level, sample] = energy
    for i in range(n):
        near[:] = 0.0
        for j in range(n):
            near[shell[i, j]] += shares[j]
        for reach in range(1, ranges):
            near[reach] += near[reach - 1]
        near[ranges] = energy
        sums.share[level, i] += shares[i]
        for axis in range(3):
            f = forces[i, axis]
            sums.force[level, i, axis] += f
            sums.force_square[level, i, axis] += f * f
            sums.force_energy[level, i, axis] += f * energy
            sums.force_energies[level, i, axis] += f * energy * energy
            for reach in range(ranges):
                sums.force_near[level, reach, i, axis] += f * near[reach]
        square = (forces[i] ** 2).sum()
        for reach in range(ranges):
            sums.near[level, reach, i] += near[reach]
        for reach in range(ranges + 1):
            sums.noise[level, reach] += square * near[reach] ** 2


@numba.njit(cache=True)
def sample(chain, images, tables, inside, stride, shell, centre, sums, rng):
    """Fills `sums`: a sample every `stride` sweeps, an exchange after every sweep."""
    step = 0
    for number in range(sums.energy.shape[1]):
        for _ in range(stride):
            for level in range(chain.kt.shape[0]):
                _sweep(chain, level, 1.0, images, tables, inside, rng)
            _exchange(chain, step % 2, tables, rng)
            step += 1
        for level in range(chain.kt.shape[0]):
            shares, forces = observe(chain, level, images, tables)
            _add(sums, level, number, shares - centre.share[level], forces - centre.force[level], shell)


@numba.njit(cache=True)
def draw(chain, images, tables, inside, stride, out, rng):
    """Fills `out` (temperatures, samples, molecules, sites, 3) with sites, a sample every `stride` sweeps."""
    step = 0
    for number in range(out.shape[1]):
        for _ in range(stride):
            for level in range(chain.kt.shape[0]):
                _sweep(chain, level, 1.0, images, tables, inside, rng)
            _exchange(chain, step % 2, tables, rng)
            step += 1
        for level in range(chain.kt.shape[0]):
            out[level, number] = chain.sites[chain.copy[level]]
