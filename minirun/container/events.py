"""What happened, one JSON object per line: the source of ``minirun events``.

Appending is one write(2) to a file opened with O_APPEND, which the kernel never interleaves with
another one. When the file is large it is renamed to ``.1``; a line that another process writes
at that moment lands in the renamed file, where readers look as well. Events are a diary, not state:
losing one in a power cut loses no container.

Next: ``logs.py``.
"""

from __future__ import annotations

import os

from ..quickjson import dumps, loads
from ..record import EMPTY, Record
from . import clock
from .files import Lock, host_error, make_folder, write_all
from .follow import Follower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 4 * 1024 * 1024


class Event(Record):
    """One thing that happened, for example ``container start`` or ``volume create``."""

    type: str
    action: str
    id: str
    attributes: Mapping[str, str] = EMPTY
    time: str = ""


class EventLog:
    """The events below one data directory."""

    def __init__(self, data: str, max_bytes: int = MAX_BYTES) -> None:
        self._data = data
        self._path = f"{data}/events.jsonl"
        self._max_bytes = max_bytes

    def append(self, event: Event) -> None:
        """Write an event down; its time is now unless it has one."""
        fields = {"time": event.time or clock.now(), "type": event.type, "action": event.action}
        line = dumps({**fields, "id": event.id, "attributes": dict(event.attributes)})
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        make_folder(self._data)
        try:
            fd = os.open(self._path, flags, 0o600)
            try:
                write_all(fd, line.encode() + b"\n")
                full = os.fstat(fd).st_size > self._max_bytes
            finally:
                os.close(fd)
        except OSError as error:
            raise host_error(error, self._path) from error
        if full:
            self._rotate()

    def _rotate(self) -> None:
        """Rename the file when it is still too large: another process may have been first."""
        with Lock(f"{self._data}/events.lock"):
            if os.stat(self._path).st_size > self._max_bytes:
                os.rename(self._path, f"{self._path}.1")

    def read(self, since: str = "", until: str = "") -> Iterator[Event]:
        """Yield the events from ``since`` to ``until`` (RFC 3339, as ``clock`` makes it)."""
        for line in Follower(self._path).lines():
            event = _parse(line)
            if event and since <= event.time and (not until or event.time <= until):
                yield event

    def follow(self, since: str = "", until: str = "") -> Iterator[Event]:
        """Yield events as they happen, without end unless ``until`` is in the past or reached."""
        for line in Follower(self._path).follow(lambda: not until or clock.now() <= until):
            event = _parse(line)
            if event and until and event.time > until:
                return
            if event and since <= event.time:
                yield event


def _parse(line: bytes) -> Event | None:
    """Return the event, or None for a line that a crash cut short."""
    try:
        found = loads(line)
        attributes = dict(found["attributes"])
        return Event(found["type"], found["action"], found["id"], attributes, found["time"])
    except (ValueError, KeyError, TypeError):
        return None
