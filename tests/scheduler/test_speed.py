"""The two figures that the reconciler is held to, measured and printed (``pytest -s``)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchmarks.control import BIG, DEPLOYMENTS, GIB, REPLICAS, crowd
from scheduler.actions import AddServer
from scheduler.entry import Desired, Entry
from scheduler.model import Deployment, Resources, Spread
from scheduler.observed import Host, Node, Observed
from scheduler.placement import Ledger, Refusal, place
from scheduler.policy import Autoscale
from scheduler.reconcile import reconcile
from tests.scheduler.world import World, deployment


def best_of(times: int, work: Callable[[], object]) -> float:
    """Return the CPU seconds of the fastest run: others share this machine."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize(
    ("name", "autoscale"),
    [
        ("all is well", None),
        ("autoscaled", Autoscale(maximum=20, initial=REPLICAS, concurrency=1.0)),
    ],
)
def test_reconcile_of_a_thousand_deployments(name: str, autoscale: Autoscale | None) -> None:
    desired, observed = crowd(autoscale)
    outcome = reconcile(desired, observed, 2000.0)
    assert outcome.effects == ()
    seconds = best_of(5, lambda: reconcile(desired, observed, 2000.0))
    print(f"reconcile 1000 x 10, {name}: {seconds * 1000:.1f} ms", file=sys.stderr)
    assert seconds <= 0.1


def test_reconcile_when_every_replica_left_the_gateway() -> None:
    """What if the gateway was restarted: ten thousand servers are added by one tick."""
    desired, observed = crowd()
    empty = replace(observed, servers={})
    outcome = reconcile(desired, empty, 2000.0)
    added = [effect for effect in outcome.effects if isinstance(effect, AddServer)]
    assert len(added) == DEPLOYMENTS * REPLICAS
    seconds = best_of(5, lambda: reconcile(desired, empty, 2000.0))
    print(f"reconcile 1000 x 10, all to add: {seconds * 1000:.1f} ms", file=sys.stderr)


@pytest.mark.parametrize("nodes", [2, 16, 1000])
@pytest.mark.parametrize("spread", list(Spread))
def test_placements_a_second(nodes: int, spread: Spread) -> None:
    host = Host(tuple(Node(f"n{i}", 64_000, 256 * GIB) for i in range(nodes)))
    need, number = Resources(100, GIB // 4), min(600 * nodes, 3000)

    def work() -> None:
        ledger = Ledger(host)
        for _ in range(number):
            found = place(need, ledger, spread, neighbours={})
            assert not isinstance(found, Refusal)

    rate = number / best_of(3, work)
    print(f"placements, {nodes} nodes, {spread}: {rate:,.0f}/s", file=sys.stderr)
    assert rate >= 5000


def test_scheduling_a_thousand_deployments_from_nothing() -> None:
    """Placement as a part of everything else: ids, slots, scores, effects."""
    entries: dict[str, Entry] = {}
    for index in range(DEPLOYMENTS):
        world = World(BIG)
        wanted: Deployment = deployment(f"d{index}", replicas=3, requests=Resources(100, GIB))
        world.apply(wanted)
        entries.update(world.store.entries)
    desired, nothing = Desired(entries), Observed(2000.0, BIG)
    seconds = best_of(3, lambda: reconcile(desired, nothing, 2000.0))
    print(f"3000 replicas placed by one tick: {3000 / seconds:,.0f}/s", file=sys.stderr)
    assert 3000 / seconds >= 5000
