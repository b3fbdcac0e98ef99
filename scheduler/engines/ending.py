"""The end of every replica of a scheduler that does not run any more.

A container is asked to end, killed when its time is over, and removed once its shim has written
down how it ended. What happens in between is looked at again and again, so it does not matter who
else starts, kills or removes one meanwhile.

Next: ``../shutdown.py``.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from minirun import ContainerRecord, Containers, MinirunError, StateError

from .replica import order_of

#: Between two looks, where no process ends; and how long a killed one may take to be gone.
LOOK_S, GONE_S = 0.02, 30.0


class Ending:
    """The end of replicas.

    Args:
        containers: where they are.
        owner: whose they are.
        stop_s: how long a deployment's replicas may take to end, by its name.
    """

    def __init__(self, containers: Containers, owner: str, stop_s: Callable[[str], float]) -> None:
        self._containers = containers
        self._owner = owner
        self._stop_s = stop_s
        self._kill_at: dict[str, float] = {}

    def run(self) -> int:
        """Return how many there were, once none is left.

        Raises:
            MinirunError: one does not go.
        """
        while ours := self._ours():
            if overdue := [r.name for r in ours if self._lateness(r) > GONE_S]:
                hint = "minirun ps -a tells how they are"
                raise MinirunError(f"still there: {', '.join(sorted(overdue))}", hint=hint)
            pidfds = [pidfd for record in ours if (pidfd := self._press(record)) >= 0]
            select.select(pidfds, [], [], LOOK_S)
            for pidfd in pidfds:
                os.close(pidfd)
        return len(self._kill_at)

    def _ours(self) -> list[ContainerRecord]:
        return [r for r in self._containers.all() if order_of(r, self._owner)]

    def _lateness(self, record: ContainerRecord) -> float:
        return time.monotonic() - self._kill_at.get(record.id, time.monotonic())

    def _press(self, record: ContainerRecord) -> int:
        """Do what is due to one of them; return a pidfd of its process, -1 where it has none."""
        try:
            pidfd = self._containers.open_process(record)
            if record.id not in self._kill_at:
                order = order_of(record, self._owner)
                stop_s = self._stop_s(order.deployment) if order else 0.0
                self._kill_at[record.id] = time.monotonic() + stop_s
                self._containers.signal(record, record.stop_signal)
            elif self._lateness(record) > 0:
                self._containers.signal(record, 9)
            if pidfd < 0:
                self._containers.remove(record)
        except StateError:
            return -1  # somebody else has removed it
        return pidfd
