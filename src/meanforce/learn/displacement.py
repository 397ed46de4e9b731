"""How energies go with forces at fixed beads: the field w(R) for the joint likelihood of both.

The best w is Cov(f)^-1 Cov(f, U). Here it is a sum of fields of a model, each with one share for every bead type:

    w = s1 T dF/dT + s2 dF/dT + s3 F

Cov(f, U) is kT^2 dF/dT. The noise of forces grows as kT where stiff coordinates make it, and as (kT)^2 where the
stiffness itself fluctuates, so that one of the first two shares holds at all temperatures; the third field takes up
that forces are noisiest where they are large. Shares are those that leave the least of the energies.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def fields(
    covariance: Float[np.ndarray, "n beads 3"], forces: Float[np.ndarray, "n beads 3"], kt: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "fields n beads 3"]:
    """T dF/dT and F in kJ/(mol nm), dF/dT over k in 1/nm."""
    kt = kt[:, None, None]
    return np.stack([covariance / kt, covariance / kt**2, forces])


def works(
    along: Float[np.ndarray, "fields n beads 3"],
    misses: Float[np.ndarray, "n beads 3"],
    kinds: Int[np.ndarray, "beads"],
) -> Float[np.ndarray, "n columns"]:
    """The work of what a model misses of the forces along each field, for each bead type: zero on average."""
    each = np.einsum("knbi,nbi->nkb", along, misses)
    of_kind = np.eye(kinds.max() + 1)[kinds]
    return (each @ of_kind).reshape(len(misses), -1)


def shares(
    misses: Float[np.ndarray, "n"], columns: Float[np.ndarray, "n columns"], weights: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "columns"]:
    """How much of each column is in the residuals: least squares, the smallest shares where columns are alike."""
    size = np.sqrt(np.average(columns**2, axis=0, weights=weights))
    size[size == 0] = 1.0
    root = np.sqrt(weights)
    return np.linalg.lstsq(columns / size * root[:, None], misses * root, rcond=1e-8)[0] / size


def displacement(
    along: Float[np.ndarray, "fields n beads 3"], found: Float[np.ndarray, "columns"], kinds: Int[np.ndarray, "beads"]
) -> Float[np.ndarray, "n beads 3"]:
    """w in nm from the shares of its fields."""
    return np.einsum("knbi,kb->nbi", along, found.reshape(len(along), -1)[:, kinds])
