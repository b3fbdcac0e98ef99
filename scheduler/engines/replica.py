"""One replica, as it is kept in memory; and the label from which it is made again.

The label holds the whole order (``Start``): a scheduler that takes over needs nothing else to know
what a container is for, how it is probed and what room it holds.

Next: ``watcher.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from minirun import ContainerRecord, MinirunError

from ..actions import Start
from ..codec import decode, encode
from ..observed import Phase, Replica

OWNER, ORDER = "minisched.scheduler", "minisched.order"
#: What people filter by: ``minirun ps --filter label=minisched.deployment=web``.
DEPLOYMENT, REVISION = "minisched.deployment", "minisched.revision"

#: Returns what the scheduler's clock showed at a time of the wall clock.
ToMonotonic = Callable[[float], float]


@dataclass(slots=True)
class Box:
    """A replica.

    Args:
        order: what was asked for.
        replica: what is told of it; a fact, replaced as a whole.
        container: the id of its container, "" before there is one.
        ready_as_of: since when it counts as ready once it is; None means from then on.
        kill_at: when it is killed, once it was asked to end.
        remembered: whether what it wrote is kept.
    """

    order: Start
    replica: Replica
    container: str = ""
    ready_as_of: float | None = None
    kill_at: float | None = None
    remembered: bool = False

    def change(self, **facts: object) -> None:
        """Replace some of what is told of it."""
        self.replica = replace(self.replica, **facts)  # type: ignore[arg-type]


def begun(order: Start, now: float) -> Box:
    """Return a replica that is about to be made."""
    return Box(
        order,
        Replica(
            order.id,
            order.deployment,
            order.revision,
            Phase.STARTING,
            started_at=now,
            grants=order.grants,
        ),
    )


def labels_of(order: Start, owner: str) -> Mapping[str, str]:
    """Return the labels of a replica's container."""
    return {
        OWNER: owner,
        DEPLOYMENT: order.deployment,
        REVISION: str(order.revision),
        ORDER: json.dumps(encode(order), separators=(",", ":")),
    }


def order_of(record: ContainerRecord, owner: str) -> Start | None:
    """Return what a container was made for; None for one that is not this scheduler's."""
    if record.labels.get(OWNER) != owner:
        return None
    try:
        return decode(Start, json.loads(record.labels[ORDER]))
    except (KeyError, ValueError, MinirunError):
        return None


def ended(record: ContainerRecord, monotonic: ToMonotonic) -> dict[str, object]:
    """Return what is to be told of a container that has ended."""
    state = record.state
    return {
        "phase": Phase.EXITED,
        "ready_since": None,
        "ended_at": monotonic(unix_s(state.finished_at)) if state.finished_at else monotonic(0),
        "exit_code": state.exit_code,
        "oom": state.oom_killed and state.exit_code != 0,
        "peak_memory_bytes": state.peak_memory_bytes,
        "problem": state.error if state.reason == "error" else "",
    }


def unix_s(stamp: str) -> float:
    """Return a record's time as seconds since the epoch.

    >>> unix_s("1970-01-01T00:01:00.500000000Z")
    60.5
    """
    return datetime.fromisoformat(f"{stamp[:26].rstrip('Z')}+00:00").timestamp()
