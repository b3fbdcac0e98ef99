"""The tables, as the list of steps that made them; a database remembers how many it has taken.

A step is never changed once it was released: what comes after it has been built on it. STRICT
tables refuse a value of the wrong type, which SQLite would otherwise keep as it came.

Next: ``database.py``.
"""

from __future__ import annotations

import sqlite3

from minirun import ScheduleError

_FIRST = """
CREATE TABLE entries (
    name TEXT PRIMARY KEY, generation INTEGER NOT NULL, body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A name comes back; the id of a replica and a generation never do.
CREATE TABLE retired (
    name TEXT PRIMARY KEY, generation INTEGER NOT NULL, next_serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quotas (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: a number that was trimmed away is not given out again.
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    unix_s REAL NOT NULL,
    deployment TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    inputs TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_deployment ON events (deployment, sequence);

CREATE TABLE secrets (
    name TEXT PRIMARY KEY, value BLOB NOT NULL, created REAL NOT NULL, updated REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    scope TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    used REAL
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""

MIGRATIONS = (_FIRST,)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to the newest schema; each step is taken whole or not at all.

    Raises:
        ScheduleError: it was written by a later version.
    """
    taken = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if taken > len(MIGRATIONS):
        raise ScheduleError(
            f"the database has schema {taken}, and this version knows {len(MIGRATIONS)}",
            status=503,
            hint="run the version that wrote it, or a later one",
        )
    for number, step in enumerate(MIGRATIONS[taken:], taken + 1):
        connection.executescript(f"BEGIN IMMEDIATE;{step}PRAGMA user_version={number};COMMIT;")
