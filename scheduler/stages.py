"""The stages of a rollout, and what moves it from one to the next.

    canary ──good answers──▶ progressing ──all available──▶ complete
       │                          │
       └─bad answers, or no progress in time─▶ progressing, back to the revision that last worked
                                  └─ or failed, where there is none or the strategy says so

May not import anything with an effect. Next: ``reconcile.py``.
"""

from __future__ import annotations

from dataclasses import replace

from . import canary
from .canary import Judgement
from .effects import CANARY, STABLE
from .entry import Entry, Rollout, Stage, State
from .observed import Totals, Traffic
from .policy import OnFailure
from .rollout import (
    NOTHING_YET,
    Moves,
    Standing,
    complete,
    fenceposts,
    moves,
    revert,
    stalled,
    strategy,
)
from .tick import Tick, drained

CRASH_LOOP = 3


def advance(entry: Entry, standing: list[Standing], count: int, tick: Tick) -> Entry:
    """Return the entry with its rollout in the stage that it has reached."""
    stage = entry.rollout.stage
    if stage is Stage.COMPLETE:
        return entry
    if stage is Stage.CANARY:
        return entry if _held(entry) else _on_trial(entry, standing, count, tick)
    if complete(entry.rollout, standing, count):
        return _completed(entry, tick)
    if stage is Stage.PROGRESSING and stalled(entry, count, tick.now) and not _held(entry):
        waited = f"no progress for {strategy(entry).progress_deadline_s:g} s"
        return _failed(entry, f"{waited}{_worst(standing, entry)}", tick)
    return entry


def _held(entry: Entry) -> bool:
    """Return whether a person stopped the rollout: it is not judged then, nor is it ever late."""
    return entry.deployment.paused


def _completed(entry: Entry, tick: Tick) -> Entry:
    rollout = entry.rollout
    kind = "rolled-back" if rollout.reverting else "rolled-out"
    tick.event(entry.deployment.name, kind, f"revision {rollout.target} is all there is")
    done = replace(
        rollout, stage=Stage.COMPLETE, stable=rollout.target, reverting=False, canary_since=0.0
    )
    return replace(_marked(entry, ""), rollout=done)


def _failed(entry: Entry, reason: str, tick: Tick) -> Entry:
    """Go back where that is wanted and possible; say why in every case."""
    entry = _marked(entry, reason)
    rollout, on_failure = entry.rollout, entry.deployment.update.on_failure
    can_revert = rollout.stable and rollout.stable != rollout.target and not rollout.reverting
    if can_revert and (on_failure is OnFailure.ROLLBACK or rollout.stage is Stage.CANARY):
        return reverted(entry, reason, tick)
    name = entry.deployment.name
    tick.event(name, "rollout-failed", f"revision {rollout.target}: {reason}")
    return replace(entry, rollout=replace(rollout, stage=Stage.FAILED, reason=reason))


def _marked(entry: Entry, failure: str) -> Entry:
    """Return the entry with what became of its target: nobody wants a failure back."""
    target = entry.rollout.target
    revisions = tuple(
        replace(revision, failure=failure) if revision.number == target else revision
        for revision in entry.revisions
    )
    return replace(entry, revisions=revisions)


def reverted(entry: Entry, reason: str, tick: Tick) -> Entry:
    """Return the entry on its way back to its stable revision."""
    rollout = entry.rollout
    text = f"revision {rollout.target} was rolled back to {rollout.stable}: {reason}"
    tick.event(entry.deployment.name, "rollback", text)
    template = entry.revision(rollout.stable).template
    deployment = replace(entry.deployment, template=template)
    entry = without_trial(entry, tick.now)
    return replace(entry, deployment=deployment, rollout=revert(rollout, text, tick.now))


def without_trial(entry: Entry, now: float) -> Entry:
    """Return the entry with its canaries on their way out, where it has any.

    They stand beside the full number, so nobody is missed; whoever judged them badly must not meet
    them again among the others, where a rollout may take its time, or is held.
    """
    if entry.rollout.stage is not Stage.CANARY:
        return entry
    slots = tuple(
        slot
        if slot.state is State.DRAINING or slot.revision == entry.rollout.stable
        else drained(slot, "the canary is over", now)
        for slot in entry.slots
    )
    return replace(entry, slots=slots)


