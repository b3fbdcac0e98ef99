"""Control: everything the use cases stand on, handed to each of them.

Nothing is looked up behind its back, so a test gives it a store in a temporary folder and replicas
in memory. Next: ``deployments.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minirun import ScheduleError

from ..entry import Entry
from ..observed import Observed
from ..store import Store
from .ports import Images, Replicas


def _all_well() -> Mapping[str, str]:
    return {}


def _nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Control:
    """The ports of the control plane.

    Args:
        store: the state of record.
        replicas: a look inside what runs.
        images: what replicas can be made of.
        observed: returns the control loop's last look at the world; without any I/O.
        clock: monotonic seconds, the control loop's own.
        unix: the wall clock.
        gateway: where requests to deployments go, ``host:port`` or a socket's path; "" if nowhere.
        health: returns what is wrong with the parts of this process, by name.
        mounts: which paths of the host not only an admin may give to replicas.
        metrics: returns what the gateway has to add to ours, in Prometheus' text format.
    """

    store: Store
    replicas: Replicas
    images: Images
    observed: Callable[[], Observed]
    clock: Callable[[], float]
    unix: Callable[[], float] = time.time
    gateway: str = ""
    health: Callable[[], Mapping[str, str]] = _all_well
    metrics: Callable[[], str] = _nothing
    mounts: frozenset[str] = frozenset()

    def entry(self, name: str) -> tuple[Entry, int]:
        """Return an entry and its generation.

        Raises:
            ScheduleError: there is no such deployment (404).
        """
        entry, generation = self.store.entry(name)
        if entry is None:
            raise missing(name)
        return entry, generation


def missing(name: str) -> ScheduleError:
    """Return the error for a deployment that does not exist."""
    hint = "list them: minisched get deployments"
    return ScheduleError(f"there is no deployment {name}", status=404, hint=hint)
