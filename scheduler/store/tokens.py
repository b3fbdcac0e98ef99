"""Tokens: who may call the API over the network, and how much they may do.

A token is 256 random bits, so a plain hash of it tells nothing; it is shown once, when it is made.
Which ones there are is kept in memory: the API asks at every request.

Next: ``store.py``.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Lock

from minirun import MinirunError, ScheduleError

from .database import Database

_PREFIX = "mrs_"
#: A use is written down at most so often: it is there to find tokens that nobody uses.
_USE_S = 60.0


class Scope(StrEnum):
    """What a token allows; each allows what the one before it does."""

    READ = "read"
    DEPLOY = "deploy"
    ADMIN = "admin"

    def allows(self, needed: Scope) -> bool:
        """Return whether whoever has this scope may do what needs the other.

        >>> Scope.DEPLOY.allows(Scope.READ), Scope.DEPLOY.allows(Scope.ADMIN)
        (True, False)
        """
        order = list(Scope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What may be told about a token; ``used_unix_s`` is None before its first use."""

    name: str
    scope: Scope
    created_unix_s: float
    used_unix_s: float | None = None


class Tokens:
    """The rows, and the same in memory.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        rows = database.read("SELECT digest, name, scope, created, used FROM tokens")
        self._by_digest = {
            digest: TokenInfo(name, Scope(scope), created, used)
            for digest, name, scope, created, used in rows
        }

    def create(self, name: str, scope: Scope, unix_s: float) -> str:
        """Make a token and return its text.

        Raises:
            ScheduleError: the name is taken (409).
        """
        text = _PREFIX + secrets.token_urlsafe(32)
        with self._lock:
            if any(info.name == name for info in self._by_digest.values()):
                hint = "choose another name, or remove that token first"
                raise ScheduleError(f"there is a token {name} already", status=409, hint=hint)
            with self._database.write() as connection:
                row = name, scope.value, _digest(text), unix_s
                connection.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, NULL)", row)
            self._by_digest[_digest(text)] = TokenInfo(name, scope, unix_s)
        return text

    def all(self) -> tuple[TokenInfo, ...]:
        """Return all by name."""
        with self._lock:
            return tuple(sorted(self._by_digest.values(), key=lambda info: info.name))

    def remove(self, name: str) -> None:
        """Forget a token; it opens nothing from now on.

        Raises:
            ScheduleError: there is no such token (404).
        """
        with self._lock:
            found = [d for d, info in self._by_digest.items() if info.name == name]
            if not found:
                raise ScheduleError(f"there is no token {name}", status=404)
            with self._database.write() as connection:
                connection.execute("DELETE FROM tokens WHERE name = ?", (name,))
            del self._by_digest[found[0]]

    def check(self, text: str, unix_s: float) -> TokenInfo | None:
        """Return whose token this is, or None; it is looked up by its hash, in constant time."""
        digest = _digest(text)
        with self._lock:
            info = self._by_digest.get(digest)
            if info is None:
                return None
            if info.used_unix_s is None or abs(unix_s - info.used_unix_s) >= _USE_S:
                info = self._by_digest[digest] = replace(info, used_unix_s=unix_s)
                self._note_use(info)
            return info

    def _note_use(self, info: TokenInfo) -> None:
        try:
            with self._database.write() as connection:
                row = info.used_unix_s, info.name
                connection.execute("UPDATE tokens SET used = ? WHERE name = ?", row)
        except MinirunError:
            return  # a full disk must not lock the administrator out who wants to free it


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
