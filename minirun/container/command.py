"""What runs: entrypoint and cmd, environment, working directory and health check, image under user.

The rules are docker's. An --entrypoint replaces the image's *and* forgets its cmd, because the cmd
was written as arguments for the other one. The arguments after the image's name replace the
cmd. A shell form was turned into ``/bin/sh -c`` when the image was built.

Pure. Next: ``limits.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from ..record import Record
from .environment import merge
from .words import absolute_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..image.model import ContainerConfig
    from .options import HealthFlags, RunOptions

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECOND_NS = 10**9
MILLISECOND_NS = 10**6


class HealthCheck(Record):
    """A probe that is complete: docker's defaults filled in; times in nanoseconds."""

    args: tuple[str, ...]
    interval_ns: int = 30 * SECOND_NS
    timeout_ns: int = 30 * SECOND_NS
    start_period_ns: int = 0
    start_interval_ns: int = 5 * SECOND_NS
    retries: int = 3


def arguments(options: RunOptions, image: ContainerConfig) -> tuple[str, ...]:
    """Return the argument vector.

    Raises:
        UsageError: neither the image nor the command line names a command.
    """
    if options.entrypoint is not None:
        # --entrypoint "" clears the image's and puts nothing in its place.
        entrypoint, cmd = tuple(filter(None, options.entrypoint)), options.command
    else:
        entrypoint, cmd = image.entrypoint, options.command or image.cmd
    args = entrypoint + cmd
    if not args or not args[0]:
        raise UsageError("no command specified", hint="name one after the image")
    return args


def environment(
    options: RunOptions, image: ContainerConfig, hostname: str, home: str
) -> tuple[str, ...]:
    """Return the environment: docker's own, then the image's, then the user's; HOME if missing."""
    own = [DEFAULT_PATH, f"HOSTNAME={hostname}"] + (["TERM=xterm"] if options.tty else [])
    merged = merge(own, (e for e in image.env if e and e[0] != "="), options.env)
    if any(entry.startswith("HOME=") for entry in merged):
        return merged
    return (*merged, f"HOME={home}")


def working_directory(options: RunOptions, image: ContainerConfig) -> str:
    """Return --workdir, or the image's WORKDIR, or the root."""
    if options.workdir:
        return options.workdir
    return absolute_path(image.working_dir, "WORKDIR of the image") if image.working_dir else "/"


def health_check(options: RunOptions, image: ContainerConfig) -> HealthCheck | None:
    """Return the probe, or None where there is none; a flag replaces the image's value."""
    flags, own = options.health, image.healthcheck
    if options.no_healthcheck:
        return None
    args = _probe(flags, own.test if own else ())
    if not args:
        return None
    default = HealthCheck(args)
    return HealthCheck(
        args,
        flags.interval_ns or (own.interval if own else 0) or default.interval_ns,
        flags.timeout_ns or (own.timeout if own else 0) or default.timeout_ns,
        flags.start_period_ns or (own.start_period if own else 0),
        flags.start_interval_ns or (own.start_interval if own else 0) or default.start_interval_ns,
        flags.retries or (own.retries if own else 0) or default.retries,
    )


def _probe(flags: HealthFlags, test: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command of a health check. See: Dockerfile reference, HEALTHCHECK."""
    if flags.cmd:
        return "/bin/sh", "-c", flags.cmd
    kind, *rest = test or ("NONE",)
    if kind == "CMD-SHELL" and len(rest) == 1:
        return "/bin/sh", "-c", rest[0]
    if kind == "CMD":
        return tuple(rest)
    if kind != "NONE":
        raise UsageError(f"the image's health check is malformed: {list(test)}")
    return ()
