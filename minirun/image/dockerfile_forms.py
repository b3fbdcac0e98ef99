"""The arguments of an instruction, by the form that its keyword takes.

    words       FROM a AS b             separated by spaces
    string      USER a b                the rest of the line
    json        RUN ["a", "b"]          an array of strings; anything else is a string or words
    pairs       ENV a=b c="d e"         or, as long ago, one name and the rest of the line
    names       ARG a b=c

Quotes and escapes stay where they are: they are taken away when variables are expanded.

Pure. Next: ``dockerfile_words.py``.
"""

from __future__ import annotations

import json
import re

from .dockerfile_words import SPACE

WHITESPACE = re.compile(r"[\t\v\f\r ]+")


class SyntaxProblem(Exception):
    """What is wrong with a line; the reader adds where it is."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


def leading_flags(rest: str) -> tuple[tuple[str, ...], str]:
    """Return the leading ``--flags``, unquoted, and what follows; ``--`` alone ends them."""
    flags: list[str] = []
    at = 0
    while True:
        at += len(rest[at:]) - len(rest[at:].lstrip(SPACE))
        if rest[at : at + 2] != "--":
            return tuple(flags), rest[at:]
        word, at = _flag(rest, at)
        if word == "--":
            return tuple(flags), rest[at:]
        flags.append(word)


def _flag(rest: str, at: int) -> tuple[str, int]:
    """Return one flag with quotes removed, and where it ended."""
    word, quote = "", ""
    while at < len(rest):
        character = rest[at]
        at += 1
        if quote and character == quote:
            quote = ""
        elif not quote and character in SPACE:
            return word, at - 1
        elif not quote and character in "'\"":
            quote = character
        elif character == "\\":
            word += rest[at : at + 1]
            at += 1
        else:
            word += character
    return word, at


_Words = tuple[tuple[str, ...], bool]


def _one_string(rest: str, _escape: str) -> _Words:
    return ((rest,) if rest else ()), False


def _words(rest: str, _escape: str) -> _Words:
    return (tuple(WHITESPACE.split(rest)) if rest else ()), False


def _json(rest: str) -> tuple[str, ...] | None:
    """Return the strings of a JSON array, or None for anything that is not an array."""
    if not rest.startswith("["):
        return None
    try:
        values = json.loads(rest)
    except ValueError:
        return None
    if not all(isinstance(value, str) for value in values):
        raise SyntaxProblem("the JSON form takes strings only", 'as in ["command", "argument"]')
    return tuple(values)


def _json_or_string(rest: str, escape: str) -> _Words:
    array = _json(rest)
    return (array, True) if array is not None else _one_string(rest, escape)


def _json_or_words(rest: str, escape: str) -> _Words:
    array = _json(rest)
    return (array, True) if array is not None else _words(rest, escape)


def _health(rest: str, escape: str) -> _Words:
    """HEALTHCHECK NONE, or CMD and a command in either form."""
    kind, _, command = WHITESPACE.sub(" ", rest, count=1).partition(" ")
    words, is_json = _json_or_string(command.strip(SPACE), escape)
    return ((kind, *words) if kind else ()), is_json


def _names(rest: str, escape: str) -> _Words:
    return tuple(quoted_words(rest, escape)), False


def _pairs(rest: str, escape: str) -> _Words:
    """``name=value …``, or the old ``name the whole rest``."""
    words = quoted_words(rest, escape)
    if words and "=" not in words[0]:
        name, *value = WHITESPACE.split(rest, maxsplit=1)
        if not value:
            raise SyntaxProblem(f"{name} has no value", f"write {name}=value")
        return (name, *value), False
    for word in words:
        if "=" not in word:
            hint = 'quote a value that has spaces: name="a b"'
            raise SyntaxProblem(f"no '=' in {word}: expected name=value", hint)
    return tuple(part for word in words for part in word.split("=", 1)), False


def quoted_words(rest: str, escape: str) -> list[str]:
    """Return the words of a line, split at spaces outside quotes; quotes and escapes stay."""
    words: list[str] = []
    word, quote, at = "", "", 0
    while at < len(rest):
        character = rest[at]
        at += 1
        if not quote and character in SPACE:
            words, word = ([*words, word] if word else words), ""
            continue
        if character == escape and quote != "'":
            # An escape at the very end escapes nothing and is dropped.
            word += character + rest[at] if at < len(rest) else ""
            at += 1
            continue
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        word += character
    return [*words, word] if word else words


FORMS = {
    "ADD": _json_or_words,
    "ARG": _names,
    "CMD": _json_or_string,
    "COPY": _json_or_words,
    "ENTRYPOINT": _json_or_string,
    "ENV": _pairs,
    "EXPOSE": _words,
    "FROM": _words,
    "HEALTHCHECK": _health,
    "LABEL": _pairs,
    "MAINTAINER": _one_string,
    "ONBUILD": _one_string,
    "RUN": _json_or_string,
    "SHELL": _json_or_string,
    "STOPSIGNAL": _one_string,
    "USER": _one_string,
    "VOLUME": _json_or_words,
    "WORKDIR": _one_string,
}
