"""Who gets room, and how many there are, over a fake host: one story each."""

from __future__ import annotations

from scheduler import apply
from scheduler.entry import Stage, State
from scheduler.model import Quota
from scheduler.observed import Host, Node, Phase
from scheduler.policy import Autoscale
from tests.scheduler.world import World, cpu, deployment, settled, update

SMALL = Host((Node("n0", 2000, 1 << 34),))


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


def test_a_removal_that_takes_long_holds_neither_room_nor_quota() -> None:
    """What if nothing is ever removed: what runs is all that counts."""
    world = World(SMALL)
    world.runtime.removed_after_s = lambda: 1e6
    world.store.quotas["team"] = Quota("team", replicas=2)
    one_by_one = update(surge=0, unavailable=1)
    for image in ("good", "good:2", "good:3"):
        world.apply(
            deployment(image=image, requests=cpu(1000), quota="team", update=one_by_one, priority=9)
        )
        world.run(1)
        world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE, 30.0)
        assert world.serving() == 2
    assert sum(box.phase is Phase.REMOVING for box in world.runtime.boxes.values()) == 4
    world.apply(deployment("high", replicas=1, requests=cpu(1000), priority=90))
    world.run_until(lambda: world.serving("high") == 1, 10.0)


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
    assert scaled[-1].inputs["spec_concurrency"] == 2.0
    assert "spec_rps" not in scaled[-1].inputs, "it is not scaled by that"


def test_what_loads_for_long_is_kept_for_long_but_not_what_was_unready_for_a_moment() -> None:
    """What if a probe fails once, long after the start: that is not how long it loads."""
    assert _kept_s("good") < 100
    assert _kept_s("slow") > 250


def _kept_s(image: str) -> float:
    """Return how long three replicas are kept that nobody asks."""
    world = World()
    world.apply(deployment(image=image, autoscale=Autoscale(minimum=1, initial=3, concurrency=2.0)))
    world.run(30)
    world.runtime.boxes["web.1"].unready_until = world.clock.now + 2
    world.run(5)
    return world.run_until(lambda: len(world.runtime.boxes) == 1, 400.0)


def test_no_metrics_no_scaling() -> None:
    world = settled(autoscale=Autoscale(minimum=1, initial=3, concurrency=2.0))
    world.gateway.silent = True
    world.run(200)
    assert world.serving() == 3


def test_a_scheduler_that_resumes_is_in_panic_where_several_serve() -> None:
    """An empty window must not scale down, and in panic nothing does."""
    world = settled(autoscale=Autoscale(maximum=5, initial=3, concurrency=1.0))
    entry = apply.resumed(world.entry(), 7.0)
    assert (entry.scale.desired, entry.scale.panic_since, entry.scale.max_panic) == (3, 7.0, 3)


def test_a_new_controller_does_not_scale_down_on_empty_windows() -> None:
    world = settled(autoscale=Autoscale(minimum=1, initial=4, concurrency=2.0))
    world.gateway.windows.clear()
    world.controller.resume()
    world.run(30)
    assert world.serving() == 4
