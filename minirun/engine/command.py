"""Run one more command in a running container: ``minirun exec``.

Next: ``../execute.py``, which joins the container.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from .. import capabilities, inroot
from ..container import users
from ..container.words import absolute_path
from ..errors import StateError, SyscallError
from ..execute import ExecRequest, Running, execute, process_like
from ..record import Record, replace
from .stop import open_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..container.entry import ContainerRecord
    from ..spec import Process, Spec
    from .home import Home


class Command(Record):
    """What to run, and what is different from the container's own process.

    Args:
        args: the command.
        env: ``NAME=VALUE``, added to the container's.
        user: as ``--user``; "" is the container's own.
        workdir: "" is the container's own.
        tty: give it a terminal.
        privileged: give it every capability.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    privileged: bool = False


@contextmanager
def run(
    home: Home, record: ContainerRecord, command: Command, *, stdin: int, silent: bool
) -> Iterator[Running]:
    """Start a command and yield it once its program has been executed.

    Args:
        home: where the container is kept.
        record: a container that runs.
        command: see there.
        stdin: a descriptor for its standard input; -1 gives it an empty one.
        silent: nobody sees what it prints.

    Raises:
        StateError: the container is paused or has ended.
        MinirunError: the program is not there or cannot be executed; exit code 127 or 126.
    """
    container = home.place(record.id).container()
    process = _process(container.directory.read_spec(), record, command)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    out, err = (null, null) if silent else (_open_or(1, null), _open_or(2, null))
    stdio = (_open_or(stdin, null), out, err)
    # What the engine prints and what the command prints must not meet in a buffer.
    running = execute(container, process, ExecRequest(stdio=stdio))
    os.close(null)
    try:
        yield running
    finally:
        if running.console >= 0:
            os.close(running.console)


def _open_or(fd: int, null: int) -> int:
    """Return a descriptor, or the empty one where it is closed."""
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        return null
    return fd


def _process(spec: Spec, record: ContainerRecord, command: Command) -> Process:
    """Return the container's own process with another command."""
    workdir = absolute_path(command.workdir, "working directory") if command.workdir else ""
    terminal = ("TERM=xterm",) if command.tty else ()
    process = process_like(
        spec,
        command.args,
        env=(*terminal, *command.env),
        cwd=workdir,
        terminal=command.tty,
    )
    if command.user:
        found = _identity(record, command.user)
        privileges = process.capabilities
        if found.user.uid != 0 and privileges is not None:
            privileges = replace(privileges, effective=(), permitted=(), ambient=())
        elif privileges is not None:
            privileges = replace(
                privileges, effective=privileges.bounding, permitted=privileges.bounding
            )
        process = replace(process, user=found.user, capabilities=privileges)
        process = replace(process, env=_with_home(process.env, command.env, found.home))
    if command.privileged and process.capabilities is not None:
        every = tuple(capabilities.BITS)
        process = replace(
            process,
            capabilities=replace(
                process.capabilities, bounding=every, effective=every, permitted=every
            ),
        )
    return process


def _with_home(env: tuple[str, ...], given: tuple[str, ...], home: str) -> tuple[str, ...]:
    """Return the environment with the user's own HOME, unless one was asked for."""
    if any(word.startswith("HOME=") for word in given):
        return env
    return (*(word for word in env if not word.startswith("HOME=")), f"HOME={home}")


def _identity(record: ContainerRecord, text: str) -> users.Identity:
    """Return who that is, by the container's own user database as it is now."""
    root = open_root(record)
    try:
        passwd, group = (users.read_database(root, f"etc/{name}") for name in ("passwd", "group"))
    finally:
        os.close(root)
    return users.resolve(text, passwd, group)


def open_root(record: ContainerRecord) -> int:
    """Return an fd of a running container's root; walk from it with ``inroot`` and nothing else.

    /proc/PID/root is opened once, as a directory, with a pidfd in hand that proves whose it is.
    Joining strings to it would follow the container's absolute links on the host
    (CVE-2018-15664).

    Raises:
        StateError: the container has ended.
    """
    pidfd = open_process(record)
    if pidfd < 0:
        hint = f"minirun start {record.name}"
        raise StateError(f"container {record.name} is not running", hint=hint)
    try:
        root = os.open(f"/proc/{record.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(f"container {record.name} has ended") from error
    finally:
        os.close(pidfd)
    try:
        # A process that exited in between has no root: its link would lead to nothing.
        os.close(inroot.open_in_root(root, "/"))
    except SyscallError:
        os.close(root)
        raise
    return root
