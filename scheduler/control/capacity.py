"""The host: what it has, what of it is given to whom, and emptying it.

Next: ``access.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..actions import Event
from ..entry import Desired, Entry, State
from ..observed import Grant, Node
from ..store import Change
from ..tick import drained, holds_room
from .context import Control


@dataclass(frozen=True, slots=True)
class Amounts:
    """So much CPU, memory, and which devices."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A part of the host: what may be given to replicas, and what is."""

    id: str
    capacity: Amounts
    allocated: Amounts


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one replica holds."""

    replica: str
    deployment: str
    state: str
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The host and everything that is given away; ``memory_free_bytes`` is None where unknown."""

    cordoned: bool
    memory_free_bytes: int | None
    nodes: tuple[NodeStatus, ...]
    allocations: tuple[Allocation, ...]


def host_status(control: Control) -> HostStatus:
    """Return what the host has and what of it is given away."""
    observed, entries = control.observed(), control.store.load().entries
    allocations = tuple(
        Allocation(slot.id, name, slot.state, slot.grants)
        for name, entry in sorted(entries.items())
        for slot in entry.slots
        if slot.grants and holds_room(slot, observed)
    )
    grants = [grant for allocation in allocations for grant in allocation.grants]
    host = observed.host
    nodes = tuple(_node(node, [g for g in grants if g.node == node.id]) for node in host.nodes)
    return HostStatus(control.store.cordoned(), host.memory_free_bytes, nodes, allocations)


def _node(node: Node, grants: list[Grant]) -> NodeStatus:
    return NodeStatus(
        node.id, Amounts(node.cpu_millis, node.memory_bytes, node.gpus), total(grants)
    )


def total(grants: list[Grant]) -> Amounts:
    """Return the sum of grants."""
    return Amounts(
        sum(grant.cpu_millis for grant in grants),
        sum(grant.memory_bytes for grant in grants),
        tuple(gpu for grant in grants for gpu in grant.gpus),
    )


def cordon(control: Control, *, cordoned: bool) -> None:
    """Let nothing new be placed here, or let it again."""
    control.store.set_cordoned(cordoned)


def drain(control: Control, by: str) -> None:
    """Cordon the host and ask every replica to go; deployments then wait for a place."""
    control.store.set_cordoned(True)
    now = control.clock()

    def decide(desired: Desired) -> Change:
        entries = {name: _emptied(entry, now) for name, entry in desired.entries.items()}
        changed = {name: e for name, e in entries.items() if e is not desired.entries[name]}
        text = "the host is being drained"
        events = tuple(Event(name, "drained", text, {"by": by}) for name in changed)
        return Change(changed, events=events)

    control.store.transact(decide)


def _emptied(entry: Entry, now: float) -> Entry:
    if all(slot.state is State.DRAINING for slot in entry.slots):
        return entry
    why = "the host is being drained"
    slots = (s if s.state is State.DRAINING else drained(s, why, now) for s in entry.slots)
    return replace(entry, slots=tuple(slots))
