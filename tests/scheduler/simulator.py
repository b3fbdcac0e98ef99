"""One seed, one history: users, traffic, faults at every effect; then peace, and the oracle.

    python -m tests.scheduler.simulator 17       replay seed 17 and tell its story

While there is chaos, every call that the controller makes may crash the controller before or after
it, fail, fail although it was done, be done twice, or be done later; every look at the world may
show an earlier one; replicas die, hang and flap, and the gateway loses everything. What has to hold
at every moment is in ``_check``, and what has to hold in the end in ``unsettled``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import TypeVar

from minirun import MinirunError, ScheduleError
from scheduler import apply
from scheduler.actions import AddServer, Event, Start
from scheduler.controller import Controller
from scheduler.entry import Desired, Entry, Slot, Stage, State
from scheduler.gateway.protocol import Gateway
from scheduler.model import Deployment, Kind
from scheduler.observed import Host, Observed, Phase, Replica, Route, Server, Traffic
from scheduler.policy import Autoscale, Canary, Job, Portion, Restart, RestartPolicy
from scheduler.rollout import fenceposts
from scheduler.runtime import Runtime
from tests.scheduler.world import World, cpu, deployment, update

CHAOS_STEPS = 100
FAULT_RATE = 0.05
STALE_RATE = 0.08
SETTLES_WITHIN_S = 400.0
GOOD = ("good", "slow")
IMAGES = ("good", "good", "good", "slow", "crash", "oom", "never", "errors", "missing")
Answer = TypeVar("Answer")


class Crash(BaseException):
    """The controller was killed here. No handler of an error may catch it."""


class Chaos:
    """Decides what goes wrong, by the seed alone."""

    def __init__(self, random: Random, later: Callable[[Callable[[], object]], None]) -> None:
        self.random = random
        self.later = later
        self.is_on = True
        self.faults: list[str] = []
        #: When the look began that the controller acts upon.
        self.looked_at = 0.0

    def around(self, what: str, act: Callable[[], object], *, may_delay: bool = False) -> None:
        """Do something, or not, or twice, or later."""
        if not self.is_on or self.random.random() >= FAULT_RATE:
            act()
            return
        kinds = ["crash before", "crash after", "fail", "lose the reply", "twice"]
        kind = self.random.choice([*kinds, "later"] if may_delay else kinds)
        self.faults.append(f"{what}: {kind}")
        if kind in ("crash after", "lose the reply", "twice"):
            act()
        if kind == "twice":
            act()
        if kind == "later":
            self.later(act)
        if kind.startswith("crash"):
            raise Crash
        if kind in ("fail", "lose the reply"):
            raise ScheduleError("injected fault", status=503)


class FaultyRuntime:
    """A runtime whose effects go wrong."""

    def __init__(self, inner: Runtime, chaos: Chaos) -> None:
        self._inner, self._chaos = inner, chaos

    def host(self) -> Host:
        return self._inner.host()

    def replicas(self) -> Mapping[str, Replica]:
        return self._inner.replicas()

    def start(self, wanted: Start) -> None:
        act = lambda: self._inner.start(wanted)  # noqa: E731
        self._chaos.around(f"start {wanted.id}", act, may_delay=True)

    def stop(self, replica_id: str, stop_s: float) -> None:
        act = lambda: self._inner.stop(replica_id, stop_s)  # noqa: E731
        self._chaos.around(f"stop {replica_id}", act, may_delay=True)

    def remove(self, replica_id: str) -> None:
        act = lambda: self._inner.remove(replica_id)  # noqa: E731
        self._chaos.around(f"remove {replica_id}", act, may_delay=True)


class FaultyGateway:
    """A gateway whose effects go wrong; they stay in order, as its protocol promises."""

    def __init__(self, inner: Gateway, chaos: Chaos) -> None:
        self._inner, self._chaos = inner, chaos

    def servers(self) -> Mapping[str, Server]:
        return self._inner.servers()

    def routes(self) -> Mapping[str, Route]:
        return self._inner.routes()

    def traffic(self) -> Mapping[str, Traffic]:
        return self._inner.traffic()

    def add(self, server: AddServer) -> None:
        self._chaos.around(f"add {server.id}", lambda: self._inner.add(server))

    def drain(self, server_id: str, pool: str) -> None:
        self._chaos.around(f"drain {server_id}", lambda: self._inner.drain(server_id, pool))

    def remove(self, server_id: str, pool: str) -> None:
        self._chaos.around(f"unroute {server_id}", lambda: self._inner.remove(server_id, pool))

    def set_route(self, route: Route) -> None:
        self._chaos.around(f"route {route.deployment}", lambda: self._inner.set_route(route))

    def remove_route(self, deployment: str) -> None:
        act = lambda: self._inner.remove_route(deployment)  # noqa: E731
        self._chaos.around(f"remove route {deployment}", act)


class WatchedController(Controller):
    """A controller whose looks at the world are sometimes late, or repeated."""

    chaos: Chaos
    seen: list[Observed]

    def observe(self) -> Observed:
        fresh = super().observe()
        self.seen.append(fresh)
        del self.seen[:-6]
        is_late = self.chaos.is_on and self.chaos.random.random() < STALE_RATE
        look = self.chaos.random.choice(self.seen) if is_late else fresh
        self.chaos.looked_at = look.at
        return look


class Simulation(World):
    """One history."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.delayed: list[tuple[float, Callable[[], object]]] = []
        self.chaos = Chaos(self.random, self._later)
        self.seen: list[Observed] = []
        self.log: list[str] = []
        self.crashes = 0
        super().__init__()
        self.store.commit = self._commit  # type: ignore[method-assign]
        self.runtime.removed_after_s = lambda: self.random.choice((0.0, 0.2, 1.0, 8.0))

    def new_controller(self) -> Controller:
        runtime = FaultyRuntime(self.runtime, self.chaos)
        gateway = FaultyGateway(self.gateway, self.chaos)
        made = WatchedController(self.store, runtime, gateway, self.clock, lambda: self.unix_s)
        made.chaos, made.seen = self.chaos, self.seen
        return made

    def _commit(
        self,
        entries: Mapping[str, Entry | None],
        events: tuple[Event, ...],
        seen: Desired | None = None,
    ) -> None:
        before = self.store.load()
        commit = type(self.store).commit
        self.chaos.around("commit", lambda: commit(self.store, entries, events, seen))
        _check(before, entries)
        self._check_gone(entries)

    def _check_gone(self, changed: Mapping[str, Entry | None]) -> None:
        """Hold a deletion to its word: nothing is left but what a lost start may yet bring."""
        for name in (name for name, entry in changed.items() if entry is None):
            left = [box for box in self.runtime.boxes.values() if box.start.deployment == name]
            known = [box.start.id for box in left if box.started_at <= self.chaos.looked_at]
            assert not known, f"{name} is told to be gone, and there is {known}"

    def _later(self, act: Callable[[], object]) -> None:
        self.delayed.append((self.clock.now + self.random.uniform(0.2, 4.0), act))

    # ---- the history ----

    def history(self) -> None:
        """Live through the chaos, then through the peace after it.

        Raises:
            AssertionError: something that must hold did not.
        """
        for index in range(self.random.randint(1, 3)):
            self.apply(self._wish(f"d{index}"))
        for _ in range(CHAOS_STEPS):
            self._live()
            self._meddle()
            self._suffer()
            self._one_tick()
        self.chaos.is_on = False
        self._hope()
        since = self.clock.now
        while problems := self.unsettled():
            assert self.clock.now - since < SETTLES_WITHIN_S, f"not settled: {problems}"
            self._live(until_idle=self.clock.now - since > SETTLES_WITHIN_S / 4)
            self._one_tick()
        assert not self._lost(), f"requests were lost: {self.gateway.fates}"

    def _one_tick(self) -> None:
        try:
            self.controller.tick()
        except Crash:
            self._restart()
        except MinirunError:
            pass  # the store refused: the loop tries again with the next look
        assert not self._lost(), f"requests were lost: {self.gateway.fates}"
        self._check_room()

    def _restart(self) -> None:
        self.crashes += 1
        while True:
            self.controller = self.new_controller()
            try:
                return self.controller.resume()
            except (Crash, MinirunError):
                continue

    def _live(self, *, until_idle: bool = False) -> None:
        """Let time pass and clients call."""
        for due, act in [pair for pair in self.delayed if pair[0] <= self.clock.now]:
            self.delayed.remove((due, act))
            act()
        for name in self.gateway.the_routes:
            for _ in range(0 if until_idle else self.random.choice((0, 0, 1, 1, 2, 4))):
                self.gateway.request(name, self.random.uniform(0.1, 2.5))
        self.pass_time()

    def _check_room(self) -> None:
        """Hold what runs to what the host has: a place is free when its replica has ended."""
        running = {n for n, b in self.runtime.boxes.items() if b.runs}
        slots = [slot for entry in self.store.entries.values() for slot in entry.slots]
        for node in self.runtime.the_host.nodes:
            mine = [g for s in slots if s.id in running for g in s.grants if g.node == node.id]
            taken = sum(grant.cpu_millis for grant in mine)
            assert taken <= node.cpu_millis, f"{node.id} runs {taken} of {node.cpu_millis}"

    def _lost(self) -> bool:
        return any(fate.startswith("LOST") for fate in self.gateway.fates)

    # ---- people ----

    def _wish(self, name: str) -> Deployment:
        """Return a deployment that somebody may want."""
        draw = self.random
        if draw.random() < 0.1:
            return self._job(name)
        spec = Autoscale(
            minimum=draw.choice((0, 0, 1)),
            maximum=draw.randint(1, 4),
            concurrency=draw.choice((1.0, 4.0)),
            down_stabilization_s=draw.choice((0.0, 60.0)),
        )
        canary = Canary(weight=30, min_requests=15, duration_s=4.0)
        image = draw.choice(IMAGES)
        return deployment(
            name,
            f"{image}:{draw.randint(1, 3)}",
            replicas=draw.randint(0, 4),
            update=update(*draw.choice(((1, 0), (0, 1), (2, 1), (1, 1))), draw.choice((0.0, 2.0))),
            autoscale=spec if draw.random() < 0.3 else None,
            canary=canary if draw.random() < 0.25 else None,
            requests=cpu(draw.choice((0, 500, 1000, 3000))),
            concurrency=draw.choice((0, 1, 2)),
            priority=draw.choice((10, 50, 55, 90)),
        )

    def _job(self, name: str) -> Deployment:
        policy = RestartPolicy(Restart.ON_FAILURE)
        job = Job(completions=3, parallelism=2, backoff_limit=2)
        image = self.random.choice(("task", "task", "crash"))
        return deployment(name, image, kind=Kind.JOB, job=job, restart=policy, port=None)

    def _meddle(self) -> None:
        """Let somebody change something."""
        if self.random.random() >= 0.06:
            return
        name = f"d{self.random.randint(0, 2)}"
        entry = self.store.entries.get(name)
        if entry is None:
            self._try_to(lambda: self.apply(self._wish(name)))
            return
        acts: list[Callable[[], None]] = [
            lambda: self.apply(self._wish(name)),
            lambda: self._change(name, replicas=self.random.randint(0, 4)),
            lambda: self._change(name, paused=not entry.deployment.paused),
            lambda: self.store.update(name, lambda e: apply.rolled_back(e, self.clock.now)),
            lambda: self.store.update(name, apply.deleted),
        ]
        self._try_to(self.random.choice(acts))

    def _change(self, name: str, **changes: object) -> None:
        self.apply(replace(self.entry(name).deployment, **changes))  # type: ignore[arg-type]

    def _try_to(self, act: Callable[[], None]) -> None:
        try:
            act()
        except ScheduleError as error:
            self.log.append(f"refused: {error}")

    def _hope(self) -> None:
        """End the pauses: what is paused is asked to stay unfinished."""
        for name, entry in self.store.entries.items():
            if entry.deployment.paused and not entry.deleted:
                self._change(name, paused=False)

    # ---- bad luck ----

    def _suffer(self) -> None:
        """Let something outside the controller break."""
        boxes = [b for b in self.runtime.boxes.values() if b.phase is Phase.RUNNING]
        if boxes and self.random.random() < 0.06:
            box = self.random.choice(boxes)
            fate = self.random.choice(("killed", "killed", "hangs", "is unready"))
            self.log.append(f"{self.clock.now:.1f} {box.start.id} {fate}")
            if fate == "killed":
                box.end(self.clock.now, 137, at_fault=True)
            elif fate == "hangs":
                box.hung = True
            else:
                box.unready_until = self.clock.now + 4
        if self.random.random() < 0.01:
            self.log.append(f"{self.clock.now:.1f} the gateway is killed")
            self.gateway.crash()
        self.gateway.silent = self.random.random() < 0.05

    # ---- the end ----

    def unsettled(self) -> list[str]:
        """Return what is not yet as it should be."""
        entries = self.store.entries
        slots = {slot.id for entry in entries.values() for slot in entry.slots}
        running = {n for n, b in self.runtime.boxes.items() if b.runs}
        problems = [f"orphan {name}" for name in sorted(running - slots)]
        problems += [f"leaked {name}" for name in sorted(self.runtime.boxes.keys() - slots)]
        problems += [f"stray server {n}" for n in sorted(self.gateway.members.keys() - slots)]
        problems += [f"stray route {n}" for n in sorted(self.gateway.the_routes.keys() - entries)]
        problems += ["something is still under way"] * len(self.delayed)
        for name, entry in entries.items():
            problems += [f"{name}: {text}" for text in self._unsettled(name, entry)]
        return problems

    def _unsettled(self, name: str, entry: Entry) -> list[str]:
        if entry.deleted:
            return ["not gone"]
        if entry.deployment.kind is Kind.JOB:
            return [] if entry.run.outcome and not entry.slots else ["the job has not ended"]
        if any(slot.state is State.DRAINING for slot in entry.slots):
            return ["draining"]
        if entry.pending or entry.rollout.stage is Stage.CANARY:
            return []
        if not _count(entry):
            return ["not at zero"] * bool(entry.slots)
        return self._not_serving(name, entry)

    def _not_serving(self, name: str, entry: Entry) -> list[str]:
        image = entry.revision(entry.rollout.target).template.image.partition(":")[0]
        if image not in (*GOOD, "errors"):
            can_revert = entry.rollout.stable and entry.rollout.stage is not Stage.FAILED
            return ["a bad image without an end"] * bool(can_revert and not self._was_good(entry))
        if entry.rollout.stage is not Stage.COMPLETE:
            return [f"rollout is {entry.rollout.stage}"]
        serving, wanted = self.serving(name), _count(entry)
        short = serving < wanted or len(entry.slots) != wanted
        return [f"{serving} serve, {wanted} are wanted"] * short

    def _was_good(self, entry: Entry) -> bool:
        """Return whether an image that now fails once completed: oom does, for three seconds."""
        return entry.rollout.stable == entry.rollout.target


