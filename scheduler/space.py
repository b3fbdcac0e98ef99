"""Room for new replicas, over all deployments: now, later, or at someone else's cost.

Two ledgers: ``now`` counts everything that still holds room, ``later`` leaves out what is already
on its way out. A replica that fits now is started; one that fits later is given its place and waits
for those before it; one that fits neither may preempt. Its place is its own from then on, so nobody
less important can slip in between.

May not import anything with an effect. Next: ``effects.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from .entry import Entry, Slot, State
from .model import Resources
from .observed import Grant
from .placement import Ledger, Refusal, over_quota, place
from .preemption import Candidate, choose
from .rollout import fenceposts, strategy
from .tick import Tick, drained, holds_room


class Space:
    """The host's room, as decided so far in this pass."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick

    @cached_property
    def _now(self) -> Ledger:
        """Read the slots once, and only in a pass that places anything."""
        return Ledger(self._tick.observed.host, _holding(self._tick, self._tick.live()))

    @cached_property
    def _later(self) -> Ledger:
        slots = (s for e in self._tick.live() for s in e.slots if s.state is not State.DRAINING)
        return Ledger(self._tick.observed.host, slots)

    def grow(self, entry: Entry, revision: int, number: int, wanted: int) -> tuple[Entry, str]:
        """Add slots of a revision; return the entry and why not all of them could be added."""
        self._prepare(entry)
        need = entry.revision(revision).template.requests
        for _ in range(number):
            found = self._find(entry, need, wanted)
            if isinstance(found, Refusal):
                return entry, found.reason
            grants, after = found
            name, serial = entry.deployment.name, entry.next_serial
            slot = Slot(f"{name}.{serial}", revision, grants, since=self._tick.now, after=after)
            entry = replace(entry, slots=(*entry.slots, slot), next_serial=serial + 1)
            self._tick.entries[name] = entry
        return entry, ""

    def _prepare(self, entry: Entry) -> None:
        """Read the ledgers with this entry as it is by now."""
        self._tick.entries[entry.deployment.name] = entry
        _ = self._now, self._later

    def release(self, slots: tuple[Slot, ...]) -> None:
        """Note that slots have become draining."""
        if "_later" in self.__dict__:
            for slot in slots:
                self._later.give_back(slot.grants)

    def _find(
        self, entry: Entry, need: Resources, wanted: int
    ) -> tuple[tuple[Grant, ...], tuple[str, ...]] | Refusal:
        """Return room and whom to wait for, or why there is none."""
        if refusal := self._quota(entry, need):
            return refusal
        spread, near = entry.deployment.spread, _neighbours(entry)
        found = place(need, self._now, spread, neighbours=near, wanted=wanted)
        if not isinstance(found, Refusal):
            self._later.take(found)
            return found, ()
        later = place(need, self._later, spread, neighbours=near, wanted=wanted)
        if isinstance(later, Refusal) and self._preempt(entry, need):
            later = place(need, self._later, spread, neighbours=near, wanted=wanted)
        if isinstance(later, Refusal):
            return later
        self._now.take(later)
        return later, self._leaving(later)

    def _leaving(self, grants: tuple[Grant, ...]) -> tuple[str, ...]:
        """Return the draining slots on the nodes of these grants."""
        nodes = {grant.node for grant in grants}
        return tuple(
            slot.id
            for slot in _holding(self._tick, self._tick.live())
            if slot.state is State.DRAINING and any(g.node in nodes for g in slot.grants)
        )

    def _preempt(self, entry: Entry, need: Resources) -> bool:
        """Drain what is less important, where that makes room."""
        priority, name = entry.deployment.priority, entry.deployment.name
        victims = choose(need, priority, self._later, self._candidates(priority))
        for victim in victims:
            self._evict(victim, f"preempted by {name}, priority {priority} over {victim.priority}")
        return bool(victims)

    def _evict(self, victim: Candidate, reason: str) -> None:
        entry = self._tick.entries[victim.deployment]
        if entry is None:
            return
        slots = tuple(
            drained(slot, reason, self._tick.now) if slot.id == victim.id else slot
            for slot in entry.slots
        )
        self._tick.entries[victim.deployment] = replace(entry, slots=slots)
        self._later.give_back(victim.grants)
        self._tick.event(victim.deployment, "preempted", f"{victim.id}: {reason}")

    def _candidates(self, priority: int) -> list[Candidate]:
        found = []
        for entry in self._tick.live():
            deployment = entry.deployment
            if deployment.priority >= priority:
                continue
            _, parallel = fenceposts(strategy(entry), deployment.replicas)
            found += [
                Candidate(slot.id, deployment.name, deployment.priority, slot.grants, parallel)
                for slot in entry.slots
                if slot.state is not State.DRAINING and slot.grants
            ]
        return found

    def _quota(self, entry: Entry, need: Resources) -> Refusal | None:
        name = entry.deployment.quota
        if not name:
            return None
        quota = self._tick.quotas.get(name)
        if quota is None:
            return Refusal(f"quota {name} does not exist")
        used, replicas = _used(self._tick, name)
        return over_quota(quota, used, replicas, need)


def _holding(tick: Tick, entries: Iterable[Entry]) -> Iterator[Slot]:
    """Yield the slots whose room is not free."""
    return (slot for e in entries for slot in e.slots if holds_room(slot, tick.observed))


def _neighbours(entry: Entry) -> Counter[str]:
    """Count an entry's replicas by node."""
    return Counter(
        grant.node
        for slot in entry.slots
        if slot.state is not State.DRAINING
        for grant in slot.grants
    )


def _used(tick: Tick, quota: str) -> tuple[Resources, int]:
    """Return what the deployments of a quota hold, what is draining and still runs included."""
    mine = (e for e in tick.live() if e.deployment.quota == quota)
    slots = list(_holding(tick, mine))
    grants = [grant for slot in slots for grant in slot.grants]
    used = Resources(
        sum(grant.cpu_millis for grant in grants),
        sum(grant.memory_bytes for grant in grants),
        sum(len(grant.gpus) for grant in grants),
    )
    return used, len(slots)
