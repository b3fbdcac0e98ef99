"""The whole control loop as one function: what is wanted and what exists go in, decisions come out.

    reconcile(desired, observed, now) -> Outcome(entries to commit, effects to do, events to tell)

It changes nothing and remembers nothing. Called again with news, it says what is still missing;
called again when all is well, it says nothing. Most deployments are well most of the time, so the
first question is whether one is, and it is asked in one loop over its slots.

May not import anything with an effect. Read on in ``slots.py``, ``stages.py``, ``space.py`` and
``effects.py``; ``apply.py`` is how a person's wish gets into an entry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from . import effects, jobs, slots, stages
from .actions import Outcome, SetRoute
from .autoscale import SLOW_START_S, Situation, decide
from .entry import Desired, Entry, Scale, Slot, Stage, State
from .model import Kind
from .observed import Observed, Phase, Replica
from .rollout import Standing, progressed
from .space import Space
from .tick import Tick, drained, is_ready, is_served, standings


def reconcile(desired: Desired, observed: Observed, now: float) -> Outcome:
    """Compare what is wanted with what exists.

    Args:
        desired: the whole store.
        observed: one look at the world. An entry that was decided on after the look began is left
            alone: old news would undo the decision.
        now: monotonic seconds.
    """
    tick = Tick(desired, observed, now)
    space = Space(tick)
    known = {slot.id for entry in desired.entries.values() for slot in entry.slots}
    strangers = _strangers(known, tick)
    busy = []
    for name in _most_important_first(desired):
        if observed.at <= desired.entries[name].decided_at:
            continue
        if not _all_is_well(name, tick) or name in strangers:
            tick.entries[name] = _step(name, strangers.get(name, []), tick, space)
            busy.append(name)
    for name in busy:
        if entry := tick.entries[name]:
            tick.effects.extend(effects.of_entry(entry, tick))
            known.update(slot.id for slot in entry.slots)
    tick.effects.extend(effects.of_strangers(known, tick))
    return tick.outcome()


def _most_important_first(desired: Desired) -> Iterable[str]:
    entries = desired.entries
    return sorted(entries, key=lambda name: (-entries[name].deployment.priority, name))


def _strangers(known: set[str], tick: Tick) -> dict[str, list[Replica]]:
    """Return running replicas that no slot accounts for, by deployment."""
    found: dict[str, list[Replica]] = {}
    for replica_id in tick.observed.replicas.keys() - known:
        replica = tick.observed.replicas[replica_id]
        if replica.deployment in tick.entries and not replica.has_ended:
            found.setdefault(replica.deployment, []).append(replica)
    return found


# ---- the common case ----------------------------------------------------------------------------


def _all_is_well(name: str, tick: Tick) -> bool:
    """Return whether a service is complete and serving; note its route and scale on the way."""
    entry = tick.entries[name]
    if entry is None or entry.deleted or entry.pending or entry.deployment.kind != Kind.SERVICE:
        return False
    rollout = entry.rollout
    if rollout.stage is not Stage.COMPLETE or not _all_serve(entry, tick):
        return False
    entry, count = _scaled(entry, len(entry.slots), tick)
    tick.entries[name] = entry
    if count != len(entry.slots) or count != rollout.count:
        return False
    if is_served(entry) and tick.observed.routes.get(name) != (
        route := effects.route_of(entry, tick)
    ):
        tick.effects.append(SetRoute(route))
    return True


def _all_serve(entry: Entry, tick: Tick) -> bool:
    replicas, servers, target = tick.observed.replicas, tick.observed.servers, entry.rollout.target
    served, running, placed = is_served(entry), Phase.RUNNING, State.PLACED
    for slot in entry.slots:
        if slot.state is not placed or slot.revision != target:
            return False
        replica = replicas.get(slot.id)
        if replica is None or replica.phase is not running or not replica.alive:
            return False
        if served:
            server = servers.get(slot.id)
            if server is None or server.draining or server.pool != effects.STABLE:
                return False
            if replica.ready_since is None:
                return False
    return True


# ---- everything else ----------------------------------------------------------------------------


def _step(name: str, strangers: list[Replica], tick: Tick, space: Space) -> Entry | None:
    entry = tick.entries[name]
    if entry is None:
        return None
    entry = slots.adopt(entry, strangers, tick)
    entry = slots.forget_gone(entry, tick)
    if entry.deleted:
        return _ended(entry, tick)
    if entry.deployment.kind is not Kind.SERVICE:
        return slots.restarted(jobs.step(entry, tick, space), tick)
    entry = slots.follow(entry, tick)
    entry, count = _scaled(entry, _ready(entry, tick), tick)
    standing = standings(entry, tick)
    entry = stages.advance(entry, standing, count, tick)
    entry = _resized(entry, standing, count, tick, space)
    return _noted(entry, standing, count, tick)


def _ready(entry: Entry, tick: Tick) -> int:
    replicas = (tick.observed.replicas.get(s.id) for s in entry.slots if s.state is State.PLACED)
    return sum(map(is_ready, replicas))


def _ended(entry: Entry, tick: Tick) -> Entry | None:
    """Drain what is left of a deleted deployment; None when not even a container is."""
    if not entry.slots and entry.deployment.name not in tick.inhabited:
        tick.event(entry.deployment.name, "deleted", "nothing of it is left")
        return None
    return _drain(entry, [s for s in entry.slots if s.state is not State.DRAINING], tick, "deleted")


def _drain(entry: Entry, leaving: Iterable[Slot], tick: Tick, why: str) -> Entry:
    ids = {slot.id for slot in leaving}
    if not ids:
        return entry
    changed = tuple(drained(s, why, tick.now) if s.id in ids else s for s in entry.slots)
    return replace(entry, slots=changed)


def _scaled(entry: Entry, ready: int, tick: Tick) -> tuple[Entry, int]:
    """Return the number of replicas wanted, after the autoscaler where there is one."""
    deployment, spec, before = entry.deployment, entry.deployment.autoscale, entry.scale
    if spec is None:
        return entry, deployment.replicas
    traffic = tick.observed.traffic.get(deployment.name)
    due = tick.now >= before.next_tick_at or before.desired == 0 or before.desired is None
    at = _situation(entry, ready, tick, due=due)
    scale = decide(spec, before, traffic, at, tick.now)
    if scale is before:
        return entry, before.desired or 0
    if (scale.desired, scale.reason) != (before.desired, before.reason):
        step = "" if before.desired in (None, scale.desired) else f"{before.desired} to "
        text = f"{step}{scale.desired} replicas: {scale.reason}"
        tick.event(deployment.name, "scaled", text, _inputs(entry, scale, at, tick))
    return replace(entry, scale=scale), scale.desired or 0


def _situation(entry: Entry, ready: int, tick: Tick, *, due: bool) -> Situation:
    spec, template = entry.deployment.autoscale, entry.deployment.template
    delta = (spec.delta_bytes if spec else 0) or template.requests.memory_bytes
    free = tick.observed.host.memory_free_bytes
    slow = due and any(_was_slow(tick.observed.replicas.get(slot.id)) for slot in entry.slots)
    unproven = entry.rollout.stage is Stage.PROGRESSING
    return Situation(ready, entry.scale.desired or 0, free, delta, slow, unproven)


def _was_slow(replica: Replica | None) -> bool:
    return replica is not None and (replica.loaded_in_s or 0.0) > SLOW_START_S


def _inputs(entry: Entry, scale: Scale, at: Situation, tick: Tick) -> dict[str, object]:
    traffic = tick.observed.traffic.get(entry.deployment.name)
    names = "stable_concurrency panic_concurrency stable_rps panic_rps cpu_percent held".split()
    seen = {name: getattr(traffic, name) for name in names} if traffic else {}
    spec = entry.deployment.autoscale
    names = "concurrency rps cpu_percent utilization minimum maximum".split()
    asked = {f"spec_{name}": value for name in names if (value := getattr(spec, name, None))}
    return {
        **seen,
        **asked,
        "ready": at.ready,
        "before": at.current,
        "after": scale.desired,
        "panic": scale.panic_since is not None,
        "memory_free_bytes": at.memory_free_bytes,
    }


def _resized(entry: Entry, standing: list[Standing], count: int, tick: Tick, space: Space) -> Entry:
    """Drain what is too much, find room for what is missing, and say what could not be placed."""
    plan = stages.plan(entry, standing, count)
    entry = _drain(entry, plan.drain, tick, "not wanted any more")
    space.release(plan.drain)
    reasons = []
    for revision, number in plan.grow.items():
        if number > 0:
            entry, why = space.grow(entry, revision, number, count)
            reasons += [why] if why else []
    pending = "; ".join(reasons)
    if pending and pending != entry.pending:
        tick.event(entry.deployment.name, "pending", pending)
    return entry if pending == entry.pending else replace(entry, pending=pending)


def _noted(entry: Entry, standing: list[Standing], count: int, tick: Tick) -> Entry:
    """Remember how far the rollout has come."""
    before = entry.rollout
    if before.stage is Stage.COMPLETE and before.count == count:
        return entry
    after = progressed(before, standing, count, tick.now)
    return entry if after is before else replace(entry, rollout=after)
