"""The gateway's thread: it waits for a proxy's end, for a held request, and for the next look.

Next: ``pools.py``.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

LOOK_EVERY_S = 0.2


class Watch:
    """One thread.

    Args:
        wake: the socket that the hold action connects to.
        pidfds: what becomes readable when a process ends.
        mend: replaces what ended; it returns when it is worth another try, in seconds, or None.
        look: reads the counters.
        on_wake: called when somebody begins to wait.
    """

    def __init__(
        self,
        wake: Path,
        pidfds: Callable[[], Iterable[int]],
        mend: Callable[[], None],
        look: Callable[[], None],
        on_wake: Callable[[], None],
    ) -> None:
        self._pidfds = pidfds
        self._mend = mend
        self._look = look
        self._on_wake = on_wake
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC)
        self._wake = _listener(wake)
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; nothing happens where it has ended."""
        if self._stop_write < 0:
            return
        os.close(self._stop_write)
        self._stop_write = -1
        self._thread.join()
        os.close(self._stop_read)
        self._wake.close()

    def _run(self) -> None:
        next_look = time.monotonic()
        while True:
            ready = self._wait(max(0.0, next_look - time.monotonic()))
            if self._stop_read in ready:
                return
            if self._wake.fileno() in ready:
                self._drain_wake()
                self._on_wake()
            self._mend()
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + LOOK_EVERY_S

    def _wait(self, timeout_s: float) -> set[int]:
        poll = select.poll()
        own = {self._stop_read, self._wake.fileno()}
        for fd in (*own, *self._pidfds()):
            poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll(timeout_s * 1000)} & own

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wake.accept()[0].close()


def _listener(path: Path) -> socket.socket:
    """Listen where an earlier controller did: its socket's file is dead, and in the way."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind(os.fspath(path))
    path.chmod(0o600)
    listener.listen()
    listener.setblocking(False)
    return listener
