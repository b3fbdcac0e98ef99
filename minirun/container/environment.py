"""-e, --env-file, --label, --label-file: lists of ``key=value`` in docker's grammar.

An environment is kept as a tuple of ``K=V`` in order, because execve(2) takes and the
specification stores it so. ``-e K`` without a value takes the caller's; where the caller has none,
the variable is removed from the image's environment, as in docker.

Pure. Next: ``mounts.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from .words import no_nul

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_FILE_BYTES = 1024 * 1024
"""A larger --env-file could never be passed to execve(2)."""


def variable(text: str, environ: Mapping[str, str]) -> str:
    """Return ``K=V``, or a bare ``K`` where the caller has no value for it.

    >>> variable("A=1", {}), variable("HOME", {"HOME": "/root"}), variable("NO", {})
    ('A=1', 'HOME=/root', 'NO')
    """
    name, equals, _ = no_nul(text, "environment variable").partition("=")
    if not name:
        raise UsageError(f"invalid environment variable {text!r}", hint="written NAME=value")
    if equals or name not in environ:
        return text
    return f"{name}={no_nul(environ[name], 'environment variable')}"


def env_file(content: bytes, name: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables of an --env-file: one per line, ``#`` starts a comment line."""
    return tuple(variable(line, environ) for line in _lines(content, name))


def label(text: str) -> tuple[str, str]:
    """Return (key, value) of ``key[=value]``."""
    key, _, value = no_nul(text, "label").partition("=")
    if not key.strip():
        raise UsageError(f"invalid label {text!r}", hint="written key=value")
    return key, value


def label_file(content: bytes, name: str) -> tuple[tuple[str, str], ...]:
    """Return the labels of a --label-file, in the grammar of an --env-file."""
    return tuple(label(line) for line in _lines(content, name))


def _lines(content: bytes, name: str) -> Iterable[str]:
    """Yield the lines that mean something; their keys hold no white space."""
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{name}: larger than {MAX_FILE_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 at byte {error.start}") from error
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        key = line.partition("=")[0]
        if not key or key.split() != [key]:
            hint = "one NAME=value per line, without spaces in the name"
            raise UsageError(f"{name}, line {number}: invalid variable name {key!r}", hint=hint)
        yield line


def merge(*layers: Iterable[str]) -> tuple[str, ...]:
    """Return one environment; a later ``K=V`` replaces an earlier one, a bare ``K`` removes it.

    >>> merge(["A=1", "B=2"], ["A=3", "B"])
    ('A=3',)
    """
    found: dict[str, str] = {}
    for layer in layers:
        for entry in layer:
            name, equals, _ = entry.partition("=")
            if equals:
                found[name] = entry
            else:
                found.pop(name, None)
    return tuple(found.values())
