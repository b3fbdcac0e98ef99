"""What is odd in a Dockerfile, and built all the same: the warnings of ``docker build --check``.

    # check=skip=JSONArgsRecommended;error=true      names that are not told; any other is an error

The names and texts are BuildKit's, so that a search finds what they mean.

Pure. Next: ``build.py``, which tells them.
See: docs.docker.com/reference/build-checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..record import Record
from .dockerfile import Dockerfile, Instruction

_SECRET = re.compile(
    r"(^|_)(apikey|auth|credentials?|key|password|pword|passwd|secret|token)(_|$)", re.IGNORECASE
)
_PUBLIC = re.compile(r"(^|_)public(_|$)", re.IGNORECASE)
_COMMANDS = ("CMD", "ENTRYPOINT")
_ONCE = ("CMD", "ENTRYPOINT", "HEALTHCHECK")


class Remark(Record):
    """One thing that is odd: the name of its rule, what it is, the line."""

    rule: str
    text: str
    line: int


def remarks(file: Dockerfile) -> tuple[list[Remark], bool]:
    """Return what is odd in a file, but for what its directive skips; True makes it an error."""
    words = dict(
        word.strip().partition("=")[::2]
        for word in file.directives.get("check", "").split(";")
        if word.strip()
    )
    skipped = {name.strip().lower() for name in words.get("skip", "").split(",")}
    found = [
        remark
        for remark in (*_each(file), *_stages(file), *_casing(file))
        if not skipped & {remark.rule.lower(), "all"}
    ]
    return sorted(found, key=lambda one: one.line), words.get("error", "").lower() == "true"


def _each(file: Dockerfile) -> Iterator[Remark]:
    """Yield what is odd about an instruction alone."""
    for one in file.instructions:
        line = one.start_line
        if one.keyword == "MAINTAINER":
            text = "maintainer instruction is deprecated in favor of using label"
            yield Remark("MaintainerDeprecated", text, line)
        if one.keyword in _COMMANDS and one.words and not one.is_json:
            text = f"JSON arguments recommended for {one.keyword} to prevent unintended behavior"
            yield Remark("JSONArgsRecommended", f"{text} related to OS signals", line)
        if one.keyword == "ENV" and "=" not in one.original.split(maxsplit=2)[1]:
            text = '"ENV key=value" should be used instead of legacy "ENV key value" format'
            yield Remark("LegacyKeyValueFormat", text, line)
        for name in _names(one):
            if _SECRET.search(name) and not _PUBLIC.search(name):
                text = "do not use ARG or ENV instructions for sensitive data"
                text += f' ({one.keyword} "{name}")'
                yield Remark("SecretsUsedInArgOrEnv", text, line)


def _names(one: Instruction) -> list[str]:
    if one.keyword == "ENV":
        return list(one.words[::2])
    return [word.partition("=")[0] for word in one.words] if one.keyword == "ARG" else []


def _stages(file: Dockerfile) -> Iterator[Remark]:
    """Yield what is odd about the names of stages, and what overwrites itself inside of one."""
    names: set[str] = set()
    seen: set[str] = set()
    for one in file.instructions:
        if one.keyword == "FROM":
            seen = set()
            yield from _stage_name(one, names)
        if one.keyword in _ONCE and one.keyword in seen:
            text = f"multiple {one.keyword} instructions should not be used in the same stage"
            yield Remark("MultipleInstructionsDisallowed", text, one.start_line)
        seen.add(one.keyword)


def _stage_name(one: Instruction, names: set[str]) -> Iterator[Remark]:
    if len(one.words) != 3:
        return
    keyword, name = one.original.split()[0], one.words[2]
    if keyword.isupper() != one.words[1].isupper():
        text = f"'{one.words[1]}' and '{keyword}' keywords' casing do not match"
        yield Remark("FromAsCasing", text, one.start_line)
    if name != name.lower():
        yield Remark("StageNameCasing", f"stage name '{name}' should be lowercase", one.start_line)
    if name.lower() in names:
        text = f"duplicate stage name '{name}', stage names should be unique"
        yield Remark("DuplicateStageName", text, one.start_line)
    if name.lower() in ("scratch", "context"):
        text = f"stage name should not use the reserved name '{name}'"
        yield Remark("ReservedStageName", text, one.start_line)
    names.add(name.lower())


def _casing(file: Dockerfile) -> Iterator[Remark]:
    """Yield the instructions that are written unlike most others."""
    written = [(one.original.split()[0], one.start_line) for one in file.instructions]
    upper = sum(word.isupper() for word, _ in written) * 2 >= len(written)
    for word, line in written:
        if not (word.isupper() if upper else word.islower()):
            case = "uppercase" if upper else "lowercase"
            text = f"command '{word}' should match the case of the command majority ({case})"
            yield Remark("ConsistentInstructionCasing", text, line)
