"""Who has to make room for something more important: Nomad's choice.

Only what is at least ten priorities lower may be taken, so equals never fight. Of the lowest
priority first, whoever's size is nearest to what is still missing goes first; a deployment that has
already lost as many as it may lose at a time is spared where others can do. In the end, whoever
turns out not to have been needed stays.

May not import anything with an effect. Next: ``reconcile.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .model import Resources
from .observed import Grant
from .placement import Ledger, Room

PRIORITY_GAP = 10
PARALLEL_PENALTY = 50.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A replica that might have to go.

    ``parallel`` is how many its deployment may lose at a time, by its update strategy.
    """

    id: str
    deployment: str
    priority: int
    grants: tuple[Grant, ...]
    parallel: int = 1


def choose(
    need: Resources, priority: int, ledger: Ledger, candidates: Sequence[Candidate]
) -> tuple[Candidate, ...]:
    """Return whom to preempt so that one node holds the request, or () where nobody helps.

    Of several nodes, the one whose most important loss is the least important, then the fewest.
    """
    lower = [c for c in candidates if priority - c.priority >= PRIORITY_GAP]
    plans = (_on_node(need, room, lower) for room in ledger.rooms.values())
    return min((plan for plan in plans if plan), key=_cost, default=())


def _cost(plan: tuple[Candidate, ...]) -> tuple[int, int]:
    return max(candidate.priority for candidate in plan), len(plan)


def _on_node(need: Resources, room: Room, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    here = [(c, _held(c, room.node.id)) for c in candidates]
    left = [(c, held) for c, held in here if held != Resources()]
    free = Resources(room.cpu_millis, room.memory_bytes, len(room.gpus))
    chosen: list[tuple[Candidate, Resources]] = []
    missing, lost = need, dict[str, int]()
    while not _fits(need, free):
        if not left:
            return ()
        lowest = min(c.priority for c, _ in left)
        group = [pair for pair in left if pair[0].priority == lowest]
        best = min(group, key=lambda pair: _rank(missing, pair, lost))
        left.remove(best)
        chosen.append(best)
        lost[best[0].deployment] = lost.get(best[0].deployment, 0) + 1
        free, missing = _plus(free, best[1]), _plus(missing, best[1], sign=-1)
    return _only_needed(need, free, chosen)


def _only_needed(
    need: Resources, free: Resources, chosen: list[tuple[Candidate, Resources]]
) -> tuple[Candidate, ...]:
    """Spare whoever is not needed after all, the most important first."""
    kept = []
    for candidate, held in sorted(chosen, key=lambda pair: -pair[0].priority):
        without = _plus(free, held, sign=-1)
        if _fits(need, without):
            free = without
        else:
            kept.append(candidate)
    return tuple(kept)


def _rank(
    missing: Resources, pair: tuple[Candidate, Resources], lost: Mapping[str, int]
) -> tuple[float, str]:
    candidate, held = pair
    over = lost.get(candidate.deployment, 0) + 1 - candidate.parallel
    return distance(missing, held) + PARALLEL_PENALTY * max(0, over), candidate.id


def distance(need: Resources, has: Resources) -> float:
    """Return how far a size is from what is needed: sqrt(sum(((need - has) / need)^2)).

    >>> distance(Resources(1000, 100), Resources(1000, 100))
    0.0
    """
    pairs = (
        (need.cpu_millis, has.cpu_millis),
        (need.memory_bytes, has.memory_bytes),
        (need.gpus, has.gpus),
    )
    return math.sqrt(sum(((n - h) / n) ** 2 for n, h in pairs if n > 0))


def _held(candidate: Candidate, node: str) -> Resources:
    """Return what a candidate holds on a node."""
    held = Resources()
    for grant in candidate.grants:
        if grant.node == node:
            held = _plus(held, Resources(grant.cpu_millis, grant.memory_bytes, len(grant.gpus)))
    return held


def _fits(need: Resources, free: Resources) -> bool:
    return (
        need.cpu_millis <= free.cpu_millis
        and need.memory_bytes <= free.memory_bytes
        and need.gpus <= free.gpus
    )


def _plus(a: Resources, b: Resources, sign: int = 1) -> Resources:
    return Resources(
        a.cpu_millis + sign * b.cpu_millis,
        a.memory_bytes + sign * b.memory_bytes,
        a.gpus + sign * b.gpus,
    )
