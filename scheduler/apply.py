"""How a person's wish gets into an entry: apply, roll back, promote, run, delete.

Each function takes what the store has and returns what it should have; the reconciler does the
rest. May not import anything with an effect.
"""

from __future__ import annotations

from dataclasses import replace

from minirun import ScheduleError

from .autoscale import after_restart
from .entry import KEPT_REVISIONS, Entry, JobRun, Rollout, Scale, Stage, State
from .model import Deployment, Kind, Revision, digest
from .rollout import NOTHING_YET
from .stages import promoted, without_trial
from .validate import check


def created(deployment: Deployment, now: float, cause: str = "", first_serial: int = 1) -> Entry:
    """Return the entry of a deployment that did not exist.

    Args:
        deployment: what is asked for.
        now: monotonic seconds.
        cause: what a history should say about it.
        first_serial: above every serial that the name has had: a name comes back, an id never.

    Raises:
        ScheduleError: the deployment contradicts itself (422).
    """
    check(deployment)
    template = deployment.template
    first = Revision(1, template, digest(template), cause)
    return Entry(deployment, (first,), next_serial=first_serial, rollout=Rollout(progress_at=now))


def applied(entry: Entry, deployment: Deployment, now: float, cause: str = "") -> Entry:
    """Return the entry with a changed deployment; a changed template begins a rollout.

    Raises:
        ScheduleError: it contradicts itself (422), is being deleted or is of another kind (409).
    """
    check(deployment)
    name = deployment.name
    if entry.deleted:
        raise ScheduleError(
            f"{name} is being deleted", status=409, hint="try again when it is gone"
        )
    if deployment.kind is not entry.deployment.kind:
        text = f"{name} is a {entry.deployment.kind} and cannot become a {deployment.kind}"
        raise ScheduleError(text, status=409, hint="delete it first, or take another name")
    before, scale = entry, _scale(entry, deployment)
    entry = replace(entry, deployment=deployment, scale=scale)
    current = entry.revision(entry.rollout.target)
    if digest(deployment.template) == current.digest:
        return _without_canary(_let_go(before, _explained(entry), now), now)
    return _rolling(_with_revision(entry, deployment, cause), now)


def _scale(entry: Entry, deployment: Deployment) -> Scale:
    """Return the autoscaler's state: one that is new starts from what runs, not from nothing."""
    if deployment.autoscale is None:
        return Scale()
    if entry.deployment.autoscale is not None:
        return entry.scale
    return Scale(desired=entry.deployment.replicas)


def _explained(entry: Entry) -> Entry:
    """Return the entry without what was said of one that was rolled back: this is a newer wish."""
    if entry.rollout.stage is Stage.FAILED or not entry.rollout.reason:
        return entry
    return replace(entry, rollout=replace(entry.rollout, reason=""))


def _let_go(before: Entry, entry: Entry, now: float) -> Entry:
    """Return the entry with its clock started anew where a person lets a rollout go on."""
    if not before.deployment.paused or entry.deployment.paused:
        return entry
    return replace(entry, rollout=replace(entry.rollout, progress_at=now))


def _without_canary(entry: Entry, now: float) -> Entry:
    on_trial = entry.rollout.stage is Stage.CANARY
    if on_trial and entry.deployment.canary is None:
        return replace(entry, rollout=promoted(entry.rollout, now))
    return entry


def _with_revision(entry: Entry, deployment: Deployment, cause: str) -> Entry:
    """Return the entry with the template as its newest revision; one it had keeps its number.

    Ten revisions are kept, and any that a replica still runs.
    """
    name = digest(deployment.template)
    same = [r for r in entry.revisions if r.digest == name]
    number = max(r.number for r in entry.revisions) + 1
    newest = same[0] if same else Revision(number, deployment.template, name, cause)
    others = [r for r in entry.revisions if r.digest != name]
    used = {slot.revision for slot in entry.slots} | {entry.rollout.stable, entry.rollout.target}
    surplus = len(others) - (KEPT_REVISIONS - 1)
    kept = [r for i, r in enumerate(others) if i >= surplus or r.number in used]
    rollout = replace(entry.rollout, target=newest.number)
    return replace(entry, revisions=(*kept, newest), rollout=rollout)


