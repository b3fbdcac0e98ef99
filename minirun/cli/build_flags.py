"""Flags of ``docker build`` that are refused, each with what to do instead, or that mean nothing.

Next: ``builder.py``, which shows and prunes what builds keep.
"""

from __future__ import annotations

import click

from ..errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NO_LIMITS = "RUN steps have no limits of their own"
_REFUSED = {
    "add-host": "RUN steps see the host's own /etc/hosts",
    "allow": "a RUN step never gets more privileges here",
    "attest": "no attestations are made",
    "builder": "there is one builder",
    "call": "build, and read the warnings",
    "cgroup-parent": _NO_LIMITS,
    "check": "build, and read the warnings",
    "compress": "the context is read where it is",
    "cpu-period": _NO_LIMITS,
    "cpu-quota": _NO_LIMITS,
    "cpu-shares": _NO_LIMITS,
    "cpuset-cpus": _NO_LIMITS,
    "cpuset-mems": _NO_LIMITS,
    "isolation": "it exists on another system only",
    "memory": _NO_LIMITS,
    "memory-swap": _NO_LIMITS,
    "security-opt": "RUN steps have the default profile",
    "shm-size": "mount a tmpfs: RUN --mount=type=tmpfs,target=/dev/shm",
    "ulimit": _NO_LIMITS,
}
_SHORT = {"cpu-shares": "-c", "memory": "-m"}
_WITHOUT_VALUE = ("check", "compress")
#: Flags that say what is done anyway.
_ALREADY = ("load", "rm", "force-rm")
_OFF = ("provenance", "sbom")
#: Flags without a value, which docker also takes as ``--rm=true``.
_SWITCHES = (*_ALREADY, "no-cache", "pull", "push", "quiet", "squash")


def _key(name: str) -> str:
    return f"refused_{name.replace('-', '_')}"


class BuildCommand(click.Command):
    """Knows what click does not: ``--pull`` without a value, and ``--rm=true``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell the values out."""
        return super().parse_args(ctx, [word for arg in args for word in _plain(arg)])


def _plain(arg: str) -> list[str]:
    """Return one word of the line as click takes it; a flag that is off is none at all.

    >>> _plain("--no-cache=true"), _plain("--rm=false"), _plain("--pull")
    (['--no-cache'], [], ['--pull=always'])
    """
    name, _, value = arg.partition("=")
    if name.removeprefix("--") in _SWITCHES and name != arg and value in ("true", "false"):
        arg = name
        if value == "false":
            return []
    return ["--pull=always"] if arg == "--pull" else [arg]


def with_refused(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that are only there to be refused, or to mean nothing."""
    for name in _REFUSED:
        words = [f"--{name}", *([_SHORT[name]] if name in _SHORT else []), _key(name)]
        is_flag = name in _WITHOUT_VALUE
        command = click.option(*words, multiple=not is_flag, hidden=True, is_flag=is_flag)(command)
    for name in _OFF:
        command = click.option(f"--{name}", _key(name), hidden=True)(command)
    for name in _ALREADY:
        command = click.option(f"--{name}", is_flag=True, hidden=True, expose_value=False)(command)
    return command


def refuse(given: dict[str, Any]) -> None:
    """Raise for each flag that is not supported.

    Raises:
        UsageError: there is one; it is named.
    """
    for name, hint in _REFUSED.items():
        if given[_key(name)]:
            raise UsageError(f"--{name} is not supported", hint=hint)
    for name in _OFF:
        value = given[_key(name)]
        if value not in (None, "false"):
            raise UsageError(f"--{name}={value} is not supported", hint="no attestations are made")
