"""Compiled derivatives of the forces on molecules along fields that move their sites."""

from __future__ import annotations

import numba
import numpy as np

from meanforce.reference.ewald_kernels import COULOMB, DEGREE, _phases, structure


@numba.njit(cache=True)
def _slopes(square, tables, charges, first, out):
    """g and 2 dg/d(r^2), where g times the vector between two sites is the force on one of them; without a cut-off."""
    scale = 2 / tables.square_cutoff
    t, c = scale * square - 1, tables.smeared
    slope, bend = 0.0, 0.0  # of the smeared charges' potential, by Horner's rule for derivatives
    for power in range(DEGREE):
        bend = bend * t + (DEGREE - power) * (DEGREE - power - 1) * c[power] if power < DEGREE - 1 else bend
        slope = slope * t + (DEGREE - power) * c[power]
    r = np.sqrt(square)
    out[0] = charges * (COULOMB / (square * r) + 2 * scale * slope)
    out[1] = 2 * charges * (-1.5 * COULOMB / (square * square * r) + 2 * scale * scale * bend)
    if first:
        sixth = 1 / (square * square * square)
        high, low = tables.lennard_jones
        out[0] += (12 * high * sixth - 6 * low) * sixth / square
        out[1] += 2 * (-84 * high * sixth + 24 * low) * sixth / (square * square)


@numba.njit(cache=True)
def _pairs(sites, fields, images, tables, shell, out):
    """Adds what pairs within the cut-off give to out[range, molecule, axis], shells as in `fixed`, the last all."""
    n, width, ranges = sites.shape[0], sites.shape[1], out.shape[0] - 1
    apart, along, g = np.empty(3), np.empty(3), np.empty(2)
    for i in range(n):
        for entry in range(images.first[i], images.first[i + 1]):
            j = images.other[entry]
            for a in range(width):
                for b in range(width):
                    square = 0.0
                    for axis in range(3):
                        apart[axis] = sites[i, a, axis] - sites[j, b, axis] - images.shift[entry, axis]
                        square += apart[axis] ** 2
                    if square >= tables.square_cutoff:
                        continue
                    _slopes(square, tables, tables.charges[a] * tables.charges[b], a == 0 and b == 0, g)
                    for mover in range(2):
                        dot = 0.0
                        for axis in range(3):
                            along[axis] = fields[i, a, axis] if mover == 0 else -fields[j, b, axis]
                            dot += apart[axis] * along[axis]
                        start = 0 if mover == 0 else shell[i, j]
                        for axis in range(3):
                            rise = g[0] * along[axis] + g[1] * dot * apart[axis]
                            for reach in range(start, ranges):
                                out[reach, i, axis] += rise
                            out[ranges, i, axis] += rise


@numba.njit(cache=True)
def _moved(here, field, tables, phases, out):
    """sum q exp(i k r), and the same with k.n before each term: out[0 to 3, wave]."""
    out[:] = 0.0
    count = phases.shape[2] // 2
    for site in range(here.shape[0]):
        charge = tables.charges[site]
        _phases(here[site], tables.box, count, phases)
        wave = 0
        for column in range(tables.columns.shape[0]):
            nx, ny, low, high = tables.columns[column]
            ax, bx = phases[0, 0, nx + count], phases[0, 1, nx + count]
            ay, by = phases[1, 0, ny + count], phases[1, 1, ny + count]
            re, im = charge * (ax * ay - bx * by), charge * (ax * by + bx * ay)
            for n in range(low, high + 1):
                c, s = phases[2, 0, n + count], phases[2, 1, n + count]
                dot = 0.0
                for axis in range(3):
                    dot += tables.vectors[axis, wave] * field[site, axis]
                real, imaginary = re * c - im * s, re * s + im * c
                out[0, wave] += real
                out[1, wave] += imaginary
                out[2, wave] += dot * real
                out[3, wave] += dot * imaginary
                wave += 1


@numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _waves(total, own, other, tables, out):
    """Adds 2 A k Re[conj(S) D_i - conj(D) S_i]: own and other are S and D of i, and the D of those that move."""
    x, y, z = 0.0, 0.0, 0.0
    for k in range(total.shape[1]):
        rise = total[0, k] * own[2, k] + total[1, k] * own[3, k] - other[0, k] * own[0, k] - other[1, k] * own[1, k]
        rise *= 2 * tables.strength[k]
        x += rise * tables.vectors[0, k]
        y += rise * tables.vectors[1, k]
        z += rise * tables.vectors[2, k]
    out[0] += x
    out[1] += y
    out[2] += z


