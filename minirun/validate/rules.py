"""The checks that a validation is made of. Each returns, or raises SpecError with the JSON path.

Pure. Next: ``process.py``.
"""

from __future__ import annotations

from ..errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn, TypeVar

    T = TypeVar("T")


def refuse(path: str, problem: str, hint: str = "") -> NoReturn:
    """Refuse the property at a JSON path."""
    raise SpecError(path, problem, hint=hint)


def items(path: str, values: Iterable[T]) -> Iterator[tuple[str, T]]:
    """Yield (JSON path, value) of an array."""
    return ((f"{path}[{index}]", value) for index, value in enumerate(values))


def is_digits(text: str) -> bool:
    """Return whether the text is one or more ASCII digits."""
    return text.isascii() and text.isdigit()


def one_of(path: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a word that is not one of the allowed ones."""
    if value not in allowed:
        refuse(path, f"unknown value {value!r}", "one of " + ", ".join(allowed))


def in_range(path: str, value: int, low: int, high: int) -> None:
    """Refuse a number outside [low, high]."""
    if not low <= value <= high:
        refuse(path, f"{value} is not between {low} and {high}")


def absolute(path: str, value: str) -> None:
    """Refuse a relative path."""
    if not value.startswith("/"):
        refuse(path, f"{value!r} is not an absolute path", "begin it with /")


def plain(path: str) -> str:
    """Return an absolute path without what has no meaning in it.

    >>> plain("//proc/./")
    '/proc'
    """
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def unique(path: str, values: Iterable[str], hint: str = "") -> None:
    """Refuse an array in which a value occurs twice."""
    seen: set[str] = set()
    for where, value in items(path, values):
        if value in seen:
            refuse(where, f"{value!r} is there twice", hint)
        seen.add(value)
