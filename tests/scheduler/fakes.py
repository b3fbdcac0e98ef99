"""A host and a gateway in memory, under a clock that is turned by hand.

They keep the rules of ``scheduler/runtime.py`` and ``scheduler/gateway/protocol.py``, which
``contract.py`` holds them to. What a replica does is in its image's name:

    good      ready half a second after its start, and answers
    slow      the same, but ready after twelve seconds
    crash     exits with 1 a second after its start
    oom       is ended by the kernel after three seconds
    never     runs, and never becomes ready
    errors    is ready, and answers every other request with 500
    missing   cannot be started
    task      exits with 0 after two seconds

Every request has a fate, and the fate of one that was lost says whose fault it was.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from scheduler.actions import AddServer, Event, Start
from scheduler.entry import Desired, Entry
from scheduler.model import Quota
from scheduler.observed import Host, Node, Phase, Replica, Route, Server, Totals, Traffic
from scheduler.window import Window

GIB = 1 << 30
READY_AFTER_S = {"good": 0.5, "slow": 12.0, "errors": 0.5, "oom": 0.5}
ENDS_AFTER_S = {"crash": 1.0, "oom": 3.0, "task": 2.0}
STOPS_AFTER_S = 0.3
REMOVED_AFTER_S = 0.2
HOST = Host((Node("n0", 4000, 8 * GIB, ("gpu0",)), Node("n1", 4000, 8 * GIB)), 16 * GIB)


class Clock:
    """Monotonic seconds; reading it takes a microsecond, so no two readings are equal."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


@dataclass
class Box:
    """One fake container."""

    start: Start
    started_at: float
    phase: Phase = Phase.RUNNING
    ready_since: float | None = None
    loaded_in_s: float | None = None
    unready_until: float = 0.0
    hung: bool = False
    stop_at: float | None = None
    ended_at: float = 0.0
    exit_code: int | None = None
    oom: bool = False
    problem: str = ""
    at_fault: bool = False
    gone_at: float | None = None

    @property
    def runs(self) -> bool:
        """Return whether it still has a process."""
        return not self.seen().has_ended

    @property
    def image(self) -> str:
        """Return what it does: the image's name up to the tag."""
        return self.start.template.image.partition(":")[0]

    def advance(self, now: float) -> None:
        """Let it become ready, exit or stop, as its image and its history say."""
        if not self.runs:
            return
        age = now - self.started_at
        if self.stop_at is not None and now >= self.stop_at:
            self.end(now, 143)
        elif age >= ENDS_AFTER_S.get(self.image, float("inf")):
            self.oom = self.image == "oom"
            self.end(now, {"crash": 1, "oom": 137, "task": 0}[self.image], at_fault=True)
        elif self.hung or now < self.unready_until:
            self.ready_since = None
        elif age >= READY_AFTER_S.get(self.image, float("inf")) and self.ready_since is None:
            self.ready_since = now
            self.loaded_in_s = age if self.loaded_in_s is None else self.loaded_in_s

    def end(self, now: float, code: int, *, at_fault: bool = False) -> None:
        """Exit."""
        self.phase, self.exit_code, self.ended_at = Phase.EXITED, code, now
        self.ready_since, self.at_fault = None, at_fault or self.hung

    def seen(self) -> Replica:
        """Return it as the runtime reports it."""
        start = self.start
        return Replica(
            start.id,
            start.deployment,
            start.revision,
            self.phase,
            self.ready_since,
            alive=not self.hung,
            started_at=self.started_at,
            ended_at=self.ended_at,
            exit_code=self.exit_code,
            oom=self.oom,
            peak_memory_bytes=GIB if self.oom else 0,
            problem=self.problem,
            address=f"/run/{start.id}.sock",
            grants=start.grants,
            loaded_in_s=self.loaded_in_s,
        )


