"""Archives on their way out: where they go, what a full disk says, and how far they got.

Next: ``image.py``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from ..errors import MinirunError, UsageError
from .complaints import EXIT_BROKEN_PIPE, Quit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

    Write = Callable[[bytes], object]

_PIECE_BYTES = 1 << 20
#: What takes less needs no bar.
_PATIENCE_S = 0.5


@contextlib.contextmanager
def archive_output(path: str | None, verb: str, total: int | None = None) -> Iterator[Write]:
    """Yield what writes an archive: to stdout, or to a file that appears when it is whole.

    A path that exists and is no regular file (``/dev/full``, a fifo) is written to directly.

    Args:
        path: None is stdout.
        verb: what is done, for messages.
        total: bytes to come, as far as that is known.

    Raises:
        MinirunError: the bytes have no place; nothing is left of a file.
    """
    if path is None:
        if sys.stdout.isatty():
            message = f"cowardly refusing to {verb} to a terminal"
            raise UsageError(message, hint="use -o FILE, or redirect")
        with _sink(1, "standard output") as write, shown(write, verb, total) as seen:
            yield seen
        return
    is_special = os.path.exists(path) and not os.path.isfile(path)
    part = path if is_special else f"{path}.{os.getpid()}.part"
    try:
        with _opened(part, path) as fd, _sink(fd, path) as write, shown(write, verb, total) as seen:
            yield seen
        if not is_special:
            os.rename(part, path)
    finally:
        if not is_special:
            with contextlib.suppress(OSError):
                os.unlink(part)


@contextlib.contextmanager
def _opened(part: str, path: str) -> Iterator[int]:
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise UsageError(f"{path}: {reason}", hint="its directory must exist") from error
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _sink(fd: int, what: str) -> Iterator[Write]:
    """Yield a buffered write to a descriptor, whose errors are not those of the file being read."""
    buffer = bytearray()

    def flush() -> None:
        view = memoryview(bytes(buffer))
        buffer.clear()
        try:
            while view:
                view = view[os.write(fd, view) :]
        except BrokenPipeError:
            raise Quit(EXIT_BROKEN_PIPE) from None
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            hint = "the archive is not complete: write it to where there is room"
            raise MinirunError(f"cannot write to {what}: {reason}", hint=hint) from error

    def write(data: bytes) -> None:
        buffer.extend(data)
        if len(buffer) >= _PIECE_BYTES:
            flush()

    yield write
    flush()


@contextlib.contextmanager
def shown(write: Write, title: str, total: int | None = None) -> Iterator[Write]:
    """Yield the same write, which draws a bar on a terminal once it takes longer."""
    if not sys.stderr.isatty():
        yield write
        return
    with contextlib.ExitStack() as stack:
        yield _Bar(stack, write, title, total)


class _Bar:
    """Writes, and tells how much was written."""

    def __init__(
        self, stack: contextlib.ExitStack, write: Write, title: str, total: int | None
    ) -> None:
        self._stack, self._write, self._title, self._total = stack, write, title, total
        self._begin = time.monotonic()
        self._done = 0
        self._bars: Progress | None = None

    def __call__(self, data: bytes) -> None:
        self._write(data)
        self._done += len(data)
        if self._bars is None and time.monotonic() - self._begin > _PATIENCE_S:
            self._bars = self._stack.enter_context(_new_bars())
            self._bars.add_task(self._title, total=self._total)
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], completed=self._done)


def _new_bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
