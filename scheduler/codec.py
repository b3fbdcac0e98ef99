"""Frozen dataclasses as JSON and back, strictly: what is read is what was written, or an error.

    encode(entry) -> {"deployment": {...}, "slots": [...], ...}      decode(Entry, data) -> entry

Every field is written, also one that holds its default: a default that a later version changes must
not change what somebody asked for earlier. In reading, a field that is missing takes its default
(it was written before there was such a field) and one that is unknown is an error (it was written
by a later version, and dropping it would lose a wish).

Where a field may hold one of several dataclasses, its name is kept as ``"is"``. Pure. Next:
``store/``, which keeps the result.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar

from minirun import MinirunError

T = TypeVar("T")
Reader = Callable[[Any, str], Any]

#: Which class a value is of, where its field may hold several.
_CLASS = "is"


class CodecError(MinirunError):
    """What was read is not what was expected; the message names the place."""


def encode(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return a dataclass, or anything that one may hold, as what ``json`` can write."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: encode(held) for key, held in value.items()}
    if isinstance(value, tuple | list):
        return [encode(held) for held in value]
    if is_dataclass(value) and not isinstance(value, type):
        names, chosen = _plan(type(value))
        made = {name: encode(getattr(value, name)) for name in names}
        for name in chosen:
            if made[name] is not None:
                made[name] = {_CLASS: type(getattr(value, name)).__name__, **made[name]}
        return made
    return value


@cache
def _plan(kind: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of a class's fields, and of those that may hold one of several classes."""
    hints = typing.get_type_hints(kind)
    names = tuple(field.name for field in fields(kind))
    return names, tuple(name for name in names if len(_classes(_parts(hints[name]))) > 1)


def _classes(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part for part in parts if is_dataclass(part))


def _parts(hint: object) -> tuple[Any, ...]:
    """Return the members of a union, or the hint alone."""
    is_union = typing.get_origin(hint) in (UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def decode(kind: type[T], data: object, where: str = "$") -> T:
    """Return the dataclass that ``data`` was made of.

    Args:
        kind: the class.
        data: what ``json`` read.
        where: what an error should call the place.

    Raises:
        CodecError: a field is unknown, missing or of another type.
    """
    hint: Any = kind
    made: T = _reader(hint)(data, where)
    return made


@cache
def _reader(hint: Any) -> Reader:  # noqa: ANN401 - a type, or what typing makes of several
    """Return what turns JSON into a value of this type; made once for each."""
    parts = _parts(hint)
    if len(parts) > 1:
        return _union(parts)
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _tuple(typing.get_args(hint))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_reader(typing.get_args(hint)[1]))
    if is_dataclass(hint):
        return _dataclass(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    return _plain(hint)


def _plain(kind: type) -> Reader:
    accepted: Any = (int, float) if kind is float else kind

    def read(data: object, where: str) -> object:
        # To isinstance a bool is an int; to whoever asked for two replicas it is not.
        if not isinstance(data, accepted) or (type(data) is bool and kind is not bool):
            raise _wrong(where, kind.__name__, data)
        return float(data) if kind is float else data

    return read


def _wrong(where: str, wanted: str, data: object) -> CodecError:
    return CodecError(f"{where}: {wanted} is expected, not {type(data).__name__}")


def _enum(kind: type[Enum]) -> Reader:
    def read(data: object, where: str) -> Enum:
        try:
            return kind(data)
        except ValueError as error:
            raise CodecError(f"{where}: {data!r} is no {kind.__name__}") from error

    return read


def _mapping(read_value: Reader) -> Reader:
    def read(data: object, where: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise _wrong(where, "object", data)
        return {key: read_value(held, f"{where}.{key}") for key, held in data.items()}

    return read


def _tuple(args: tuple[Any, ...]) -> Reader:
    endless = len(args) == 2 and args[1] is Ellipsis
    readers = [_reader(arg) for arg in args if arg is not Ellipsis]

    def read(data: object, where: str) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise _wrong(where, "array", data)
        each = readers * len(data) if endless else readers
        if len(each) != len(data):
            raise CodecError(f"{where}: {len(each)} elements are expected, not {len(data)}")
        return tuple(
            read_one(held, f"{where}[{index}]")
            for index, (read_one, held) in enumerate(zip(each, data, strict=True))
        )

    return read


def _union(parts: tuple[Any, ...]) -> Reader:
    classes = {part.__name__: _reader(part) for part in _classes(parts)}
    others = [_reader(part) for part in parts if part is not NoneType]

    def read(data: object, where: str) -> object:
        if data is None and NoneType in parts:
            return None
        if len(others) == 1:
            return others[0](data, where)
        if not isinstance(data, dict) or data.get(_CLASS) not in classes:
            raise CodecError(f"{where}: expected one of {', '.join(classes)}")
        rest = {key: held for key, held in data.items() if key != _CLASS}
        return classes[data[_CLASS]](rest, where)

    return read


def _dataclass(kind: Any) -> Reader:  # noqa: ANN401 - a dataclass, which has no type of its own
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    required = [field.name for field in fields(kind) if _is_required(field)]

    def read(data: object, where: str) -> object:
        if not isinstance(data, dict):
            raise _wrong(where, "object", data)
        if unknown := sorted(data.keys() - readers.keys()):
            raise CodecError(f"{where}.{unknown[0]}: unknown field of {kind.__name__}")
        if missing := [name for name in required if name not in data]:
            raise CodecError(f"{where}.{missing[0]}: missing")
        return kind(**{name: readers[name](held, f"{where}.{name}") for name, held in data.items()})

    return read


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
