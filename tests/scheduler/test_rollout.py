"""Kubernetes' rollout arithmetic, from its own tables, and the judgement of a canary."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scheduler import apply, canary
from scheduler.canary import Judgement
from scheduler.entry import Entry, Rollout, Slot, Stage
from scheduler.observed import Totals
from scheduler.policy import Canary, OnFailure, Portion, Update
from scheduler.rollout import (
    Standing,
    complete,
    fenceposts,
    moves,
    progressed,
    proportions,
    stalled,
)
from tests.scheduler.world import deployment


@pytest.mark.parametrize(
    ("surge", "unavailable", "count", "want"),
    [
        (Portion(0, percent=True), Portion(0, percent=True), 0, (0, 1)),
        (Portion(39, percent=True), Portion(39, percent=True), 10, (4, 3)),
        (Portion(25, percent=True), Portion(25, percent=True), 8, (2, 2)),
        (Portion(25, percent=True), Portion(25, percent=True), 10, (3, 2)),
        (Portion(50, percent=True), Portion(50, percent=True), 1, (1, 0)),
        (Portion(1), Portion(1), 2, (1, 1)),
        (Portion(0), Portion(0), 5, (0, 1)),
        (Portion(0), Portion(10, percent=True), 5, (0, 1)),
    ],
)
def test_fenceposts(
    surge: Portion, unavailable: Portion, count: int, want: tuple[int, int]
) -> None:
    assert fenceposts(Update(surge, unavailable), count) == want


SERIALS = itertools.count()


def standing(number: int, revision: int, *, available: bool = True) -> list[Standing]:
    """Return so many slots of a revision, all alike."""
    slots = (Slot(f"web.{next(SERIALS)}", revision) for _ in range(number))
    return [Standing(slot, None, available, available) for slot in slots]


def entry(surge: int = 1, unavailable: int = 0, **rollout: object) -> Entry:
    """Return an entry on its way from revision 1 to 2."""
    wanted = deployment(update=Update(Portion(surge), Portion(unavailable)))
    made = apply.created(wanted, 0.0)
    begun = replace(made.rollout, target=2, stable=1, count=10)
    return replace(made, rollout=replace(begun, **rollout))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "old", "new", "surge", "want"),
    [(1, 0, 5, 1, 0), (6, 0, 2, 10, 4), (10, 10, 0, 3, 3), (10, 8, 2, 0, 0), (10, 6, 4, 3, 3)],
)
def test_moves_grow_by_what_the_surge_leaves(
    count: int, old: int, new: int, surge: int, want: int
) -> None:
    before = entry(surge, 1, count=count)
    found = moves(before, [*standing(old, 1), *standing(new, 2)], count)
    assert found.grow[2] == want


@pytest.mark.parametrize(
    ("count", "unavailable", "old_available", "old_sick", "new_available", "new_sick", "want"),
    [
        # Named after TestDeploymentController_reconcileOldReplicaSets and its two parts.
        (10, 2, 10, 0, 0, 0, 2),
        (10, 2, 10, 0, 0, 5, 2),
        (10, 2, 10, 0, 5, 0, 7),
        (10, 2, 8, 2, 0, 2, 2),
        (10, 2, 8, 0, 2, 0, 2),
        (10, 2, 6, 0, 0, 4, 0),
        (10, 0, 10, 0, 0, 1, 0),
        (10, 0, 10, 0, 1, 0, 1),
        (3, 0, 0, 3, 0, 1, 0),
        (3, 0, 0, 3, 1, 0, 1),
    ],
)
def test_moves_drain_what_leaves_enough(
    count: int,
    unavailable: int,
    old_available: int,
    old_sick: int,
    new_available: int,
    new_sick: int,
    want: int,
) -> None:
    slots = [
        *standing(old_sick, 0, available=False),
        *standing(old_available, 1),
        *standing(new_available, 2),
        *standing(new_sick, 2, available=False),
    ]
    before = entry(5, unavailable, count=count)
    assert len(moves(before, slots, count).drain) == want


def test_moves_drain_the_sick_first() -> None:
    slots = [*standing(2, 1), *standing(1, 0, available=False), *standing(1, 2)]
    found = moves(entry(1, 0, count=3), slots, 3)
    assert [slot.revision for slot in found.drain] == [0]


def test_moves_drain_the_idle_before_the_busy() -> None:
    slots = [replace(s, in_flight=n) for s, n in zip(standing(3, 2), (4, 0, 1), strict=True)]
    found = moves(entry(count=2), slots, 2)
    assert [slot.id for slot in found.drain] == [slots[1].slot.id]


@given(
    st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12),
    st.integers(0, 12), st.integers(0, 4), st.integers(0, 4),
)  # fmt: skip
def test_moves_keep_their_bounds(
    count: int, a: int, b: int, c: int, d: int, surge: int, unavailable: int
) -> None:
    """Whatever there is: never more than count + surge by growing, never fewer than allowed."""
    assume(surge or unavailable)
    slots = [
        *standing(a, 1),
        *standing(b, 1, available=False),
        *standing(c, 2),
        *standing(d, 2, available=False),
    ]
    before = entry(surge, unavailable, count=count)
    found = moves(before, slots, count)
    more, fewer = fenceposts(before.deployment.update, count)
    grown = sum(found.grow.values())
    assert not grown or len(slots) + grown <= count + more
    drained = {slot.id for slot in found.drain}
    left = sum(s.available for s in slots if s.slot.id not in drained)
    assert left >= min(a + c, count - fewer)
    assert len(drained) == len(found.drain)


@pytest.mark.parametrize(
    ("sizes", "before", "after", "want"),
    [
        ({1: 8, 2: 3}, 11, 22, {1: 8, 2: 3}),
        ({1: 5, 2: 5}, 10, 5, {1: -3, 2: -2}),
        ({1: 5, 2: 5}, 10, 11, {1: 0, 2: 1}),
        ({1: 10}, 10, 12, {1: 2}),
        ({1: 1, 2: 1, 3: 1}, 3, 30, {1: 9, 2: 9, 3: 9}),
    ],
)
def test_proportions(sizes: dict[int, int], before: int, after: int, want: dict[int, int]) -> None:
    assert dict(sorted(proportions(sizes, before, after).items())) == want


@given(
    st.dictionaries(st.integers(1, 5), st.integers(1, 20), min_size=1),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_proportions_add_up(sizes: dict[int, int], before: int, after: int) -> None:
    changes = proportions(sizes, before, after)
    assert all(sizes[r] + change >= 0 for r, change in changes.items())
    total = sum(sizes.values()) + sum(changes.values())
    assert total == after or any(sizes[r] + c == 0 for r, c in changes.items())


def test_progress_is_a_mark_that_was_never_reached() -> None:
    """What if a replica becomes ready and unready in turns: that is not progress."""
    rollout = Rollout(target=2, count=3, progress_at=0.0)
    up, down = standing(1, 2), standing(1, 2, available=False)
    rollout = progressed(rollout, up, 3, 1.0)
    for now in (2.0, 3.0, 4.0):
        rollout = progressed(rollout, down if now % 2 else up, 3, now)
    assert rollout.progress_at == 1.0
    assert progressed(rollout, standing(2, 2), 3, 5.0).progress_at == 5.0


def test_deadline_counts_from_the_last_progress() -> None:
    before = entry(progress_at=100.0)
    assert not stalled(before, 3, 700.0)
    assert stalled(before, 3, 700.1)
    assert not stalled(before, 0, 9999.0), "at zero replicas nothing is late"


def test_complete_needs_a_proof() -> None:
    rollout = Rollout(target=2)
    assert complete(rollout, standing(3, 2), 3)
    assert not complete(rollout, [], 0)
    assert not complete(rollout, [*standing(3, 2), *standing(1, 1)], 3)
    assert not complete(rollout, standing(3, 2, available=False), 3)


def test_moves_stop_where_a_person_or_the_strategy_says_so() -> None:
    before = entry()
    slots = [*standing(10, 1), *standing(1, 2)]
    paused = replace(before, deployment=replace(before.deployment, paused=True))
    assert moves(paused, slots, 10).drain == ()
    policy = replace(before.deployment.update, on_failure=OnFailure.PAUSE)
    failed = replace(before.rollout, stage=Stage.FAILED)
    deployed = replace(before.deployment, update=policy)
    assert moves(replace(before, deployment=deployed, rollout=failed), slots, 10).drain == ()
    assert len(moves(replace(before, rollout=failed), slots, 10).drain) == 1


# ---- canary -------------------------------------------------------------------------------------

POLICY = Canary(min_requests=100, duration_s=60.0, error_rate=0.01, latency_ratio=2.0)
STABLE = Totals(1000, 10, 100.0)


@pytest.mark.parametrize(
    ("trial", "held_s", "want"),
    [
        (Totals(99, 99, 0.0), 999.0, Judgement.HOLD),
        (Totals(100, 2, 10.0), 60.0, Judgement.PROMOTE),
        (Totals(100, 2, 10.0), 59.0, Judgement.HOLD),
        (Totals(100, 3, 10.0), 1.0, Judgement.ABORT),
        (Totals(100, 0, 20.0), 60.0, Judgement.PROMOTE),
        (Totals(100, 0, 20.1), 60.0, Judgement.ABORT),
    ],
)
def test_judge(trial: Totals, held_s: float, want: Judgement) -> None:
    verdict = canary.judge(POLICY, STABLE, trial, held_s)
    assert verdict.judgement is want
    assert verdict.inputs["canary_requests"] == trial.requests


def test_judge_waits_for_a_person_where_asked_to() -> None:
    by_hand = replace(POLICY, auto_promote=False)
    verdict = canary.judge(by_hand, STABLE, Totals(500, 0, 1.0), 999.0)
    assert verdict.judgement is Judgement.HOLD


def test_since_survives_a_gateway_that_counts_from_zero() -> None:
    assert canary.since(Totals(30, 3, 1.0), Totals(10, 1, 0.5)) == Totals(20, 2, 0.5)
    assert canary.since(Totals(5, 1, 0.1), Totals(10, 1, 0.5)) == Totals(5, 1, 0.1)


@pytest.mark.parametrize(("count", "want"), [(0, 0), (1, 1), (10, 1), (11, 2)])
def test_canary_size(count: int, want: int) -> None:
    assert canary.size(replace(POLICY, replicas=Portion(10, percent=True)), count) == want
