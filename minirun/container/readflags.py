"""The command line's strings as RunOptions, by the rows of ``flagtable.py``.

``from_flags`` takes what a command line parser found, keyed by docker's flag names with ``_`` for
``-``, and leaves nothing over: what no table knows is refused by name.

Pure but for the files that --env-file and --label-file name, which ``read_file`` opens.
Next: ``users.py``.
"""

from __future__ import annotations

from ..errors import MinirunError, UsageError
from . import environment, mounts, security, words
from .flagtable import (
    HEALTH_ONCE,
    NETWORK_ONCE,
    NETWORK_REPEATED,
    ONCE,
    REFUSED,
    REPEATED,
    RESOURCES_ONCE,
    RESOURCES_REPEATED,
    SWITCHES,
)
from .options import HealthFlags, NetworkOptions, ResourceOptions, RunOptions, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .flagtable import Parser


class Surroundings:
    """What the strings of a command line refer to: the caller's environment, folder and files."""

    def __init__(self, environ: Mapping[str, str], cwd: str) -> None:
        self.environ = environ
        self.cwd = cwd

    def read_file(self, path: str) -> bytes:
        """Return a file's content, at most one byte more than a flag's file may have."""
        try:
            with open(path, "rb") as file:
                return file.read(environment.MAX_FILE_BYTES + 1)
        except OSError as error:
            hint = "name a file that can be read; a relative path starts at the current directory"
            raise UsageError(f"{path}: {error.strerror}", hint=hint) from error


def from_flags(
    flags: Mapping[str, Any], command: Iterable[str], around: Surroundings
) -> RunOptions:
    """Return the options for {flag: value or values}; None, () and False mean "not given".

    >>> here = Surroundings({"HOME": "/root"}, "/")
    >>> from_flags({"memory": "256m", "env": ("HOME",)}, ["true"], here).env
    ('HOME=/root',)

    Raises:
        UsageError: a value is malformed, a flag unknown or refused, or two contradict each other.
    """
    left = {name: value for name, value in flags.items() if value not in (None, (), [])}
    fields = _special(left, around)
    fields |= _read(left, ONCE, REPEATED)
    fields["resources"] = ResourceOptions(
        **_read(left, RESOURCES_ONCE, RESOURCES_REPEATED),
        oom_kill_disable=bool(left.pop("oom_kill_disable", False)),
    )
    fields["network"] = NetworkOptions(
        **_read(left, NETWORK_ONCE, NETWORK_REPEATED),
        publish_all=bool(left.pop("publish_all", False)),
    )
    fields["health"] = HealthFlags(**_read(left, HEALTH_ONCE, {}))
    for flag, field in SWITCHES.items():
        if flag in left:
            fields[field or flag] = bool(left.pop(flag))
    _refuse(left)
    args = tuple(words.no_nul(arg, "argument") for arg in command)
    return check(RunOptions(command=args, **fields))


def _read(
    left: dict[str, Any],
    once: dict[str, tuple[str, Parser]],
    repeated: dict[str, tuple[str, Parser]],
) -> dict[str, Any]:
    """Take the flags of two tables out of ``left`` and return {field: value}."""
    found: dict[str, Any] = {}
    for flag in [flag for flag in left if flag in once]:
        field, parser = once[flag]
        found[field] = _parsed(flag, parser, left.pop(flag))
    for flag in [flag for flag in left if flag in repeated]:
        field, parser = repeated[flag]
        found[field] = tuple(_parsed(flag, parser, text) for text in left.pop(flag))
    return found


def _parsed(flag: str, parser: Parser, text: Any) -> Any:  # noqa: ANN401 - a row's own type
    """Return what the parser makes of a flag's text; its error names the flag."""
    try:
        return parser(str(text))
    except MinirunError as error:
        raise UsageError(f"{spelled(flag)}: {error.message}", hint=error.hint) from error


def spelled(flag: str) -> str:
    """Return the flag as it is typed.

    >>> spelled("read_only")
    '--read-only'
    """
    return "--" + flag.replace("_", "-")


def _special(left: dict[str, Any], around: Surroundings) -> dict[str, Any]:
    """Return the fields that come from more than one flag, or in pairs."""
    here = around
    fields: dict[str, Any] = {
        "env": _environment(left, here),
        "labels": _labels(left, here),
        "annotations": _pairs(left, "annotation"),
        "sysctls": dict(_parsed("sysctl", security.sysctl, t) for t in left.pop("sysctl", ())),
        "security": security.security_options(left.pop("security_opt", ())),
        "log": security.log_options(left.pop("log_driver", ""), left.pop("log_opt", ())),
        "mounts": (
            *(mounts.volume_flag(text, here.cwd) for text in left.pop("volume", ())),
            *(mounts.mount_flag(text, here.cwd) for text in left.pop("mount", ())),
            *(mounts.tmpfs_flag(text) for text in left.pop("tmpfs", ())),
        ),
    }
    if "entrypoint" in left:
        fields["entrypoint"] = (words.no_nul(left.pop("entrypoint"), "entrypoint"),)
    return fields


def _environment(left: dict[str, Any], around: Surroundings) -> tuple[str, ...]:
    """Return the variables of every --env-file, then those of every -e, which win."""
    found: list[str] = []
    for path in left.pop("env_file", ()):
        found += environment.env_file(around.read_file(path), path, around.environ)
    found += [environment.variable(text, around.environ) for text in left.pop("env", ())]
    return tuple(found)


def _labels(left: dict[str, Any], around: Surroundings) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in left.pop("label_file", ()):
        found.update(environment.label_file(around.read_file(path), path))
    return found | dict(environment.label(text) for text in left.pop("label", ()))


def _pairs(left: dict[str, Any], flag: str) -> dict[str, str]:
    return dict(words.key_value(text, flag) for text in left.pop(flag, ()))


def _refuse(left: Mapping[str, Any]) -> None:
    for flag, value in left.items():
        if flag in REFUSED and value is not False:
            hint = REFUSED[flag]
            raise UsageError(f"{spelled(flag)} is not supported", hint=hint)
        if flag not in REFUSED:
            raise UsageError(f"unknown flag {spelled(flag)}", hint="see minirun run --help")
