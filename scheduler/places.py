"""Where the scheduler keeps what lasts, and what a reboot may take.

    data   MINISCHED_DATA, else scheduler/ below minirun's data     store.db, lock
    run    MINISCHED_RUN, else .scheduler/ below minirun's state    api.sock, gateway/, replicas/

Next: ``serve.py``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minirun import MinirunError, default_home


@dataclass(frozen=True, slots=True)
class Places:
    """The two folders of one scheduler."""

    data: Path
    run: Path

    @property
    def socket(self) -> Path:
        """Return where the API listens."""
        return self.run / "api.sock"

    @property
    def gateway(self) -> Path:
        """Return the gateway's own folder."""
        return self.run / "gateway"

    @property
    def replicas(self) -> Path:
        """Return where the sockets and secrets of replicas are."""
        return self.run / "replicas"


def default_places() -> Places:
    """Return the places of this user's scheduler."""
    home = default_home()
    data = os.environ.get("MINISCHED_DATA") or f"{home.data}/scheduler"
    run = os.environ.get("MINISCHED_RUN") or f"{home.root}/.scheduler"
    return Places(Path(data).absolute(), Path(run).absolute())


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Hold the folder of what runs: a second scheduler would take the sockets of the first.

    The lock vanishes with the process that holds it. See: flock(2).

    Raises:
        MinirunError: another scheduler has it, or it cannot be made.
    """
    try:
        run.mkdir(mode=0o711, parents=True, exist_ok=True)
        fd = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        hint = "MINISCHED_RUN names a folder that can be written to"
        raise MinirunError(f"{run}: {(error.strerror or '').lower()}", hint=hint) from error
    try:
        _lock(fd, run)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, run: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hint = "stop it first, or give this one a folder of its own: MINISCHED_RUN"
        raise MinirunError(f"another scheduler uses {run}", hint=hint) from error
