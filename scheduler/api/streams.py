"""Answers that go on: events as they happen, log lines as they are written.

Each holds one thread of the server, so there is a bound on how many there are, and none outlives
its reader: between two pieces, and once a second in silence, the reader's connection is asked
whether it is still there. Next: ``events.py``.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator

from flask import Request, Response

from minirun import ScheduleError

#: How long a silent stream goes unseen after its reader has left.
LOOK_S = 1.0


class Streams:
    """All streams of an app.

    Args:
        most: how many there may be at a time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._free = threading.Semaphore(most)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self.open = 0

    def close(self) -> None:
        """Let every stream end; none can be begun any more."""
        self._closing.set()

    def is_closing(self) -> bool:
        """Return whether streams are to end."""
        return self._closing.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, but not past the end of the app."""
        self._closing.wait(seconds)

    def respond(self, pieces: Iterator[bytes], mimetype: str) -> Response:
        """Return a response that goes on as long as there are pieces.

        Raises:
            ScheduleError: there are too many streams already (503).
        """
        if self._closing.is_set() or not self._free.acquire(blocking=False):
            text = f"there are {self.most} streams already"
            raise ScheduleError(text, status=503, hint="close one, or try again later")
        self._count(1)
        response = Response(pieces, mimetype=mimetype)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        response.call_on_close(self._released(pieces))
        return response

    def _count(self, change: int) -> None:
        with self._lock:
            self.open += change

    def _released(self, pieces: Iterator[bytes]) -> Callable[[], None]:
        once = threading.Semaphore(1)

        def release() -> None:
            if once.acquire(blocking=False):
                close = getattr(pieces, "close", None)
                if close is not None:
                    close()
                self._count(-1)
                self._free.release()

        return release


def reader_of(request: Request) -> Callable[[], bool]:
    """Return a function that says whether whoever made a request has hung up."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None:
        return lambda: False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    return lambda: bool(poll.poll(0))
