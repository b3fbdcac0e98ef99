"""What holds of every decision, whatever there is: Hypothesis makes the worlds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.actions import Outcome, Remove, RemoveServer, Start, Stop
from scheduler.apply import deleted
from scheduler.entry import Entry, Stage, State
from scheduler.model import Deployment
from scheduler.observed import Host, Node, Observed, Phase, Replica, Server
from scheduler.policy import Autoscale
from scheduler.reconcile import reconcile
from scheduler.rollout import fenceposts
from tests.scheduler.world import World, cpu, deployment, update

CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIGHT = Host((Node("n0", 3000, 1 << 34), Node("n1", 3000, 1 << 34)))


@dataclass(frozen=True)
class Fate:
    """What happened to one replica before the look that is judged."""

    phase: Phase | None
    ready: bool
    alive: bool
    served: bool
    draining: bool
    in_flight: int


fates = st.builds(
    Fate,
    st.sampled_from([None, *Phase]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
updates = st.builds(
    update, st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.0, 2.0])
).filter(lambda u: u.surge.value or u.unavailable.value)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, Observed]:
    """Return a world in the middle of something, and a look at it that holds any surprise."""
    world = World(TIGHT)
    for index in range(draw(st.integers(1, 3))):
        world.apply(draw(deployments(f"d{index}")))
    world.run(draw(st.sampled_from([0, 1, 4, 12])))
    for name in list(world.store.entries):
        if draw(st.booleans()):
            world.apply(draw(deployments(name)))
        world.run(draw(st.sampled_from([0, 1, 2])))
    return world, _surprised(world, draw)


@st.composite
def deployments(draw: st.DrawFn, name: str) -> Deployment:
    return deployment(
        name,
        draw(st.sampled_from(["good", "good:2", "good:3", "crash", "never"])),
        replicas=draw(st.integers(0, 5)),
        update=draw(updates),
        priority=draw(st.sampled_from([10, 19, 50, 90])),
        requests=cpu(draw(st.sampled_from([0, 500, 1500]))),
    )


def _surprised(world: World, draw: st.DrawFn) -> Observed:
    seen = world.controller.observe()
    replicas, servers = dict(seen.replicas), dict(seen.servers)
    for entry in world.store.entries.values():
        for slot in entry.slots:
            may_live = slot.state in (State.PLACED, State.DRAINING)  # no phase ever goes back
            if may_live and draw(st.integers(0, 3)) == 0:
                _meet(entry, slot.id, slot.revision, draw(fates), seen.at, replicas, servers)
    return replace(seen, replicas=replicas, servers=servers)


def _meet(
    entry: Entry,
    name: str,
    revision: int,
    fate: Fate,
    at: float,
    replicas: dict[str, Replica],
    servers: dict[str, Server],
) -> None:
    replicas.pop(name, None)
    servers.pop(name, None)
    if fate.phase:
        ready = at - 10 if fate.ready and fate.phase is Phase.RUNNING else None
        replicas[name] = Replica(
            name, entry.deployment.name, revision, fate.phase, ready, fate.alive, exit_code=1
        )
    if fate.served:
        servers[name] = Server(name, "stable", fate.draining, fate.in_flight)


def decide(world: World, seen: Observed) -> Outcome:
    return reconcile(world.store.load(), seen, seen.at + 0.001)


def live(entry: Entry | None) -> int:
    return sum(slot.state is not State.DRAINING for slot in entry.slots) if entry else 0


@CALM
@given(worlds())
def test_reconcile_is_a_function(made: tuple[World, Observed]) -> None:
    world, seen = made
    assert decide(world, seen) == decide(world, seen)


@CALM
@given(worlds())
def test_reconcile_never_grows_past_the_surge_nor_doubles(made: tuple[World, Observed]) -> None:
    world, seen = made
    before = world.store.entries
    for name, entry in decide(world, seen).entries.items():
        assert entry
        ids = [slot.id for slot in entry.slots]
        assert len(ids) == len(set(ids))
        surge, _ = fenceposts(entry.deployment.update, entry.deployment.replicas)
        assert live(entry) <= max(live(before[name]), entry.deployment.replicas + surge)


@CALM
@given(worlds())
def test_reconcile_starts_only_what_the_store_has(made: tuple[World, Observed]) -> None:
    world, seen = made
    outcome = decide(world, seen)
    entries = {**world.store.entries, **outcome.entries}
    slots = {s.id: s for e in entries.values() if e for s in e.slots}
    starts = [effect for effect in outcome.effects if isinstance(effect, Start)]
    assert all(slots[effect.id].state is State.PLACED for effect in starts)
    assert not {effect.id for effect in starts} & seen.replicas.keys()
    assert len({effect.id for effect in starts}) == len(starts)


@CALM
@given(worlds())
def test_reconcile_stops_nothing_that_the_gateway_has(made: tuple[World, Observed]) -> None:
    world, seen = made
    effects = decide(world, seen).effects
    assert not {e.id for e in effects if isinstance(e, Stop)} & seen.servers.keys()
    for effect in effects:
        if isinstance(effect, RemoveServer) and (server := seen.servers[effect.id]).in_flight:
            replica = seen.replicas.get(effect.id)
            dead = replica is None or replica.has_ended or not replica.alive
            assert dead or server.draining


@CALM
@given(worlds())
def test_reconcile_asks_nothing_of_what_is_being_removed(made: tuple[World, Observed]) -> None:
    world, seen = made
    removing = {name for name, r in seen.replicas.items() if r.phase is Phase.REMOVING}
    asked = [e for e in decide(world, seen).effects if isinstance(e, Start | Stop | Remove)]
    assert not {effect.id for effect in asked} & removing


@CALM
@given(worlds())
def test_reconcile_tells_of_no_deletion_before_its_end(made: tuple[World, Observed]) -> None:
    world, seen = made
    for name in world.store.entries:
        world.store.update(name, deleted)
    there = {replica.deployment for replica in seen.replicas.values()}
    for name, entry in decide(world, seen).entries.items():
        assert entry or name not in there


@CALM
@given(worlds())
def test_reconcile_says_nothing_twice_about_the_same_look(made: tuple[World, Observed]) -> None:
    """What was decided on a look is not decided again on the same one."""
    world, seen = made
    first = decide(world, seen)
    world.store.commit(first.entries, first.events)
    again = decide(world, seen)
    changed = {name for name, entry in first.entries.items() if entry}
    assert not again.entries.keys() & changed
    assert not [e for e in again.effects if isinstance(e, Start) and e.deployment in changed]


@CALM
@given(worlds())
def test_reconcile_preempts_only_what_is_ten_lower(made: tuple[World, Observed]) -> None:
    world, seen = made
    entries = world.store.entries
    for event in decide(world, seen).events:
        if event.kind == "preempted":
            winner = event.message.split("preempted by ")[1].split(",")[0]
            ours, theirs = entries[winner].deployment, entries[event.deployment].deployment
            assert ours.priority - theirs.priority >= 10


@CALM
@given(worlds())
def test_reconcile_promises_no_more_room_than_there_is(made: tuple[World, Observed]) -> None:
    """Whatever waits for its victims aside, no node is given away twice."""
    world, seen = made
    entries = {**world.store.entries, **decide(world, seen).entries}
    for node in TIGHT.nodes:
        staying = [
            grant.cpu_millis
            for entry in entries.values()
            if entry
            for slot in entry.slots
            if slot.state is not State.DRAINING
            for grant in slot.grants
            if grant.node == node.id
        ]
        assert sum(staying) <= node.cpu_millis


@CALM
@given(worlds(), st.integers(0, 2**31))
def test_reconcile_converges_and_is_silent_then(made: tuple[World, Observed], seed: int) -> None:
    """From anywhere, with nothing going wrong any more, to where nothing is left to do."""
    world, _ = made
    for index, box in enumerate(world.runtime.boxes.values()):
        if (seed >> index) & 1:
            box.end(world.clock.now, 137, at_fault=True)
    for wanted in [entry.deployment for entry in world.store.entries.values()]:
        template = replace(wanted.template, image=f"good:{seed % 3}")
        world.apply(replace(wanted, template=template))
    world.run(70)  # a crash loop may have its longest back-off before it
    outcome = world.step()
    assert outcome.effects == ()
    for name, entry in world.store.entries.items():
        is_there = world.serving(name) == entry.deployment.replicas == live(entry)
        assert is_there or "no room" in entry.pending, world.story()


@CALM
@given(updates, st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_rollout_of_healthy_images_keeps_the_minimum(
    policy: object, before: int, after: int, again: bool
) -> None:
    """Also where the number of replicas changes, or a third revision comes, in the middle."""
    world = World()
    world.apply(deployment(replicas=before, update=policy))
    world.run_until(lambda: world.serving() == before)
    world.apply(deployment(image="good:2", replicas=before, update=policy))
    world.run(1)
    world.apply(deployment(image="good:3" if again else "good:2", replicas=after, update=policy))
    wanted = world.entry().deployment
    least = min(n - fenceposts(wanted.update, n)[1] for n in (before, after))
    while world.entry().rollout.stage is not Stage.COMPLETE:
        assert world.serving() >= min(least, after)
        world.gateway.request("web", 0.4)
        world.step()
        assert world.clock.now < 1200, world.story()
    assert world.serving() == after


@CALM
@given(st.integers(0, 6), st.integers(0, 4))
def test_no_metrics_no_scaling(current: int, minimum: int) -> None:
    spec = Autoscale(minimum=minimum, maximum=8, initial=current, concurrency=1.0)
    world = World()
    world.gateway.silent = True
    world.apply(deployment(autoscale=spec))
    world.run(10)
    assert world.wanted() == max(current, minimum)
