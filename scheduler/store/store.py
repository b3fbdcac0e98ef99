"""Store: everything that must survive the scheduler, behind one lock.

    API        transact(decide) ─┐
                                 ├─▶ lock ─▶ compare ─▶ one transaction ─▶ memory ─▶ listeners
    controller commit(…, seen) ──┘

A writer decides on what the store holds while it has the lock (``transact``), or says what it had
seen when it decided (``commit``); in the second case a write that would undo somebody else's is
refused, and the controller looks again.

Next: ``../controller.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minirun import ScheduleError

from ..actions import Event
from ..entry import Desired, Entry
from ..model import Quota
from .database import Database
from .entries import Entries
from .events import Events, StoredEvent
from .secrets import SecretInfo, Secrets
from .tokens import Scope, TokenInfo, Tokens


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction writes; None deletes."""

    entries: Mapping[str, Entry | None] = field(default_factory=dict)
    quotas: Mapping[str, Quota | None] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


class Store:
    """The state of record. Any thread may call anything.

    Args:
        database: opened for this store alone.
        unix: the wall clock.
        keep_events: how many events are kept.
    """

    def __init__(self, database: Database, unix: Callable[[], float], keep_events: int) -> None:
        self._database = database
        self._unix = unix
        self._entries = Entries(database)
        self._events = Events(database, keep_events)
        self._secrets = Secrets(database)
        self._tokens = Tokens(database)
        self._listeners: list[Callable[[], None]] = []
        self._facts: dict[str, str] = dict(database.read("SELECT name, value FROM facts"))

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        unix: Callable[[], float] = time.time,
        keep_events: int = 20_000,
    ) -> Store:
        """Open the store in a folder, or make a new one.

        Raises:
            ScheduleError: another scheduler has it (409), or it cannot be read (503).
        """
        database = Database(Path(folder))
        try:
            return cls(database, unix, keep_events)
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Send away those who wait for events, and let go of the folder."""
        self._events.close()
        self._database.close()

    # ---- what is wanted -------------------------------------------------------------------------

    def load(self) -> Desired:
        """Return everything that is wanted, as it is now; it never changes in the reader's hand."""
        return self._entries.desired

    def generation(self, name: str) -> int:
        """Return the number of an entry's last change; 0 where there is no such entry."""
        return self._entries.generation(name)

    def entry(self, name: str) -> tuple[Entry | None, int]:
        """Return an entry and its generation, both of the same moment."""
        with self._database.lock():
            return self._entries.desired.entries.get(name), self._entries.generation(name)

    def next_serial(self, name: str) -> int:
        """Return the first serial that a new deployment of this name may use."""
        return self._entries.next_serial(name)

    def transact(
        self, decide: Callable[[Desired], Change], *, if_match: Mapping[str, int] | None = None
    ) -> Mapping[str, int]:
        """Change what is wanted, in one transaction.

        Args:
            decide: what to write, from what there is; quick, without an effect. What it raises is
                passed on, and nothing is written.
            if_match: the generation that an entry must have; 0 where there must be none.

        Returns:
            The generations of the entries that were written.

        Raises:
            ScheduleError: an entry has another generation (412), or the disk is full (507).
        """
        with self._database.lock():
            for name, wanted in (if_match or {}).items():
                self._match(name, wanted)
            change = decide(self._entries.desired)
            generations = self._write(change, by_person=True)
        for listener in self._listeners:
            listener()
        return generations

    def _match(self, name: str, wanted: int) -> None:
        found = self.generation(name)
        if found != wanted:
            text = f"{name} is at generation {found}, not {wanted}"
            raise ScheduleError(text, status=412, hint="somebody changed it: read it again")

    def commit(
        self,
        entries: Mapping[str, Entry | None],
        events: tuple[Event, ...],
        seen: Desired | None = None,
    ) -> None:
        """Write what the controller decided, in one transaction.

        Args:
            entries: None deletes; a deleted entry's serials are kept for the name's next owner.
            events: what to tell.
            seen: what the decision was made on.

        Raises:
            ScheduleError: an entry is not any more what was seen (409), or the disk is full (507).
        """
        with self._database.lock():
            before = self._entries.desired.entries
            for name in entries if seen is not None else ():
                if seen is not None and before.get(name) is not seen.entries.get(name):
                    raise ScheduleError(f"{name} was changed meanwhile", status=409)
            self._write(Change(entries, events=events), by_person=False)

    def _write(self, change: Change, *, by_person: bool) -> Mapping[str, int]:
        with self._database.write() as connection:
            generations = self._entries.write(connection, change.entries, by_person=by_person)
            self._entries.write_quotas(connection, change.quotas)
            numbers = self._events.write(connection, change.events, self._unix())
        self._entries.remember(change.entries, change.quotas, generations)
        self._events.announce(*numbers)
        return generations

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call this, in the writer's thread, after each change that a person made."""
        self._listeners.append(listener)

    # ---- events ---------------------------------------------------------------------------------

    def events(
        self, after: int | None = None, deployment: str | None = None, limit: int = 100
    ) -> tuple[StoredEvent, ...]:
        """Return events, oldest first: those after a number, or the last there are.

        Raises:
            ScheduleError: some that came after the number are not kept any more (410).
        """
        if after is None:
            return self._events.latest(deployment, limit)
        return self._events.since(after, deployment, limit)

    def last_sequence(self) -> int:
        """Return the number of the last event; 0 before the first."""
        return self._events.last

    def wait_for_events(self, after: int, timeout_s: float) -> bool:
        """Wait until there is an event after a number, and return whether there is."""
        return self._events.wait(after, timeout_s)

    # ---- secrets and tokens ---------------------------------------------------------------------

    def put_secret(self, name: str, value: bytes) -> SecretInfo:
        """Create a secret or replace its value."""
        return self._secrets.put(name, value, self._unix())

    def secrets(self) -> tuple[SecretInfo, ...]:
        """Return what may be told about all secrets, by name."""
        return self._secrets.all()

    def secret_value(self, name: str) -> bytes:
        """Return a value, for whoever mounts it. Raises ScheduleError (404)."""
        return self._secrets.value(name)

    def remove_secret(self, name: str, check: Callable[[Desired], None]) -> None:
        """Forget a secret, unless ``check`` raises; nothing is changed between the two.

        Raises:
            ScheduleError: there is none (404), or what ``check`` raises.
        """
        with self._database.lock():
            check(self._entries.desired)
            self._secrets.remove(name)

    def create_token(self, name: str, scope: Scope) -> str:
        """Make a token and return its text, for the only time. Raises ScheduleError (409)."""
        return self._tokens.create(name, scope, self._unix())

    def tokens(self) -> tuple[TokenInfo, ...]:
        """Return what may be told about all tokens, by name."""
        return self._tokens.all()

    def remove_token(self, name: str) -> None:
        """Forget a token. Raises ScheduleError (404)."""
        self._tokens.remove(name)

    def check_token(self, text: str) -> TokenInfo | None:
        """Return whose token this is, or None."""
        return self._tokens.check(text, self._unix())

    # ---- the host -------------------------------------------------------------------------------

    def cordoned(self) -> bool:
        """Return whether nothing new may be placed here."""
        return self.fact("cordoned") == "yes"

    def set_cordoned(self, cordoned: bool) -> None:
        """Say whether anything new may be placed here."""
        self.set_fact("cordoned", "yes" if cordoned else "no")
        for listener in self._listeners:
            listener()

    def fact(self, name: str) -> str:
        """Return something that was noted by name, or ""."""
        return self._facts.get(name, "")

    def set_fact(self, name: str, value: str) -> None:
        """Note something by name."""
        with self._database.lock():  # until it is noted here too: the last one on disk is the last
            with self._database.write() as connection:
                connection.execute("REPLACE INTO facts VALUES (?, ?)", (name, value))
            self._facts[name] = value

    def ping(self) -> None:
        """Write something, to see whether it can be. Raises ScheduleError (503 or 507)."""
        self.set_fact("ping", str(self._unix()))
