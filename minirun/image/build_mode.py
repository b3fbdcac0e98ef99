"""``--chmod``: octal, as in ``0755``, or symbolic, as in ``u=rwX,go=rX``.

Pure. See: chmod(1). Next: ``build_copy.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import ImageError

#: Takes the permission bits of a file and whether it is a folder; returns the new bits.
Mode = Callable[[int, bool], int]

_OCTAL = re.compile(r"[0-7]{1,5}")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def parse_mode(text: str) -> Mode:
    """Return what a ``--chmod`` does to permission bits.

    >>> mode = parse_mode("u=rwX,go=rX")
    >>> oct(mode(0o600, False)), oct(mode(0o700, True)), oct(parse_mode("g+s")(0o755, True))
    ('0o644', '0o755', '0o2755')

    Raises:
        ImageError: it is neither.
    """
    if _OCTAL.fullmatch(text) and int(text, 8) <= 0o7777:
        bits = int(text, 8)
        return lambda _mode, _is_folder: bits
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    if not all(clauses):
        hint = "write an octal mode, as in 0755, or a symbolic one, as in u=rwX,go=rX"
        raise ImageError(f"--chmod={text} is no mode", hint=hint)
    actions = [
        (who or "a", operator, what)
        for clause in clauses
        if clause
        for who, rest in [clause.groups()]
        for operator, what in _ACTION.findall(rest)
    ]

    def change(mode: int, is_folder: bool) -> int:
        for who, operator, what in actions:
            mode = _changed(mode, who.replace("a", "ugo"), operator, what, is_folder=is_folder)
        return mode

    return change


def _changed(mode: int, who: str, operator: str, what: str, *, is_folder: bool) -> int:
    """Return the bits after one action for some classes of users."""
    special = ("s" in what and "u" in who) * 0o4000 | ("s" in what and "g" in who) * 0o2000
    special |= ("t" in what) * 0o1000
    given = special
    mask = 0
    for name in set(who):
        given |= _bits_of(mode, what, is_folder=is_folder) << _SHIFTS[name]
        mask |= 7 << _SHIFTS[name]
    if operator == "+":
        return mode | given
    if operator == "-":
        return mode & ~given
    cleared = ("u" in who) * 0o4000 | ("g" in who) * 0o2000
    return mode & ~(mask | (0 if is_folder else cleared)) | given


def _bits_of(mode: int, what: str, *, is_folder: bool) -> int:
    """Return the rwx bits that letters mean; u, g and o stand for what that class has now."""
    if what in _SHIFTS:
        return mode >> _SHIFTS[what] & 7
    bits = sum(_BITS[letter] for letter in set(what) & set(_BITS))
    return bits | ("X" in what and (is_folder or bool(mode & 0o111)))
