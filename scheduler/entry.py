"""What the store remembers of a deployment: one Entry, replaced as a whole.

A Slot is a place for one replica. Slots are written before anything is started and deleted after
everything has gone, so the number of replicas is decided in the store and nowhere else: a late
look at the world, a repeated one, or a scheduler that dies between two effects can delay a replica
but never double it. The id of a container is ``<deployment>.<serial>`` and is never used again.

    placed ──exit──▶ waiting ──retry_at──▶ placed        each start has a serial of its own
       │                │
       │                └──no restart is due──▶ ended     keeps its place, runs nothing
       └──not wanted──▶ draining ──gone──▶ (deleted)

May not import anything with an effect. Next: ``observed.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .model import Deployment, Quota, Revision
from .observed import Grant, Totals

KEPT_REVISIONS = 10


class State(StrEnum):
    """What a slot is for at the moment."""

    PLACED = "placed"
    WAITING = "waiting"
    ENDED = "ended"
    DRAINING = "draining"


class Stage(StrEnum):
    """Where a rollout is."""

    COMPLETE = "complete"
    CANARY = "canary"
    PROGRESSING = "progressing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one replica.

    Args:
        id: the container that is to run here.
        revision: which template it is made from.
        grants: the room it holds; several where it fits no single node.
        state: see the drawing above.
        since: when it came into this state.
        failures: restarts in a row that did not hold.
        retry_at: when a waiting slot is started again.
        ooms: when its last runs were ended by the kernel for their memory.
        after: slots that must be gone before this one starts; they are being preempted for it.
        reason: why it is waiting, ended or draining.
    """

    id: str
    revision: int
    grants: tuple[Grant, ...] = ()
    state: State = State.PLACED
    since: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    ooms: tuple[float, ...] = ()
    after: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far the target revision has come; ``best`` is (updated, ready, available, -old)."""

    target: int = 1
    stable: int = 0
    stage: Stage = Stage.PROGRESSING
    progress_at: float = 0.0
    best: tuple[int, int, int, int] = (0, 0, 0, -1_000_000_000)
    count: int = 0
    reverting: bool = False
    canary_since: float = 0.0
    canary_base: Mapping[str, Totals] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """What the autoscaler has decided and must remember. It may be lost: see ``after_restart``."""

    desired: int | None = None
    next_tick_at: float = 0.0
    panic_since: float | None = None
    max_panic: int = 0
    idle_since: float | None = None
    recent: tuple[tuple[float, int], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job: how it stands, and for a cron which minute called for it.

    ``reason`` is why it has its outcome.
    """

    number: int = 0
    started_at: float = 0.0
    succeeded: int = 0
    failed: int = 0
    outcome: str = ""
    due_unix_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """Everything the store holds under one name."""

    deployment: Deployment
    revisions: tuple[Revision, ...]
    slots: tuple[Slot, ...] = ()
    next_serial: int = 1
    rollout: Rollout = Rollout()
    scale: Scale = Scale()
    run: JobRun = JobRun()
    pending: str = ""
    decided_at: float = -1.0
    deleted: bool = False

    def revision(self, number: int) -> Revision:
        """Return a revision that some slot or the rollout names.

        Raises:
            KeyError: it is not kept, which ``apply.py`` prevents while anything uses it.
        """
        for revision in self.revisions:
            if revision.number == number:
                return revision
        raise KeyError(number)


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole store, as the reconciler reads it."""

    entries: Mapping[str, Entry]
    quotas: Mapping[str, Quota] = field(default_factory=dict)


def serial_of(replica_id: str) -> int:
    """Return the number at the end of a replica's id.

    >>> serial_of("digits.17")
    17
    """
    return int(replica_id.rpartition(".")[2])
