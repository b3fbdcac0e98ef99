"""``--secret`` and ``--ssh``: what a build is told and must not keep.

    --secret id=token,src=~/.token      a file           --ssh default          SSH_AUTH_SOCK
    --secret id=token,env=TOKEN         a variable       --ssh id=/path/socket  another agent
    --secret id=token                   either of the two by that name

A secret is read once, before the build begins, and kept in memory. It reaches a RUN step through
``--mount=type=secret`` only, and is part of no layer, no history and no cache key.

Next: ``build_lend.py``. See: docs.docker.com/build/building/secrets.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import UsageError
from .dockerfile_mounts import DEFAULT_SSH
from .dockerfile_words import WordError, comma_words

#: As BuildKit's: what is larger is data, and belongs into the context.
LIMIT_BYTES = 500 * 1024
_NAMES = {"src": "source", "source": "source", "env": "env", "environment": "env", "id": "id"}
_AGENT_HINT = "start one and add the key: eval $(ssh-agent); ssh-add KEY"


@dataclass(frozen=True, slots=True)
class Secret:
    """The content of a secret; its ``repr`` does not show it."""

    content: bytes = field(repr=False)


def parse_secrets(texts: Iterable[str], environ: Mapping[str, str]) -> dict[str, Secret]:
    """Return the secrets by id.

    Args:
        texts: the values of ``--secret``.
        environ: the variables of the caller.

    Raises:
        UsageError: it is malformed, or what it names is not there.
    """
    return dict(_secret(text, environ) for text in texts)


def _secret(text: str, environ: Mapping[str, str]) -> tuple[str, Secret]:
    given: dict[str, str] = {}
    for word in _words(text):
        name, equals, value = word.partition("=")
        if name.lower() == "type":
            if value not in ("file", "env"):
                raise UsageError(f"--secret {text}: unknown type {value!r}", hint="file or env")
            given["type"] = value
        elif not equals or name.lower() not in _NAMES:
            hint = "as in id=token,src=FILE or id=token,env=NAME"
            raise UsageError(f"--secret {text}: cannot read {word!r}", hint=hint)
        else:
            given[_NAMES[name.lower()]] = value
    if not given.get("id"):
        raise UsageError(f"--secret {text}: no id", hint="as in id=token,src=FILE")
    return given["id"], Secret(_content(text, given, environ))


def _words(text: str) -> list[str]:
    try:
        return comma_words(text)
    except WordError as problem:
        raise UsageError(f"--secret {text!r}: {problem}") from problem


def _content(text: str, given: Mapping[str, str], environ: Mapping[str, str]) -> bytes:
    """Return what a secret holds: of a variable, of a file, or of whichever has its id."""
    name = given["id"]
    if "env" in given or (given.get("type") == "env" and "source" not in given):
        name = given.get("env", name)
        if name not in environ:
            raise UsageError(f"--secret {text}: the variable {name} is not set")
        return os.fsencode(environ[name])
    if given.get("type") == "env":
        return _content(text, {"id": given["id"], "env": given["source"]}, environ)
    if "source" not in given and "type" not in given and name in environ:
        return os.fsencode(environ[name])
    path = os.path.expanduser(given.get("source", name))
    try:
        with open(path, "rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        problem = os.strerror(error.errno or 0).lower()
        hint = "as in id=token,src=FILE or id=token,env=NAME"
        raise UsageError(f"--secret {text}: {path}: {problem}", hint=hint) from error
    if len(content) > LIMIT_BYTES:
        raise UsageError(f"--secret {text}: {path} is larger than {LIMIT_BYTES} bytes")
    return content


def parse_agents(texts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the sockets of ssh agents by id.

    Raises:
        UsageError: there is no agent; keys are not read from files.
    """
    return dict(_agent(text, environ) for text in texts)


def _agent(text: str, environ: Mapping[str, str]) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    path = os.path.expanduser(path) if equals else environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise UsageError(f"--ssh {text}: SSH_AUTH_SOCK is not set", hint=_AGENT_HINT)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        problem = f"--ssh {text}: {path}: {os.strerror(error.errno or 0)}"
        raise UsageError(problem, hint=_AGENT_HINT) from error
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"--ssh {text}: {path} is not the socket of an agent", hint=_AGENT_HINT)
    return name or DEFAULT_SSH, os.path.abspath(path)
