"""What deciding costs: a tick over a thousand deployments, a placement, an answer of the API.

The first two are pure functions in this process, so their worlds are made up; the API is asked at a
scheduler that stores a thousand deployments, by one client after the other.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from scheduler import apply
from scheduler.actions import AddServer, SetRoute, Start
from scheduler.entry import Desired, Entry, Stage
from scheduler.model import Deployment, Resources, Spread, Template
from scheduler.observed import Host, Node, Observed, Phase, Replica, Route, Server, Traffic
from scheduler.placement import Ledger, Refusal, place
from scheduler.policy import Autoscale
from scheduler.reconcile import reconcile

from .experiment import Experiment, Row, Target
from .serving import IMAGE, Serving
from .stats import percentile
from .timing import BenchError

DEPLOYMENTS, REPLICAS = 1000, 10
GIB = 1 << 30
BIG = Host((Node("n0", 1 << 40, 1 << 60), Node("n1", 1 << 40, 1 << 60)))
#: Requests of a round; one in a hundred may take longer than what is quoted.
ASKED = 400


def experiments(sched: Serving) -> Iterator[Experiment]:
    """Yield them; the API's leaves a thousand deployments behind."""
    yield _reconcile()
    yield _place()
    yield _api(sched)


# ── the reconciler ────────────────────────────────────────────────────────────────────────────


def crowd(autoscale: Autoscale | None = None) -> tuple[Desired, Observed]:
    """Return a thousand deployments whose ten replicas all serve."""
    entries = {
        f"d{i}": apply.created(
            Deployment(f"d{i}", Template(IMAGE, port=8000), replicas=REPLICAS, autoscale=autoscale),
            1000.0,
        )
        for i in range(DEPLOYMENTS)
    }
    outcome = reconcile(Desired(entries), Observed(1001.0, BIG), 1001.0)
    starts = [effect for effect in outcome.effects if isinstance(effect, Start)]
    return Desired({n: _complete(e) for n, e in outcome.entries.items() if e}), Observed(
        2000.0,
        BIG,
        {start.id: _running(start) for start in starts},
        {start.id: Server(start.id, "stable") for start in starts},
        _routes(outcome.effects),
        {name: Traffic(7.0, 7.0, pools={}) for name in entries},
    )


def _complete(entry: Entry) -> Entry:
    rollout = replace(entry.rollout, stage=Stage.COMPLETE, stable=1, count=REPLICAS)
    return replace(entry, rollout=rollout)


def _running(start: Start) -> Replica:
    name, address = start.deployment, f"/run/{start.id}.sock"
    return Replica(start.id, name, 1, Phase.RUNNING, 1500.0, started_at=1499.0, address=address)


def _routes(effects: tuple[object, ...]) -> dict[str, Route]:
    routes = (effect.route for effect in effects if isinstance(effect, SetRoute))
    return {route.deployment: route for route in routes}


def _reconcile() -> Experiment:
    size = f"{DEPLOYMENTS:,} deployments x {REPLICAS} replicas"
    rows = (
        Row("tick", f"one look at {size} where all is well", targets=(Target(100.0),)),
        Row("tick-autoscaled", "the same, each with an autoscaler", targets=(Target(100.0),)),
        Row("tick-refill", "the same, when the gateway has lost all of them"),
    )
    worlds: list[tuple[Desired, Observed]] = []

    def once() -> Mapping[str, float]:
        if not worlds:
            scaled = Autoscale(maximum=20, initial=REPLICAS, concurrency=1.0)
            worlds.extend((crowd(), crowd(scaled)))
        (calm, seen), (scaled_, seen_scaled) = worlds
        return {
            "tick": _tick_ms(calm, seen, 0),
            "tick-autoscaled": _tick_ms(scaled_, seen_scaled, 0),
            "tick-refill": _tick_ms(calm, replace(seen, servers={}), DEPLOYMENTS * REPLICAS),
        }

    return Experiment(rows, {"minirun": once})


def _tick_ms(desired: Desired, seen: Observed, added: int) -> float:
    begin = time.perf_counter()
    effects = reconcile(desired, seen, 2000.0).effects
    elapsed_ms = (time.perf_counter() - begin) * 1000
    if sum(isinstance(effect, AddServer) for effect in effects) != added:
        raise BenchError(f"the tick asked for {len(effects)} effects, {added} servers were missing")
    return elapsed_ms


# ── placement ─────────────────────────────────────────────────────────────────────────────────


def _place() -> Experiment:
    number = 1000
    row = Row(
        "place-1000",
        f"{number:,} replicas placed on 16 nodes: 200 ms are 5,000 a second",
        targets=(Target(200.0),),
    )
    host = Host(tuple(Node(f"n{i}", 64_000, 256 * GIB) for i in range(16)))

    def once() -> Mapping[str, float]:
        ledger, need = Ledger(host), Resources(100, GIB // 4)
        begin = time.perf_counter()
        for _ in range(number):
            if isinstance(place(need, ledger, Spread.SPREAD, neighbours={}), Refusal):
                raise BenchError("the host is full")
        return {row.id: (time.perf_counter() - begin) * 1000}

    return Experiment((row,), {"minirun": once})


# ── the API ───────────────────────────────────────────────────────────────────────────────────


def _api(sched: Serving) -> Experiment:
    rows = (
        Row(
            "api-p99",
            f"99 of 100 of {ASKED} requests, reads and writes, with {DEPLOYMENTS:,} deployments",
            targets=(Target(50.0),),
        ),
        Row("api-median", "half of the same requests"),
    )
    stored: list[str] = []
    numbers = itertools.count()

    def once() -> Mapping[str, float]:
        if not stored:
            stored.extend(_stored(sched))
        times_ms = [_asked_ms(sched, stored, number) for number in itertools.islice(numbers, ASKED)]
        return {"api-p99": percentile(times_ms, 99), "api-median": percentile(times_ms, 50)}

    return Experiment(rows, {"minirun": once}, share=0.25, warmup=1)


def _stored(sched: Serving) -> Iterator[str]:
    """Store deployments that have no replica and no route: it is the API that is measured."""
    for i in range(DEPLOYMENTS):
        sched.client.apply(f"many-{i:04}", {"image": IMAGE, "replicas": 0})
        yield f"many-{i:04}"


def _asked_ms(sched: Serving, names: list[str], number: int) -> float:
    """Send a request: of ten, six look at one, two list a hundred events, two write."""
    client, name = sched.client, names[number * 7 % len(names)]
    acts: tuple[Callable[[], object], ...] = (
        lambda: client.deployment(name),
        lambda: client.events(limit=100),
        lambda: client.apply(name, {"image": IMAGE, "replicas": 0, "priority": number % 50 + 1}),
    )
    act = acts[(0, 0, 1, 0, 2, 0, 0, 1, 0, 2)[number % 10]]
    begin = time.perf_counter()
    act()
    return (time.perf_counter() - begin) * 1000
