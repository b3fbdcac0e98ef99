"""Secrets: put in once, given to replicas as files, never shown again.

They are kept as they came, in a file that its owner alone can read. Encrypted, the key would have
to lie beside them for a scheduler that starts unattended, which protects from nobody who can read
the folder; see docs/decisions.

Next: ``tokens.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from minirun import ScheduleError

from .database import Database


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be told about a secret; ``size`` is in bytes."""

    name: str
    size: int
    created_unix_s: float
    updated_unix_s: float


class Secrets:
    """The rows.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, value: bytes, unix_s: float) -> SecretInfo:
        """Create a secret or replace its value; running replicas keep the old one."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO secrets VALUES (?1, ?2, ?3, ?3)"
                " ON CONFLICT (name) DO UPDATE SET value = ?2, updated = ?3",
                (name, value, unix_s),
            )
            query = "SELECT created FROM secrets WHERE name = ?"
            created = connection.execute(query, (name,)).fetchone()[0]
        return SecretInfo(name, len(value), created, unix_s)

    def all(self) -> tuple[SecretInfo, ...]:
        """Return all by name."""
        query = "SELECT name, length(value), created, updated FROM secrets ORDER BY name"
        return tuple(SecretInfo(*row) for row in self._database.read(query))

    def value(self, name: str) -> bytes:
        """Return a value, for whoever mounts it.

        Raises:
            ScheduleError: there is no such secret (404).
        """
        rows = self._database.read("SELECT value FROM secrets WHERE name = ?", (name,))
        if not rows:
            raise _unknown(name)
        return bytes(rows[0][0])

    def remove(self, name: str) -> None:
        """Forget a secret.

        Raises:
            ScheduleError: there is no such secret (404).
        """
        with self._database.write() as connection:
            if not connection.execute("DELETE FROM secrets WHERE name = ?", (name,)).rowcount:
                raise _unknown(name)


def _unknown(name: str) -> ScheduleError:
    hint = f"create it first: minisched secret create {name}"
    return ScheduleError(f"there is no secret {name}", status=404, hint=hint)
