"""The diary: what was decided and done, numbered in the order in which it was committed.

There is one writer, so a reader that has seen number n and asks for what is later never misses
one. An event is shown from when it is announced, which is when what it tells of can be read:
whoever hears that a deployment was deleted does not find it in the list. Old events are trimmed by
count; a reader who comes back too late is told so instead of being given a list with a hole.

Next: ``secrets.py``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Condition
from typing import Any

from minirun import ScheduleError

from ..actions import Event
from .database import Database

_COLUMNS = "sequence, unix_s, deployment, kind, message, inputs"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event, with its number and when it was committed."""

    sequence: int
    unix_s: float
    deployment: str
    kind: str
    message: str
    inputs: Mapping[str, object]


class Events:
    """The rows, and those who wait for more.

    Args:
        database: where they are.
        keep: how many; a tenth more may stay for a while.
    """

    def __init__(self, database: Database, keep: int) -> None:
        self._database = database
        self._keep = keep
        self._news = Condition()
        self._closed = False
        self._first, self.last = self._bounds()

    def write(
        self, connection: sqlite3.Connection, events: Iterable[Event], unix_s: float
    ) -> tuple[int, int]:
        """Write events in a transaction; return the first and the last number there is then."""
        first, last = self._first, self.last
        for event in events:
            inputs = json.dumps(dict(event.inputs), default=str)
            row = unix_s, event.deployment, event.kind, event.message, inputs
            query = (
                "INSERT INTO events (unix_s, deployment, kind, message, inputs) VALUES (?,?,?,?,?)"
            )
            last = connection.execute(query, row).lastrowid or last
        if last - first >= self._keep + self._keep // 10:
            first = last - self._keep + 1
            connection.execute("DELETE FROM events WHERE sequence < ?", (first,))
        return first, last

    def announce(self, first: int, last: int) -> None:
        """Tell those who wait that a transaction with events was committed."""
        with self._news:
            self._first, self.last = first, last
            self._news.notify_all()

    def wait(self, after: int, timeout_s: float) -> bool:
        """Wait until there is a later event; False when the time is over, or the store closed."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self.last > after, timeout_s)
            return self.last > after

    def close(self) -> None:
        """Send those who wait away."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def since(self, after: int, deployment: str | None, limit: int) -> tuple[StoredEvent, ...]:
        """Return what came after a number, oldest first.

        Raises:
            ScheduleError: some of it is not kept any more, or the number is none of ours (410).
        """
        found = self._read("sequence > ? AND sequence <= ?", (after, self.last), deployment, limit)
        # Looked at afterwards: a trim in between would have made a hole unseen. And in the table: a
        # trim can be seen there before it is announced.
        first, _ = self._bounds()
        if after < first - 1 or after > self.last:
            text = f"events after {after} are not kept: there are {first} to {self.last}"
            raise ScheduleError(text, status=410, hint="list them anew, then watch from there")
        return tuple(map(_event, found))

    def _read(
        self,
        where: str,
        values: tuple[int, ...],
        deployment: str | None,
        limit: int,
        order: str = "",
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a condition, of one deployment where one is named."""
        chosen = (*values, deployment) if deployment is not None else values
        where += " AND deployment = ?" if deployment is not None else ""
        query = f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY sequence {order} LIMIT ?"
        return self._database.read(query, (*chosen, limit))

    def _bounds(self) -> tuple[int, int]:
        first, last = self._database.read("SELECT min(sequence), max(sequence) FROM events")[0]
        return first or 1, last or 0

    def latest(self, deployment: str | None, limit: int) -> tuple[StoredEvent, ...]:
        """Return the last ones, oldest first."""
        found = self._read("sequence <= ?", (self.last,), deployment, limit, "DESC")
        return tuple(map(_event, reversed(found)))


def _event(row: tuple[int, float, str, str, str, str]) -> StoredEvent:
    return StoredEvent(*row[:5], json.loads(row[5]))
