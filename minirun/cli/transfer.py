"""What a transfer from or to a registry shows: bars on a terminal, else a line per layer.

Imports no click: ``run`` pulls too. Next: ``registry.py``.
"""

from __future__ import annotations

import contextlib
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

    from ..image.arrival import Event

#: What a layer's state is called, as docker words it; None is not worth a line.
_WORDS = {
    "present": "Already exists",
    "fetched": None,
    "unpacked": "Pull complete",
    "known": "Layer already exists",
    "mounted": "Mounted from another repository",
    "sent": "Pushed",
}


@contextlib.contextmanager
def shown(*, quiet: bool) -> Iterator[Callable[[Event], None]]:
    """Yield what shows a transfer on stderr: bars on a terminal, else a line per finished layer."""
    if quiet:
        yield lambda _: None
    elif not sys.stderr.isatty():
        yield _line
    else:
        with _new_bars() as bars:
            yield _Bars(bars)


@contextlib.contextmanager
def announced(name: str) -> Iterator[Callable[[Event], None]]:
    """Say that an image has to be pulled, and show how; as docker does it."""
    sys.stderr.write(f"Unable to find image '{name}' locally: pulling it\n")
    with shown(quiet=False) as seen:
        yield seen


def _line(event: Event) -> None:
    if words := _WORDS.get(event.state):
        sys.stderr.write(f"{event.digest[7:19]}: {words}\n")


def _new_bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[words]}"),
    )
    return Progress(*columns, console=Console(stderr=True))


class _Bars:
    """One bar per layer."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            task = self._tasks.get(event.digest)
            if task is None:
                shown = event.digest[7:19]
                task = self._bars.add_task(shown, total=event.size, words="")
                self._tasks[event.digest] = task
        words = _WORDS.get(event.state) or ("Unpacking" if event.done == event.size else "")
        self._bars.update(task, completed=event.done, words=words)
