"""/v1/events: what happened, as a list or as it happens (server-sent events).

A watch begins after a number and gives every event after it, in order, with no hole: whoever is cut
off comes back with ``Last-Event-ID``. Where events that it has not seen are not kept any more, it
is told so (410, or ``event: gone`` on a stream that has begun) instead of being given the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, current_app, request
from pydantic import Field

from minirun import ScheduleError

from ..control import Control
from ..store import Scope, StoredEvent
from .operation import Call, NoBody, adapter, operation
from .reading import LARGEST
from .schemas import Query, View
from .streams import LOOK_S, Streams, reader_of

bp = Blueprint("events", __name__, url_prefix="/v1")
EVENT_STREAM = "text/event-stream"
_BATCH = 200
_SIGN_OF_LIFE_S = 15.0


class EventsQuery(Query):
    """Events after a number, or the last ones; of one deployment, or of all."""

    after: int | None = Field(None, ge=0, le=LARGEST)
    deployment: str | None = None
    limit: int = Field(100, ge=1, le=1000)


class WatchQuery(Query):
    """From where on, and of which deployment; ``Last-Event-ID`` has precedence."""

    after: int | None = Field(None, ge=0, le=LARGEST)
    deployment: str | None = None


class EventsView(View):
    """Events, oldest first; ``last`` is the newest there is, to watch from."""

    items: tuple[StoredEvent, ...]
    last: int


@operation(
    bp,
    "GET",
    "/events",
    scope=Scope.READ,
    query=EventsQuery,
    answers={200: EventsView},
    problems=(410,),
)
def list_events(call: Call[NoBody, EventsQuery]) -> object:
    """List what happened."""
    asked, store = call.query, call.control.store
    last = store.last_sequence()
    items = store.events(asked.after, asked.deployment, asked.limit)
    return EventsView(items=items, last=max(last, items[-1].sequence if items else 0))


@operation(
    bp,
    "GET",
    "/events/watch",
    scope=Scope.READ,
    query=WatchQuery,
    answers={200: StoredEvent},
    gives=EVENT_STREAM,
    problems=(410, 503),
)
def watch_events(call: Call[NoBody, WatchQuery]) -> Response:
    """Tell events as they happen; without a number, from now on."""
    after = _beginning(call.query.after)
    if after is None:
        after = call.control.store.last_sequence()
    call.control.store.events(after, call.query.deployment, 1)  # 410 is answered before it begins
    streams: Streams = current_app.extensions["minisched"].streams
    watch = Watch(call.control, call.query.deployment, after)
    return streams.respond(watch.pieces(streams, reader_of(request)), EVENT_STREAM)


def _beginning(after: int | None) -> int | None:
    """Return the number to begin after.

    Raises:
        ScheduleError: ``Last-Event-ID`` is not one of our numbers (400).
    """
    seen = request.headers.get("Last-Event-ID")
    if seen is None:
        return after
    if not seen.isascii() or not seen.isdecimal() or int(seen[:20]) > LARGEST:
        raise ScheduleError(f"Last-Event-ID: {seen[:40]!r} is not a number", status=400)
    return int(seen)


class Watch:
    """One reader's place in the events."""

    def __init__(self, control: Control, deployment: str | None, after: int) -> None:
        self._store = control.store
        self._deployment = deployment
        self._after = after

    def pieces(self, streams: Streams, is_gone: Callable[[], bool]) -> Iterator[bytes]:
        """Yield the stream, until the reader or the app has gone."""
        yield b": events\n\n"
        silent_since = time.monotonic()
        while not streams.is_closing() and not is_gone():
            try:
                batch = self._next()
            except ScheduleError as error:
                yield f"event: gone\ndata: {error.message}\n\n".encode()
                return
            if batch:
                silent_since = time.monotonic()
                yield b"".join(map(_encoded, batch))
            elif not self._store.wait_for_events(self._after, LOOK_S):
                streams.pause(0.01)  # a store that is closed does not wait
                if time.monotonic() - silent_since >= _SIGN_OF_LIFE_S:
                    silent_since = time.monotonic()
                    yield b": still here\n\n"

    def _next(self) -> tuple[StoredEvent, ...]:
        """Return what comes next, and move on; also past what belongs to other deployments."""
        last = self._store.last_sequence()
        batch = self._store.events(self._after, self._deployment, _BATCH)
        if batch:
            self._after = batch[-1].sequence
        if len(batch) < _BATCH:  # never back: an event can be read before ``last`` knows of it
            self._after = max(self._after, last)
        return batch


def _encoded(event: StoredEvent) -> bytes:
    data = adapter(StoredEvent).dump_json(event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.sequence, event.kind.encode(), data)
