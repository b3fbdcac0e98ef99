"""Read the line of ``run`` and ``create`` without a library.

Spelled as Go's pflag has it: ``--name web``, ``--name=web``, ``-it``, ``-p8080:80``, ``-e A=1``,
``--rm=false``. Flags end at the image; what follows is the container's own command line. A line
with anything odd in it is left to click, which knows how to complain and how to help.

    >>> line = parse(["-it", "--rm", "-p8080:80", "debian", "sh", "-c", "true"])
    >>> line.flags["tty"], line.flags["publish"], line.image, line.command
    (True, ['8080:80'], 'debian', ('sh', '-c', 'true'))
    >>> parse(["--nonsense", "debian"]) is None
    True

Pure. Next: ``running.py``.
"""

from __future__ import annotations

from ..record import Record
from .flags import FLAGS, MANY, SWITCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .flags import Flag

_LONG = {flag.name: flag for flag in FLAGS}
_LETTERS = {flag.letter: flag for flag in FLAGS if flag.letter}
_TRUTH = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class Line(Record):
    """What was typed: {flag: value, values or truth}, the image, and the command after it."""

    flags: Mapping[str, Any]
    image: str
    command: tuple[str, ...] = ()


class _Odd(Exception):
    """Something that this reader does not understand."""


def parse(words: Sequence[str]) -> Line | None:
    """Return the line, or None where click should have a look at it."""
    flags: dict[str, Any] = {}
    left = list(words)
    try:
        while left and left[0].startswith("-") and left[0] != "-":
            word = left.pop(0)
            if word == "--":
                break
            if word.startswith("--"):
                _long(word[2:], left, flags)
            else:
                _letters(word[1:], left, flags)
    except _Odd:
        return None
    return Line(flags, left[0], tuple(left[1:])) if left else None


def _long(word: str, left: list[str], flags: dict[str, Any]) -> None:
    name, equals, value = word.partition("=")
    flag = _LONG.get(name)
    if flag is None:
        raise _Odd
    if flag.kind == SWITCH:
        truth = _TRUTH.get(value.lower() if equals else "true")
        if truth is None:
            raise _Odd
        flags[flag.key] = truth
    else:
        _store(flag, value if equals else _next(left), flags)


def _letters(word: str, left: list[str], flags: dict[str, Any]) -> None:
    """Read ``-it``, ``-itp8080:80``: switches, then at most one flag that takes the rest."""
    for at, letter in enumerate(word, start=1):
        flag = _LETTERS.get(letter)
        if flag is None:
            raise _Odd
        if flag.kind != SWITCH:
            _store(flag, word[at:].removeprefix("=") if word[at:] else _next(left), flags)
            return
        flags[flag.key] = True


def _next(left: list[str]) -> str:
    if not left:
        raise _Odd
    return left.pop(0)


def _store(flag: Flag, value: str, flags: dict[str, Any]) -> None:
    if flag.kind == MANY:
        flags.setdefault(flag.key, []).append(value)
    else:
        flags[flag.key] = value
