"""Everything a test of the control loop needs, wired together and turned by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from scheduler import apply
from scheduler.actions import Outcome
from scheduler.controller import Controller
from scheduler.entry import Entry, Stage, State
from scheduler.model import Deployment, Resources, Template
from scheduler.observed import Host
from scheduler.policy import Portion, Update
from tests.scheduler.fakes import HOST, Clock, FakeGateway, FakeRuntime, FakeStore

STEP_S = 0.5
QUICK = Update(min_ready_s=0.0, progress_deadline_s=30.0)


def deployment(name: str = "web", image: str = "good", **changes: object) -> Deployment:
    """Return a small service; template fields may be given beside the deployment's own."""
    made = Deployment(name, Template(image, port=8000), replicas=2, update=QUICK)
    fields = {f: v for f, v in changes.items() if f in Template.__slots__}
    template = replace(made.template, **fields)  # type: ignore[arg-type]
    rest = {f: v for f, v in changes.items() if f not in Template.__slots__}
    return replace(made, template=template, **rest)  # type: ignore[arg-type]


def cpu(millis: int) -> Resources:
    return Resources(cpu_millis=millis)


def update(surge: int = 1, unavailable: int = 0, min_ready_s: float = 0.0) -> Update:
    return replace(
        QUICK, surge=Portion(surge), unavailable=Portion(unavailable), min_ready_s=min_ready_s
    )


class World:
    """A store, a host, a gateway, a clock, and a controller over them."""

    def __init__(self, host: Host = HOST) -> None:
        self.clock = Clock()
        self.unix_s = 1_750_000_000.0
        self.store = FakeStore()
        self.runtime = FakeRuntime(self.clock, host)
        self.gateway = FakeGateway(self.clock, self.runtime)
        self.controller = self.new_controller()

    def new_controller(self) -> Controller:
        return Controller(self.store, self.runtime, self.gateway, self.clock, lambda: self.unix_s)

    def apply(self, wanted: Deployment) -> None:
        """Create or change a deployment, as the API does."""
        before = self.store.entries.get(wanted.name)
        now = self.clock.now
        if before:
            entry = apply.applied(before, wanted, now)
        else:
            serial = self.store.serials.get(wanted.name, 1)
            entry = apply.created(wanted, now, first_serial=serial)
        self.store.entries[wanted.name] = entry

    def entry(self, name: str = "web") -> Entry:
        return self.store.entries[name]

    def pass_time(self, seconds: float = STEP_S) -> None:
        """Let the world go on without the controller."""
        self.clock.now += seconds
        self.unix_s += seconds
        self.runtime.advance()
        self.gateway.advance()

    def step(self) -> Outcome:
        """Let the world go on, then let the controller look."""
        self.pass_time()
        return self.controller.tick()

    def run(self, seconds: float) -> None:
        """Step for a while."""
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def run_until(self, condition: Callable[[], bool], within_s: float = 60.0) -> float:
        """Step until something is so; return how long that took."""
        began = self.clock.now
        while not condition():
            assert self.clock.now - began < within_s, f"not so after {within_s} s: {self.story()}"
            self.step()
        return self.clock.now - began

    def serving(self, name: str = "web") -> int:
        """Return how many replicas can be given requests now."""
        members = self.gateway.members
        return sum(
            not member.draining
            and member.added.deployment == name
            and key in self.runtime.boxes
            and self.runtime.boxes[key].ready_since is not None
            for key, member in members.items()
        )

    def wanted(self, name: str = "web") -> int:
        """Return how many slots are not on their way out."""
        return sum(slot.state is not State.DRAINING for slot in self.entry(name).slots)

    def kinds(self, name: str = "web") -> list[str]:
        """Return the kinds of a deployment's events, oldest first."""
        return [event.kind for event in self.store.events if event.deployment == name]

    def story(self) -> str:
        """Return what happened last, for a failing test."""
        last = [f"{e.deployment} {e.kind}: {e.message}" for e in self.store.events[-12:]]
        return "\n".join(["", *last, *map(repr, self.store.entries.values())])


def settled(**changes: object) -> World:
    """Return a world whose deployment "web" is complete."""
    world = World()
    world.apply(deployment("web", "good", **changes))
    world.run_until(lambda: world.entry().rollout.stage is Stage.COMPLETE)
    world.run(2)
    return world
