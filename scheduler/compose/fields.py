"""Reading mappings so that every error names its path, and nothing is read past.

A Section is opened on a mapping and closed when everything in it has been taken; what is left then
is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn, TypeVar

from minirun import ScheduleError

from .. import units

T = TypeVar("T")
_KINDS = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", int: "a number"}


def refuse(path: str, problem: str, hint: str = "") -> NoReturn:
    """Raise the error that names a field."""
    raise ScheduleError(f"{path or 'the file'}: {problem}", status=422, hint=hint)


def kind_of(value: object) -> str:
    """Return what a value is, in words."""
    return _KINDS.get(type(value), "nothing" if value is None else f"the number {value}")


class Section:
    """A mapping at a path, of which each key is taken once."""

    def __init__(self, value: object, path: str) -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            refuse(path, f"expected a mapping, found {kind_of(value)}")
        for key in value:
            if not isinstance(key, str):
                refuse(f"{path}.{key}", "a key is a text", hint="quote it")
        self._left: dict[str, object] = dict(value)
        self.path = path

    def at(self, key: str) -> str:
        """Return the path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str) -> object:
        """Return a value, or None where there is none."""
        return self._left.pop(key, None)

    def has(self, key: str) -> bool:
        """Return whether a key is still there."""
        return self._left.get(key) is not None

    def section(self, key: str) -> Section | None:
        """Return the mapping under a key, or None."""
        is_there = key in self._left
        value = self.take(key)
        return Section(value, self.at(key)) if is_there and value is not None else None

    def text(self, key: str, default: str = "") -> str:
        """Return a text; numbers are taken for one."""
        value = self.take(key)
        return default if value is None else text(value, self.at(key))

    def integer(self, key: str) -> int | None:
        """Return a whole number, also where it is written as a text (it came from a variable)."""
        value = self.take(key)
        return None if value is None else integer(value, self.at(key))

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self.take(key)
        return default if value is None else flag(value, self.at(key))

    def duration_s(self, key: str) -> float | None:
        """Return seconds."""
        value = self.take(key)
        return None if value is None else converted(value, self.at(key), units.duration_s)

    def size_bytes(self, key: str) -> int | None:
        """Return bytes."""
        value = self.take(key)
        return None if value is None else converted(value, self.at(key), units.size_bytes)

    def cpu_millis(self, key: str) -> int | None:
        """Return thousandths of a CPU."""
        value = self.take(key)
        return None if value is None else converted(value, self.at(key), units.cpu_millis)

    def items(self, key: str) -> list[object]:
        """Return a list; a single text counts as one of one."""
        value = self.take(key)
        if value is None:
            return []
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            refuse(self.at(key), f"expected a list, found {kind_of(value)}")
        return value

    def left(self) -> list[str]:
        """Return what is left."""
        return list(self._left)

    def close(self, hints: Iterable[tuple[str, str]] = (), else_hint: str = "remove it") -> None:
        """Refuse what is left, by name."""
        known = dict(hints)
        for key in self._left:
            refuse(self.at(key), "is not supported", known.get(key, else_hint))


def converted(value: object, path: str, convert: Callable[[str | float], T]) -> T:
    """Return a text or number read as a unit."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        refuse(path, f"expected a text or a number, found {kind_of(value)}")
    try:
        return convert(value)
    except ValueError as error:
        refuse(path, str(error))


def text(value: object, path: str) -> str:
    """Return a value as a text; a boolean is refused, for it may have been meant as a word."""
    if isinstance(value, bool):
        refuse(path, f"{str(value).lower()} is not a text", hint="quote it")
    if not isinstance(value, str | int | float):
        refuse(path, f"expected a text, found {kind_of(value)}")
    return str(value)


def integer(value: object, path: str) -> int:
    """Return a whole number."""
    if isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) <= 18:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(path, f"expected a whole number, found {kind_of(value)}")
    return value


def number(value: object, path: str) -> float:
    """Return a number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            refuse(path, f"{value!r} is not a number")
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(path, f"expected a number, found {kind_of(value)}")
    if not -1e18 < value < 1e18:
        refuse(path, f"{value} is out of range")
    return float(value)


def flag(value: object, path: str) -> bool:
    """Return true or false."""
    if value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        refuse(path, f"expected true or false, found {kind_of(value)}")
    return value
