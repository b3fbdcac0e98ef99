"""What one pass of the reconciler works with: the world, and the decisions so far.

A Tick is made anew for every pass and thrown away with it. Everything the decisions depend on is in
it; everything they come to is collected in it.

May not import anything with an effect. Next: ``slots.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from .actions import Effect, Event, Outcome
from .entry import Desired, Entry, Slot, State
from .observed import Observed, Phase, Replica, Server
from .rollout import Standing, strategy


class Tick:
    """One pass: inputs that do not change, and outputs that grow."""

    def __init__(self, desired: Desired, observed: Observed, now: float) -> None:
        self.before = desired.entries
        self.entries: dict[str, Entry | None] = dict(desired.entries)
        self.quotas = desired.quotas
        self.observed = observed
        self.now = now
        self.effects: list[Effect] = []
        self.events: list[Event] = []

    def event(
        self, deployment: str, kind: str, message: str, inputs: Mapping[str, object] | None = None
    ) -> None:
        """Tell something about a deployment."""
        self.events.append(Event(deployment, kind, message, inputs or {}))

    def live(self) -> Iterable[Entry]:
        """Yield the entries as decided so far."""
        return (entry for entry in self.entries.values() if entry is not None)

    @cached_property
    def inhabited(self) -> frozenset[str]:
        """Return which deployments have a replica, be it one that is being removed."""
        return frozenset(replica.deployment for replica in self.observed.replicas.values())

    def is_gone(self, replica_id: str) -> bool:
        """Return whether a replica that was to go has ended, or will never be started."""
        if replica := self.observed.replicas.get(replica_id):
            return replica.has_ended
        entry = self.entries.get(replica_id.rpartition(".")[0])
        return entry is None or all(slot.id != replica_id for slot in entry.slots)

    def outcome(self) -> Outcome:
        """Return what was decided; every changed entry notes when."""
        changed = {
            name: entry and replace(entry, decided_at=self.now)
            for name, entry in self.entries.items()
            if entry is not self.before[name] and entry != self.before[name]
        }
        return Outcome(changed, tuple(self.effects), tuple(self.events))


def is_served(entry: Entry) -> bool:
    """Return whether the gateway sends requests to this deployment's replicas."""
    template = entry.deployment.template
    return bool(template.port or template.socket) and entry.deployment.kind == "service"


def holds_room(slot: Slot, observed: Observed) -> bool:
    """Return whether a slot's room is taken: who leaves gives it back with its process.

    Its container may be removed later, which nobody who needs the room has to wait for.
    """
    replica = observed.replicas.get(slot.id)
    return slot.state is not State.DRAINING or replica is None or not replica.has_ended


def is_ready(replica: Replica | None) -> bool:
    """Return whether a replica may get requests."""
    return (
        replica is not None
        and replica.ready_since is not None
        and replica.phase is Phase.RUNNING
        and replica.alive
    )


def standings(entry: Entry, tick: Tick) -> list[Standing]:
    """Return how every wanted slot stands.

    Available means ready for ``min_ready_s`` and, where requests come through the gateway, in its
    rotation: a replica that nobody can reach replaces nothing.
    """
    served, min_ready_s = is_served(entry), strategy(entry).min_ready_s
    found = []
    for slot in entry.slots:
        if slot.state is State.DRAINING:
            continue
        replica = tick.observed.replicas.get(slot.id) if slot.state is State.PLACED else None
        server = tick.observed.servers.get(slot.id)
        ready = is_ready(replica) and (not served or _in_rotation(server))
        since = replica.ready_since if ready and replica else None
        available = since is not None and tick.now - since >= min_ready_s
        in_flight = server.in_flight if server else 0
        found.append(Standing(slot, replica, ready, available, in_flight))
    return found


def _in_rotation(server: Server | None) -> bool:
    return server is not None and not server.draining


def drained(slot: Slot, reason: str, now: float) -> Slot:
    """Return a slot that is not wanted any more."""
    return replace(slot, state=State.DRAINING, since=now, reason=reason, after=())
