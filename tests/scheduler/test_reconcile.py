"""The loop over a fake host: one story each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minirun import ScheduleError
from scheduler import apply
from scheduler.actions import AddServer, Start, Stop
from scheduler.entry import Stage, State
from scheduler.model import Kind, Quota
from scheduler.observed import Host, Node, Phase, Replica
from scheduler.policy import (
    Autoscale,
    Canary,
    Cron,
    Job,
    OnFailure,
    Restart,
    RestartPolicy,
)
from scheduler.reconcile import reconcile
from tests.scheduler.world import QUICK, World, cpu, deployment, update

SMALL = Host((Node("n0", 2000, 1 << 34),))


def settled(**changes: object) -> World:
    """Return a world whose deployment "web" is complete."""
    world = World()
    world.apply(deployment("web", "good", **changes))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    world.run(2)
    return world


def test_a_deployment_comes_up_and_then_nothing_is_said() -> None:
    world = settled(replicas=3)
    assert world.serving() == 3
    outcome = world.step()
    assert (outcome.entries, outcome.effects, outcome.events) == ({}, (), ())


def test_start_is_asked_for_until_it_is_seen() -> None:
    """What if the first start was lost: the same id is started, not another one."""
    world = World()
    world.apply(deployment(replicas=1))
    now = world.clock()
    first = reconcile(world.store.load(), world.controller.observe(), now)
    world.store.commit(first.entries, first.events)
    later = reconcile(world.store.load(), world.controller.observe(), world.clock())
    starts = [[e.id for e in o.effects if isinstance(e, Start)] for o in (first, later)]
    assert starts == [["web.1"], ["web.1"]]


def test_old_news_is_not_acted_upon() -> None:
    """What if a look from before a decision arrives after it: the decision stands."""
    world = settled(replicas=2)
    old = world.controller.observe()
    world.apply(deployment(replicas=1))
    world.step()
    entry = world.entry()
    outcome = reconcile(world.store.load(), old, world.clock())
    assert outcome.entries == {}
    assert not [e for e in outcome.effects if isinstance(e, Stop)]
    assert world.entry() is entry


def test_a_replica_leaves_the_gateway_before_it_is_stopped() -> None:
    world = settled(replicas=1)
    world.gateway.request("web", 3.0)
    world.step()
    world.apply(deployment(replicas=0))
    while world.runtime.boxes:
        if world.runtime.boxes["web.1"].stop_at is not None:
            assert not world.gateway.members, "stopped while the gateway still had it"
        world.step()
    assert world.gateway.fates["ok"] == 1
    assert not [fate for fate in world.gateway.fates if fate.startswith("LOST")]


def test_drain_has_a_deadline() -> None:
    timeouts = replace(deployment().timeouts, drain_s=5.0)
    world = settled(replicas=1, timeouts=timeouts)
    world.gateway.request("web", 1000.0)
    world.step()
    world.apply(deployment(replicas=0, timeouts=timeouts))
    assert 5.0 <= world.run_until(lambda: not world.runtime.boxes) < 9.0


def test_a_killed_replica_is_replaced_in_the_next_look() -> None:
    world = settled(replicas=1)
    world.runtime.boxes["web.1"].end(world.clock.now, 137, at_fault=True)
    outcome = world.controller.tick()
    assert [e.id for e in outcome.effects if isinstance(e, Start)] == ["web.2"]
    world.run_until(lambda: world.serving() == 1, 5.0)
    world.run(1)
    assert list(world.runtime.boxes) == ["web.2"]


def test_a_crash_loop_is_held_back() -> None:
    world = World()
    world.apply(deployment(image="crash", replicas=1))
    world.run(60)
    assert 5 <= len(world.runtime.started) <= 7  # after 0, 1, 2, 4, 8, 16 seconds, a second each


def test_a_replica_that_fails_its_liveness_probe_is_replaced_when_it_is_gone() -> None:
    world = settled(replicas=1)
    world.runtime.boxes["web.1"].hung = True
    world.step()
    world.run_until(lambda: "web.2" in world.runtime.boxes, 30.0)
    assert "web.1" not in world.runtime.boxes, "two replicas in one place"
    assert "liveness probe failed" in str(world.store.events)


def test_a_replica_that_is_not_ready_gets_no_requests() -> None:
    world = settled(replicas=2)
    world.runtime.boxes["web.1"].unready_until = world.clock.now + 3
    world.run(1.5)
    assert world.gateway.members["web.1"].draining
    world.run_until(lambda: world.serving() == 2, 10.0)


def test_a_new_controller_adopts_everything() -> None:
    world = settled(replicas=3)
    before = dict(world.runtime.boxes)
    world.controller = world.new_controller()
    world.controller.resume()
    outcome = world.step()
    assert outcome.effects == ()
    assert world.runtime.boxes == before


def test_a_store_from_a_backup_adopts_what_is_newer_than_it() -> None:
    world = World()
    world.apply(deployment(replicas=2))
    backup = dict(world.store.entries)
    world.run_until(lambda: world.serving() == 2)
    world.store.entries = backup
    world.run(3)
    assert sorted(world.runtime.started) == ["web.1", "web.2"]
    assert [slot.id for slot in world.entry().slots] == ["web.1", "web.2"]
    assert world.kinds().count("adopted") == 2


def test_orphans_of_every_kind_are_taken_away() -> None:
    world = settled(replicas=1)
    template = world.entry().deployment.template
    for name in ("web.0", "gone.7"):
        world.runtime.start(Start(name, name.partition(".")[0], 1, template))
        world.gateway.add(AddServer(name, name.partition(".")[0], "stable", "/x"))
    world.gateway.add(AddServer("nobody.1", "nobody", "stable", "/x"))
    world.gateway.set_route(replace(world.gateway.the_routes["web"], deployment="gone"))
    world.run(5)
    assert list(world.runtime.boxes) == list(world.gateway.members) == ["web.1"]
    assert list(world.gateway.the_routes) == ["web"]


def test_one_that_no_request_reaches_is_replaced_when_it_hangs() -> None:
    """Without a port there is no gateway that could tell."""
    world = settled(replicas=1, port=None)
    world.runtime.boxes["web.1"].hung = True
    world.run_until(lambda: "web.2" in world.runtime.boxes, 30.0)


def test_a_route_follows_what_is_asked_for_when_all_is_well() -> None:
    world = settled(replicas=1)
    world.apply(deployment("web", "good", replicas=1, queue_limit=7))
    world.step()
    assert world.gateway.the_routes["web"].queue_limit == 7


def test_a_server_in_the_wrong_pool_is_taken_out_before_it_is_added_to_the_right_one() -> None:
    """In both, it would be given twice its concurrency."""
    world = settled(replicas=1)
    member = world.gateway.members["web.1"]
    member.added = replace(member.added, pool="canary")
    kinds = [type(e).__name__ for _ in range(4) for e in world.step().effects]
    assert kinds == ["DrainServer", "RemoveServer", "AddServer"]
    assert world.gateway.members["web.1"].added.pool == "stable"


def test_a_replica_of_another_revision_is_replaced_whatever_the_rollout_says() -> None:
    world = settled(replicas=1)
    world.apply(deployment(image="good:2", replicas=1))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    stray = tuple(replace(slot, revision=1) for slot in world.entry().slots)
    world.store.update("web", lambda entry: replace(entry, slots=stray))
    world.run_until(lambda: [s.revision for s in world.entry().slots] == [2])


def test_a_restarted_gateway_is_filled_again() -> None:
    world = settled(replicas=3)
    world.gateway.crash()
    world.step()
    assert world.serving() == 3
    assert "web" in world.gateway.the_routes


def test_deleted_leaves_nothing_and_the_name_comes_back_with_new_ids() -> None:
    world = settled(replicas=2)
    world.store.update("web", apply.deleted)
    world.run_until(lambda: "web" not in world.store.entries)
    assert not world.runtime.boxes
    assert not world.gateway.members
    assert not world.gateway.the_routes
    world.apply(deployment(replicas=1))
    world.run_until(lambda: world.serving() == 1)
    assert list(world.runtime.boxes) == ["web.3"]


# ---- rollouts -----------------------------------------------------------------------------------


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
    assert world.entry().rollout.reason.startswith("no progress for 30 s")
    assert world.serving() == 2


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
    world.run_until(lambda: world.entry().rollout.target == 1)


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


def canaried(image: str, **policy: object) -> World:
    canary = replace(Canary(weight=50, min_requests=20, duration_s=5.0), **policy)  # type: ignore[arg-type]
    world = settled(replicas=2, canary=canary)
    world.apply(deployment(image=image, replicas=2, canary=canary))
    for _ in range(120):
        world.gateway.request("web", 0.3)
        world.gateway.request("web", 0.3)
        world.step()
    return world


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


def test_canary_waits_for_a_person() -> None:
    world = canaried("good:2", auto_promote=False)
    assert world.entry().rollout.stage is Stage.CANARY
    assert world.wanted() == 3
    world.store.update("web", lambda e: apply.promote(e, world.clock.now))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    with pytest.raises(ScheduleError, match="no canary"):
        apply.promote(world.entry(), 0.0)


# ---- room ---------------------------------------------------------------------------------------


def test_pending_says_why_and_ends_when_there_is_room() -> None:
    world = World(SMALL)
    world.apply(deployment(replicas=3, requests=cpu(1000)))
    world.run(3)
    assert world.serving() == 2
    assert world.entry().pending == "no room: n0: cpu needs 1, 0 free"
    assert world.kinds().count("pending") == 1, "told once, not at every look"
    world.apply(deployment(replicas=2, requests=cpu(1000)))
    world.run(2)
    assert world.entry().pending == ""


def test_preemption_waits_for_its_victims_and_spares_equals() -> None:
    world = World(SMALL)
    world.apply(deployment("low", replicas=2, requests=cpu(1000), priority=10))
    world.run_until(lambda: world.serving("low") == 2)
    world.apply(deployment("equal", replicas=1, requests=cpu(1000), priority=19))
    world.run(3)
    assert "no room" in world.entry("equal").pending
    world.apply(deployment("high", replicas=1, requests=cpu(1000), priority=90))
    while not world.serving("high"):
        running = [b for b in world.runtime.boxes.values() if b.phase is Phase.RUNNING]
        assert len(running) <= 2, "more than the host holds"
        world.step()
    assert world.kinds("low").count("preempted") == 1
    assert world.serving("low") == 1
    assert "no room" in world.entry("low").pending


def test_the_more_important_of_two_is_placed_first() -> None:
    world = World(SMALL)
    for name, priority in (("a", 10), ("b", 15)):  # too near for the one to preempt the other
        world.apply(deployment(name, replicas=2, requests=cpu(1000), priority=priority))
    world.run(3)
    assert (world.serving("a"), world.serving("b")) == (0, 2)


def test_preemption_gives_the_place_in_the_same_pass() -> None:
    """Nobody may slip in between the eviction and the placement."""
    world = World(SMALL)
    world.apply(deployment("low", replicas=2, requests=cpu(1000), priority=10))
    world.run_until(lambda: world.serving("low") == 2)
    world.apply(deployment("high", replicas=1, requests=cpu(1000), priority=90))
    entries = world.step().entries
    high, low = entries["high"], entries["low"]
    assert high
    assert low
    [slot] = high.slots
    assert slot.after == tuple(s.id for s in low.slots if s.state is State.DRAINING)


def test_room_that_one_gives_up_is_promised_to_the_next_in_the_same_pass() -> None:
    world = World(SMALL)
    world.apply(deployment("mid", replicas=2, requests=cpu(900), priority=50))
    world.run_until(lambda: world.serving("mid") == 2)
    world.apply(deployment("high", replicas=1, requests=cpu(100), priority=90))
    world.apply(deployment("mid", replicas=1, requests=cpu(900), priority=50))
    world.apply(deployment("low", replicas=1, requests=cpu(900), priority=10))
    low = world.step().entries["low"]
    assert low
    assert [len(slot.after) for slot in low.slots] == [1]


def test_a_fix_is_not_kept_out_by_the_crash_loop_it_mends() -> None:
    world = World(SMALL)
    world.apply(deployment(image="crash", replicas=2, requests=cpu(1000)))
    world.run(20)
    world.apply(deployment(image="good", replicas=2, requests=cpu(1000)))
    world.run_until(lambda: world.serving() == 2, 20.0)


def test_quota_holds_back() -> None:
    world = World()
    world.store.quotas["team"] = Quota("team", replicas=3)
    world.apply(deployment("a", replicas=2, quota="team"))
    world.apply(deployment("b", replicas=2, quota="team"))
    world.run(5)
    assert world.serving("a") + world.serving("b") == 3
    assert "quota team: replicas needs 1, 3 of 3 used" in world.entry("b").pending


# ---- autoscaling --------------------------------------------------------------------------------


def test_zero_to_one_on_the_first_held_request_and_back() -> None:
    spec = Autoscale(concurrency=1.0, initial=0, maximum=3)
    world = World()
    world.apply(deployment(autoscale=spec))
    world.run(5)
    assert not world.runtime.boxes
    world.gateway.request("web", 0.2)
    world.run_until(lambda: world.gateway.fates["ok"] == 1, 5.0)
    took = world.run_until(lambda: not world.runtime.boxes, 200.0)
    assert took > 80, "a whole idle window and the grace"


def test_every_scaling_decision_is_an_event_with_its_inputs() -> None:
    spec = Autoscale(minimum=1, concurrency=2.0, maximum=5)
    world = settled(autoscale=spec)
    for _ in range(60):
        for _ in range(3):
            world.gateway.request("web", 2.0)
        world.step()
    scaled = [e for e in world.store.events if e.kind == "scaled"]
    assert scaled[-1].inputs["after"] == 5
    assert {"stable_concurrency", "panic_concurrency", "ready", "panic"} <= scaled[-1].inputs.keys()


def test_no_metrics_no_scaling() -> None:
    world = settled(autoscale=Autoscale(minimum=1, initial=3, concurrency=2.0))
    world.gateway.silent = True
    world.run(200)
    assert world.serving() == 3


def test_a_new_controller_does_not_scale_down_on_empty_windows() -> None:
    world = settled(autoscale=Autoscale(minimum=1, initial=4, concurrency=2.0))
    world.gateway.windows.clear()
    world.controller.resume()
    world.run(30)
    assert world.serving() == 4


# ---- jobs ---------------------------------------------------------------------------------------

ONCE = RestartPolicy(Restart.ON_FAILURE)


def test_job_runs_to_its_completions() -> None:
    world = World()
    job = Job(completions=5, parallelism=2)
    world.apply(deployment(image="task", kind=Kind.JOB, job=job, restart=ONCE, port=None))
    most = 0
    while not world.entry().run.outcome:
        world.step()
        most = max(most, world.wanted())
    assert most == 2
    assert world.entry().run.succeeded == 5
    world.run(3)
    assert not world.runtime.boxes
    assert len(world.runtime.started) == 5


def test_job_gives_up_after_its_failures() -> None:
    world = World()
    job = Job(backoff_limit=2)
    world.apply(deployment(image="crash", kind=Kind.JOB, job=job, restart=ONCE, port=None))
    world.run_until(lambda: world.entry().run.outcome == "failed")
    world.run(3)
    assert len(world.runtime.started) == 3
    assert not world.runtime.boxes


def test_job_has_a_deadline() -> None:
    world = World()
    job = Job(deadline_s=5.0)
    world.apply(deployment(image="never", kind=Kind.JOB, job=job, restart=ONCE, port=None))
    assert world.run_until(lambda: world.entry().run.outcome == "failed") < 7
    world.run(3)
    assert not world.runtime.boxes


def cron_world(
    schedule: str = "* * * * *", *, replace_: bool = False, image: str = "task"
) -> World:
    world = World()
    spec = Cron(schedule, replace=replace_)
    world.apply(deployment(image=image, kind=Kind.CRON, cron=spec, restart=ONCE, port=None))
    return world


def test_cron_runs_once_a_minute_whatever_the_clock_does() -> None:
    world = cron_world()
    world.run(180)
    runs = world.entry().run.number
    assert runs in (3, 4)
    world.unix_s -= 3600  # set back an hour: nothing is repeated
    world.run(60)
    assert world.entry().run.number == runs
    world.unix_s += 3600 + 86400 * 365  # a year ahead: one run, not half a million
    world.run(5)
    assert world.entry().run.number == runs + 1


def test_cron_leaves_out_or_replaces_a_run_that_is_still_going() -> None:
    world = cron_world(image="never")
    world.run(130)
    assert world.entry().run.number == 1
    assert world.kinds().count("job-skipped") >= 1
    world = cron_world(image="never", replace_=True)
    world.run(130)
    assert world.entry().run.number >= 2
    assert len(world.runtime.boxes) == 1


def test_a_slot_that_may_not_restart_keeps_its_place() -> None:
    world = settled(replicas=1, restart=RestartPolicy(Restart.NEVER))
    world.runtime.boxes["web.1"].end(world.clock.now, 0, at_fault=True)
    world.run(5)
    assert [s.state for s in world.entry().slots] == [State.ENDED]
    assert list(world.runtime.boxes) == ["web.1"], "its logs are still wanted"


def test_effects_of_a_leaving_replica_in_their_order() -> None:
    """Drain, leave the gateway, stop, remove: one at a time, each seen before the next."""
    world = settled(replicas=1)
    world.apply(deployment(replicas=0))
    seen: list[str] = []
    for _ in range(12):
        outcome = world.step()
        seen += [type(effect).__name__ for effect in outcome.effects]
    assert seen == ["DrainServer", "RemoveServer", "Stop", "Remove"]


def test_a_replica_of_another_revision_is_not_adopted_without_its_template() -> None:
    world = settled(replicas=1)
    stray = Replica("web.99", "web", 42, Phase.RUNNING)
    observed = world.controller.observe()
    observed = replace(observed, replicas={**observed.replicas, "web.99": stray})
    outcome = reconcile(world.store.load(), observed, world.clock())
    assert Stop("web.99", 10.0) in outcome.effects