class FakeRuntime:
    """A runtime in memory."""

    def __init__(self, clock: Clock, host: Host = HOST) -> None:
        self.clock = clock
        self.boxes: dict[str, Box] = {}
        self.the_host = host
        self.started: list[str] = []
        self.removed_after_s: Callable[[], float] = lambda: REMOVED_AFTER_S

    def host(self) -> Host:
        return self.the_host

    def replicas(self) -> Mapping[str, Replica]:
        return {name: box.seen() for name, box in self.boxes.items()}

    def start(self, wanted: Start) -> None:
        if wanted.id in self.boxes:
            return
        box = Box(wanted, self.clock.now)
        if box.image == "missing":
            box.problem = f"image {wanted.template.image} not found"
            box.phase, box.ended_at = Phase.EXITED, self.clock.now
        self.boxes[wanted.id] = box
        self.started.append(wanted.id)

    def stop(self, replica_id: str, stop_s: float) -> None:
        box = self.boxes.get(replica_id)
        if box and box.stop_at is None:
            box.stop_at = self.clock.now + (stop_s if box.hung else min(stop_s, STOPS_AFTER_S))

    def remove(self, replica_id: str) -> None:
        box = self.boxes.get(replica_id)
        if box and box.phase is Phase.EXITED:
            box.phase, box.gone_at = Phase.REMOVING, self.clock.now + self.removed_after_s()

    def advance(self) -> None:
        for name, box in list(self.boxes.items()):
            box.advance(self.clock.now)
            if box.gone_at is not None and box.gone_at <= self.clock.now:
                del self.boxes[name]


@dataclass
class Request:
    """One request on its way."""

    deployment: str
    arrived_at: float
    takes_s: float
    done_at: float = 0.0


@dataclass
class FakeServer:
    """A server of the gateway, and what is in flight to it."""

    added: AddServer
    draining: bool = False
    in_flight: list[Request] = field(default_factory=list)

    def has_room(self) -> bool:
        return not self.added.concurrency or len(self.in_flight) < self.added.concurrency


