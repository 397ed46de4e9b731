"""Compiled loops of the diatomic liquid: sums over pairs and Metropolis sampling in a cubic box."""

from __future__ import annotations

import numba
import numpy as np

#: Breaks and coefficients of v, then of g.
Tables = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_WANTED_ACCEPTANCE = 0.4


@numba.njit(cache=True)
def value_and_slope(breaks, coefficients, r):
    """Value and derivative of a piecewise polynomial that vanishes from its last break on."""
    if r >= breaks[-1]:
        return 0.0, 0.0
    piece = max(int(np.searchsorted(breaks, r, side="right")) - 1, 0)
    x = r - breaks[piece]
    value, slope = 0.0, 0.0
    for k in range(coefficients.shape[0]):
        slope = slope * x + value
        value = value * x + coefficients[k, piece]
    return value, slope


@numba.njit(cache=True)
def value(breaks, coefficients, r):
    """Value alone, where r is known to lie below the last break."""
    piece = 0
    if len(breaks) > 2:
        piece = max(int(np.searchsorted(breaks, r, side="right")) - 1, 0)
    x, found = r - breaks[piece], 0.0
    for k in range(coefficients.shape[0]):
        found = found * x + coefficients[k, piece]
    return found


@numba.njit(cache=True)
def pair_sums(centres, bond_energy, edge, tables):
    """For each frame: v shared by molecules; sum of g around each; forces; virial; -sum g' e_ij; sum g'^2."""
    frames, n = centres.shape[:2]
    v_breaks, v_table, g_breaks, g_table = tables
    potential, virial = np.zeros((frames, n)), np.zeros(frames)
    stiffening, squares = np.zeros((frames, n)), np.zeros((frames, n))
    forces, response = np.zeros((frames, n, 3)), np.zeros((frames, n, 3))
    reach = max(v_breaks[-1], g_breaks[-1])
    d = np.zeros(3)
    for f in range(frames):
        for i in range(n):
            for j in range(i):
                square = 0.0
                for a in range(3):
                    d[a] = centres[f, i, a] - centres[f, j, a]
                    d[a] -= edge * np.rint(d[a] / edge)
                    square += d[a] * d[a]
                if square >= reach * reach:
                    continue
                r = np.sqrt(square)
                v, dv = value_and_slope(v_breaks, v_table, r)
                g, dg = value_and_slope(g_breaks, g_table, r)
                slope = dv + (bond_energy[f, i] + bond_energy[f, j]) * dg
                potential[f, i] += 0.5 * v
                potential[f, j] += 0.5 * v
                virial[f] -= r * slope
                stiffening[f, i] += g
                stiffening[f, j] += g
                squares[f, i] += dg * dg
                squares[f, j] += dg * dg
                for a in range(3):
                    unit = d[a] / r
                    forces[f, i, a] -= slope * unit
                    forces[f, j, a] += slope * unit
                    response[f, i, a] -= dg * unit
                    response[f, j, a] += dg * unit
    return potential, stiffening, forces, virial, response, squares


@numba.njit(cache=True)
def _energies(x, i, point, edge, breaks, coefficients, out):
    """w between a molecule at `point` in place of i and every other, and their sum."""
    square_reach = breaks[-1] ** 2
    total = 0.0
    for j in range(x.shape[0]):
        square = 0.0
        for a in range(3):
            d = abs(point[a] - x[j, a])
            d = min(d, edge - d)
            square += d * d
        out[j] = 0.0
        if j != i and square < square_reach:
            r = np.sqrt(square)
            out[j] = value(breaks, coefficients, r)
            total += out[j]
    return total


@numba.njit(cache=True)
def metropolis(start, edge, breaks, coefficients, kt, frames, sampling, rng):
    """Canonical centres for the pair potential w: single moves, their length fixed once the liquid is relaxed.

    `sampling` holds the sweeps between frames and the sweeps before the first.
    """
    sweeps, relaxation = sampling
    x = start.copy()
    n = x.shape[0]
    out = np.empty((frames, n, 3))
    pair = np.zeros((n, n))
    for i in range(n):
        _energies(x, i, x[i], edge, breaks, coefficients, pair[i])
    reach, taken = 0.1, 0
    point, row = np.empty(3), np.empty(n)
    for sweep in range(relaxation + frames * sweeps):
        for _ in range(n):
            i = int(rng.random() * n)
            for a in range(3):
                point[a] = x[i, a] + reach * (2 * rng.random() - 1)
                point[a] -= edge * np.floor(point[a] / edge)
            change = _energies(x, i, point, edge, breaks, coefficients, row) - pair[i].sum()
            if change <= 0 or rng.random() < np.exp(-change / kt):
                x[i] = point
                pair[i] = row
                pair[:, i] = row
                taken += 1
        if sweep < relaxation:
            reach *= 1.1 if taken > _WANTED_ACCEPTANCE * n else 0.9
            reach = min(max(reach, 1e-4 * edge), 0.5 * edge)
            taken = 0
        elif (sweep - relaxation + 1) % sweeps == 0:
            out[(sweep - relaxation) // sweeps] = x
    return out
