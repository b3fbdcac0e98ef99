"""What people ask of a deployment. Each call is one transaction of the store.

A decision is made on what the store holds while nobody else may write, so two people who scale the
same deployment are served one after the other; with ``if_match`` the second is refused instead.
Asking for what is there already writes nothing, so a request that is sent twice does no harm. What
is answered is what the write left behind: a later look could be of somebody else's write, or of
nothing, and its generation would let the next ``if_match`` undo what nobody has seen.

Next: ``preview.py``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from minirun import ScheduleError

from .. import apply
from ..actions import Event
from ..entry import Desired, Entry
from ..model import Deployment, Kind
from ..store import Change
from ..validate import MOST_REPLICAS
from .admission import admit, find_names
from .context import Control, missing
from .hostpaths import check_paths
from .problems import refuse

Edit = Callable[[Entry], Entry]


@dataclass(frozen=True, slots=True)
class Match:
    """Which generation a client expects: a number, 0 for none yet, or None for any.

    ``exists`` asks for any that is there (``If-Match: *``).
    """

    generation: int | None = None
    exists: bool = False


ANY = Match()


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and on which condition; an admin may give replicas any path of the host."""

    by: str
    match: Match = ANY
    is_admin: bool = False

    def conditions(self, name: str) -> dict[str, int] | None:
        """Return the condition as the store takes it."""
        expected = self.match.generation
        return None if expected is None else {name: expected}


@dataclass(frozen=True, slots=True)
class Written:
    """A deployment as a write left it, whatever has become of it since."""

    entry: Entry
    generation: int
    is_new: bool = False


def put(control: Control, deployment: Deployment, request: Request) -> Written:
    """Create or change a deployment.

    Raises:
        ScheduleError: it cannot be accepted (422), or not from this caller (403), is being deleted
            or of another kind (409), or is not what the client expects (412).
    """
    admit(control, deployment)
    name, now = deployment.name, control.clock()

    def decide(desired: Desired) -> Change:
        find_names(control, desired, deployment)
        before = desired.entries.get(name)
        known = before.deployment if before else None
        wanted = still_restarted(known, deployment)
        check_paths(control, known, wanted, is_admin=request.is_admin)
        if before is None:
            if request.match.exists:
                raise not_there(name)
            serial = control.store.next_serial(name)
            entry = apply.created(deployment, now, f"created by {request.by}", serial)
            return _change(entry, "created", "revision 1", request)
        return _applied(before, wanted, now, request)

    return _write(control, name, decide, request)


def still_restarted(before: Deployment | None, wanted: Deployment) -> Deployment:
    """Return what is wanted; a restart is in no file, so applying one anew does not undo it."""
    token = before.template.restart_token if before else ""
    if not token or wanted.template.restart_token:
        return wanted
    return replace(wanted, template=replace(wanted.template, restart_token=token))


def patch(
    control: Control, name: str, merge: Callable[[Deployment], Deployment], request: Request
) -> Written:
    """Change a deployment by what ``merge`` makes of it as it is now.

    Raises:
        ScheduleError: as for ``put``, or there is no such deployment (404).
    """
    admit(control, merge(control.entry(name)[0].deployment))
    now = control.clock()

    def decide(desired: Desired) -> Change:
        before = _existing(desired, name)
        wanted = merge(before.deployment)
        find_names(control, desired, wanted)
        check_paths(control, before.deployment, wanted, is_admin=request.is_admin)
        return _applied(before, wanted, now, request)

    return _write(control, name, decide, request)


def _write(
    control: Control, name: str, decide: Callable[[Desired], Change], request: Request
) -> Written:
    """Do one write, and return what it left behind."""
    left = []

    def noting(desired: Desired) -> Change:
        change = decide(desired)
        entry = change.entries.get(name) or desired.entries[name]
        is_new = name not in desired.entries
        left.append(Written(entry, control.store.generation(name), is_new))
        return change

    numbers = control.store.transact(noting, if_match=request.conditions(name))
    return replace(left[0], generation=numbers.get(name, left[0].generation))


def _applied(before: Entry, deployment: Deployment, now: float, request: Request) -> Change:
    if not before.deleted and deployment == before.deployment:
        return Change()
    entry = apply.applied(before, deployment, now, f"applied by {request.by}")
    old, new = before.rollout.target, entry.rollout.target
    text = f"revision {new}" if new != old else f"changed without a new revision: {new} stays"
    return _change(entry, "applied", text, request)


def _change(entry: Entry, kind: str, text: str, request: Request) -> Change:
    name = entry.deployment.name
    run = {"run": entry.run.number} if kind == "job-started" else {}
    return Change({name: entry}, events=(Event(name, kind, text, {"by": request.by, **run}),))