class FakeGateway:
    """A gateway in memory: least outstanding requests, a cap for each server, a queue for all."""

    def __init__(self, clock: Clock, runtime: FakeRuntime) -> None:
        self.clock = clock
        self.runtime = runtime
        self.members: dict[str, FakeServer] = {}
        self.the_routes: dict[str, Route] = {}
        self.queues: dict[str, deque[Request]] = {}
        self.totals: dict[tuple[str, str], Totals] = {}
        self.windows: dict[str, tuple[Window, Window]] = {}
        self.fates: Counter[str] = Counter()
        self.silent = False

    # ---- what the scheduler asks ----

    def servers(self) -> Mapping[str, Server]:
        return {
            name: Server(name, s.added.pool, s.draining, len(s.in_flight))
            for name, s in self.members.items()
        }

    def routes(self) -> Mapping[str, Route]:
        return dict(self.the_routes)

    def traffic(self) -> Mapping[str, Traffic]:
        return {} if self.silent else {name: self._traffic(name) for name in self.the_routes}

    def add(self, server: AddServer) -> None:
        member = self.members.get(server.id)
        in_flight = member.in_flight if member else []
        self.members[server.id] = FakeServer(server, in_flight=in_flight)

    def drain(self, server_id: str, pool: str) -> None:
        if member := self._member(server_id, pool):
            member.draining = True

    def _member(self, server_id: str, pool: str) -> FakeServer | None:
        member = self.members.get(server_id)
        return member if member and member.added.pool == pool else None

    def remove(self, server_id: str, pool: str) -> None:
        member = self._member(server_id, pool)
        if member is None:
            return
        del self.members[server_id]
        for request in member.in_flight:
            self._lose(server_id, request, "cut off at the gateway")

    def set_route(self, route: Route) -> None:
        self.the_routes[route.deployment] = route
        self.queues.setdefault(route.deployment, deque())

    def remove_route(self, deployment: str) -> None:
        self.the_routes.pop(deployment, None)
        self.fates["refused"] += len(self.queues.pop(deployment, ()))

    # ---- what clients and time do ----

    def request(self, deployment: str, takes_s: float) -> None:
        """Let a request arrive."""
        route = self.the_routes.get(deployment)
        if route is None or len(self.queues[deployment]) >= route.queue_limit:
            self.fates["refused"] += 1
            return
        self.queues[deployment].append(Request(deployment, self.clock.now, takes_s))

    def crash(self) -> None:
        """Lose everything, as a proxy does that is killed and started again."""
        for member in self.members.values():
            self.fates["lost with the gateway"] += len(member.in_flight)
        self.members, self.the_routes, self.totals = {}, {}, {}
        for name in list(self.queues):
            self.fates["lost with the gateway"] += len(self.queues.pop(name))

    def advance(self) -> None:
        """Finish what is done, lose what was served by the dead, hand out what waits."""
        for name, member in self.members.items():
            self._serve(name, member)
        for deployment, queue in self.queues.items():
            self._hand_out(deployment, queue)
            self._sample(deployment, queue)

    def _serve(self, name: str, member: FakeServer) -> None:
        box = self.runtime.boxes.get(name)
        if box is None or not box.runs:
            for request in member.in_flight:
                self._lose(name, request, "stopped while it was served")
            member.in_flight = []
        elif not box.hung:
            done = [r for r in member.in_flight if r.done_at <= self.clock.now]
            member.in_flight = [r for r in member.in_flight if r.done_at > self.clock.now]
            for request in done:
                self._answer(member, request, is_error=box.image == "errors")

    def _answer(self, member: FakeServer, request: Request, *, is_error: bool) -> None:
        key = request.deployment, member.added.pool
        before = self.totals.get(key, Totals())
        error = is_error and before.requests % 2 == 0
        latency = before.latency_s_sum + self.clock.now - request.arrived_at
        self.totals[key] = Totals(before.requests + 1, before.errors + error, latency)
        self.fates["error" if error else "ok"] += 1

    def _hand_out(self, deployment: str, queue: deque[Request]) -> None:
        route = self.the_routes[deployment]
        mine = [m for m in self.members.values() if m.added.deployment == deployment]
        while queue:
            waits_s = route.queue_s if mine else route.activation_s
            if self.clock.now - queue[0].arrived_at > waits_s:
                queue.popleft()
                self.fates["refused"] += 1
                continue
            server = self._least_busy(mine, route)
            if server is None:
                return
            request = queue.popleft()
            request.done_at = self.clock.now + request.takes_s
            server.in_flight.append(request)

    def _least_busy(self, members: list[FakeServer], route: Route) -> FakeServer | None:
        def can_take(member: FakeServer) -> bool:
            box = self.runtime.boxes.get(member.added.id)
            reachable = box is not None and box.phase is Phase.RUNNING
            return reachable and not member.draining and member.has_room()

        able = [m for m in members if can_take(m)]
        turn = sum(t.requests for (name, _), t in self.totals.items() if name == route.deployment)
        pool = "canary" if route.canary_weight > turn * 37 % 100 else "stable"
        preferred = [m for m in able if m.added.pool == pool] or able
        return min(preferred, key=lambda m: (len(m.in_flight), m.added.id), default=None)

    def _lose(self, name: str, request: Request, how: str) -> None:
        box = self.runtime.boxes.get(name)
        excused = box is not None and (box.at_fault or box.hung)
        self.fates["lost with its replica" if excused else f"LOST: {how}"] += 1

    # ---- numbers ----

    def _sample(self, deployment: str, queue: deque[Request]) -> None:
        mine = [m for m in self.members.values() if m.added.deployment == deployment]
        busy = sum(len(m.in_flight) for m in mine)
        concurrency, _ = self.windows.setdefault(deployment, (Window(), Window()))
        concurrency.add(busy + len(queue), self.clock.now)

    def _traffic(self, deployment: str) -> Traffic:
        window = self.windows.get(deployment, (Window(), Window()))[0]
        mine = [m for m in self.members.values() if m.added.deployment == deployment]
        return Traffic(
            window.average(60, self.clock.now),
            window.average(6, self.clock.now),
            held=0 if mine else len(self.queues.get(deployment, ())),
            pools={p: t for (name, p), t in self.totals.items() if name == deployment},
        )


class FakeStore:
    """A store in memory; its commits are atomic."""

    def __init__(self, quotas: Mapping[str, Quota] | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.events: list[Event] = []
        self.serials: dict[str, int] = {}
        self.quotas = dict(quotas or {})

    def load(self) -> Desired:
        return Desired(dict(self.entries), self.quotas)

    def commit(
        self,
        entries: Mapping[str, Entry | None],
        events: tuple[Event, ...],
        seen: Desired | None = None,
    ) -> None:
        for name, entry in entries.items():
            if entry is None:
                if gone := self.entries.pop(name, None):
                    self.serials[name] = gone.next_serial
            else:
                self.entries[name] = entry
        self.events += events

    def update(self, name: str, change: Callable[[Entry], Entry]) -> None:
        """Change one entry, as the API does."""
        self.entries[name] = change(self.entries[name])


def unlimited(host: Host = HOST) -> Host:
    """Return a host on which everything fits."""
    return replace(host, nodes=(Node("n0", 1 << 40, 1 << 60),))
