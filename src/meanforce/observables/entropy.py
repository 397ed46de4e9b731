"""How much the entropy rises with temperature at constant volume: the integral of dU/T.

Atoms and models are treated alike: the mean energy U is taken to be straight between the temperatures at which it is
known, where S rises by (U2 - U1) ln(T2/T1)/(T2 - T1). A heat capacity that changes by a tenth from one temperature to
the next, a fifth higher, changes this by two thousandths.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from meanforce.observables.base import Scalar

_TO_JOULE = 1e3


def entropy_rises(
    kelvins: Sequence[float] | Float[np.ndarray, "temperatures"],
    energies: Sequence[Scalar],
    shared: Float[np.ndarray, "temperatures temperatures"] | None = None,
) -> tuple[Scalar, ...]:
    """S(T) - S(T1) in J/(mol K) at each of several temperatures that ascend from T1, of energies in kJ/mol.

    Errors of the energies are independent; `shared` is a covariance (kJ/mol)^2 of errors that are not.
    """
    t = np.asarray(kelvins, float)
    if len(t) < 2 or not (np.diff(t) > 0).all():
        raise ValueError(f"entropy rises from one temperature to a higher one; give two or more in order, not {t}")
    steps = np.diff(np.eye(len(t)), axis=0) * (np.log(t[1:] / t[:-1]) / np.diff(t))[:, None]
    rises = _TO_JOULE * np.concatenate([np.zeros((1, len(t))), np.cumsum(steps, axis=0)])
    covariance = np.diag([e.error**2 for e in energies]) + (0.0 if shared is None else shared)
    values = rises @ [e.value for e in energies]
    errors = np.sqrt(np.einsum("ij,jk,ik->i", rises, covariance, rises))
    return tuple(
        Scalar(f"entropy above that at {t[0]:g} K", float(value), float(error), "J/(mol K)")
        for value, error in zip(values, errors, strict=True)
    )
