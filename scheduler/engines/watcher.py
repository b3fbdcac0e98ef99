"""One thread that hears of every exit, and does what was put off until a moment.

A pidfd becomes readable when its process ends: no polling, and no mistaking one process for the
next with its number. Everything here is a callback of whoever watches; each is quick.

See: pidfd_open(2), epoll(7). Next: ``prober.py``.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import time
from collections.abc import Callable
from threading import Lock, Thread

from minirun import MinirunError

Act = Callable[[], None]
log = logging.getLogger(__name__)


class Watcher:
    """The thread; it ends with ``close``."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._epoll = select.epoll()
        self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll.register(self._wake_out, select.EPOLLIN)
        self._watched: dict[int, Act] = {}
        self._later: list[tuple[float, int, Act]] = []
        self._numbers = itertools.count()
        self._closed = False
        self._thread = Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def watch(self, pidfd: int, ended: Act) -> None:
        """Call ``ended`` when a process has ended; the pidfd is ours from now on."""
        with self._lock:
            self._watched[pidfd] = ended
            # Edge or level does not matter: it is forgotten as soon as it was heard.
            self._epoll.register(pidfd, select.EPOLLIN)

    def later(self, seconds: float, act: Act) -> None:
        """Call ``act`` in so many seconds."""
        with self._lock:
            entry = time.monotonic() + seconds, next(self._numbers), act
            heapq.heappush(self._later, entry)
        self._wake()

    def close(self) -> None:
        """End the thread; what was watched goes on."""
        with self._lock:
            self._closed = True
        self._wake()
        self._thread.join()
        self._epoll.close()
        for fd in (self._wake_in, self._wake_out, *self._watched):
            os.close(fd)

    def _wake(self) -> None:
        try:
            os.write(self._wake_in, b"w")
        except BlockingIOError:
            return  # it has been woken often enough

    def _run(self) -> None:
        while not self._closed:
            for act in (*self._heard(), *self._due()):
                try:
                    act()
                except (MinirunError, OSError) as error:
                    log.warning("%s", error)

    def _heard(self) -> list[Act]:
        acts = []
        for fd, _ in self._epoll.poll(self._wait_s()):
            if fd == self._wake_out:
                os.read(fd, 4096)
                continue
            with self._lock:
                acts.append(self._watched.pop(fd))
                self._epoll.unregister(fd)
            os.close(fd)
        return acts

    def _wait_s(self) -> float:
        with self._lock:
            return max(0.0, self._later[0][0] - time.monotonic()) if self._later else -1.0

    def _due(self) -> list[Act]:
        acts = []
        with self._lock:
            while self._later and self._later[0][0] <= time.monotonic():
                acts.append(heapq.heappop(self._later)[2])
        return acts
