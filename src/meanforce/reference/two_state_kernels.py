"""Compiled loops of the liquid of two states: Metropolis sampling of its free energy, and the noise of its forces."""

from __future__ import annotations

import numba
import numpy as np

from meanforce.reference.liquid_kernels import value, value_and_slope

_WANTED_ACCEPTANCE = 0.4


@numba.njit(cache=True)
def _separation(first, second, edge):
    square = 0.0
    for a in range(3):
        d = abs(first[a] - second[a]) % edge
        d = min(d, edge - d)
        square += d * d
    return np.sqrt(square)


@numba.njit(cache=True)
def _row(x, i, point, edge, tables, v_row, g_row):
    """v and g between a molecule at `point` in place of i and every other, and their sums."""
    v_breaks, v_table, g_breaks, g_table = tables
    v_sum, g_sum = 0.0, 0.0
    for j in range(x.shape[0]):
        v_row[j], g_row[j] = 0.0, 0.0
        if j == i:
            continue
        r = _separation(x[j], point, edge)
        if r < v_breaks[-1]:
            v_row[j] = value(v_breaks, v_table, r)
            v_sum += v_row[j]
        if r < g_breaks[-1]:
            g_row[j] = value(g_breaks, g_table, r)
            g_sum += g_row[j]
    return v_sum, g_sum


@numba.njit(cache=True)
def _freed(gap, kt, log_degeneracy):
    """-kT ln(1 + g0 exp(-gap/kT)): what the upper state takes from the free energy of a molecule."""
    y = log_degeneracy - gap / kt
    return -kt * (max(y, 0.0) + np.log1p(np.exp(-abs(y))))


@numba.njit(cache=True)
def _rise(gaps, i, gap, old, new, kt, log_degeneracy):
    """How the states' part of the free energy changes where g around molecule i goes from `old` to `new`."""
    total = _freed(gap, kt, log_degeneracy) - _freed(gaps[i], kt, log_degeneracy)
    for j in range(gaps.shape[0]):
        if new[j] != old[j]:
            moved = gaps[j] + new[j] - old[j]
            total += _freed(moved, kt, log_degeneracy) - _freed(gaps[j], kt, log_degeneracy)
    return total


@numba.njit(cache=True)
def metropolis(start, edge, tables, states, kt, frames, sampling, rng):
    """Canonical centres for A = sum v - kT sum ln(1 + g0 exp(-Delta_i/kT)): single moves, of fixed length once relaxed.

    `states` holds the gap of a molecule alone and ln g0; `sampling` the sweeps between frames and before the first.
    A move changes the gaps of the molecule and of its neighbours, and no others.
    """
    alone, log_degeneracy = states
    sweeps, relaxation = sampling
    x = start.copy()
    n = x.shape[0]
    out = np.empty((frames, n, 3))
    v, g, gaps = np.zeros((n, n)), np.zeros((n, n)), np.empty(n)
    for i in range(n):
        gaps[i] = alone + _row(x, i, x[i], edge, tables, v[i], g[i])[1]
    reach, taken = 0.1, 0
    point, v_row, g_row = np.empty(3), np.empty(n), np.empty(n)
    for sweep in range(relaxation + frames * sweeps):
        for _ in range(n):
            i = int(rng.random() * n)
            for a in range(3):
                point[a] = x[i, a] + reach * (2 * rng.random() - 1)
                point[a] -= edge * np.floor(point[a] / edge)
            v_sum, g_sum = _row(x, i, point, edge, tables, v_row, g_row)
            gap = alone + g_sum
            change = v_sum - v[i].sum() + _rise(gaps, i, gap, g[i], g_row, kt, log_degeneracy)
            if change <= 0 or rng.random() < np.exp(-change / kt):
                x[i] = point
                gaps += g_row - g[i]
                gaps[i] = gap
                v[i], v[:, i] = v_row, v_row
                g[i], g[:, i] = g_row, g_row
                taken += 1
        if sweep < relaxation:
            reach *= 1.1 if taken > _WANTED_ACCEPTANCE * n else 0.9
            reach = min(max(reach, 1e-4 * edge), 0.5 * edge)
            taken = 0
        elif (sweep - relaxation + 1) % sweeps == 0:
            out[(sweep - relaxation) // sweeps] = x
    return out


@numba.njit(cache=True)
def slopes_squared(centres, weights, edge, g_breaks, g_table):
    """sum_j w_j g'_ij^2 around each molecule: how far the states of others scatter the force on it."""
    frames, n = centres.shape[:2]
    out = np.zeros((frames, n))
    for f in range(frames):
        for i in range(n):
            for j in range(i):
                r = _separation(centres[f, i], centres[f, j], edge)
                if r < g_breaks[-1]:
                    slope = value_and_slope(g_breaks, g_table, r)[1]
                    out[f, i] += weights[f, j] * slope * slope
                    out[f, j] += weights[f, i] * slope * slope
    return out
