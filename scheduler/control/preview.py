"""What an apply would do, found by doing it to a copy: the reconciler is a pure function.

The copy gets the new entry, the reconciler says what it would do next, and nothing is written.

Next: ``capacity.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from minirun import ScheduleError

from .. import apply
from ..entry import Desired, Entry, Slot, State
from ..model import Deployment
from ..observed import Grant
from ..reconcile import reconcile
from .admission import admit
from .context import Control
from .deployments import Request, not_there, still_restarted
from .hostpaths import check_paths


@dataclass(frozen=True, slots=True)
class Placed:
    """A replica that would be started at once, where, and after which others have gone."""

    replica: str
    grants: tuple[Grant, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What an apply would come to; ``before`` is None where the deployment is new."""

    before: Deployment | None
    after: Deployment
    revision: int
    placement: tuple[Placed, ...]
    drained: tuple[str, ...]
    preempted: tuple[str, ...]
    pending: str


def preview(control: Control, deployment: Deployment, request: Request) -> Preview:
    """Return what applying a deployment would do next.

    Raises:
        ScheduleError: whatever ``put`` would raise.
    """
    admit(control, deployment)
    name, now, match = deployment.name, control.clock(), request.match
    before, generation = control.store.entry(name)
    if match.exists and before is None:
        raise not_there(name)
    if match.generation not in (None, generation):
        text = f"{name} is at generation {generation}, not {match.generation}"
        raise ScheduleError(text, status=412, hint="somebody changed it: read it again")
    known = before.deployment if before else None
    deployment = still_restarted(known, deployment)
    check_paths(control, known, deployment, is_admin=request.is_admin)
    if before is None:
        wanted = apply.created(deployment, now, "", control.store.next_serial(name))
    else:
        wanted = apply.applied(before, deployment, now)
    return _next_step(control, before, wanted, now)


def _next_step(control: Control, before: Entry | None, wanted: Entry, now: float) -> Preview:
    name, desired = wanted.deployment.name, control.store.load()
    entries = {**desired.entries, name: replace(wanted, decided_at=-1.0)}
    observed = replace(control.observed(), at=now)
    outcome = reconcile(Desired(entries, desired.quotas), observed, now)
    after = outcome.entries.get(name) or wanted
    known = {slot.id for slot in before.slots} if before else set()
    return Preview(
        before.deployment if before else None,
        wanted.deployment,
        wanted.rollout.target,
        tuple(_placed(slot) for slot in after.slots if slot.id not in known),
        _drained(before, after),
        tuple(e.message for e in outcome.events if e.kind == "preempted"),
        after.pending,
    )


def _placed(slot: Slot) -> Placed:
    return Placed(slot.id, slot.grants, slot.after)


def _drained(before: Entry | None, after: Entry) -> tuple[str, ...]:
    serving = {s.id for s in before.slots if s.state is not State.DRAINING} if before else set()
    return tuple(s.id for s in after.slots if s.state is State.DRAINING and s.id in serving)
