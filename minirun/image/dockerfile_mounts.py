"""``RUN --mount=…`` as data: what a command sees for as long as it runs, and no layer keeps.

    type=bind,target=/src[,from=STAGE,source=/x,rw]    files of the context, a stage or an image
    type=cache,target=/var/cache/x[,id=…,sharing=…]    a folder that lasts from build to build
    type=tmpfs,target=/tmp[,size=64m]                  an empty folder in memory
    type=secret,id=token[,target=/t | env=TOKEN]       a file or variable given with --secret
    type=ssh[,id=default]                              an agent's socket given with --ssh

Pure. Next: ``build_lend.py``, which makes them true.
See: docs.docker.com/reference/dockerfile, "RUN --mount".
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ..container.sizes import byte_size
from ..errors import MinirunError
from .dockerfile_words import WordError, comma_words

KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
DEFAULT_SSH = "default"
_ALIASES = {"src": "source", "dst": "target", "destination": "target"}
_WRITES = {"ro": "false", "readonly": "false", "rw": "true", "readwrite": "true"}
_OPTIONS = {
    "bind": {"target", "source", "from", "writable"},
    "cache": {"target", "source", "from", "writable", "id", "sharing", "mode", "uid", "gid"},
    "tmpfs": {"target", "size"},
    "secret": {"target", "id", "required", "mode", "uid", "gid", "env"},
    "ssh": {"target", "id", "required", "mode", "uid", "gid"},
}
_MODES = {"cache": 0o755, "secret": 0o400, "ssh": 0o600}
_TRUTH = {"": True, "true": True, "1": True, "false": False, "0": False}


class MountProblem(Exception):
    """What is wrong with a mount; the caller adds file and line."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class RunMount:
    """One mount; which fields have a meaning depends on its kind.

    Args:
        kind: one of ``KINDS``.
        target: absolute; "" for a secret that is only a variable, and for ssh without one.
        source: a path where the files come from, "" is all of it.
        origin: the stage or image they come from; "" is the build context.
        writable: of a bind what is written is thrown away.
        id: of a cache, a secret or an agent.
        sharing: what a second build does that wants the same cache.
        mode: of what is made for it.
        uid: its owner.
        gid: its group.
        size_bytes: of a tmpfs, 0 is what the kernel allows.
        required: a secret or agent that was not given is an error.
        env: the variable that a secret becomes.
    """

    kind: str
    target: str = ""
    source: str = ""
    origin: str = ""
    writable: bool = False
    id: str = ""
    sharing: str = "shared"
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    required: bool = False
    env: str = ""


def parse_mount(text: str, workdir: str, expand: Callable[[str], str] = str) -> RunMount:
    """Return what the value of ``--mount`` means.

    Args:
        text: comma-separated, with quotes as in CSV.
        workdir: a relative target is below it.
        expand: replaces the variables in a value.

    >>> parse_mount("type=cache,target=.cache,sharing=locked", "/app").target
    '/app/.cache'

    Raises:
        MountProblem: an unknown option, one that its kind does not have, a bad value.
    """
    words = _words(text, expand)
    kind = words.pop("type", "bind")
    if kind not in KINDS:
        raise MountProblem(f"unknown mount type {kind!r}", f"one of {', '.join(KINDS)}")
    for name in words:
        _check_option(kind, name)
    mount = RunMount(
        kind,
        target=words.get("target", ""),
        source=words.get("source", ""),
        origin=words.get("from", ""),
        writable=_truth(words.get("writable", str(kind == "cache").lower()), "rw"),
        id=words.get("id", ""),
        sharing=words.get("sharing", "shared"),
        mode=_number(words, "mode", 8, _MODES.get(kind, 0)),
        uid=_number(words, "uid", 10, 0),
        gid=_number(words, "gid", 10, 0),
        size_bytes=_size(words.get("size", "")),
        required=_truth(words.get("required", "false"), "required"),
        env=words.get("env", ""),
    )
    return _complete(mount, workdir)


def _words(text: str, expand: Callable[[str], str]) -> dict[str, str]:
    """Return the options by name, aliases resolved."""
    found: dict[str, str] = {}
    try:
        given = comma_words(text)
    except WordError as problem:
        raise MountProblem(str(problem)) from problem
    for word in given:
        name, equals, value = word.partition("=")
        name = name.strip().lower()
        if name in _WRITES:
            value = str(_truth(value, name) == (_WRITES[name] == "true")).lower()
            name = "writable"
        elif not equals and name != "required":
            raise MountProblem(f"mount option {word!r} has no value", "write name=value")
        name = _ALIASES.get(name, name)
        if name in found:
            raise MountProblem(f"mount option {name} is given twice")
        if name == "from" and "$" in value:
            hint = "name the image in a stage of its own: FROM image AS name"
            raise MountProblem(f"from={value} has a variable", hint)
        found[name] = expand(value)
    return found


def _check_option(kind: str, name: str) -> None:
    if name in _OPTIONS[kind]:
        return
    known = set().union(*_OPTIONS.values())
    if name in known:
        raise MountProblem(f"a mount of type {kind} has no option {name}")
    close = get_close_matches(name, known, n=1)
    raise MountProblem(f"unknown mount option {name}", f"did you mean {close[0]}?" if close else "")


def _complete(mount: RunMount, workdir: str) -> RunMount:
    """Return the mount with the defaults that follow from its other options."""
    if mount.sharing not in SHARING:
        raise MountProblem(
            f"unknown sharing mode {mount.sharing!r}", f"one of {', '.join(SHARING)}"
        )
    if mount.kind == "secret":
        name = mount.id or posixpath.basename(mount.target)
        if not name:
            raise MountProblem("a secret needs an id or a target")
        target = mount.target or ("" if mount.env else f"/run/secrets/{name}")
        mount = replace(mount, id=name, target=target)
    elif mount.kind == "ssh":
        mount = replace(mount, id=mount.id or DEFAULT_SSH)
    elif not mount.target:
        raise MountProblem(f"a mount of type {mount.kind} needs a target", "target=/path")
    target = posixpath.normpath(posixpath.join("/", workdir, mount.target)) if mount.target else ""
    target = f"/{target.lstrip('/')}" if target else ""
    if target == "/":
        raise MountProblem("a mount cannot hide the root folder", "target=/path")
    if mount.kind == "cache":
        mount = replace(mount, id=mount.id or target)
    return replace(mount, target=target)


def _truth(text: str, name: str) -> bool:
    if text.lower() not in _TRUTH:
        raise MountProblem(f"{name}={text} is neither true nor false")
    return _TRUTH[text.lower()]


def _number(words: dict[str, str], name: str, base: int, default: int) -> int:
    text = words.get(name, "")
    if not text:
        return default
    highest = 0o7777 if name == "mode" else 2**32 - 2
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if not 0 <= value <= highest or not text.isdecimal():
        hint = "an octal number, as in 0400" if name == "mode" else "a number"
        raise MountProblem(f"{name}={text} is not a {name}", hint)
    return value


def _size(text: str) -> int:
    try:
        return byte_size(text) if text else 0
    except MinirunError as error:
        raise MountProblem(f"size={text}: {error.message}", error.hint) from error
