"""Compiled loops of rigid molecules with point charges: sums over pairs within the cut-off and over waves."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

#: Sums may be reordered, which lets the loops over waves run in vectors; nothing else is relaxed.
_REORDERED = {"reassoc", "contract", "nsz"}
COULOMB = 138.93545764438198  # kJ nm/(mol e^2), the value OpenMM computes with
DEGREE = 14


class Tables(NamedTuple):
    """What the loops read: the force field of one molecule in one box, in nm, kJ/mol and elementary charges."""

    charges: np.ndarray  # (sites,)
    lennard_jones: np.ndarray  # 4 epsilon sigma^12 and 4 epsilon sigma^6, between the first sites
    box: np.ndarray  # (3,)
    square_cutoff: float
    smeared: np.ndarray  # (DEGREE + 1,): C erf(alpha r) / r in powers of 2 r^2 / cutoff^2 - 1, the highest first
    columns: np.ndarray  # (columns, 4): n_x, n_y, first and last n_z of the waves
    vectors: np.ndarray  # (3, waves) 1/nm
    strength: np.ndarray  # (waves,): U = sum strength |S|^2
    constant: float  # self energy, exclusions and dispersion beyond the cut-off, for each molecule


class Images(NamedTuple):
    """The molecules and their images that can come within the cut-off, row by row: entries first[i] to first[i+1]."""

    first: np.ndarray  # (molecules + 1,)
    other: np.ndarray  # (entries,)
    shift: np.ndarray  # (entries, 3) nm, added to the other molecule's sites


@numba.njit(cache=True, fastmath=_REORDERED)
def _polynomial(c, x):
    """Written out, for loops over pairs to run in vectors."""
    high = (((c[0] * x + c[1]) * x + c[2]) * x + c[3]) * x + c[4]
    high = ((((high * x + c[5]) * x + c[6]) * x + c[7]) * x + c[8]) * x + c[9]
    return ((((high * x + c[10]) * x + c[11]) * x + c[12]) * x + c[13]) * x + c[14]


@numba.njit(cache=True)
def _gather(i, sites, images, last, out):
    """Sites of the images around molecule i, up to those of molecule `last`: out[axis, entry * sites + site]."""
    count, width = 0, sites.shape[1]
    for entry in range(images.first[i], images.first[i + 1]):
        j = images.other[entry]
        if j >= last:
            break
        for b in range(width):
            for axis in range(3):
                out[axis, count + b] = sites[j, b, axis] + images.shift[entry, axis]
        count += width
    return count


@numba.njit(cache=True, fastmath=_REORDERED)
def pair_row(i, here, sites, images, tables, room, out):
    """Energy between molecule i, with its sites at `here`, and every other; returns their sum."""
    count, width = _gather(i, sites, images, sites.shape[0], room), sites.shape[1]
    energy, scale = room[3], 2 / tables.square_cutoff
    energy[:count] = 0.0
    c = tables.smeared
    for a in range(width):
        if tables.charges[a] == 0:
            continue
        x, y, z = here[a]
        for k in range(count):
            square = (x - room[0, k]) ** 2 + (y - room[1, k]) ** 2 + (z - room[2, k]) ** 2
            value = COULOMB / np.sqrt(square) - _polynomial(c, scale * square - 1)
            energy[k] += tables.charges[a] * value if square < tables.square_cutoff else 0.0
    out[:] = 0.0
    total = 0.0
    for entry in range(images.first[i], images.first[i + 1]):
        k = (entry - images.first[i]) * width
        square = (here[0, 0] - room[0, k]) ** 2 + (here[0, 1] - room[1, k]) ** 2 + (here[0, 2] - room[2, k]) ** 2
        pair = 0.0
        if square < tables.square_cutoff:
            sixth = 1 / (square * square * square)
            pair = (tables.lennard_jones[0] * sixth - tables.lennard_jones[1]) * sixth
        for b in range(width):
            pair += tables.charges[b] * energy[k + b]
        out[images.other[entry]] += pair
        total += pair
    return total


@numba.njit(cache=True, fastmath=_REORDERED)
def _share(factor, x, y, z, here, there):
    """Adds factor times a vector to one force and takes it from the other."""
    here[0] += factor * x
    here[1] += factor * y
    here[2] += factor * z
    there[0] -= factor * x
    there[1] -= factor * y
    there[2] -= factor * z


@numba.njit(cache=True, fastmath=_REORDERED)
def _pull(i, sites, images, tables, room, forces):
    """Adds the forces between molecule i and those before it to both."""
    count, width = _gather(i, sites, images, i, room), sites.shape[1]
    scale, c, d = 2 / tables.square_cutoff, tables.smeared, room[5, :DEGREE]
    for power in range(DEGREE):
        d[power] = (DEGREE - power) * scale * c[power]
    for a in range(width):
        x, y, z = sites[i, a]
        push = room[4]
        for k in range(count):
            square = (x - room[0, k]) ** 2 + (y - room[1, k]) ** 2 + (z - room[2, k]) ** 2
            t = scale * square - 1
            high = (((d[0] * t + d[1]) * t + d[2]) * t + d[3]) * t + d[4]
            high = ((((high * t + d[5]) * t + d[6]) * t + d[7]) * t + d[8]) * t + d[9]
            slope = (((high * t + d[10]) * t + d[11]) * t + d[12]) * t + d[13]
            value = COULOMB / (square * np.sqrt(square)) + 2 * slope
            push[k] = value if square < tables.square_cutoff else 0.0
        for k in range(0, count, width):
            j = images.other[images.first[i] + k // width]
            if a == 0 and push[k] != 0:
                u, v, w = x - room[0, k], y - room[1, k], z - room[2, k]
                square = u * u + v * v + w * w
                sixth = 1 / (square * square * square)
                factor = (12 * tables.lennard_jones[0] * sixth - 6 * tables.lennard_jones[1]) * sixth / square
                _share(factor, u, v, w, forces[i, a], forces[j, 0])
            for b in range(width):
                if push[k + b] != 0:
                    factor = tables.charges[a] * tables.charges[b] * push[k + b]
                    u, v, w = x - room[0, k + b], y - room[1, k + b], z - room[2, k + b]
                    _share(factor, u, v, w, forces[i, a], forces[j, b])


@numba.njit(cache=True)
def _phases(point, box, count, out):
    """cos and sin of 2 pi n x / L for |n| <= count along each axis: out[axis, 0 or 1, n + count]."""
    for axis in range(3):
        angle = 2 * np.pi * point[axis] / box[axis]
        c, s = np.cos(angle), np.sin(angle)
        out[axis, 0, count], out[axis, 1, count] = 1.0, 0.0
        for n in range(count):
            re, im = out[axis, 0, count + n], out[axis, 1, count + n]
            out[axis, 0, count + n + 1] = re * c - im * s
            out[axis, 1, count + n + 1] = re * s + im * c
            out[axis, 0, count - n - 1] = out[axis, 0, count + n + 1]
            out[axis, 1, count - n - 1] = -out[axis, 1, count + n + 1]


@numba.njit(cache=True, fastmath=_REORDERED)
def structure(here, tables, phases, out):
    """sum q exp(i k r) over the sites of one molecule, for every wave: out[0 or 1, wave]."""
    out[:] = 0.0
    count = phases.shape[2] // 2
    for site in range(here.shape[0]):
        charge = tables.charges[site]
        if charge == 0:
            continue
        _phases(here[site], tables.box, count, phases)
        wave = 0
        for column in range(tables.columns.shape[0]):
            nx, ny, low, high = tables.columns[column]
            ax, bx = phases[0, 0, nx + count], phases[0, 1, nx + count]
            ay, by = phases[1, 0, ny + count], phases[1, 1, ny + count]
            re, im = charge * (ax * ay - bx * by), charge * (ax * by + bx * ay)
            for n in range(high - low + 1):
                c, s = phases[2, 0, low + count + n], phases[2, 1, low + count + n]
                out[0, wave + n] += re * c - im * s
                out[1, wave + n] += re * s + im * c
            wave += high - low + 1


@numba.njit(cache=True, fastmath=_REORDERED)
def _push(here, tables, total, phases, forces):
    """Adds the forces of the waves on the sites of one molecule."""
    count = phases.shape[2] // 2
    for site in range(here.shape[0]):
        charge = tables.charges[site]
        if charge == 0:
            continue
        _phases(here[site], tables.box, count, phases)
        wave = 0
        fx, fy, fz = 0.0, 0.0, 0.0
        for column in range(tables.columns.shape[0]):
            nx, ny, low, high = tables.columns[column]
            ax, bx = phases[0, 0, nx + count], phases[0, 1, nx + count]
            ay, by = phases[1, 0, ny + count], phases[1, 1, ny + count]
            re, im = charge * (ax * ay - bx * by), charge * (ax * by + bx * ay)
            plain, along = 0.0, 0.0
            for n in range(high - low + 1):
                c, s = phases[2, 0, low + count + n], phases[2, 1, low + count + n]
                turned = total[0, wave + n] * (re * s + im * c) - total[1, wave + n] * (re * c - im * s)
                turned *= tables.strength[wave + n]
                plain += turned
                along += turned * (low + n)
            fx += nx * plain
            fy += ny * plain
            fz += along
            wave += high - low + 1
        forces[site, 0] += 4 * np.pi / tables.box[0] * fx
        forces[site, 1] += 4 * np.pi / tables.box[1] * fy
        forces[site, 2] += 4 * np.pi / tables.box[2] * fz


@numba.njit(cache=True)
def pair_forces(sites, images, tables, room):
    """Forces on the sites from the pairs within the cut-off."""
    forces = np.zeros(sites.shape)
    for i in range(sites.shape[0]):
        _pull(i, sites, images, tables, room, forces)
    return forces


@numba.njit(cache=True, fastmath=_REORDERED)
def wave_terms(waves, total, tables):
    """Share of each molecule in the energy of the waves, and the force of the waves on it."""
    n, count = waves.shape[0], total.shape[1]
    energies, forces = np.zeros(n), np.zeros((n, 3))
    vectors = tables.vectors
    for i in range(n):
        share, x, y, z = 0.0, 0.0, 0.0, 0.0
        for k in range(count):
            share += tables.strength[k] * (total[0, k] * waves[i, 0, k] + total[1, k] * waves[i, 1, k])
            turned = 2 * tables.strength[k] * (total[0, k] * waves[i, 1, k] - total[1, k] * waves[i, 0, k])
            x += turned * vectors[0, k]
            y += turned * vectors[1, k]
            z += turned * vectors[2, k]
        energies[i] = share
        forces[i, 0], forces[i, 1], forces[i, 2] = x, y, z
    return energies, forces


@numba.njit(cache=True)
def rooms(images, tables, sites):
    """Working arrays: of the images around one molecule, and of the phases of one site."""
    longest = max(np.diff(images.first).max() * sites, DEGREE)
    return np.empty((6, longest)), np.zeros((3, 2, 2 * np.abs(tables.columns).max() + 1))


@numba.njit(cache=True)
def evaluate(sites, images, tables):
    """Energies of the molecules, which sum to U, and forces on the sites."""
    n = sites.shape[0]
    room, phases = rooms(images, tables, sites.shape[1])
    row, waves = np.empty(n), np.empty((n, 2, tables.strength.shape[0]))
    for i in range(n):
        structure(sites[i], tables, phases, waves[i])
    total = waves.sum(axis=0)
    forces = pair_forces(sites, images, tables, room)
    energies = wave_terms(waves, total, tables)[0]
    for i in range(n):
        energies[i] += tables.constant + 0.5 * pair_row(i, sites[i], sites, images, tables, room, row)
        _push(sites[i], tables, total, phases, forces[i])
    return energies, forces
