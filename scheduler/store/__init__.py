"""The state of record: one SQLite database, one process that writes it.

    database   the file: a lock against a second scheduler, transactions, what a full disk means
    schema     the tables, and how an older database becomes a newer one
    entries    what is wanted, by deployment, with the generation that ``If-Match`` means
    events     the diary, numbered without gaps as long as it is kept
    secrets    values that only a replica gets to see
    tokens     who may call the API, as hashes
    store      all of them behind one lock: ``Store``

What is wanted is kept in memory as well, so reading it costs nothing; a write is acknowledged when
it is on the disk, and only then seen by anyone. Begin with ``store.py``.
"""

from __future__ import annotations

from .events import StoredEvent
from .secrets import SecretInfo
from .store import Change, Store
from .tokens import Scope, TokenInfo

__all__ = ["Change", "Scope", "SecretInfo", "Store", "StoredEvent", "TokenInfo"]
