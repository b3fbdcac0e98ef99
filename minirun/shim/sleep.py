"""A shim asleep: a bare interpreter that waits, and a second one that waits for the first.

Nothing is imported but what waiting takes, because an idle container should cost what two idle
processes cost. Whatever happens (output, a client, the end, a health check that is due) wakes the
shim: it imports the rest and goes on, see ``lean.wake``.

May import nothing of minirun before it wakes. Next: ``standby.py``.
"""

from __future__ import annotations

import posix
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def sleep() -> NoReturn:
    """Wait until something happens.

    The command line has: the package's directory, the descriptors to watch, when to wake (seconds
    of the monotonic clock, 0 for never), and what ``lean.shed`` wants to be told again.
    """
    _, _, watched, due, facts = sys.argv
    _name()
    numbers = [int(word) for word in watched.split(",")]
    pid = pidfd = -1
    while True:
        if pidfd < 0:
            pid, pidfd = _fork_standby(facts)
        ready = _wait((*numbers, pidfd), float(due))
        if ready != [pidfd]:
            break
        posix.close(pidfd)  # the standby was killed: have another
        posix.waitpid(pid, 0)
        pidfd = -1
    from .lean import wake

    wake(facts, pid, pidfd)


def _name() -> None:
    """Show up as minirun-shim; execve took the name away. See: proc(5), /proc/pid/comm."""
    fd = posix.open("/proc/self/comm", posix.O_WRONLY)
    posix.write(fd, b"minirun-shim")
    posix.close(fd)


def _wait(numbers: tuple[int, ...], due: float) -> list[int]:
    """Return the descriptors on which something happened; none when it is time."""
    poll = select.poll()
    for fd in numbers:
        poll.register(fd, select.POLLIN)
    timeout_ms = max(0.0, due - time.monotonic()) * 1000 if due else None
    return [fd for fd, _ in poll.poll(timeout_ms)]


def _fork_standby(facts: str) -> tuple[int, int]:
    """Return the pid and pidfd of a child that takes over when we die."""
    parent = posix.pidfd_open(posix.getpid())
    pid = posix.fork()
    if pid == 0:
        try:
            _wait((parent,), 0.0)
            posix.close(parent)
            from .lean import take_over

            take_over(facts)
        finally:
            posix._exit(0)
    posix.close(parent)
    return pid, posix.pidfd_open(pid)
