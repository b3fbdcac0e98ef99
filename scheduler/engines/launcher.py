"""The launcher, kept alive: the process with one thread that forks for us.

It outlives the scheduler, so that the next one finds it warm, and no replica depends on it. One
that is killed is replaced when the next start finds nobody there, or at once where we see its end.

Next: ``watcher.py``.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from threading import Lock

from minirun import Containers, MinirunError

START_S = 15.0
_LOOK_S = 0.01


class Launcher:
    """The launcher of one home.

    Args:
        containers: whose home it is.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._lock = Lock()
        self._ours: subprocess.Popen[bytes] | None = None

    def ensure(self) -> int:
        """Return the pid of a launcher that listens; start one if there is none.

        Raises:
            MinirunError: it does not come up.
        """
        with self._lock:
            if self._ours is not None:
                self._ours.poll()  # collects the one that has died
            return self._containers.launcher_pid() or self._start()

    def _start(self) -> int:
        self._ours = subprocess.Popen(
            self._containers.launcher_argv(),
            env=self._containers.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at the scheduler's terminal is not for it
        )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._ours.poll() is None:
            if pid := self._containers.launcher_pid():
                return pid
            time.sleep(_LOOK_S)
        if pid := self._containers.launcher_pid():
            return pid  # somebody else's was faster, and ours saw that
        raise MinirunError("the launcher does not start", hint="see: minirun launcher")

    def stop(self) -> None:
        """End it, whoever started it; nothing that runs needs it."""
        with self._lock, suppress(ProcessLookupError):
            if pid := self._containers.launcher_pid():
                pidfd = os.pidfd_open(pid)
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                select.select([pidfd], [], [], START_S)
                os.close(pidfd)
        if self._ours is not None:
            self._ours.wait(START_S)
