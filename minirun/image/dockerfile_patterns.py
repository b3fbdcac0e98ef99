"""The shell patterns of ``${name#pat}``, ``${name%pat}`` and ``${name/pat/word}``.

Pure. Next: ``dockerfile.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def trimmed(value: str, operator: str, pattern: str) -> str:
    """Return the value without the prefix (#) or suffix (%) that the pattern matches."""
    longest = pattern.startswith(operator)
    pattern = pattern.removeprefix(operator)
    if operator == "#":
        match = re.match(regular(pattern, greedy=longest), value, re.DOTALL)
        return value[match.end() :] if match else value
    expression = re.compile(regular(pattern, greedy=True) + r"\Z", re.DOTALL)
    starts: Iterable[int] = range(len(value) + 1)
    for start in starts if longest else reversed(range(len(value) + 1)):
        if expression.match(value, start):
            return value[:start]
    return value


def regular(pattern: str, *, greedy: bool) -> str:
    """Return the regular expression of a shell pattern of ``*``, ``?`` and escapes."""
    result, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            result += ".*" if greedy else ".*?"
        elif character == "?":
            result += "."
        elif character == "\\" and at < len(pattern):
            result += re.escape(pattern[at])
            at += 1
        else:
            result += re.escape(character)
    return result
