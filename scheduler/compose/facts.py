"""A frozen dataclass ⇄ a mapping, by its annotations: the extensions need no code of their own.

A field ``min_ready_s`` is the key ``min_ready`` and holds a duration; ``shared_bytes`` is
``shared`` and holds a size. Fields that hold their default are not written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from .. import units
from ..policy import OnFailure, Portion, Restart
from .fields import Section, converted, flag, integer, kind_of, number, refuse, text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    F = TypeVar("F", bound=DataclassInstance)


def decode(cls: type[F], section: Section, **given: object) -> F:
    """Return the fact that a mapping describes; what is left out has its default.

    Args:
        cls: what to make.
        section: the mapping, which is closed.
        given: fields that are known already, and are no keys.

    Raises:
        ScheduleError: a key is unknown, or a value is not of its kind.
    """
    found = dict(given)
    for item in fields(cls):
        key = key_of(item.name)
        if item.name in given:
            continue
        if section.has(key):
            found[item.name] = _reader(item.name, str(item.type))(
                section.take(key), section.at(key)
            )
        elif section.take(key) is None and item.default is MISSING:
            refuse(section.at(key), "is missing")
    keys = (key_of(item.name) for item in fields(cls) if item.name not in given)
    section.close(else_hint=f"{section.path} has {', '.join(keys)}")
    return cls(**found)


def encode(fact: DataclassInstance) -> dict[str, object]:
    """Return the mapping that reads back as this fact."""
    return {
        key_of(item.name): _plain(item.name, getattr(fact, item.name))
        for item in fields(fact)
        if getattr(fact, item.name) != item.default
    }


def key_of(name: str) -> str:
    """Return the key of a field.

    >>> key_of("min_ready_s"), key_of("shared_bytes"), key_of("hosts")
    ('min_ready', 'shared', 'hosts')
    """
    return name.removesuffix("_bytes").removesuffix("_s")


def _plain(name: str, value: object) -> object:
    if name.endswith("_s") and isinstance(value, float):
        return units.duration_text(value)
    if isinstance(value, Portion):
        return str(value) if value.percent else value.value
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, StrEnum) else value


def _reader(name: str, kind: str) -> Callable[[object, str], object]:
    kind = kind.removesuffix(" | None")
    if name.endswith("_s"):
        return lambda value, path: converted(value, path, units.duration_s)
    if name.endswith("_bytes"):
        return lambda value, path: converted(value, path, units.size_bytes)
    return _READERS[kind]


def portion(value: object, path: str) -> Portion:
    """Return a number of replicas, or a share in percent.

    >>> portion("25%", "x"), portion(2, "x")
    (Portion(value=25, percent=True), Portion(value=2, percent=False))
    """
    if isinstance(value, str) and value.endswith("%"):
        return Portion(integer(value[:-1], path), percent=True)
    return Portion(integer(value, path))


def _choice(kind: type[StrEnum]) -> Callable[[object, str], object]:
    def read(value: object, path: str) -> object:
        if value not in set(kind):
            refuse(path, f"{value!r} is not one of {', '.join(kind)}")
        return kind(str(value))

    return read


def _texts(value: object, path: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        refuse(path, f"expected a list, found {kind_of(value)}")
    return tuple(text(item, f"{path}[{i}]") for i, item in enumerate(value))


_READERS: dict[str, Callable[[object, str], object]] = {
    "int": integer,
    "float": number,
    "str": text,
    "bool": flag,
    "Portion": portion,
    "tuple[str, ...]": _texts,
    "OnFailure": _choice(OnFailure),
    "Restart": _choice(Restart),
}