@numba.njit(cache=True)
def stirred(sites, fields, images, tables, shell, ranges):
    """Slope of the force on each molecule while the fields move it and those within each range, and last all.

    Within the cut-off: the jumps of forces there are not counted.
    """
    n, waves = sites.shape[0], tables.strength.shape[0]
    out = np.zeros((ranges + 1, n, 3))
    _pairs(sites, fields, images, tables, shell, out)
    phases = np.zeros((3, 2, 2 * np.abs(tables.columns).max() + 1))
    each, near = np.empty((n, 4, waves)), np.empty((2, waves))
    for i in range(n):
        _moved(sites[i], fields[i], tables, phases, each[i])
    total = each.sum(axis=0)
    for i in range(n):
        near[:] = 0.0
        for reach in range(ranges):
            for j in range(n):
                if shell[i, j] == reach:
                    near += each[j, 2:]
            _waves(total[:2], each[i], near, tables, out[reach, i])
        _waves(total[:2], each[i], total[2:], tables, out[ranges, i])
    return out


@numba.njit(cache=True)
def _turned_pairs(i, sites, arms, images, tables):
    """The part of pairs within the cut-off in `turned`, of molecule i."""
    width, apart, g, out = sites.shape[1], np.empty(3), np.empty(2), 0.0
    for entry in range(images.first[i], images.first[i + 1]):
        j = images.other[entry]
        for a in range(width):
            arm = arms[i, a]
            reach = (arm**2).sum()
            for b in range(width):
                square, along = 0.0, 0.0
                for axis in range(3):
                    apart[axis] = sites[i, a, axis] - sites[j, b, axis] - images.shift[entry, axis]
                    square += apart[axis] ** 2
                    along += apart[axis] * arm[axis]
                if square < tables.square_cutoff:
                    _slopes(square, tables, tables.charges[a] * tables.charges[b], a == 0 and b == 0, g)
                    out += 2 * g[0] * (reach - along) + g[1] * (reach * square - along * along)
    return out


@numba.njit(cache=True)
def _turned_waves(here, arms, total, tables, phases):
    """The part of the waves: S = sum q exp(i k r) of one molecule, turned about the axes once and twice."""
    count, out, wave = phases.shape[3] // 2, 0.0, 0
    turn = np.empty((2, 3))
    for site in range(here.shape[0]):
        _phases(here[site], tables.box, count, phases[site])
    for column in range(tables.columns.shape[0]):
        nx, ny, low, high = tables.columns[column]
        for n in range(low, high + 1):
            kx, ky, kz = tables.vectors[0, wave], tables.vectors[1, wave], tables.vectors[2, wave]
            turn[:] = 0.0
            twice = 0.0
            for site in range(here.shape[0]):
                charge, p = tables.charges[site], phases[site]
                ax, bx, ay, by = p[0, 0, nx + count], p[0, 1, nx + count], p[1, 0, ny + count], p[1, 1, ny + count]
                c, s = p[2, 0, n + count], p[2, 1, n + count]
                re = charge * ((ax * ay - bx * by) * c - (ax * by + bx * ay) * s)
                im = charge * ((ax * ay - bx * by) * s + (ax * by + bx * ay) * c)
                x, y, z = arms[site]
                u, v, w = y * kz - z * ky, z * kx - x * kz, x * ky - y * kx
                along = x * kx + y * ky + z * kz
                for axis, value in enumerate((u, v, w)):
                    turn[0, axis] += value * re
                    turn[1, axis] += value * im
                twice -= (u * u + v * v + w * w) * (total[0, wave] * re + total[1, wave] * im)
                twice += 2 * along * (total[0, wave] * im - total[1, wave] * re)
            out -= 2 * tables.strength[wave] * ((turn**2).sum() + twice)
            wave += 1
    return out


@numba.njit(cache=True)
def turned(sites, centres, images, tables):
    """Sum over the axes of the slope of each molecule's torque as it turns about them, kJ/mol."""
    n, width, waves = sites.shape[0], sites.shape[1], tables.strength.shape[0]
    phases = np.zeros((width, 3, 2, 2 * np.abs(tables.columns).max() + 1))
    each, arms, out = np.empty((n, 2, waves)), np.empty(sites.shape), np.empty(n)
    for i in range(n):
        structure(sites[i], tables, phases[0], each[i])
        for a in range(width):
            arms[i, a] = sites[i, a] - centres[i]
    total = each.sum(axis=0)
    for i in range(n):
        out[i] = _turned_pairs(i, sites, arms, images, tables)
        out[i] += _turned_waves(sites[i], arms[i], total, tables, phases)
    return out
