"""A lease: what one running operation is about to need, kept from the garbage collector.

A pull writes its layers before any image names them. So each operation has a file in ``leases/``,
locked while it runs, that lists the digests it counts on, and a folder in ``tmp/`` of the same name
for what is not finished. The order is: list first, then look whether it is there. The store's lock
makes that one step for the collector, which holds it alone.

After kill -9 the lock is gone, the file is not: the next collection takes it and the folder away.

Next: ``store.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from .locks import acquire, locked
from .tree import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Lease:
    """Protects digests while it is held.

    Args:
        root: the store's directory; exists.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self.id = os.urandom(8).hex()
        self.scratch = os.path.join(root, "tmp", self.id)
        path = os.path.join(root, "leases", self.id)
        with locked(os.path.join(root, "lock"), shared=True):
            self._fd = acquire(path, fcntl.LOCK_EX)
            os.mkdir(self.scratch, 0o700)
        self._path = path

    def claim(self, digests: Iterable[str]) -> None:
        """Keep blobs and layers of these digests, whether they are there yet or not."""
        lines = "".join(f"{digest}\n" for digest in digests)
        with locked(os.path.join(self._root, "lock"), shared=True):
            os.lseek(self._fd, 0, os.SEEK_END)
            os.write(self._fd, lines.encode())

    def release(self) -> None:
        """Give up, and remove what was not finished."""
        discard(os.path.join(self._root, "tmp"), self.id)
        os.unlink(self._path)
        os.close(self._fd)


def live_claims(root: str) -> tuple[set[str], set[str]]:
    """Return (lease ids, digests) of running operations; remove the files of dead ones.

    Needs the store's lock, alone.
    """
    alive: set[str] = set()
    digests: set[str] = set()
    folder = os.path.join(root, "leases")
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            fd = acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alive.add(name)
            # One that ends at this moment has published what it made, or given it up.
            with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
                digests.update(file.read().split())
        else:
            os.unlink(path)
            os.close(fd)
    return alive, digests


def discard(folder: str, name: str) -> None:
    """Remove a file or a whole tree, if it is there."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(fd, name)
    except NotADirectoryError:
        os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        pass
    finally:
        os.close(fd)
