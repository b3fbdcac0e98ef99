"""Step: one act of a container start, as data.

A Step knows four things beside its fields: ``why`` it exists, the ``call`` it will make (as strace
shows it), a ``check`` that proves it happened, and what goes wrong ``without`` it. ``apply`` does
it.
The runner applies steps, ``explain`` prints them, tests assert on them: there is one list.

A step belongs to a lane, the process it must happen in:

    R  runtime process    on the host, with the caller's privileges
    M  intermediate       between the host and namespaces that are joined; often not needed
    I  init               inside; becomes the container's process

Next: ``namespaces.py``, then the other modules of this package in the order of ``../plan.py``;
then ``../runner.py``.
"""

from __future__ import annotations

import os

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from ..cgroups.driver import Driver
    from ..sync import Channel


class Context:
    """What the steps of one start hand to each other. Forked along; each process has its own copy.

    Attributes:
        container_id: the id.
        bundle: absolute path of the bundle; relative paths of the spec start here.
        state_dir: the container's directory below the state root.
        channel: to the runtime process (in M and I), to the child (in R).
        child_pid: pid of the first child, seen from R: M, or I where there is no M.
        init_pid: pid of I, seen from the runtime's PID namespace.
        rootfs_fd: O_PATH fd of the assembled root file system (in I).
        proc_fd: a private, detached procfs of the new PID namespace (in I); see ``procfs.py``.
        trees: detached mounts made ahead by a process that still may, by destination.
        fds: other descriptors by name: ``userns``, ``start``, ``result``, ``console``.
        undo: what the runtime process must take back on failure, latest last.
        stdio: fds for 0, 1 and 2 of the container, or None to inherit the runtime's.
        keep_fds: how many descriptors from 3 on belong to the container.
        cgroup: the driver of the container's control group.
        spawn: forks a process for a lane and returns its pid; set by the runner.
        state: returns the state JSON for hooks; set by ``lifecycle``, like the two below.
        attach_network: connects the network namespace of a pid.
        save_state: writes state.json with a status.
        meanwhile: what the runtime process does as long as init is busy.
        executable: the program to execute, once found.
        execve: executes it, with everything made ahead.
        home: HOME for a program whose environment has none.
        word_given: whether init will find the word there that it waits for.
        handed_over: whether errors go to the result FIFO instead of the channel.
    """

    def __init__(self, container_id: str, bundle: str, state_dir: str) -> None:
        self.container_id = container_id
        self.bundle = bundle
        self.state_dir = state_dir
        self.channel: Channel | None = None
        self.child_pid = 0
        self.init_pid = 0
        self.rootfs_fd = -1
        self.proc_fd = -1
        self.trees: dict[str, int] = {}
        self.fds: dict[str, int] = {}
        self.undo: list[Callable[[], object]] = []
        self.stdio: tuple[int, int, int] | None = None
        self.keep_fds = 0
        self.cgroup: Driver | None = None
        self.spawn: Callable[[str], int] = _unset
        self.state: Callable[[str], dict[str, Any]] = _unset
        self.attach_network: Callable[[int], None] = _unset
        self.save_state: Callable[[str], None] = _unset
        self.meanwhile: Callable[[], None] = nothing
        self.executable = ""
        self.execve: Callable[[], None] = _unset
        self.home = "/"
        self.word_given = False
        self.handed_over = False


def nothing(*_arguments: object) -> None:
    """Do nothing: for a caller who wants nothing done."""


def _unset(*_arguments: object) -> Any:  # noqa: ANN401 - stands in for several signatures
    message = "a plan was run without what its steps need"
    raise RuntimeError(message)


class Step(Record):
    """One act. Subclasses define the teaching fields, ``call`` and ``apply``."""

    lane: ClassVar[str] = "I"
    #: Whether the runtime process stops listening here: what comes after is init's own.
    hands_over: ClassVar[bool] = False
    id: ClassVar[str]
    why: ClassVar[str]
    man: ClassVar[str]
    check: ClassVar[str]
    without: ClassVar[str]

    @property
    def title(self) -> str:
        """Return the id, with the object it acts on where there are several of a kind."""
        return self.id

    @property
    def call(self) -> tuple[str, ...]:
        """Return the system calls as strace prints them; a lowercase word stands for an fd."""
        raise NotImplementedError

    def apply(self, context: Context) -> None:
        """Do it.

        Raises:
            SyscallError: the kernel refused.
        """
        raise NotImplementedError


def quoted(text: str | None) -> str:
    """Return an argument as strace prints it.

    >>> quoted("proc"), quoted(None)
    ('"proc"', 'NULL')
    """
    return "NULL" if text is None else '"' + text.replace('"', '\\"') + '"'


def write_file(path: str, text: str, dir_fd: int | None = None) -> None:
    """Write a kernel file in one write(2), as such files demand."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
