"""Work with an end: so many successes, so many at a time, so many failures, and a schedule.

A job runs once, when it is applied; a cron runs once for each due minute, and once for any number
of minutes that it slept through. The wall clock decides when a cron is due and nothing else, so
setting it back repeats nothing.

May not import anything with an effect. Next: ``reconcile.py``.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .cron import last_due, parse
from .entry import Entry, JobRun, Slot, State
from .model import Kind
from .observed import Replica
from .policy import Job
from .restart import delay_s, failed, reason
from .space import Space
from .tick import Tick, drained


def step(entry: Entry, tick: Tick, space: Space) -> Entry:
    """Return the entry after one pass over its job."""
    if entry.deployment.kind is Kind.CRON:
        entry = _due(entry, tick)
    elif not entry.run.number:
        entry = _begun(entry, tick, 0.0)
    entry = _counted(entry, tick)
    entry = _finished(entry, tick)
    return _filled(entry, tick, space)


def job_of(entry: Entry) -> Job:
    """Return what the run has to reach."""
    return entry.deployment.job or Job()


def _begun(entry: Entry, tick: Tick, due: float) -> Entry:
    run = JobRun(number=entry.run.number + 1, started_at=tick.now, due_unix_s=due)
    inputs = {"run": run.number, "due_unix_s": due}
    tick.event(entry.deployment.name, "job-started", f"run {run.number}", inputs)
    return replace(entry, run=run)


def _due(entry: Entry, tick: Tick) -> Entry:
    """Begin a run where one is due, has not been begun, and none is still going."""
    cron, unix_s = entry.deployment.cron, tick.observed.unix_s
    if cron is None or entry.deployment.paused:
        return entry
    since = entry.run.due_unix_s or unix_s - 60
    earliest = max(since, unix_s - cron.starting_deadline_s)
    due = last_due(parse(cron.schedule), earliest, unix_s)
    if due is None:
        return entry
    if entry.run.number and not entry.run.outcome:
        if not cron.replace:
            text = f"run {entry.run.number} is still going, so the next one is left out"
            tick.event(entry.deployment.name, "job-skipped", text, {"due_unix_s": due})
            return replace(entry, run=replace(entry.run, due_unix_s=due))
        entry = _all_drained(entry, "replaced by the next run", tick)
    return _begun(entry, tick, due)


def _counted(entry: Entry, tick: Tick) -> Entry:
    """Count what ended; a success gives its slot up, a failure waits for its next try."""
    for slot in entry.slots:
        replica = tick.observed.replicas.get(slot.id)
        if slot.state is not State.PLACED or replica is None or not replica.has_ended:
            continue
        if failed(replica):
            entry = _failure(entry, slot, replica, tick)
        else:
            slots = tuple(s for s in entry.slots if s.id != slot.id)
            run = replace(entry.run, succeeded=entry.run.succeeded + 1)
            entry = replace(entry, slots=slots, run=run)
    return entry


def _failure(entry: Entry, slot: Slot, replica: Replica, tick: Tick) -> Entry:
    policy = entry.revision(slot.revision).template.restart
    wait_s = delay_s(policy, slot.failures + 1, Random(replica.id).random)
    waiting = replace(
        slot,
        state=State.WAITING,
        since=tick.now,
        failures=slot.failures + 1,
        retry_at=tick.now + wait_s,
        reason=reason(replica),
    )
    tick.event(entry.deployment.name, "job-retry", f"{replica.id}: {waiting.reason}")
    slots = tuple(waiting if s.id == slot.id else s for s in entry.slots)
    return replace(entry, slots=slots, run=replace(entry.run, failed=entry.run.failed + 1))


def _finished(entry: Entry, tick: Tick) -> Entry:
    """End the run where it has succeeded, failed too often, or taken too long."""
    job, run = job_of(entry), entry.run
    if run.outcome or not run.number:
        return entry
    overdue = job.deadline_s and tick.now - run.started_at > job.deadline_s
    if run.succeeded >= job.completions:
        outcome, why = "succeeded", f"{run.succeeded} of {job.completions} completed"
    elif run.failed > job.backoff_limit:
        outcome, why = "failed", f"{run.failed} failures, {job.backoff_limit} are allowed"
        why += f"; the last: {_last_reason(entry)}"
    elif overdue:
        outcome, why = "failed", f"not done after {job.deadline_s:g} s"
    else:
        return entry
    inputs = {"run": run.number, "succeeded": run.succeeded, "failed": run.failed}
    tick.event(entry.deployment.name, f"job-{outcome}", f"run {run.number}: {why}", inputs)
    entry = _all_drained(entry, f"the run has {outcome}", tick)
    return replace(entry, run=replace(run, outcome=outcome, reason=why))


def _last_reason(entry: Entry) -> str:
    """Return why the last of the replicas failed."""
    waiting = (slot for slot in entry.slots if slot.state is State.WAITING)
    last = max(waiting, key=lambda slot: slot.since, default=None)
    return last.reason if last else "gone"


def _all_drained(entry: Entry, why: str, tick: Tick) -> Entry:
    slots = tuple(
        slot if slot.state is State.DRAINING else drained(slot, why, tick.now)
        for slot in entry.slots
    )
    return replace(entry, slots=slots)


def _filled(entry: Entry, tick: Tick, space: Space) -> Entry:
    """Start as many as may run at a time and are still needed."""
    job, run = job_of(entry), entry.run
    # What is held of a cron is its schedule: a run that was begun, or asked for, goes on.
    is_held = entry.deployment.paused and entry.deployment.kind is Kind.JOB
    if not run.number or run.outcome or is_held:
        return replace(entry, pending="") if entry.pending else entry
    active = sum(slot.state is not State.DRAINING for slot in entry.slots)
    missing = min(job.parallelism, job.completions - run.succeeded) - active
    why = ""
    if missing > 0:
        entry, why = space.grow(entry, entry.rollout.target, missing, job.parallelism)
    if why != entry.pending:
        entry = replace(entry, pending=why)
        if why:
            tick.event(entry.deployment.name, "pending", why)
    return entry
