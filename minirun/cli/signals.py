"""Signals that reach us and are meant for the container.

A handler that does nothing makes the interpreter write the number to a pipe, which the client's
poll sees: no signal interrupts anything, and none is lost.

See: signal(7), ``signal.set_wakeup_fd``. Next: ``client.py``.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

#: Not passed on: about our own children and pipes, job control of our shell, and bugs.
_OURS = {
    signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE, signal.SIGKILL, signal.SIGSTOP,
    signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT,
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
}  # fmt: skip
#: What a person, or whoever ends a session, sends to make it stop.
ENDING = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))


def hold() -> None:
    """Let ending signals wait: what is under way must not be left half done.

    Raises:
        KeyboardInterrupt: one is about to come again.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    if signal.setitimer(signal.ITIMER_REAL, 0)[0]:
        raise KeyboardInterrupt


class Mailbox:
    """Collects signals; ``fd`` is readable when there are some.

    Args:
        proxy: False collects changes of the terminal's size only.
    """

    def __init__(self, *, proxy: bool) -> None:
        self.fd, waker = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        wanted = signal.valid_signals() - _OURS if proxy else {signal.SIGWINCH}
        for number in wanted:
            if signal.getsignal(number) is not signal.SIG_IGN or number in ENDING:
                signal.signal(number, _noticed)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def take(self) -> bytes:
        """Return the numbers of the signals that came, oldest first."""
        try:
            return os.read(self.fd, 4096)
        except BlockingIOError:
            return b""


def _noticed(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: that there is a handler makes the interpreter write to the pipe."""
