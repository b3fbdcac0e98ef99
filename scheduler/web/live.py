"""Events and log lines as they come, for whoever has a page open.

They are the API's own answers (``../api/events.py``, ``../api/replicas.py``), for those whom the
pages know by their cookie.
"""

from __future__ import annotations

from flask import Response, request

from ..api import events, replicas
from ..api.operation import Call, NoBody, control_of_app, respond
from ..api.reading import query
from . import layout
from .session import viewer

bp = layout.room("live")


@bp.get("/deployments/<name>/events")
def watch(name: str) -> Response:
    """Tell a deployment's events as they happen (server-sent events)."""
    control, asked = control_of_app(), query(events.WatchQuery)
    caller = viewer(control, request)
    wanted = events.WatchQuery(after=asked.after, deployment=name)
    call = Call(control, caller, {}, NoBody(), wanted)
    return respond(events.watch_events(call), {})  # type: ignore[arg-type]  # takes no body


@bp.get("/deployments/<name>/logs")
def follow(name: str) -> Response:
    """Tell what a deployment's replicas write (a JSON object for each line)."""
    control, asked = control_of_app(), query(replicas.LogQuery)
    call = Call(control, viewer(control, request), {"name": name}, NoBody(), asked)
    return respond(replicas.read_deployment_logs(call), {})  # type: ignore[arg-type]  # takes no body
