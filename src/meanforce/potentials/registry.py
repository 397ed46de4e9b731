"""Every potential by name, and how one is written down: plain JSON and named arrays, no code."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from meanforce.potentials import priors, splines, sums
from meanforce.potentials.base import Potential
from meanforce.potentials.committee import Committee
from meanforce.potentials.concave import ConcaveThermal
from meanforce.potentials.curves import Curve
from meanforce.potentials.dimenet import DimeNet, Embedding, Interaction, Readout
from meanforce.potentials.equivariant import Equivariant, FeatureUpdate, MomentLayer
from meanforce.potentials.heads import LinearCoupled
from meanforce.potentials.hipnn import AtomLayer, HipNN, TensorInteraction
from meanforce.potentials.kernels import DotProduct, KernelPotential, SquaredExponential, TemperatureKernel
from meanforce.potentials.local import LocalNetwork
from meanforce.potentials.manybody import ThreeBodySpline
from meanforce.potentials.networks import Dense, Residual
from meanforce.potentials.surroundings import Coordinate, Surroundings
from meanforce.potentials.thermal import LinearThermal, Thermal

#: A new potential joins by one line: files that hold it can then be read, and the contract tests run it.
REGISTRY: dict[str, type[Potential]] = {
    "Sum": sums.Sum,
    "LinearSum": sums.LinearSum,
    "SplinePotential": sums.SplinePotential,
    "PairSpline": splines.PairSpline,
    "BondSpline": splines.BondSpline,
    "AngleSpline": splines.AngleSpline,
    "DihedralSpline": splines.DihedralSpline,
    "ImproperSpline": splines.ImproperSpline,
    "ExternalSpline": splines.ExternalSpline,
    "ThreeBodySpline": ThreeBodySpline,
    "HarmonicBond": priors.HarmonicBond,
    "HarmonicAngle": priors.HarmonicAngle,
    "PeriodicDihedral": priors.PeriodicDihedral,
    "Repulsion": priors.Repulsion,
    "Wall": priors.Wall,
    "LennardJones": priors.LennardJones,
    "Committee": Committee,
    "StillingerWeber": priors.StillingerWeber,
    "DimeNet": DimeNet,
    "LocalNetwork": LocalNetwork,
    "HipNN": HipNN,
    "Equivariant": Equivariant,
    "KernelPotential": KernelPotential,
    "Thermal": Thermal,
    "LinearThermal": LinearThermal,
    "ConcaveThermal": ConcaveThermal,
    "LinearCoupled": LinearCoupled,
}

#: What potentials are made of.
_PARTS: dict[str, type[eqx.Module]] = {
    "Curve": Curve,
    "Dense": Dense,
    "Residual": Residual,
    "Embedding": Embedding,
    "Interaction": Interaction,
    "Readout": Readout,
    "TensorInteraction": TensorInteraction,
    "AtomLayer": AtomLayer,
    "MomentLayer": MomentLayer,
    "FeatureUpdate": FeatureUpdate,
    "Coordinate": Coordinate,
    "Surroundings": Surroundings,
    "SquaredExponential": SquaredExponential,
    "DotProduct": DotProduct,
    "TemperatureKernel": TemperatureKernel,
}


def to_header(potential: Potential) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A potential as JSON-able structure and named arrays: {"class": name, "fields": {...}}."""
    arrays: dict[str, np.ndarray] = {}
    return _describe(potential, "potential", arrays), arrays


def from_header(structure: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Potential:
    """The potential that `to_header` described. Nothing but the classes named here is ever made."""
    used: set[str] = set()
    potential = _restore(structure, arrays, used, "potential")
    if not isinstance(potential, Potential):
        raise ValueError(f"the header describes a {type(potential).__name__}, which is not a potential")
    left = sorted(set(arrays) - used)
    if left:
        raise ValueError(
            f"arrays that no field asks for: {', '.join(left)}; the header and the arrays do not belong together"
        )
    return potential


def _describe(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, eqx.Module):
        name = type(value).__name__
        if _known().get(name) is not type(value):
            raise ValueError(f"{name} is not in the registry of potentials, so a file that holds it could not be read")
        described = {
            field.name: _static(getattr(value, field.name), f"{path}.{field.name}")
            if field.metadata.get("static", False)
            else _describe(getattr(value, field.name), f"{path}.{field.name}", arrays)
            for field in dataclasses.fields(value)
        }
        return {"class": name, "fields": described}
    if isinstance(value, tuple):
        return {"tuple": [_describe(part, f"{path}.{k}", arrays) for k, part in enumerate(value)]}
    if isinstance(value, jax.Array | np.ndarray):
        arrays[path] = np.asarray(value)
        return {"array": path, "shape": list(value.shape)}
    if value is None:
        return None
    raise ValueError(f"{path} is a {type(value).__name__}; fields of a potential are arrays, potentials or static")


def _restore(value: Any, arrays: Mapping[str, np.ndarray], used: set[str], path: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: the header holds {value!r} where a potential or an array is described")
    if "array" in value:
        return _array(value, arrays, used, path)
    if "tuple" in value:
        return tuple(_restore(part, arrays, used, f"{path}.{k}") for k, part in enumerate(value["tuple"]))
    return _module(value, arrays, used, path)


def _module(value: Mapping[str, Any], arrays: Mapping[str, np.ndarray], used: set[str], path: str) -> eqx.Module:
    if set(value) != {"class", "fields"}:
        raise ValueError(f"{path}: the header names no class with its fields, but {sorted(value)}")
    cls = _class(value["class"], path)
    declared = {field.name: field for field in dataclasses.fields(cls)}
    wrong = sorted(set(declared) ^ set(value["fields"]))
    if wrong:
        raise ValueError(f"{path}: {value['class']} has the fields {sorted(declared)}; {', '.join(wrong)} do not match")
    module = object.__new__(cls)
    for name, field in declared.items():
        part = value["fields"][name]
        whole = _tuples(part) if field.metadata.get("static", False) else _restore(part, arrays, used, f"{path}.{name}")
        object.__setattr__(module, name, whole)
    _check(module, path)
    return module


def _check(module: eqx.Module, path: str) -> None:
    """What the constructor would have refused is refused from a file, too."""
    check = getattr(type(module), "__check_init__", None)
    if check is None:
        return
    try:
        check(module)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: the header does not describe a {type(module).__name__}: {error}") from None


def _array(value: Mapping[str, Any], arrays: Mapping[str, np.ndarray], used: set[str], path: str) -> jax.Array:
    name = value["array"]
    if name not in arrays:
        raise ValueError(f"{path}: the array {name!r} is missing; there are {', '.join(sorted(arrays)) or 'none'}")
    used.add(name)
    array = arrays[name]
    if list(array.shape) != value.get("shape"):
        raise ValueError(
            f"{path}: the array {name!r} has shape {list(array.shape)}, the header says {value.get('shape')}"
        )
    return jnp.asarray(array)


def _known() -> dict[str, type[eqx.Module]]:
    return {**REGISTRY, **_PARTS}


def _class(name: str, path: str) -> type[eqx.Module]:
    known = _known()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(REGISTRY))}"
    raise ValueError(f"{path}: unknown potential {name!r}{hint} (a newer meanforce may know it)")


def _static(value: Any, path: str) -> Any:
    """Static fields are plain values; tuples become lists and come back as tuples."""
    if isinstance(value, tuple):
        return [_static(part, path) for part in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{path} is a {type(value).__name__}; static fields are numbers, words or tuples of them")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
