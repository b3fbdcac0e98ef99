"""Ends all that a scheduler leaves running on purpose: replicas, gateway, launcher, and itself.

    scheduler ─▶ gateway ─▶ launcher ─▶ replicas ─▶ the folder with their sockets

In this order nothing is started anew by the one before it, and every request that is in flight has
a replica until it was answered. What is wanted stays in the store: the next ``minisched serve``
starts it all again.

Next: ``gateway/ending.py``, ``engines/ending.py``.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from contextlib import closing, suppress
from pathlib import Path

from minirun import Containers, default_home

from .engines.ending import Ending
from .engines.folder import Folders
from .engines.launcher import Launcher
from .gateway import ending as gateway_ending
from .places import Places, claimed
from .policy import Timeouts
from .store import Store

#: A scheduler that has not ended by then is killed, which harms nothing either.
END_S = 20.0


def shutdown(places: Places, grace_s: float) -> int:
    """End everything; return how many replicas there were.

    Args:
        places: of the scheduler, whether it runs or not.
        grace_s: for how long requests that are in flight may go on.

    Raises:
        MinirunError: something does not end, or another scheduler was started meanwhile.
    """
    _end_scheduler(places.socket)
    if not places.data.exists():
        return 0  # there never was one
    containers = Containers(default_home())
    with claimed(places.run), closing(Store.open(places.data)) as store:
        entries = store.load().entries

        def stop_s(deployment: str) -> float:
            entry = entries.get(deployment)
            return (entry.deployment.timeouts if entry else Timeouts()).stop_s

        gateway_ending.end(places.gateway, grace_s)
        Launcher(containers).stop()
        count = Ending(containers, store.fact("owner"), stop_s).run()
        Folders(places.replicas).unmount()
    return count


def _end_scheduler(path: Path) -> None:
    """End whoever listens at the API's socket, gently if it can be."""
    pid = _listener(path)
    if not pid:
        return
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(pidfd, number)
                if select.select([pidfd], [], [], END_S)[0]:
                    return
        finally:
            os.close(pidfd)


def _listener(path: Path) -> int:
    """Return the pid of who listens at a socket, 0 for nobody. See: unix(7), SO_PEERCRED."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return 0
    return int(struct.unpack("iII", peer)[0])
