"""The pages of a lab on a port of this process, and a model that answers its gateway.

The test holds the lab itself: it writes hostile log lines, turns the clock, and looks into the
store, while a browser looks from outside.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from scheduler.web.history import History
from tests.scheduler.api_lab import Lab

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=document.title='owned'>"


class _Handler(WSGIRequestHandler):
    def make_environ(self) -> dict[str, object]:
        """Hand over the connection, as gunicorn does: a stream asks it for its reader."""
        return {**super().make_environ(), "gunicorn.socket": self.connection}

    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing."""


class _Model(BaseHTTPRequestHandler):
    """Answers with what was asked for, as a deployment behind the gateway would."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        said = f"{self.command} {self.headers['Host']}{self.path} {body}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Site:
    """A lab with its pages at an address."""

    lab: Lab
    address: str

    def past(self) -> History:
        """Return what the curves are of."""
        found: History = self.lab.app.extensions["minisched"].history
        return found

    def run(self, seconds: float = 4.0) -> None:
        """Let the world go on, and take a sample every two seconds."""
        for _ in range(max(1, round(seconds / 2))):
            self.lab.run(2.0)
            self.past().take()


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Serve a new lab's pages, in threads of this process."""
    with (
        closing(Lab(folder, max_streams=16)) as lab,
        listening(ThreadingHTTPServer(("127.0.0.1", 0), _Model)) as at,
    ):
        lab.app.extensions["minisched"].control = replace(lab.control, gateway=at)
        server = ThreadedWSGIServer("127.0.0.1", 0, lab.app, _Handler)
        with listening(server) as address:
            yield Site(lab, f"http://{address}")
            lab.app.extensions["minisched"].close()


@contextmanager
def listening(server: HTTPServer) -> Iterator[str]:
    """Serve from a thread; yield the address."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
