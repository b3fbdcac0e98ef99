"""One lock for each container: whoever changes what it is holds it.

The container's own directory holds the file, so a removal takes the lock along. Whoever waited for
that sees that the file has no name any more, and looks again: the container is gone, or, for a
create, the id is free.

See: flock(2). Next: ``lifecycle.py``.
"""

from __future__ import annotations

import fcntl
import os

from .errors import NotFoundError, StateError


class Lock:
    """An advisory lock on a file, released even by kill -9. See: flock(2)."""

    def __init__(self, directory: str, *, claim: bool) -> None:
        self._directory = directory
        self._claim = claim
        self._fd = -1

    def __enter__(self) -> Lock:
        """Wait for the lock.

        Raises:
            NotFoundError: the container's directory is gone.
            StateError: it cannot be made.
        """
        while True:
            try:
                self._fd = self._open()
            except (FileNotFoundError, NotADirectoryError) as error:
                if self._claim and isinstance(error, FileNotFoundError):
                    continue  # removed between our mkdir and our open
                raise self._not_found() from error
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink:
                return self
            os.close(self._fd)  # what we waited for was the removal
            if not self._claim:
                raise self._not_found()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        if self._claim:
            self._make_directory()
            flags |= os.O_CREAT
        return os.open(f"{self._directory}/lock", flags, 0o600)

    def _make_directory(self) -> None:
        try:
            os.makedirs(self._directory, 0o711, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"{self._directory}: {os.strerror(error.errno or 0).lower()}",
                hint="the state root must be writable: --root or MINIRUN_ROOT moves it",
            ) from error

    def _not_found(self) -> NotFoundError:
        name = self._directory.rpartition("/")[2]
        return NotFoundError(f"container {name}: container does not exist")

    def __exit__(self, *_exception: object) -> None:
        """Let the next one in, even if a process that we forked has the descriptor too."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)
