"""gunicorn's threaded worker, with an end to its patience.

A thread that reads a request waits for its client. gunicorn bounds how long a connection may say
nothing at all, but not how long one may take over a head or a body that it has begun, so a few
clients that send a byte now and then would hold every thread (slow loris).

    the head      HEAD_S for all of it; then the connection is shut
    the body      SILENCE_S between two pieces, which is answered with 400, and BODY_S for all of it
    the answer    SILENCE_S without room for the next piece; then the reader has gone

What is no HTTP never gets to the app; it is answered here, as a problem like everything else.

Use: ``gunicorn --worker-class scheduler.worker.PatientWorker``.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from .api.problems import PROBLEM_JSON, Problem

HEAD_S = 5.0
BODY_S = 30.0
SILENCE_S = 20.0


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A threaded worker that waits for no client forever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's own
        super().__init__(*args, **kwargs)
        self._heads: dict[Any, float] = {}
        self._bodies: dict[Any, tuple[float, Any]] = {}

    def handle(self, conn: Any) -> Any:  # noqa: ANN401
        """Serve a connection; from now on its head is awaited."""
        self._heads[conn] = time.monotonic() + HEAD_S
        try:
            return super().handle(conn)
        finally:
            self._heads.pop(conn, None)

    def handle_request(self, req: Any, conn: Any) -> Any:  # noqa: ANN401
        """Serve a request whose head is there."""
        self._heads.pop(conn, None)
        conn.sock.settimeout(SILENCE_S)
        self._bodies[conn] = time.monotonic() + BODY_S, req.body.reader
        try:
            return super().handle_request(req, conn)
        finally:
            self._bodies.pop(conn, None)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:  # noqa: ANN401
        """Answer what gunicorn could not make a request of, or pass on to the app."""
        super().handle_error(req, _Answering(client, str(exc)), addr, exc)

    def murder_pending(self) -> None:
        """Shut the connections whose time is over; called once a second."""
        super().murder_pending()
        now = time.monotonic()
        late = [conn for conn, until in list(self._heads.items()) if now > until]
        bodies = list(self._bodies.items())
        late += [conn for conn, (until, body) in bodies if now > until and _is_awaited(body)]
        for conn in late:
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RDWR)


class _Answering:
    """A connection that gunicorn answers itself, with a page; what goes out is a problem."""

    def __init__(self, client: Any, detail: str) -> None:  # noqa: ANN401
        self._client = client
        self._detail = detail

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._client, name)

    def sendall(self, page: bytes) -> None:
        """Send the page's status with a body that programs can read."""
        _, status, title = page.partition(b"\r\n")[0].decode("latin1").split(" ", 2)
        if status == "501":  # a coding that we do not have; it is the client's to choose another
            status, title = "400", "Bad Request"
        detail = "the log says more" if status == "500" else self._detail[:200]
        text = Problem(title=title, status=int(status), detail=detail).model_dump_json()
        head = f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: {PROBLEM_JSON}\r\n"
        self._client.sendall(f"{head}Content-Length: {len(text.encode())}\r\n\r\n{text}".encode())


def _is_awaited(body: Any) -> bool:  # noqa: ANN401 - gunicorn's reader of one
    """Return whether some of a body has not been read: by its length, or by its last chunk."""
    return bool(getattr(body, "length", 0) or getattr(body, "parser", None))
