"""A blob on its way into the store: one thread writes it down while another unpacks it.

    Source ─▶ sha256 ─▶ partial/<hex> ─rename▶ blobs/sha256/<hex>        the thread of the Arrival
                            └─────▶ read() ─▶ inflate ─▶ unpack          whoever reads it

The file between the two is the buffer, so neither waits for the other's slow moments and memory
stays small whatever the blob's size. ``read`` says "end" only after the digest was found right:
nothing that was unpacked on the way is used before that.

kill -9 leaves ``partial/<hex>``. The next arrival of the same blob goes on where it ends; a
collection takes it away. The file is locked while somebody writes it, so of several processes that
want the same blob one fetches it.

Next: ``adopt.py``, which does this for all layers of an image.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable

from ..errors import ImageError, MinirunError
from ..record import Record
from . import blobs
from .locks import acquire, store_errors
from .model import Descriptor, hex_of
from .source import Source
from .streams import CHUNK
from .unpack import write_all

_POLL_SECONDS = 0.05
#: What ``seen`` is told about a layer, in this order; progress is told while the second lasts.
PRESENT, FETCHING, FETCHED, UNPACKED = "present", "fetching", "fetched", "unpacked"


class Interrupted(ImageError):
    """A transfer broke off, through no fault of its content; it can be resumed."""


class Damaged(ImageError):
    """A blob is not what its digest says.

    Args:
        resumed: a part of it was from an earlier attempt, which may have been the bad one.
    """

    def __init__(self, message: str, *, resumed: bool) -> None:
        super().__init__(message, hint="something on the way changes it, or the registry's is bad")
        self.resumed = resumed


class Event(Record):
    """What happens to one layer or blob.

    Args:
        digest: of the blob.
        state: PRESENT, FETCHING, FETCHED, UNPACKED, or one of the push's.
        done: bytes so far.
        size: bytes in all.
    """

    digest: str
    state: str
    done: int
    size: int


class Arrival:
    """Fetches one blob. Use it in a ``with`` block, and read from it there.

    Args:
        root: of the store.
        source: has the blob.
        descriptor: of the blob.
        stop: set by somebody else, ends the transfer.
        seen: is told how far it got.
    """

    def __init__(
        self,
        root: str,
        source: Source,
        descriptor: Descriptor,
        stop: threading.Event,
        seen: Callable[[Event], None],
    ) -> None:
        self._root = root
        self._source = source
        self._descriptor = descriptor
        self._stop = stop
        self._seen = seen
        self._path = os.path.join(root, "partial", hex_of(descriptor.digest))
        self._fd = -1
        self._thread = threading.Thread(target=self._run, name="minirun-fetch", daemon=True)
        self._abandoned = False
        self._arrived = threading.Condition()
        self._available = 0
        self._complete = False
        self._error: MinirunError | None = None
        self._position = 0
        self._start = 0

    def __enter__(self) -> Arrival:
        """Begin to fetch, once nobody else does."""
        os.makedirs(os.path.dirname(self._path), 0o711, exist_ok=True)
        self._fd = wait_for(self._path, self._stop)
        self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Stop fetching, unless it is done; what could not be read is not kept.

        Raises:
            ImageError: why fetching failed, whatever the reader made of that.
            Damaged: it could not be read, perhaps because of what an earlier attempt left.
        """
        cause = self._error
        self._abandoned = True
        self._thread.join()
        unreadable = isinstance(error, ImageError) and not cause and not self._complete
        if unreadable:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self._fd)
        if error is not None and cause and cause is not error:
            raise cause from error
        if unreadable and self._start > 0:
            raise Damaged(str(error), resumed=True) from error

    def read(self, size: int, /) -> bytes:
        """Return bytes that have arrived; b"" at the end of a blob whose digest is right."""
        with self._arrived:
            while self._available == self._position and not (self._complete or self._error):
                self._arrived.wait()
            if self._available == self._position and self._error:
                raise self._error
            size = min(size, self._available - self._position)
        data = os.pread(self._fd, size, self._position)
        self._position += len(data)
        return data

    def wait(self) -> None:
        """Return when the blob is in its place.

        Raises:
            ImageError: it will never be.
        """
        with self._arrived:
            while not (self._complete or self._error):
                self._arrived.wait()
            if self._error:
                raise self._error

    def _run(self) -> None:
        """Fetch, and tell the readers how it ended: an exception here would reach nobody."""
        try:
            with store_errors(self._root):
                self._fetch()
        except MinirunError as error:
            if not (self._source.resumable and isinstance(error, Interrupted)):
                os.unlink(self._path)
            self._end(error)
        except BaseException as error:
            self._end(ImageError(f"blob {self._descriptor.digest}: {error!r}"))
            raise
        else:
            self._end(None)

    def _fetch(self) -> None:
        path = blobs.blob_path(self._root, self._descriptor.digest)
        if os.path.exists(path):  # somebody else was first, while we waited for the lock
            self._take_over(path)
            return
        digest = hashlib.sha256()
        self._recall(digest)
        if self._start < self._descriptor.size:
            self._receive(digest)
        if self._available != self._descriptor.size:
            sizes = f"{self._available} bytes instead of {self._descriptor.size}"
            raise self._damaged(f"has {sizes}")
        found = f"sha256:{digest.hexdigest()}"
        if found != self._descriptor.digest:
            raise self._damaged(f"is damaged: it hashes to {found}")
        os.rename(self._path, path)

    def _take_over(self, path: str) -> None:
        """Read the finished blob instead of our empty file."""
        os.unlink(self._path)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.dup2(fd, self._fd, inheritable=False)
            self._forward(os.fstat(fd).st_size)
        finally:
            os.close(fd)

    def _recall(self, digest: hashlib._Hash) -> None:
        """Hash what an earlier attempt left."""
        if not self._source.resumable or os.fstat(self._fd).st_size > self._descriptor.size:
            os.ftruncate(self._fd, 0)
        while data := os.pread(self._fd, CHUNK, self._start):
            self._check_wanted()
            digest.update(data)
            self._start += len(data)
            self._forward(self._start)

    def _receive(self, digest: hashlib._Hash) -> None:
        """Write what the source sends, and not a byte more than the blob should have."""
        end = os.lseek(self._fd, self._start, os.SEEK_SET)
        with self._source.open(self._descriptor.digest, end) as stream:
            while data := stream.read(CHUNK):
                self._check_wanted()
                end += len(data)
                if end > self._descriptor.size:
                    raise self._damaged(f"is longer than {self._descriptor.size} bytes")
                write_all(self._fd, data)
                digest.update(data)
                self._forward(end)

    def _forward(self, available: int) -> None:
        with self._arrived:
            self._available = available
            self._arrived.notify_all()
        descriptor = self._descriptor
        self._seen(Event(descriptor.digest, FETCHING, available, descriptor.size))

    def _end(self, error: MinirunError | None) -> None:
        with self._arrived:
            self._error = error
            self._complete = error is None
            self._arrived.notify_all()

    def _damaged(self, how: str) -> Damaged:
        return Damaged(f"blob {self._descriptor.digest} {how}", resumed=self._start > 0)

    def _check_wanted(self) -> None:
        if self._abandoned or self._stop.is_set():
            raise Interrupted(f"transfer of {self._descriptor.digest} was stopped")


def wait_for(path: str, stop: threading.Event) -> int:
    """Return a descriptor that holds the lock on a file, once whoever has it is done.

    Raises:
        Interrupted: we were stopped before that.
    """
    while True:
        try:
            return acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if stop.wait(_POLL_SECONDS):
                raise Interrupted("stopped while another process worked on the same") from None
