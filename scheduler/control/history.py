"""What was: the revisions of a deployment, and the runs of a job.

Runs are read out of the events, which hold what became of each; the current one is in the entry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..entry import Entry
from ..store import StoredEvent
from .context import Control
from .status import RunStatus

_LOOK_BACK = 1000


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """A template that was once asked for; ``current`` is wanted now, ``stable`` last worked.

    ``failure`` is why its last rollout came to nothing.
    """

    number: int
    digest: str
    image: str
    cause: str
    current: bool
    stable: bool
    failure: str = ""


def revisions(entry: Entry) -> tuple[RevisionStatus, ...]:
    """Return the revisions that are kept, oldest first."""
    rollout = entry.rollout
    return tuple(
        RevisionStatus(
            revision.number,
            revision.digest,
            revision.template.image,
            revision.cause,
            revision.number == rollout.target,
            revision.number == rollout.stable,
            revision.failure,
        )
        for revision in entry.revisions
    )


def runs(control: Control, name: str) -> tuple[RunStatus, ...]:
    """Return the runs of a job that events still tell of, newest first.

    Raises:
        ScheduleError: there is no such deployment (404).
    """
    entry, _ = control.entry(name)
    found: dict[int, RunStatus] = {}
    for event in control.store.events(None, name, _LOOK_BACK):
        number = event.inputs.get("run")
        if event.kind.startswith("job-") and isinstance(number, int):
            found[number] = _after(found.get(number) or RunStatus(number), event)
    current = entry.run
    if current.number:
        before = found.get(current.number) or RunStatus(current.number)
        found[current.number] = replace(
            before,
            outcome=current.outcome,
            succeeded=current.succeeded,
            failed=current.failed,
        )
    return tuple(found[number] for number in sorted(found, reverse=True))


def _after(run: RunStatus, event: StoredEvent) -> RunStatus:
    """Return a run as it is after an event of its."""
    if event.kind == "job-started":
        return replace(run, started_unix_s=event.unix_s)
    return replace(
        run,
        outcome=event.kind.removeprefix("job-"),
        succeeded=_count(event, "succeeded"),
        failed=_count(event, "failed"),
        ended_unix_s=event.unix_s,
    )


def _count(event: StoredEvent, key: str) -> int:
    value = event.inputs.get(key)
    return value if isinstance(value, int) else 0