def _existing(desired: Desired, name: str) -> Entry:
    entry = desired.entries.get(name)
    if entry is None:
        raise missing(name)
    return entry


def not_there(name: str) -> ScheduleError:
    """Return the error for a change of whatever is there, where nothing is (412)."""
    return ScheduleError(f"there is no deployment {name}", status=412, hint="leave If-Match away")


# ---- what is done to one that exists ------------------------------------------------------------


def edit(control: Control, name: str, kind: str, change: Edit, request: Request) -> Written:
    """Change an entry that is not being deleted, and tell of it.

    Raises:
        ScheduleError: there is none (404), it is being deleted (409), or what ``change`` raises.
    """

    def decide(desired: Desired) -> Change:
        before = _existing(desired, name)
        if before.deleted:
            raise ScheduleError(f"{name} is being deleted", status=409)
        entry = change(before)
        if entry == before:
            return Change()
        return _change(entry, kind, _difference(before, entry), request)

    return _write(control, name, decide, request)


def _difference(before: Entry, after: Entry) -> str:
    """Return what an edit has changed, for the event."""
    old, new = before.deployment, after.deployment
    if old.replicas != new.replicas:
        return f"{old.replicas} to {new.replicas} replicas"
    if before.rollout.target != after.rollout.target:
        return f"revision {before.rollout.target} to {after.rollout.target}"
    if before.run != after.run:
        return f"run {after.run.number}"
    return ""


def scale(control: Control, name: str, replicas: int, request: Request) -> Written:
    """Ask for another number of replicas."""

    def change(entry: Entry) -> Entry:
        deployment = entry.deployment
        if deployment.kind is not Kind.SERVICE:
            text = f"{name} is a {deployment.kind}: it has no number of replicas"
            raise ScheduleError(text, status=409, hint="change job.parallelism")
        if deployment.autoscale:
            text = f"{name} is scaled by its autoscaler"
            hint = "change autoscale.minimum and maximum, or take autoscale away"
            raise ScheduleError(text, status=409, hint=hint)
        return _with(control, entry, replace(deployment, replicas=replicas))

    if not 0 <= replicas <= MOST_REPLICAS:
        raise refuse("/replicas", f"{replicas} is not between 0 and {MOST_REPLICAS}")
    return edit(control, name, "scale-requested", change, request)


def _with(control: Control, entry: Entry, deployment: Deployment) -> Entry:
    if deployment == entry.deployment:
        return entry
    return apply.applied(entry, deployment, control.clock())


def pause(control: Control, name: str, request: Request, *, paused: bool) -> Written:
    """Hold a rollout or a schedule where it is, or let it go on."""

    def change(entry: Entry) -> Entry:
        return _with(control, entry, replace(entry.deployment, paused=paused))

    return edit(control, name, "paused" if paused else "resumed", change, request)


def restart(control: Control, name: str, request: Request) -> Written:
    """Replace every replica by a new one of the same template, as gently as an update."""
    token = secrets.token_hex(4)

    def change(entry: Entry) -> Entry:
        if entry.deployment.kind is not Kind.SERVICE:
            raise ScheduleError(f"{name} is a {entry.deployment.kind}", status=409, hint="run it")
        return apply.restarted(entry, token, control.clock(), f"restarted by {request.by}")

    return edit(control, name, "restart-requested", change, request)


def rollback(control: Control, name: str, to: int | None, request: Request) -> Written:
    """Go back to an earlier revision, or to the one before."""

    def change(entry: Entry) -> Entry:
        return apply.rolled_back(entry, control.clock(), to)

    return edit(control, name, "rollback-requested", change, request)


def promote(control: Control, name: str, request: Request) -> Written:
    """Let the canary have all requests."""

    def change(entry: Entry) -> Entry:
        return apply.promote(entry, control.clock())

    return edit(control, name, "promoted", change, request)


def run(control: Control, name: str, request: Request) -> Written:
    """Begin a run of a job or cron now."""

    def change(entry: Entry) -> Entry:
        return apply.ran(entry, control.clock())

    return edit(control, name, "job-started", change, request)


def delete(control: Control, name: str, request: Request) -> Written:
    """Let a deployment go; it is there until its last replica has gone.

    Raises:
        ScheduleError: there is none (404), or it is not what the client expects (412).
    """

    def decide(desired: Desired) -> Change:
        before = _existing(desired, name)
        if before.deleted:
            return Change()
        return _change(apply.deleted(before), "delete-requested", "", request)

    return _write(control, name, decide, request)
