"""Where a replica goes: admission by requests, then Nomad's scores over the parts of the host.

A node is a NUMA node with its CPUs, its memory and the devices near it. A replica goes to one node;
only where it is larger than every node does it get room on several. The scores are BestFit v3 and
its mirror image:

    total   = 10^free_cpu + 10^free_memory       shares that would be free afterwards, so 2 … 20
    binpack = clamp(20 - total, 0, 18) / 18      few nodes used well: work that may wait
    spread  = clamp(total - 2, 0, 18) / 18       all nodes used evenly: work that may not

What does not fit says why, with the numbers. May not import anything with an effect. Next:
``preemption.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .entry import Slot
from .model import Quota, Resources, Spread
from .observed import Grant, Host, Node
from .units import amount

#: Up to so many nodes all are scored; of more, as many as Nomad looks at: max(2, log2 n).
SCORE_ALL = 16
MAX_SKIPPED = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be placed; ``forever`` where no waiting helps."""

    reason: str
    forever: bool = False


class Room:
    """What is free on one node; changed as grants are taken and given back."""

    __slots__ = ("cpu_millis", "gpus", "memory_bytes", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpu_millis = node.cpu_millis
        self.memory_bytes = node.memory_bytes
        self.gpus = list(node.gpus)

    def holds(self, need: Resources) -> bool:
        """Return whether the request fits here now."""
        return (
            need.cpu_millis <= self.cpu_millis
            and need.memory_bytes <= self.memory_bytes
            and need.gpus <= len(self.gpus)
        )

    def take(self, grant: Grant) -> None:
        """Take a grant's room away."""
        self.cpu_millis -= grant.cpu_millis
        self.memory_bytes -= grant.memory_bytes
        for gpu in grant.gpus:
            if gpu in self.gpus:
                self.gpus.remove(gpu)

    def give_back(self, grant: Grant) -> None:
        """Make a grant's room free again."""
        self.cpu_millis += grant.cpu_millis
        self.memory_bytes += grant.memory_bytes
        self.gpus.extend(grant.gpus)


class Ledger:
    """What is free on every node of the host."""

    def __init__(self, host: Host, slots: Iterable[Slot] = ()) -> None:
        self.rooms = {node.id: Room(node) for node in host.nodes}
        self.cordoned = host.cordoned
        for slot in slots:
            self.take(slot.grants)

    def take(self, grants: Sequence[Grant]) -> None:
        """Take room; a node that has gone away has none to take."""
        for grant in grants:
            if room := self.rooms.get(grant.node):
                room.take(grant)

    def give_back(self, grants: Sequence[Grant]) -> None:
        """Make the room of grants free again."""
        for grant in grants:
            if room := self.rooms.get(grant.node):
                room.give_back(grant)


def place(
    need: Resources,
    ledger: Ledger,
    spread: Spread,
    *,
    neighbours: Mapping[str, int],
    wanted: int = 1,
) -> tuple[Grant, ...] | Refusal:
    """Find room for one replica and take it.

    Args:
        need: what it requests.
        ledger: what is free; changed where room was found.
        spread: which score to go by.
        neighbours: replicas of the same deployment, by node; they repel each other.
        wanted: how many replicas the deployment has in all, for the weight of that.
    """
    if ledger.cordoned:
        return Refusal("the host is being drained")
    rooms = ledger.rooms.values()
    found: tuple[Grant, ...] | Refusal = _on_one_node(need, ledger, spread, neighbours, wanted)
    if not found:
        is_large = _is_oversized(need, rooms)
        found = _on_several(need, rooms) if is_large else Refusal(_shortage(need, rooms))
    if not isinstance(found, Refusal):
        ledger.take(found)
    return found


def _on_one_node(
    need: Resources, ledger: Ledger, spread: Spread, neighbours: Mapping[str, int], wanted: int
) -> tuple[Grant, ...]:
    best, best_score = None, -math.inf
    seen, skipped, limit = 0, 0, _limit(len(ledger.rooms))
    for room in ledger.rooms.values():
        if not room.holds(need):
            continue
        value = score(need, room, spread, neighbours.get(room.node.id, 0), wanted)
        if value > best_score:
            best, best_score = room, value
        if value <= 0 and skipped < MAX_SKIPPED:
            skipped += 1
            continue
        seen += 1
        if seen >= limit:
            break
    return (_grant(need, best),) if best else ()


def _limit(nodes: int) -> int:
    return nodes if nodes <= SCORE_ALL else max(2, math.ceil(math.log2(nodes)))


def score(need: Resources, room: Room, spread: Spread, neighbours: int, wanted: int) -> float:
    """Return how good a node is: the mean of the scores that have something to say."""
    fit = fitness(
        _share(room.cpu_millis - need.cpu_millis, room.node.cpu_millis),
        _share(room.memory_bytes - need.memory_bytes, room.node.memory_bytes),
        spread,
    )
    return (fit - (neighbours + 1) / wanted) / 2 if neighbours else fit


def fitness(free_cpu: float, free_memory: float, spread: Spread) -> float:
    """Return BestFit v3 for the shares that would be free afterwards.

    >>> fitness(0.0, 0.0, Spread.BINPACK), fitness(1.0, 1.0, Spread.BINPACK)
    (1.0, 0.0)
    """
    total: float = 10.0**free_cpu + 10.0**free_memory
    raw = 20 - total if spread is Spread.BINPACK else total - 2
    return min(max(raw, 0.0), 18.0) / 18


def _share(free: int, capacity: int) -> float:
    return free / capacity if capacity else 0.0


def _grant(need: Resources, room: Room) -> Grant:
    gpus = tuple(room.gpus[: need.gpus])
    return Grant(room.node.id, need.cpu_millis, need.memory_bytes, gpus)


# ---- more than one node holds -------------------------------------------------------------------


def _is_oversized(need: Resources, rooms: Iterable[Room]) -> bool:
    """Return whether no node would hold the request even if it were empty."""
    return not any(Room(room.node).holds(need) for room in rooms)


def _on_several(need: Resources, rooms: Iterable[Room]) -> tuple[Grant, ...] | Refusal:
    """Take from the emptiest nodes until the request is met."""
    order = sorted(rooms, key=lambda room: -room.cpu_millis)
    cpu, memory, gpus = need.cpu_millis, need.memory_bytes, need.gpus
    grants = []
    for room in order:
        share = Resources(
            max(0, min(cpu, room.cpu_millis)),
            max(0, min(memory, room.memory_bytes)),
            min(gpus, len(room.gpus)),
        )
        cpu, memory, gpus = cpu - share.cpu_millis, memory - share.memory_bytes, gpus - share.gpus
        if share != Resources():
            grants.append(_grant(share, room))
    if cpu or memory or gpus:
        return _too_large(need, order)
    return tuple(grants)


def _too_large(need: Resources, rooms: Sequence[Room]) -> Refusal:
    """Say what the whole host lacks, and whether it lacks it even when empty."""
    host = Node(
        "host",
        sum(room.node.cpu_millis for room in rooms),
        sum(room.node.memory_bytes for room in rooms),
        tuple(gpu for room in rooms for gpu in room.node.gpus),
    )
    whole = Room(host)
    if not whole.holds(need):
        return Refusal(f"larger than the host: {_lack(need, whole)}", forever=True)
    whole.cpu_millis = sum(room.cpu_millis for room in rooms)
    whole.memory_bytes = sum(room.memory_bytes for room in rooms)
    whole.gpus = [gpu for room in rooms for gpu in room.gpus]
    return Refusal(f"no room: {_lack(need, whole)}")


def never_fits(need: Resources, host: Host) -> Refusal | None:
    """Return why a request can never be met on this host, or None; the API answers 422 with it."""
    ledger = Ledger(Host(host.nodes))
    found = place(need, ledger, Spread.SPREAD, neighbours={})
    return found if isinstance(found, Refusal) else None


# ---- why not ------------------------------------------------------------------------------------


def _shortage(need: Resources, rooms: Iterable[Room]) -> str:
    lacks = [f"{room.node.id}: {_lack(need, room)}" for room in rooms]
    shown = "; ".join(lacks[:4]) + (f"; and {len(lacks) - 4} more" if len(lacks) > 4 else "")
    return f"no room: {shown}" if lacks else "no room: the host has no nodes"


def _lack(need: Resources, room: Room) -> str:
    """Return what is short, as in ``memory: needs 2 GiB, 512 MiB free``."""
    short = [
        f"{name} needs {amount(name, needed)}, {amount(name, max(0, free))} free"
        for name, needed, free in (
            ("cpu", need.cpu_millis, room.cpu_millis),
            ("memory", need.memory_bytes, room.memory_bytes),
            ("gpu", need.gpus, len(room.gpus)),
        )
        if needed > free
    ]
    return ", ".join(short)


def over_quota(quota: Quota, used: Resources, replicas: int, need: Resources) -> Refusal | None:
    """Return why one more replica would break a quota, or None."""
    for name, limit, taken, asked in (
        ("replicas", quota.replicas, replicas, 1),
        ("cpu", quota.cpu_millis, used.cpu_millis, need.cpu_millis),
        ("memory", quota.memory_bytes, used.memory_bytes, need.memory_bytes),
        ("gpu", quota.gpus, used.gpus, need.gpus),
    ):
        if limit is not None and taken + asked > limit:
            numbers = f"{amount(name, taken)} of {amount(name, limit)} used"
            return Refusal(f"quota {quota.name}: {name} needs {amount(name, asked)}, {numbers}")
    return None
