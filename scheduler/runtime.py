"""The seam to where replicas run: what the scheduler may ask of it, and what it may rely on.

The rules below are held by contract tests that every implementation passes, a fake included
(``tests/scheduler/contract.py``):

- ``start`` with an id that exists does nothing; a start that fails stays listed as exited, with its
  ``problem``, until it is removed.
- ``stop`` and ``remove`` of an id that does not exist do nothing.
- ``remove`` is needed once: from then on the replica is listed as removing until nothing of it is
  left, and its ``problem`` says what keeps it.
- ``replicas`` lists everything that was ever started by the scheduler and is still there, also by
  one that died since: labels on the container say which deployment and revision it belongs to.
- A phase only moves forward, and an id is listed from the moment ``start`` returns.

Next: ``gateway/protocol.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .actions import Start
from .observed import Host, Replica


class Runtime(Protocol):
    """Where replicas run."""

    def host(self) -> Host:
        """Return what may be given to replicas."""

    def replicas(self) -> Mapping[str, Replica]:
        """Return every replica by its id, with what the probes know of it."""

    def start(self, wanted: Start) -> None:
        """Create and start a replica, without waiting for it to be ready.

        Raises:
            MinirunError: nothing was started, and nothing is left of it.
        """

    def stop(self, replica_id: str, stop_s: float) -> None:
        """Ask a replica to end, and kill it when it has not after ``stop_s``; does not wait."""

    def remove(self, replica_id: str) -> None:
        """Delete what an exited replica left behind; does not wait."""
