"""/healthz, /readyz and /metrics: for whatever watches this process."""

from __future__ import annotations

from flask import Blueprint, Response, current_app

from minirun import MinirunError

from ..control.metrics import exposition
from ..store import Scope
from .operation import Call, NoBody, NoQuery, Reply, operation
from .schemas.views import Health
from .streams import Streams

bp = Blueprint("health", __name__)
_STREAMS = """# HELP minisched_api_streams Watches and followed logs that are open
# TYPE minisched_api_streams gauge
minisched_api_streams {}
"""


@operation(bp, "GET", "/healthz", scope=None, answers={200: Health})
def get_health(call: Call[NoBody, NoQuery]) -> object:
    """Return that this process answers."""
    return Health(status="ok", problems={})


@operation(bp, "GET", "/readyz", scope=None, answers={200: Health, 503: Health})
def get_readiness(call: Call[NoBody, NoQuery]) -> Reply:
    """Return whether everything works: the store, the control loop, the gateway."""
    problems = {name: text for name, text in call.control.health().items() if text}
    try:
        call.control.store.ping()
    except MinirunError as error:
        problems["store"] = error.message
    health = Health(status="not ready" if problems else "ready", problems=problems)
    return Reply(health, 503 if problems else 200)


@operation(bp, "GET", "/metrics", scope=Scope.READ, answers={200: str}, gives="text/plain")
def get_metrics(call: Call[NoBody, NoQuery]) -> Response:
    """Return everything that is worth watching, in Prometheus' text format."""
    control = call.control
    streams: Streams = current_app.extensions["minisched"].streams
    text = exposition(control) + control.metrics() + _STREAMS.format(streams.open)
    return Response(text, mimetype="text/plain; version=0.0.4; charset=utf-8")
