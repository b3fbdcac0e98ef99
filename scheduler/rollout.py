"""How one revision takes the place of another: Kubernetes' arithmetic, and an end to it.

    start  new  += min(N + surge - total, N - new)
    stop   old  -= what leaves N - unavailable available, the unhealthy ones first
    watch  no progress for ``progress_deadline_s``: go back to the revision that last worked

Kubernetes reports a stalled rollout and leaves it there; here it reverts, unless asked not to.
Where the number of replicas changes meanwhile, both revisions scale in proportion.

May not import anything with an effect. Next: ``canary.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .entry import Entry, Rollout, Slot, Stage, State
from .observed import Replica
from .policy import OnFailure, Portion, Update

NOTHING_YET = Rollout().best


@dataclass(frozen=True, slots=True)
class Standing:
    """A slot that is wanted, and how its replica stands."""

    slot: Slot
    replica: Replica | None
    ready: bool
    available: bool
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Moves:
    """How many slots to add, by revision, and which to drain."""

    grow: Mapping[int, int]
    drain: tuple[Slot, ...] = ()


def resolve(portion: Portion, count: int, *, up: bool) -> int:
    """Return a portion as a number of replicas.

    >>> quarter = Portion(25, percent=True)
    >>> resolve(quarter, 10, up=True), resolve(quarter, 10, up=False)
    (3, 2)
    """
    if not portion.percent:
        return portion.value
    return (math.ceil if up else math.floor)(portion.value * count / 100)


def fenceposts(update: Update, count: int) -> tuple[int, int]:
    """Return (surge, unavailable) for a number of replicas; one of them is never 0.

    >>> fenceposts(Update(Portion(0, True), Portion(0, True)), 0)
    (0, 1)
    """
    surge = resolve(update.surge, count, up=True)
    unavailable = resolve(update.unavailable, count, up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def strategy(entry: Entry) -> Update:
    """Return the numbers that hold now: going back may be allowed to be faster."""
    deployment = entry.deployment
    reverting = entry.rollout.reverting and deployment.rollback is not None
    return deployment.rollback or deployment.update if reverting else deployment.update


def moves(entry: Entry, standings: list[Standing], count: int) -> Moves:
    """Return the next moves towards ``count`` replicas of the target revision."""
    rollout, update = entry.rollout, strategy(entry)
    new = [s for s in standings if s.slot.revision == rollout.target]
    old = [s for s in standings if s.slot.revision != rollout.target]
    if old and new and rollout.count != count and count > 0 < rollout.count:
        return _proportional(rollout, update, standings, count)
    halted = entry.deployment.paused or _gave_up(entry)
    if old and halted:
        return Moves({})
    surge, _ = fenceposts(update, count)
    grow = min(count + surge - len(standings), count - len(new))
    extra = _victims(new, len(new) - count)
    drain = {slot.id: slot for slot in (*extra, *_old(update, new, old, count))}
    drain.update((s.slot.id, s.slot) for s in _in_the_way(entry, old)[: max(0, count - len(new))])
    return Moves({rollout.target: max(0, grow)}, tuple(drain.values()))


def _in_the_way(entry: Entry, old: list[Standing]) -> list[Standing]:
    """Return old replicas that serve nobody and hold the room that new ones are waiting for.

    Kubernetes leaves them, and a fix for a crash loop then never starts on a host that is full. One
    that is only unready for a moment stays, where its revision has ever worked.
    """
    if not entry.pending:
        return []
    proven = entry.rollout.stable
    useless = [s for s in old if not s.available]
    return [s for s in useless if s.slot.state is State.WAITING or s.slot.revision != proven]


def _gave_up(entry: Entry) -> bool:
    rollout, on_failure = entry.rollout, entry.deployment.update.on_failure
    return rollout.stage is Stage.FAILED and on_failure is OnFailure.PAUSE and not rollout.reverting


def _old(update: Update, new: list[Standing], old: list[Standing], count: int) -> tuple[Slot, ...]:
    """Return the old slots that may go now."""
    _, unavailable = fenceposts(update, count)
    least = count - unavailable
    new_available = sum(s.available for s in new)
    spare = len(old) + len(new) - least - (len(new) - new_available)
    if spare <= 0:
        return ()
    sick = [s for s in old if not s.available][:spare]
    healthy = sorted((s for s in old if s.available), key=_age)
    room = new_available + len(healthy) - least
    return tuple(s.slot for s in (*sick, *healthy[: max(0, room)]))


def _age(standing: Standing) -> tuple[int, int]:
    return standing.slot.revision, standing.in_flight


def _victims(standings: list[Standing], excess: int) -> tuple[Slot, ...]:
    """Return whom to drain where there are too many: the useless, then the idle, then the young."""
    if excess <= 0:
        return ()
    order = sorted(standings, key=lambda s: (s.available, s.ready, s.in_flight, -s.slot.since))
    return tuple(s.slot for s in order[:excess])


def _proportional(rollout: Rollout, update: Update, standings: list[Standing], count: int) -> Moves:
    """Scale both sides of a rollout by the same factor."""
    before = rollout.count + fenceposts(update, rollout.count)[0]
    surge, unavailable = fenceposts(update, count)
    sizes: dict[int, int] = {}
    for standing in standings:
        sizes[standing.slot.revision] = sizes.get(standing.slot.revision, 0) + 1
    changes = proportions(sizes, before, count + surge)
    # Kubernetes may take available replicas below the minimum here; requests are worth more.
    spare = max(0, sum(s.available for s in standings) - (count - unavailable))
    drain: list[Slot] = []
    for revision, change in changes.items():
        mine = [s for s in standings if s.slot.revision == revision]
        chosen = {slot.id for slot in _victims(mine, -change)}
        for standing in (s for s in mine if s.slot.id in chosen):
            if not standing.available or spare > 0:
                drain.append(standing.slot)
                spare -= standing.available
    return Moves({r: n for r, n in changes.items() if n > 0}, tuple(drain))


def proportions(sizes: Mapping[int, int], before: int, after: int) -> dict[int, int]:
    """Return how each revision's size changes when the allowed total goes from before to after.

    What rounding leaves over goes to the largest.

    >>> proportions({1: 8, 2: 3}, before=11, after=22)
    {1: 8, 2: 3}
    """
    to_add = after - sum(sizes.values())
    order = sorted(sizes, key=lambda r: (-sizes[r], -r if to_add > 0 else r))
    changes: dict[int, int] = {}
    added = 0
    for revision in order:
        share = _half_up(sizes[revision] * after / before) - sizes[revision]
        left = to_add - added
        changes[revision] = min(share, left) if to_add > 0 else max(share, left) if to_add else 0
        added += changes[revision]
    if order and to_add != added:
        changes[order[0]] = max(-sizes[order[0]], changes[order[0]] + to_add - added)
    return changes


def _half_up(number: float) -> int:
    return math.floor(number + 0.5)


def progressed(rollout: Rollout, standings: Iterable[Standing], count: int, now: float) -> Rollout:
    """Return the rollout with what it has reached so far.

    Only a mark that was never reached before is progress: a replica that becomes ready and unready
    in turns does not keep a bad rollout alive.
    """
    new = [s for s in standings if s.slot.revision == rollout.target]
    old = sum(1 for s in standings if s.slot.revision != rollout.target)
    marks = (len(new), sum(s.ready for s in new), sum(s.available for s in new), -old)
    if rollout.count != count:
        return replace(rollout, count=count, best=marks, progress_at=now)
    a, b, c, d = (max(now_, then) for now_, then in zip(marks, rollout.best, strict=True))
    best = (a, b, c, d)
    return rollout if best == rollout.best else replace(rollout, best=best, progress_at=now)


def complete(rollout: Rollout, standings: list[Standing], count: int) -> bool:
    """Return whether the target revision is all there is, and has proven itself.

    At zero replicas nothing has been proven, so nothing is complete.
    """
    new = [s for s in standings if s.slot.revision == rollout.target]
    return 0 < count == len(new) == len(standings) and all(s.available for s in new)


def stalled(entry: Entry, count: int, now: float) -> bool:
    """Return whether the progress deadline has passed.

    At zero replicas nothing runs late, and whoever wakes has not been late while it slept.
    """
    deadline_s = strategy(entry).progress_deadline_s
    asleep = count == 0 or entry.rollout.count == 0
    return not asleep and now - entry.rollout.progress_at > deadline_s


def revert(rollout: Rollout, reason: str, now: float) -> Rollout:
    """Return the rollout on its way back to the revision that last worked."""
    return Rollout(
        target=rollout.stable,
        stable=rollout.stable,
        progress_at=now,
        count=rollout.count,
        best=NOTHING_YET,
        reverting=True,
        reason=reason,
    )
