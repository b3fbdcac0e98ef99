"""The database file: opened once, written by one at a time, durable when a write returns.

WAL lets readers go on while somebody writes. ``synchronous=FULL`` syncs the log at each commit: an
acknowledged write survives a power cut (WAL with NORMAL would lose the last ones). A lock on a file
beside the database keeps a second scheduler out, and vanishes with the process that holds it.

See: https://sqlite.org/wal.html, flock(2). Next: ``entries.py``.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from typing import Any

from minirun import ScheduleError

from .schema import migrate

#: Long enough for a backup that holds the file, short enough for whoever waits for an answer.
_BUSY_S = 5.0
_FULL = "free some disk space: nothing was changed"


class Database:
    """One database, and the locks around it.

    Args:
        folder: where it is kept; made when missing, and nobody else's to look into.

    Raises:
        ScheduleError: another scheduler has it (409), or it cannot be read or written (503).
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"
        self._writing = RLock()
        self._reading = Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._guard = _only_one(folder / "lock")
        except OSError as error:
            text, hint = (error.strerror or "").lower(), "MINISCHED_DATA names another folder"
            raise ScheduleError(f"{folder}: {text}", status=503, hint=hint) from error
        try:
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode=WAL").fetchone()
            migrate(self._writer)
            self._reader = self._connect()
        except sqlite3.Error as error:
            os.close(self._guard)
            raise self._failed(error) from error
        except ScheduleError:
            os.close(self._guard)
            raise

    def _connect(self) -> sqlite3.Connection:
        # The file is made here first: SQLite would make it readable for everybody.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=ON")  # a removed secret is not left in the file
        return connection

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold everybody else's writes off, and those of this thread together."""
        with self._writing:
            yield

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that is on the disk when the block is left, or never was.

        Raises:
            ScheduleError: the disk is full (507) or cannot be written (503).
        """
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield self._writer
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                self._undo()
                raise self._failed(error) from error
            except BaseException:
                self._undo()
                raise

    def _undo(self) -> None:
        try:
            self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            return  # it has rolled back by itself, as it does when a disk is full

    def read(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, of what is committed.

        Raises:
            ScheduleError: the disk cannot be read (503).
        """
        with self._reading:
            try:
                return self._reader.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> ScheduleError:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            return ScheduleError(f"{self.path}: the disk is full", status=507, hint=_FULL)
        hint = "check the disk; a copy of the folder is a backup" if name else ""
        return ScheduleError(f"{self.path}: {error}", status=503, hint=hint)

    def close(self) -> None:
        """Let go of the file, and of the lock on it; may be called again."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()
            if self._guard >= 0:
                os.close(self._guard)
            self._guard = -1


def _only_one(path: Path) -> int:
    """Return the held lock.

    Raises:
        ScheduleError: another process holds it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise ScheduleError(
            f"another scheduler uses {path.parent}",
            status=409,
            hint="stop it first, or give this one a folder of its own: MINISCHED_DATA",
        ) from error
    return fd