def _count(entry: Entry) -> int:
    if entry.deployment.autoscale:
        return entry.scale.desired or 0
    return entry.deployment.replicas


def _check(before: Desired, changed: Mapping[str, Entry | None]) -> None:
    """Hold every commit to what must be so at every moment."""
    for name, entry in changed.items():
        if entry is None:
            continue
        ids = [slot.id for slot in entry.slots]
        assert len(ids) == len(set(ids)), f"{name}: the same replica twice: {ids}"
        live = _live_slots(entry)
        grown = len(live) > len(_live_slots(before.entries.get(name)))
        if entry.deployment.kind is Kind.SERVICE and grown:
            most = _most(entry)
            assert len(live) <= most, f"{name}: {len(live)} replicas, {most} are allowed: {entry}"


def _live_slots(entry: Entry | None) -> list[Slot]:
    return [s for s in entry.slots if s.state is not State.DRAINING] if entry else []


def _most(entry: Entry) -> int:
    count = _count(entry)
    policies = [p for p in (entry.deployment.update, entry.deployment.rollback) if p]
    surge = max(fenceposts(policy, count)[0] for policy in policies)
    canary = entry.deployment.canary
    return count + surge + (_canaries(canary.replicas, count) if canary else 0)


def _canaries(portion: Portion, count: int) -> int:
    return max(1, -(-portion.value * count // 100) if portion.percent else portion.value)


def run(seed: int) -> Simulation:
    """Live through one seed.

    Raises:
        AssertionError: with the seed in it, so that it can be replayed.
    """
    simulation = Simulation(seed)
    try:
        simulation.history()
    except Exception as error:
        replay = f"python -m tests.scheduler.simulator {seed}"
        raise AssertionError(f"seed {seed}: {error}\nreplay: {replay}") from error
    return simulation


if __name__ == "__main__":
    told = Simulation(int(sys.argv[1]))
    try:
        told.history()
    finally:
        print("\n".join([*told.log, *told.chaos.faults]))
        for event in told.store.events:
            print(f"{event.deployment:4} {event.kind:14} {event.message}")
        print(dict(told.gateway.fates), f"crashes={told.crashes}")
