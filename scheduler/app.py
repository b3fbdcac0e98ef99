"""create_app: the control plane as a WSGI application.

    request ─▶ blueprint ─▶ operation (who, what) ─▶ control (one transaction) ─▶ store
                                                                 └─▶ problem+json on the way back

The pages (``web/``) are blueprints beside the API's, on the same control. The app keeps no state of
its own but its open streams, and the samples behind the pages' curves. Run it with threads in one
process: ``gunicorn --worker-class scheduler.worker.PatientWorker --workers 1``. Next: ``api/``,
``web/``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from flask import Flask, Response

from .api import access, actions, deployments, events, health, host, openapi, problems, replicas
from .api.streams import Streams
from .control import Control
from .web import forms, layout, live, pages
from .web.history import History

MAX_BODY_BYTES = 1 << 20
MAX_STREAMS = 32


@dataclass(slots=True)
class Hub:
    """What belongs to one app: its control, its streams, and what it remembers of the traffic."""

    control: Control
    streams: Streams
    history: History

    def begin(self) -> None:
        """Begin to remember; once, in the process that serves."""
        self.history.begin()

    def close(self) -> None:
        """Let every stream end; for the end of the process."""
        self.streams.close()
        self.history.close()


def create_app(control: Control, *, max_streams: int = MAX_STREAMS) -> Flask:
    """Return the application.

    Args:
        control: what it works on.
        max_streams: how many watches and followed logs there may be at a time; keep it well below
            the server's number of threads.
    """
    app = Flask("scheduler", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["minisched"] = Hub(control, Streams(max_streams), History(control))
    problems.install(app)
    layout.install(app)
    for room in (deployments, actions, replicas, events, host, access, health, pages, forms, live):
        app.register_blueprint(room.bp)
    _serve_document(app)
    return app


def _serve_document(app: Flask) -> None:
    @cache
    def text() -> str:
        return json.dumps(openapi.document())  # a fifth of a second, which no start should wait for

    @app.get("/v1/openapi.json")
    def get_document() -> Response:
        return Response(text(), mimetype="application/json")