def _worst(standing: list[Standing], entry: Entry) -> str:
    """Return what the new revision's replicas last said, if anything."""
    new = standings_of(standing, entry.rollout.target)
    said = (_complaint(s) for s in new if not s.available)
    return next(
        (f"; {reason}" for reason in said if reason), entry.pending and f"; {entry.pending}"
    )


def _complaint(standing: Standing) -> str:
    """Return what its probes find, or why it had to be restarted."""
    return (standing.replica.problem if standing.replica else "") or standing.slot.reason


# ---- the canary ---------------------------------------------------------------------------------


def _on_trial(entry: Entry, standing: list[Standing], count: int, tick: Tick) -> Entry:
    policy, rollout = entry.deployment.canary, entry.rollout
    if policy is None:
        return _promoted(entry, "the canary was taken out of the deployment", tick)
    trial = [s for s in standings_of(standing, rollout.target) if s.slot.state is not State.ENDED]
    if any(s.slot.failures >= CRASH_LOOP for s in trial):
        return _failed(entry, f"the canary does not run{_worst(standing, entry)}", tick)
    if not rollout.canary_since:
        wanted = canary.size(policy, count)
        if wanted and len(trial) >= wanted and all(s.available for s in trial):
            base = dict(_pools(tick.observed.traffic.get(entry.deployment.name)))
            begun = replace(rollout, canary_since=tick.now, canary_base=base)
            return replace(entry, rollout=begun)
        if stalled(entry, count, tick.now):
            return _failed(entry, f"no canary became available{_worst(standing, entry)}", tick)
        return entry
    return _judged(entry, tick)


def _judged(entry: Entry, tick: Tick) -> Entry:
    rollout, name = entry.rollout, entry.deployment.name
    traffic = tick.observed.traffic.get(name)
    if traffic is None or entry.deployment.canary is None:
        return entry
    pools, base = _pools(traffic), rollout.canary_base
    stable, trial = (
        canary.since(pools[pool], base.get(pool, Totals())) for pool in (STABLE, CANARY)
    )
    held_s = tick.now - rollout.canary_since
    verdict = canary.judge(entry.deployment.canary, stable, trial, held_s)
    if verdict.judgement is Judgement.HOLD:
        return entry
    tick.event(name, f"canary-{verdict.judgement}", verdict.reason, verdict.inputs)
    if verdict.judgement is Judgement.PROMOTE:
        return _promoted(entry, verdict.reason, tick)
    return _failed(entry, verdict.reason, tick)


def _pools(traffic: Traffic | None) -> dict[str, Totals]:
    pools = traffic.pools if traffic else {}
    return {pool: pools.get(pool, Totals()) for pool in (STABLE, CANARY)}


def _promoted(entry: Entry, reason: str, tick: Tick) -> Entry:
    tick.event(entry.deployment.name, "promoted", f"revision {entry.rollout.target}: {reason}")
    return replace(entry, rollout=promoted(entry.rollout, tick.now))


def promoted(rollout: Rollout, now: float) -> Rollout:
    """Return the rollout past its canary."""
    return replace(
        rollout, stage=Stage.PROGRESSING, progress_at=now, best=NOTHING_YET, canary_since=0.0
    )


def standings_of(standing: list[Standing], revision: int) -> list[Standing]:
    """Return the standings of one revision."""
    return [s for s in standing if s.slot.revision == revision]


def plan(entry: Entry, standing: list[Standing], count: int) -> Moves:
    """Return the next moves; a canary stands beside the full number of stable replicas."""
    policy, rollout = entry.deployment.canary, entry.rollout
    if rollout.stage is not Stage.CANARY or policy is None:
        return moves(entry, standing, count)
    trial = standings_of(standing, rollout.target)
    others = [s for s in standing if s.slot.revision != rollout.target]
    base = replace(entry, rollout=replace(rollout, target=rollout.stable))
    stable = moves(base, others, count)
    wanted = canary.size(policy, count)
    leftover = [s for s in others if s.slot.revision != rollout.stable and not s.available]
    drain = {s.slot.id: s.slot for s in (*trial[wanted:], *leftover)}
    drain.update((slot.id, slot) for slot in stable.drain)
    room = count + fenceposts(strategy(entry), count)[0] + wanted - len(standing)
    room -= sum(stable.grow.values())
    grow = {**stable.grow, rollout.target: max(0, min(room, wanted - len(trial)))}
    return Moves(grow, tuple(drain.values()))
