"""The loop over a fake host: one story each."""

from __future__ import annotations

from dataclasses import replace

from scheduler import apply
from scheduler.actions import AddServer, Outcome, Start, Stop
from scheduler.control.status import status_of
from scheduler.entry import Stage, State
from scheduler.observed import Phase, Replica
from scheduler.policy import Restart, RestartPolicy
from scheduler.reconcile import reconcile
from tests.scheduler.world import World, deployment, settled

REMOVING = Phase.REMOVING


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


def test_a_crash_loop_says_why_also_while_it_starts() -> None:
    """What if one looks, or the deadline passes, between two crashes?"""
    world = World()
    world.apply(deployment(image="crash", replicas=1))
    world.run_until(lambda: "exited" in world.kinds())
    for _ in range(20):
        world.step()
        assert world.controller.last
        assert "exited with 1" in status_of(world.entry(), world.controller.last).reason


def test_a_replica_that_fails_its_liveness_probe_is_replaced_when_it_has_ended() -> None:
    world = settled(replicas=1)
    first = world.runtime.boxes["web.1"]
    first.hung = True
    world.step()
    world.run_until(lambda: "web.2" in world.runtime.boxes, 30.0)
    assert not first.runs, "two replicas in one place"
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
    world.run(5)
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


# ---- what is left -------------------------------------------------------------------------------


def test_a_deletion_is_told_when_the_last_container_is_gone() -> None:
    """What if removals take long: they are asked for once, and the loop has nothing to do."""
    world = settled(replicas=2)
    world.runtime.removed_after_s = lambda: 30.0
    world.store.update("web", apply.deleted)
    world.run_until(lambda: {box.phase for box in world.runtime.boxes.values()} == {REMOVING})
    while (outcome := world.step()) == Outcome():
        assert len(world.runtime.boxes) == 2
    assert not world.runtime.boxes
    assert [event.message for event in outcome.events] == ["nothing of it is left"]
    assert not world.store.entries


def test_a_deletion_waits_for_containers_of_earlier_restarts() -> None:
    """What if a container has no slot any more: its place was given to the next."""
    world = settled(replicas=1)
    world.runtime.removed_after_s = lambda: 30.0
    world.runtime.boxes["web.1"].end(world.clock.now, 137, at_fault=True)
    world.run_until(lambda: world.runtime.boxes["web.1"].phase is REMOVING, 5.0)
    world.run_until(lambda: world.serving() == 1, 5.0)
    world.runtime.removed_after_s = lambda: 0.0
    world.store.update("web", apply.deleted)
    world.run_until(lambda: not world.entry().slots, 5.0)
    assert list(world.runtime.boxes) == ["web.1"]
    assert world.run_until(lambda: not world.store.entries) > 15.0
    assert not world.runtime.boxes


def test_a_restart_in_the_middle_of_a_removal_finishes_it() -> None:
    """What if the removal was lost with the scheduler that had queued it."""
    world = settled(replicas=1)
    world.runtime.removed_after_s = lambda: 1e6
    world.store.update("web", apply.deleted)
    world.run_until(lambda: world.runtime.boxes["web.1"].phase is REMOVING)
    world.runtime.boxes["web.1"].phase = Phase.EXITED  # as the next one finds it
    world.runtime.removed_after_s = lambda: 0.0
    world.controller = world.new_controller()
    world.controller.resume()
    world.run_until(lambda: not world.store.entries)
    assert not world.runtime.boxes