def _rolling(entry: Entry, now: float) -> Entry:
    """Return the entry with a rollout to its target begun."""
    entry = without_trial(entry, now)
    rollout, deployment = entry.rollout, entry.deployment
    is_trial = bool(
        deployment.canary
        and deployment.kind is Kind.SERVICE
        and rollout.stable
        and rollout.stable != rollout.target
    )
    begun = Rollout(
        target=rollout.target,
        stable=rollout.stable,
        stage=Stage.CANARY if is_trial else Stage.PROGRESSING,
        progress_at=now,
        best=NOTHING_YET,
        count=rollout.count,
    )
    return replace(entry, rollout=begun)


def restarted(entry: Entry, token: str, now: float, cause: str = "") -> Entry:
    """Return the entry on its way to a revision that differs in its token alone.

    It needs no canary where the template is the one that works already.
    """
    template = replace(entry.deployment.template, restart_token=token)
    is_known = entry.rollout.target == entry.rollout.stable
    entry = applied(entry, replace(entry.deployment, template=template), now, cause)
    if not is_known:
        return entry
    return replace(entry, rollout=replace(entry.rollout, stage=Stage.PROGRESSING))


def rolled_back(entry: Entry, now: float, to: int | None = None) -> Entry:
    """Return the entry on its way to an earlier revision, without a canary: it is known.

    Raises:
        ScheduleError: there is no such revision (404), or none before this one (409).
    """
    wanted = _earlier(entry) if to is None else _numbered(entry, to)
    deployment = replace(entry.deployment, template=wanted.template)
    entry = _with_revision(replace(entry, deployment=deployment), deployment, "")
    entry = _rolling(entry, now)
    return replace(entry, rollout=replace(entry.rollout, stage=Stage.PROGRESSING, reverting=True))


def _numbered(entry: Entry, number: int) -> Revision:
    for revision in entry.revisions:
        if revision.number == number:
            return revision
    known = ", ".join(map(str, sorted(r.number for r in entry.revisions)))
    text = f"{entry.deployment.name} has no revision {number}"
    raise ScheduleError(text, status=404, hint=f"it has {known}")


def _earlier(entry: Entry) -> Revision:
    """Return the revision before this one: the one that works, or the last that did not fail."""
    name, rollout = entry.deployment.name, entry.rollout
    others = [r for r in entry.revisions if r.number != rollout.target]
    known_good = [r for r in others if r.number == rollout.stable]
    unfailed = [r for r in others if not r.failure]
    if known_good or unfailed:
        return (known_good or unfailed)[-1]
    if not others:
        raise ScheduleError(f"{name} has no earlier revision", status=409)
    last = others[-1]
    hint = f"revision {last.number} failed: {last.failure}; say its number to have it all the same"
    raise ScheduleError(f"{name} has no earlier revision that worked", status=409, hint=hint)


def promote(entry: Entry, now: float) -> Entry:
    """Return the entry with its canary promoted by hand.

    Raises:
        ScheduleError: there is no canary (409).
    """
    if entry.rollout.stage is not Stage.CANARY:
        raise ScheduleError(f"{entry.deployment.name} has no canary", status=409)
    return replace(entry, rollout=promoted(entry.rollout, now))


def ran(entry: Entry, now: float) -> Entry:
    """Return the entry of a job or cron with a new run begun.

    Raises:
        ScheduleError: it is a service, or a run is still going on (409).
    """
    name, run = entry.deployment.name, entry.run
    if entry.deployment.kind is Kind.SERVICE:
        raise ScheduleError(f"{name} is a service: it always runs", status=409)
    if run.number and not run.outcome:
        hint = "wait until it has ended, or delete the job"
        raise ScheduleError(f"run {run.number} of {name} is still going", status=409, hint=hint)
    begun = JobRun(number=run.number + 1, started_at=now, due_unix_s=run.due_unix_s)
    return replace(entry, run=begun)


def deleted(entry: Entry) -> Entry:
    """Return the entry marked to go; it is there until its last replica has gone."""
    return replace(entry, deleted=True)


def resumed(entry: Entry, now: float) -> Entry:
    """Return the entry as a scheduler that has just started should take it.

    The autoscaler's windows are empty now: it holds what there is until they are filled.
    """
    if entry.deployment.autoscale is None or not entry.slots:
        return entry
    wanted = sum(slot.state is not State.DRAINING for slot in entry.slots)
    return replace(entry, scale=after_restart(entry.scale.desired or wanted, now))
