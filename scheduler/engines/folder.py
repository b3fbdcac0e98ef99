"""The socket and the secrets of replicas: a small tmpfs, with one folder for each.

    replicas/ (tmpfs 0700, no links followed)
      web.1/socket/         written by the replica, read by the gateway: its Unix socket
      web.1/secrets/        read-only inside: its secrets, which never touch a disk

The gateway connects to whatever a replica has put at its socket's path. Were that a symbolic link
to another socket of the host, requests from outside would reach it as if they came from inside; so
the tmpfs is mounted with ``nosymfollow``. Its size is bounded: a replica could write files there.

See: mount(2), MS_NOSYMFOLLOW. Next: ``container.py``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from minirun import MinirunError, mount_tmpfs, unmount

from ..model import Secret

SIZE_BYTES = 64 << 20
#: HAProxy takes no longer path of a socket, and the kernel only a little longer (unix(7)).
LONGEST_PATH = 100


class Folders:
    """The folders of all replicas.

    Args:
        top: where they are mounted.
    """

    def __init__(self, top: Path) -> None:
        self._top = top

    def mount(self) -> None:
        """Mount the tmpfs, unless it is there from an earlier scheduler.

        Raises:
            MinirunError: it cannot be mounted.
        """
        mount_tmpfs(str(self._top), SIZE_BYTES)

    def unmount(self) -> None:
        """Take the tmpfs away; replicas that run keep what they have."""
        unmount(str(self._top))

    def make(
        self, replica_id: str, secrets: Sequence[Secret], value: Callable[[str], bytes]
    ) -> Path:
        """Make a replica's folder with its secrets.

        What is there already was made for somebody else: for a start that was interrupted, or for
        a container of a scheduler whose data is lost. That one must not see these secrets, nor
        answer at this socket, so nothing of its folder is used.

        Args:
            replica_id: its id.
            secrets: which ones.
            value: returns a secret's value by its name.

        Raises:
            MinirunError: a secret does not exist, or there is no room.
        """
        folder = self.path(replica_id)
        self.remove(replica_id)
        try:
            folder.mkdir()
            for name in ("socket", "secrets"):
                (folder / name).mkdir()
            # Whoever the replica runs as must be able to make its socket.
            (folder / "socket").chmod(0o777)
            (folder / "secrets").chmod(0o755)
            for number, secret in enumerate(secrets):
                _write(folder / "secrets" / file_of(secret, number), secret, value(secret.source))
        except OSError as error:
            raise MinirunError(f"{error.filename or folder}: {error.strerror}") from error
        return folder

    def path(self, replica_id: str) -> Path:
        """Return where a replica's folder is."""
        return self._top / replica_id

    def remove(self, replica_id: str) -> None:
        """Delete a replica's folder."""
        shutil.rmtree(self.path(replica_id), ignore_errors=True)

    def socket(self, replica_id: str, inside: str) -> str:
        """Return where the host finds the socket that a replica makes at ``inside``.

        Raises:
            MinirunError: the path is longer than a socket's may be.
        """
        path = str(self.path(replica_id) / "socket" / os.path.basename(inside))
        if len(path) > LONGEST_PATH:
            hint = f"at most {LONGEST_PATH} bytes: give the deployment or the socket a shorter name"
            raise MinirunError(f"the path of its socket is too long: {path}", hint=hint)
        return path


def file_of(secret: Secret, number: int) -> str:
    """Return the name of a secret's file; those with a path of their own are only numbered.

    Raises:
        MinirunError: its target is neither a name nor an absolute path.
    """
    target = secret.target or secret.source
    if target.startswith("/"):
        return f".{number}"
    if "/" in target or target in (".", ".."):
        hint = "give a file name, for /run/secrets, or an absolute path"
        raise MinirunError(f"target {target!r} of the secret {secret.source}", hint=hint)
    return target


def _write(path: Path, secret: Secret, value: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(value)
        os.fchown(fd, secret.uid, secret.gid)
        os.fchmod(fd, secret.mode)
