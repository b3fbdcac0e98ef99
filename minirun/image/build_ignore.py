"""``.dockerignore``: which paths of the context a build does not see.

The last pattern that matches decides; ``!`` brings a path back. ``*`` stays within one name, ``**``
crosses names, and a pattern that matches a folder covers everything below it.

Pure. See: docs.docker.com/build/concepts/context, ".dockerignore files".
Next: ``build_sources.py``, which asks it.
"""

from __future__ import annotations

import posixpath
import re

from ..errors import ImageError


class Ignore:
    r"""The patterns of one file.

    Args:
        text: the file's content, "" where there is none.

    >>> rules = Ignore("*.log\n!keep.log\n**/secret")
    >>> [rules.hides(p) for p in ("a.log", "keep.log", "x/y/secret/key", "x/a.log")]
    [True, False, True, False]
    """

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in text.removeprefix("\ufeff").split("\n"):
            pattern = "" if line.startswith("#") else line.strip()
            hides = not pattern.startswith("!")
            pattern = pattern.removeprefix("!").strip()
            if not pattern and not hides:
                raise ImageError("bad pattern '!': it brings nothing back", hint="write !PATH")
            # Relative to the context, however it is written: "/a", "a/" and "./a" are "a"; but
            # "../a" is outside of it, and matches nothing.
            cleaned = posixpath.normpath(pattern).lstrip("/") if pattern else ""
            if cleaned not in ("", "."):
                self._rules.append((hides, compiled(cleaned, crosses=True)))
        self.has_exceptions = any(not hides for hides, _ in self._rules)

    def hides(self, path: str) -> bool:
        """Return True when the build does not see a path, relative to the context."""
        hidden = False
        for hides, expression in self._rules:
            if hides != hidden and expression.match(path):
                hidden = hides
        return hidden


def compiled(pattern: str, *, crosses: bool = False) -> re.Pattern[str]:
    """Return what finds the paths that a pattern means; see ``translate``.

    Args:
        pattern: of Go's filepath.Match.
        crosses: ``**`` matches any number of folders, and a folder everything below it.

    Raises:
        ImageError: it is no pattern.
    """
    below = "(/.*)?" if crosses else ""
    try:
        return re.compile(translate(pattern, crosses=crosses) + below + r"\Z", re.DOTALL)
    except re.error as error:
        raise ImageError(f"bad pattern {pattern!r}: {error}") from error


def translate(pattern: str, *, crosses: bool = False) -> str:
    r"""Return the regular expression of a pattern of Go's filepath.Match.

    Args:
        pattern: ``*``, ``?``, ``[a-z]``, ``[^a]``, ``\`` escapes.
        crosses: ``**`` matches any number of folders.

    Raises:
        ImageError: a bracket that is not closed, or a backslash at the end.
    """
    result, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if crosses and character == "*" and pattern[at : at + 1] == "*":
            at += 1
            starts_pattern = at == 2 and not set(pattern[2:]) & set("/*?[\\")
            at += pattern[at : at + 1] == "/"
            # "**x" alone is any path that ends so; elsewhere ** stands for whole folders.
            result += ".*" if at == len(pattern) or starts_pattern else "(.*/)?"
        elif character == "*":
            result += "[^/]*"
        elif character == "?":
            result += "[^/]"
        elif character == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise ImageError(f"bad pattern {pattern!r}: '[' is not closed")
            inside = pattern[at:end].replace("\\", "\\\\").replace("[", "\\[")
            result += f"[{inside}]"
            at = end + 1
        elif character == "\\":
            if at == len(pattern):
                raise ImageError(f"bad pattern {pattern!r}: nothing follows the last backslash")
            result += re.escape(pattern[at])
            at += 1
        else:
            result += re.escape(character)
    return result
