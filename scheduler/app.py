"""create_app: the control plane as a WSGI application.

    request ─▶ blueprint ─▶ operation (who, what) ─▶ control (one transaction) ─▶ store
                                                                 └─▶ problem+json on the way back

The app keeps no state of its own but its open streams and the samples of the page's curves. Run it
with threads in one process: ``gunicorn --worker-class gthread --workers 1``. Next: ``api/``.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

from flask import Flask, Response

from minirun import MinirunError

from . import web
from .api import access, actions, deployments, events, health, host, openapi, problems, replicas
from .api.streams import Streams
from .control import Control
from .control.samples import Samples

MAX_BODY_BYTES = 1 << 20
MAX_STREAMS = 32
SAMPLE_S = 2.0


@dataclass(slots=True)
class Hub:
    """What belongs to one app: its control, its streams, its samples."""

    control: Control
    streams: Streams
    samples: Samples = field(default_factory=Samples)

    def close(self) -> None:
        """Let every stream end and stop sampling; for the end of the process."""
        self.streams.close()

    def keep_sampling(self) -> None:
        """Take samples until the app is closed."""
        while not self.streams.is_closing():
            with suppress(MinirunError):  # a curve may have a hole
                self.samples.take(self.control)
            self.streams.pause(SAMPLE_S)


def create_app(control: Control, *, max_streams: int = MAX_STREAMS, sampling: bool = True) -> Flask:
    """Return the application.

    Args:
        control: what it works on.
        max_streams: how many watches and followed logs there may be at a time; keep it well below
            the server's number of threads.
        sampling: whether a thread collects what the page's curves are of.
    """
    app = Flask("scheduler", template_folder="web/templates", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    hub = app.extensions["minisched"] = Hub(control, Streams(max_streams))
    problems.install(app)
    for room in (deployments, actions, replicas, events, host, access, health, web):
        app.register_blueprint(room.bp)
    _serve_document(app)
    if sampling:
        threading.Thread(target=hub.keep_sampling, name="samples", daemon=True).start()
    return app


def _serve_document(app: Flask) -> None:
    @cache
    def text() -> str:
        return json.dumps(openapi.document())  # a fifth of a second, which no start should wait for

    @app.get("/v1/openapi.json")
    def get_document() -> Response:
        return Response(text(), mimetype="application/json")
