"""/v1/replicas, and what a deployment's replicas say: state, logs, commands inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flask import Blueprint, Response, current_app, request
from pydantic import Field

from minirun import ScheduleError

from ..control import Control, history, logs
from ..control.history import RevisionStatus
from ..control.hostpaths import check_inside
from ..control.logs import Line
from ..control.status import ReplicaStatus, RunStatus, replica_status
from ..store import Scope
from .operation import Call, NoBody, NoQuery, adapter, operation
from .schemas import Listed, Query
from .schemas.views import ExecBody, ExecView
from .streams import Streams, reader_of

bp = Blueprint("replicas", __name__, url_prefix="/v1")
NDJSON = "application/x-ndjson"
_PAUSE_S = 0.25
_LINES = {200: Line}


class LogQuery(Query):
    """How many of the last lines, and whether to go on."""

    tail: int | None = Field(None, ge=0, le=1_000_000)
    follow: bool = False


# ---- state --------------------------------------------------------------------------------------


@operation(
    bp,
    "GET",
    "/deployments/<name>/replicas",
    scope=Scope.READ,
    answers={200: Listed[ReplicaStatus]},
)
def list_replicas(call: Call[NoBody, NoQuery]) -> object:
    """List the replicas of a deployment, with their state and its reason."""
    return Listed[ReplicaStatus].model_construct(items=statuses(call.control, call.name))


def statuses(control: Control, name: str) -> tuple[ReplicaStatus, ...]:
    """Return how every replica of a deployment stands."""
    entry, _ = control.entry(name)
    observed, usage, now = control.observed(), control.replicas.usage(), control.clock()
    return tuple(replica_status(entry, s, observed, usage.get(s.id), now) for s in entry.slots)


@operation(bp, "GET", "/replicas/<name>", scope=Scope.READ, answers={200: ReplicaStatus})
def get_replica(call: Call[NoBody, NoQuery]) -> object:
    """Return one replica."""
    return _replica(call.control, call.name)


def _replica(control: Control, replica_id: str) -> ReplicaStatus:
    deployment = replica_id.rpartition(".")[0]
    if deployment in control.store.load().entries:
        for status in statuses(control, deployment):
            if status.id == replica_id:
                return status
    hint = "list them: minisched get replicas"
    raise ScheduleError(f"there is no replica {replica_id}", status=404, hint=hint)


@operation(
    bp,
    "GET",
    "/deployments/<name>/revisions",
    scope=Scope.READ,
    answers={200: Listed[RevisionStatus]},
)
def list_revisions(call: Call[NoBody, NoQuery]) -> object:
    """List the revisions that a deployment can be rolled back to."""
    entry, _ = call.control.entry(call.name)
    return Listed[RevisionStatus].model_construct(items=history.revisions(entry))


@operation(
    bp, "GET", "/deployments/<name>/runs", scope=Scope.READ, answers={200: Listed[RunStatus]}
)
def list_runs(call: Call[NoBody, NoQuery]) -> object:
    """List the runs of a job or cron, newest first."""
    return Listed[RunStatus].model_construct(items=history.runs(call.control, call.name))


# ---- logs ---------------------------------------------------------------------------------------


@operation(
    bp,
    "GET",
    "/deployments/<name>/logs",
    scope=Scope.READ,
    query=LogQuery,
    answers=_LINES,
    gives=NDJSON,
    problems=(503,),
)
def read_deployment_logs(call: Call[NoBody, LogQuery]) -> Response:
    """Return what all replicas wrote, one JSON object for each line; ``follow`` goes on."""
    tail = call.query.tail
    if call.query.follow:
        logs.replica_ids(call.control, call.name)
        return _following(logs.follow(call.control, call.name, tail=tail))
    return _all(logs.lines(call.control, call.name, tail=tail))


@operation(
    bp,
    "GET",
    "/replicas/<name>/logs",
    scope=Scope.READ,
    query=LogQuery,
    answers=_LINES,
    gives=NDJSON,
    problems=(503,),
)
def read_replica_logs(call: Call[NoBody, LogQuery]) -> Response:
    """Return what a replica wrote, one JSON object for each line; ``follow`` goes on."""
    tail = call.query.tail
    if call.query.follow:
        _replica(call.control, call.name)
        return _following(logs.follow_replica(call.control, call.name, tail=tail))
    return _all(logs.replica_lines(call.control, call.name, tail=tail))


def _all(lines: list[Line]) -> Response:
    return Response(b"".join(map(_encoded, lines)), mimetype=NDJSON)


def _encoded(line: Line) -> bytes:
    return adapter(Line).dump_json(line) + b"\n"


def _following(lines: Iterator[Line | None]) -> Response:
    streams: Streams = current_app.extensions["minisched"].streams
    return streams.respond(_pieces(lines, streams, reader_of(request)), NDJSON)


def _pieces(
    lines: Iterator[Line | None], streams: Streams, is_gone: Callable[[], bool]
) -> Iterator[bytes]:
    yield b""  # the headers go out at once, also while there is nothing to say
    for line in lines:
        if line is not None:
            yield _encoded(line)
        elif streams.is_closing() or is_gone():
            return
        else:
            streams.pause(_PAUSE_S)


# ---- inside -------------------------------------------------------------------------------------


@operation(
    bp,
    "POST",
    "/replicas/<name>/exec",
    scope=Scope.DEPLOY,
    body=ExecBody,
    answers={200: ExecView},
    problems=(409,),
)
def execute_in_replica(call: Call[ExecBody, NoQuery]) -> object:
    """Run a command inside a replica and return what it came to."""
    replica, wanted = _replica(call.control, call.name), call.body
    check_inside(call.control, replica.deployment, replica.id, is_admin=call.request.is_admin)
    done = call.control.replicas.execute(call.name, wanted.command, wanted.timeout_s)
    return ExecView(
        exit_code=done.exit_code,
        stdout=done.stdout.decode(errors="replace"),
        stderr=done.stderr.decode(errors="replace"),
        timed_out=done.timed_out,
        truncated=done.truncated,
    )
