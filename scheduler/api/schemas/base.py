"""What all bodies have in common: strict types, no unknown field, no number that is not one.

A body is read with ``model_validate_json``, so a tuple is a JSON array and an Enum its value. Facts
of ``scheduler.policy`` and ``scheduler.model`` are used as fields directly: pydantic checks them
under this configuration too, and their defaults are written once. What contradicts itself though
every type is right is found by ``scheduler.validate``.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Body(BaseModel):
    """What a client sends: every field is known and has its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class View(BaseModel):
    """What the server answers."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class Query(Body):
    """What stands in a query: texts, which are read as what the field is."""

    model_config = ConfigDict(strict=False)


class Listed(View, Generic[T]):
    """Several of something; ``next`` is where the following page begins, None on the last one."""

    items: tuple[T, ...]
    next: str | None = None
