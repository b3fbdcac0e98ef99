"""Rollouts and canaries over a fake host: one story each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minirun import ScheduleError
from scheduler import apply
from scheduler.entry import Stage, State
from scheduler.policy import Autoscale, Canary, OnFailure
from tests.scheduler.world import QUICK, World, deployment, settled, update


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1), (2, 1), (3, 3)])
def test_rollout_keeps_its_bounds_and_every_request(surge: int, unavailable: int) -> None:
    policy = update(surge, unavailable, min_ready_s=1.0)
    world = settled(replicas=4, update=policy)
    world.apply(deployment(image="good:2", replicas=4, update=policy))
    while world.entry().rollout.stage is not Stage.COMPLETE:
        for _ in range(3):
            world.gateway.request("web", 0.7)
        world.step()
        assert world.wanted() <= 4 + surge
        assert world.serving() >= 4 - unavailable
        assert world.clock.now < 1100
    assert {s.revision for s in world.entry().slots if s.state is not State.DRAINING} == {2}
    world.run(5)
    assert set(world.gateway.fates) == {"ok"}


@pytest.mark.parametrize("image", ["crash", "missing", "never"])
def test_rollout_of_a_bad_image_reverts_itself(image: str) -> None:
    world = settled(replicas=2)
    world.apply(deployment(image=image, replicas=2))
    took = world.run_until(lambda: "rolled-back" in world.kinds(), 90.0)
    assert took <= QUICK.progress_deadline_s + 10
    assert world.entry().deployment.template.image == "good"
    said = "revision 2 was rolled back to 1: no progress for 30 s"
    assert world.entry().rollout.reason.startswith(said)
    assert world.serving() == 2


def test_reason_of_a_rollback_ends_with_a_newer_wish() -> None:
    """What if that wish comes before the last bad replica has gone?"""
    world = settled(replicas=2)
    world.apply(deployment(image="crash", replicas=2))
    world.run_until(lambda: world.entry().rollout.reverting)
    world.apply(deployment(replicas=3))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    assert not world.entry().rollout.reason


def test_rollout_that_may_only_pause_stays_where_it_is() -> None:
    policy = replace(QUICK, on_failure=OnFailure.PAUSE)
    world = settled(replicas=2, update=policy)
    world.apply(deployment(image="never", replicas=2, update=policy))
    world.run(60)
    assert world.entry().rollout.stage is Stage.FAILED
    assert world.serving() == 2
    world.apply(deployment(image="good:3", replicas=2, update=policy))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)


def test_rollout_that_a_person_holds_is_not_given_up() -> None:
    """What if somebody looks at a bad revision for longer than its deadline."""
    world = settled(replicas=1)
    world.apply(deployment(image="never", replicas=1))
    world.run(5)
    world.apply(deployment(image="never", replicas=1, paused=True))
    world.run(60)
    assert world.entry().rollout.stage is Stage.PROGRESSING
    world.apply(deployment(image="never", replicas=1))
    took = world.run_until(lambda: world.entry().rollout.target == 1)
    assert took >= QUICK.progress_deadline_s, "the clock begins when it is let go"


def test_rollout_of_what_sleeps_begins_when_it_wakes() -> None:
    """What if the first request comes long after the deadline: nobody has tried it yet."""
    asleep = Autoscale(initial=0, concurrency=1.0)
    world = World()
    world.apply(deployment(autoscale=asleep))
    world.run(3 * QUICK.progress_deadline_s)
    world.gateway.request("web", 0.1)
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    assert "rollout-failed" not in world.kinds()


def test_rollback_by_hand_to_what_does_not_work_stays_there() -> None:
    """Whoever asks for a revision by its number does not mean another one."""
    world = World()
    world.apply(deployment(image="crash", replicas=1))
    world.run(5)
    world.apply(deployment(image="good", replicas=1))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    world.store.update("web", lambda e: apply.rolled_back(e, world.clock.now, 1))
    world.run_until(lambda: world.entry().rollout.stage is Stage.FAILED, 120.0)
    assert world.entry().rollout.target == 1
    assert world.serving() == 1, "what works goes on"


def test_rollback_by_hand_passes_over_what_has_failed() -> None:
    """What if a bad revision has just rolled itself back: before it is not what came before."""
    world = settled(replicas=1)
    world.apply(deployment(image="crash", replicas=1))
    world.run_until(lambda: "rolled-back" in world.kinds(), 90.0)
    with pytest.raises(ScheduleError, match="no earlier revision that worked") as refused:
        apply.rolled_back(world.entry(), 0.0)
    assert "revision 2 failed: no progress for 30 s; exited with 1" in refused.value.hint
    world.apply(deployment(image="good:3", replicas=1))
    world.run_until(lambda: world.entry().rollout.stable == 3)
    assert apply.rolled_back(world.entry(), 0.0).rollout.target == 1
    assert apply.rolled_back(world.entry(), 0.0, to=2).rollout.target == 2


def test_revision_that_works_in_the_end_has_not_failed() -> None:
    world = settled(replicas=1)
    hasty = replace(QUICK, progress_deadline_s=5.0)
    world.apply(deployment(image="slow", replicas=1, update=hasty))
    world.run_until(lambda: "rolled-back" in world.kinds())
    assert world.entry().revision(2).failure == "no progress for 5 s"
    world.apply(deployment(image="slow", replicas=1))
    world.run_until(lambda: world.entry().rollout.stable == 2)
    assert [r.failure for r in world.entry().revisions] == ["", ""]


def test_rollout_to_a_known_revision_takes_its_number_back() -> None:
    world = settled()
    world.apply(deployment(image="good:2"))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    world.store.update("web", lambda e: apply.rolled_back(e, world.clock.now))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    assert world.entry().rollout.target == 1
    assert [r.number for r in world.entry().revisions] == [2, 1]
    with pytest.raises(ScheduleError, match="no revision 9"):
        apply.rolled_back(world.entry(), 0.0, to=9)


def test_ten_revisions_are_kept() -> None:
    world = settled(replicas=1)
    for number in range(2, 15):
        world.apply(deployment(image=f"good:{number}", replicas=1))
        world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    assert [r.number for r in world.entry().revisions] == list(range(5, 15))


def test_a_revision_that_serves_is_kept_however_many_come_after_it() -> None:
    world = settled(replicas=1)
    for number in range(2, 15):
        world.apply(deployment(image=f"good:{number}", replicas=1, paused=True))
    assert world.entry().revisions[0].number == 1
    assert len(world.entry().revisions) == 11
    world.step()
    assert world.serving() == 1


def on_trial(image: str, **policy: object) -> World:
    canary = replace(Canary(weight=50, min_requests=20, duration_s=5.0), **policy)  # type: ignore[arg-type]
    world = settled(replicas=2, canary=canary)
    world.apply(deployment(image=image, replicas=2, canary=canary))
    return world


def canaried(image: str, **policy: object) -> World:
    world = on_trial(image, **policy)
    asked(world)
    return world


def asked(world: World) -> None:
    """Ask for a minute."""
    for _ in range(120):
        world.gateway.request("web", 0.3)
        world.gateway.request("web", 0.3)
        world.step()


def test_canary_that_answers_well_is_promoted() -> None:
    world = canaried("good:2")
    assert "promoted" in world.kinds()
    assert world.entry().rollout.stage is Stage.COMPLETE
    assert world.entry().rollout.target == 2
    assert world.gateway.the_routes["web"].canary_weight == 0
    assert {m.added.pool for m in world.gateway.members.values()} == {"stable"}
    assert set(world.gateway.fates) == {"ok"}


def test_canary_gets_no_share_before_all_of_it_is_available() -> None:
    policy = Canary(weight=50, min_requests=20, duration_s=5.0)
    wanted = deployment(replicas=1, canary=policy, update=update(min_ready_s=5.0))
    world = settled(replicas=1, canary=policy, update=wanted.update)
    world.apply(replace(wanted, template=replace(wanted.template, image="good:2")))
    world.run_until(lambda: world.serving() == 2)
    world.run(2)
    assert world.gateway.the_routes["web"].canary_weight == 0
    world.run_until(lambda: world.gateway.the_routes["web"].canary_weight == 50, 10.0)


def test_canary_that_answers_badly_is_taken_back() -> None:
    world = canaried("errors")
    assert "canary-abort" in world.kinds()
    assert world.entry().rollout.target == 1
    assert world.serving() == 2
    assert world.gateway.fates["error"] < 30


def test_canary_is_not_judged_by_the_answers_of_the_one_before() -> None:
    world = canaried("errors")
    policy = world.entry().deployment.canary
    world.apply(deployment(image="good:2", replicas=2, canary=policy))
    for _ in range(120):
        world.gateway.request("web", 0.3)
        world.step()
    assert world.kinds().count("canary-abort") == 1
    assert "promoted" in world.kinds()


def test_canary_that_does_not_run_is_taken_back_before_its_deadline() -> None:
    world = canaried("crash")
    said = [event.message for event in world.store.events if event.kind == "rollback"]
    assert said
    assert "the canary does not run; exited with 1" in said[0]


def test_rollback_by_hand_needs_no_canary() -> None:
    world = canaried("good:2")
    world.store.update("web", lambda e: apply.rolled_back(e, world.clock.now))
    assert world.entry().rollout.stage is Stage.PROGRESSING
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    assert world.entry().rollout.target == 1


def test_restart_needs_no_canary_where_the_template_is_known() -> None:
    world = canaried("good:2")
    assert world.entry().rollout.stable == 2
    world.store.update("web", lambda e: apply.restarted(e, "again", world.clock.now))
    assert world.entry().rollout.stage is Stage.PROGRESSING
    world.run_until(lambda: world.entry().rollout.stable == 3)


def test_restart_of_a_canary_is_no_promotion() -> None:
    world = canaried("good:2", auto_promote=False)
    world.store.update("web", lambda e: apply.restarted(e, "again", world.clock.now))
    assert world.entry().rollout.stage is Stage.CANARY
    assert world.entry().rollout.stable == 1


def test_canary_that_is_held_is_not_judged() -> None:
    world = on_trial("errors")
    held = replace(world.entry().deployment, paused=True)
    world.apply(held)
    asked(world)
    assert world.entry().rollout.stage is Stage.CANARY
    world.apply(replace(held, paused=False))
    asked(world)
    assert "canary-abort" in world.kinds()


@pytest.mark.parametrize("paused", [False, True])
def test_canary_that_is_taken_back_meets_no_other_request(paused: bool) -> None:
    """What if nothing else may move: it must not end among those that work."""
    world = on_trial("good:2")
    world.run_until(lambda: world.entry().rollout.canary_since > 0)
    canaries = {s.id for s in world.entry().slots if s.revision == 2}
    entry = world.entry()
    held = replace(entry, deployment=replace(entry.deployment, paused=paused))
    world.store.entries["web"] = apply.rolled_back(held, world.clock.now)
    for _ in range(20):
        world.step()
        servers = world.gateway.servers()
        assert all(s.pool == "canary" for name, s in servers.items() if name in canaries)
    assert not canaries & {s.id for s in world.entry().slots}


def test_canary_waits_for_a_person() -> None:
    world = canaried("good:2", auto_promote=False)
    assert world.entry().rollout.stage is Stage.CANARY
    assert world.wanted() == 3
    world.store.update("web", lambda e: apply.promote(e, world.clock.now))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    with pytest.raises(ScheduleError, match="no canary"):
        apply.promote(world.entry(), 0.0)
