"""The process that takes over when the shim is killed.

It is forked from the shim at each start, while init is busy, and holds what the shim holds: the
container's pipes, terminal and pidfd, the socket and its clients. It does nothing but wait for its
parent to die. Then it *is* the shim: it goes on where the other stopped, and forks a standby of its
own. If it dies first, the shim forks another. So any one of the two may be killed, again and again.

What it cannot do is wait(2) for a process that is not its child; see ``ending.wait_status``.

Next: ``after.py``.
"""

from __future__ import annotations

import os
import select

from ..descriptors import close_all_but
from ..errors import MinirunError
from ..state import process_start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Container
    from typing import NoReturn

    from .supervise import Shim
else:
    # The C half has all that is needed; the Python half makes every fork dearer.
    import _signal as signal


class Standby:
    """The shim's view of its standby."""

    def __init__(self, shim: Shim) -> None:
        self._shim = shim
        self.pid = -1
        self.pidfd = -1

    @classmethod
    def fork(cls, shim: Shim) -> Standby:
        """Return a new one."""
        made = cls(shim)
        made._fork()
        return made

    @classmethod
    def adopt(cls, shim: Shim, pid: int, pidfd: int) -> Standby:
        """Return one that is there already."""
        made = cls(shim)
        made.pid, made.pidfd = pid, pidfd
        return made

    def _fork(self) -> None:
        parent = os.pidfd_open(os.getpid())
        self.pid = os.fork()
        if self.pid == 0:
            _stand_by(self._shim, parent)
        os.close(parent)
        self.pidfd = os.pidfd_open(self.pid)

    def replace_if_dead(self, ready: Container[int]) -> None:
        """Fork another when this one was killed."""
        # Asked again: the number in ``ready`` may be that of a descriptor closed meanwhile.
        if self.pidfd in ready and os.waitpid(self.pid, os.WNOHANG)[0]:
            os.close(self.pidfd)
            self._fork()

    def renew(self) -> None:
        """Replace it by one that knows the descriptors of now."""
        self.dismiss()
        self._fork()

    def dismiss(self) -> None:
        """End it: the shim is about to finish in good order."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._collect()

    def _collect(self) -> None:
        os.close(self.pidfd)
        os.waitpid(self.pid, 0)


def _stand_by(shim: Shim, parent: int) -> NoReturn:
    """Wait for the parent's death, then take over.

    The parent may be in the middle of a start: its locks and its ends of the container's pipes must
    end with it, so nothing of it stays open here but what the shim needs.
    """
    try:
        close_all_but((0, 1, 2, parent, *shim.kept()))
        poll = select.poll()
        poll.register(parent, select.POLLIN)
        poll.poll()
        os.close(parent)
        succeed(shim)
    finally:
        os._exit(0)


def succeed(shim: Shim) -> NoReturn:
    """Be the shim, if there is still something for it to do."""
    try:
        if _is_needed(shim):
            shim.place.store.set_state(
                shim.place.id,
                shim_pid=os.getpid(),
                shim_start_time=process_start_time(os.getpid()),
            )
            shim.take_over_streams()
            shim.watch()
            shim.loop()
    finally:
        os._exit(0)


def _is_needed(shim: Shim) -> bool:
    """Whether the container's end is still to be written down, or another start to be made."""
    try:
        state = shim.place.store.read(shim.place.id).state
    except MinirunError:
        return False  # removed: the parent had finished
    if shim.restart_at is not None:
        return not state.stopped_by_user
    return shim.running is not None and state.pid == shim.running.pid
