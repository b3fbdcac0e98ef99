"""create_app: the control plane as a WSGI application.

    request ─▶ blueprint ─▶ operation (who, what) ─▶ control (one transaction) ─▶ store
                                                                 └─▶ problem+json on the way back

The app keeps no state of its own but its open streams. Run it with threads in one process:
``gunicorn --worker-class scheduler.worker.PatientWorker --workers 1``. Next: ``api/``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from flask import Flask, Response

from .api import access, actions, deployments, events, health, host, openapi, problems, replicas
from .api.streams import Streams
from .control import Control

MAX_BODY_BYTES = 1 << 20
MAX_STREAMS = 32


@dataclass(slots=True)
class Hub:
    """What belongs to one app: its control and its streams."""

    control: Control
    streams: Streams

    def close(self) -> None:
        """Let every stream end; for the end of the process."""
        self.streams.close()


def create_app(control: Control, *, max_streams: int = MAX_STREAMS) -> Flask:
    """Return the application.

    Args:
        control: what it works on.
        max_streams: how many watches and followed logs there may be at a time; keep it well below
            the server's number of threads.
    """
    app = Flask("scheduler", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["minisched"] = Hub(control, Streams(max_streams))
    problems.install(app)
    for room in (deployments, actions, replicas, events, host, access, health):
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
