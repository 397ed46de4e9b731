"""The atomistic systems that ship: one builder each, behind one registry."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meanforce.reference.alkane import Alkane
from meanforce.reference.argon import Argon
from meanforce.reference.atomistic import AtomisticSystem
from meanforce.reference.peptide import AlanineDipeptide
from meanforce.reference.water import Water

#: Name -> builder. A builder is a pydantic model of its options with `timestep` and `build()`.
SYSTEMS = {builder.model_fields["name"].default: builder for builder in (Argon, Water, Alkane, AlanineDipeptide)}

#: What a recipe may ask for: the options of one builder, told apart by `name`.
System = Annotated[Argon | Water | Alkane | AlanineDipeptide, Field(discriminator="name")]

__all__ = ["SYSTEMS", "AlanineDipeptide", "Alkane", "Argon", "AtomisticSystem", "System", "Water"]
