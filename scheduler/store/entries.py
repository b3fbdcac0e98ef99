"""What is wanted, in the database: one row for each deployment, one for each quota.

A generation counts what people have done to an entry; it is what an ``ETag`` shows and ``If-Match``
asks for. What the reconciler notes on the side (slots, windows) does not count, a rollback that it
begins does: the deployment is another then.

Next: ``events.py``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from ..codec import decode, encode
from ..entry import Desired, Entry
from ..model import Quota
from .database import Database


class Entries:
    """The rows, and what they were when they were last read or written.

    Args:
        database: where they are.

    Raises:
        MinirunError: a row cannot be read.
    """

    def __init__(self, database: Database) -> None:
        rows = database.read("SELECT name, generation, body FROM entries")
        entries = {name: decode(Entry, json.loads(body), name) for name, _, body in rows}
        quotas = {
            name: decode(Quota, json.loads(body), name)
            for name, body in database.read("SELECT name, body FROM quotas")
        }
        self.desired = Desired(entries, quotas)
        self.generations = {name: int(generation) for name, generation, _ in rows}
        self.retired = {
            name: (int(generation), int(serial))
            for name, generation, serial in database.read("SELECT * FROM retired")
        }

    def generation(self, name: str) -> int:
        """Return how often people have changed an entry; 0 where there is none."""
        return self.generations.get(name, 0)

    def next_serial(self, name: str) -> int:
        """Return a serial that no replica of this name has had."""
        if entry := self.desired.entries.get(name):
            return entry.next_serial
        return self.retired.get(name, (0, 1))[1]

    def write(
        self,
        connection: sqlite3.Connection,
        entries: Mapping[str, Entry | None],
        *,
        by_person: bool,
    ) -> dict[str, int]:
        """Write entries, None deletes; return the generations that they have then."""
        written = {}
        for name, entry in entries.items():
            before = self.desired.entries.get(name)
            if entry is None:
                self._retire(connection, name, before)
                continue
            number = self.generations.get(name) or self.retired.get(name, (0, 0))[0]
            if by_person or before is None or before.deployment != entry.deployment:
                number += 1
            body = json.dumps(encode(entry), separators=(",", ":"))
            connection.execute("REPLACE INTO entries VALUES (?, ?, ?)", (name, number, body))
            written[name] = number
        return written

    def _retire(self, connection: sqlite3.Connection, name: str, entry: Entry | None) -> None:
        if entry is not None:
            row = name, self.generations[name], entry.next_serial
            connection.execute("REPLACE INTO retired VALUES (?, ?, ?)", row)
            connection.execute("DELETE FROM entries WHERE name = ?", (name,))

    def write_quotas(
        self, connection: sqlite3.Connection, quotas: Mapping[str, Quota | None]
    ) -> None:
        """Write quotas; None deletes."""
        for name, quota in quotas.items():
            if quota is None:
                connection.execute("DELETE FROM quotas WHERE name = ?", (name,))
            else:
                row = name, json.dumps(encode(quota))
                connection.execute("REPLACE INTO quotas VALUES (?, ?)", row)

    def remember(
        self,
        entries: Mapping[str, Entry | None],
        quotas: Mapping[str, Quota | None],
        generations: Mapping[str, int],
    ) -> None:
        """Take over what was committed. Readers see the old whole or the new whole."""
        for name, entry in entries.items():
            gone = self.desired.entries.get(name)
            if entry is None and gone is not None:
                self.retired[name] = self.generations.pop(name), gone.next_serial
        self.generations.update(generations)
        self.desired = Desired(
            {n: e for n, e in {**self.desired.entries, **entries}.items() if e is not None},
            {n: q for n, q in {**self.desired.quotas, **quotas}.items() if q is not None},
        )
