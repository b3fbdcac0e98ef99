"""The lines of one replica or of all replicas of a deployment, as one stream.

Nothing here waits: a source that has nothing to say gives None, and so does the whole. Whoever
reads decides how long to sleep, and closes the stream when its own reader has gone.

Next: ``metrics.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from minirun import ScheduleError

from ..entry import State
from ..model import Kind
from .context import Control
from .ports import LogLine


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and who wrote it."""

    replica: str
    unix_s: float
    stream: str
    text: str


def replica_ids(control: Control, name: str) -> tuple[str, ...]:
    """Return the replicas of a deployment that may have written something, oldest first.

    Of work with an end that is those too that are gone: their output is what it was done for.

    Raises:
        ScheduleError: there is no such deployment (404).
    """
    entry, _ = control.entry(name)
    here = tuple(slot.id for slot in entry.slots if slot.state is not State.ENDED)
    if entry.deployment.kind is Kind.SERVICE:
        return here
    gone = control.replicas.remembered(name)
    return (*(one for one in gone if one not in here), *here)


def lines(control: Control, name: str, *, tail: int | None) -> list[Line]:
    """Return the last lines of a deployment's replicas, in the order they were written."""
    found: list[Line] = []
    for replica_id in replica_ids(control, name):
        with suppress(ScheduleError):
            found += replica_lines(control, replica_id, tail=tail)
    found.sort(key=lambda line: line.unix_s)
    return found if tail is None else found[max(0, len(found) - tail) :]


def replica_lines(control: Control, replica_id: str, *, tail: int | None) -> list[Line]:
    """Return the last lines of one replica, as far as they are written.

    Raises:
        ScheduleError: there is no such replica (404).
    """
    source, found = control.replicas.logs(replica_id, tail=tail), []
    for line in source:
        if line is None:
            break
        found.append(_line(replica_id, line))
    _close(source)
    return found


def follow_replica(control: Control, replica_id: str, *, tail: int | None) -> Iterator[Line | None]:
    """Yield one replica's lines, None while there is nothing new, until it has ended."""
    source = control.replicas.logs(replica_id, tail=tail)
    try:
        for line in source:
            yield None if line is None else _line(replica_id, line)
    finally:
        _close(source)


def follow(control: Control, name: str, *, tail: int | None) -> Iterator[Line | None]:
    """Yield the lines of all replicas, of those too that start later, until it is deleted."""
    sources: dict[str, Iterator[LogLine | None]] = {}
    seen: set[str] = set()
    try:
        while True:
            for replica_id in set(replica_ids(control, name)) - seen:
                with suppress(ScheduleError):
                    sources[replica_id] = control.replicas.logs(replica_id, tail=tail)
                    seen.add(replica_id)
            tail = None  # whoever starts from now on is heard from the first line
            for replica_id in list(sources):
                yield from _ready(replica_id, sources)
            yield None
    except ScheduleError:
        return  # it was deleted meanwhile
    finally:
        for source in sources.values():
            _close(source)


def _ready(replica_id: str, sources: dict[str, Iterator[LogLine | None]]) -> Iterator[Line]:
    """Yield what a replica has written since; one that has ended leaves the sources."""
    for line in sources[replica_id]:
        if line is None:
            return
        yield _line(replica_id, line)
    del sources[replica_id]


def _line(replica_id: str, line: LogLine) -> Line:
    return Line(replica_id, line.unix_s, line.stream, line.text)


def _close(source: Iterator[LogLine | None]) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        close()
