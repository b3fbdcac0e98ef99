"""Placement against Nomad's scores, and preemption that never turns priorities upside down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import Quota, Resources, Spread
from scheduler.observed import Grant, Host, Node
from scheduler.placement import (
    Ledger,
    Refusal,
    fitness,
    never_fits,
    over_quota,
    place,
)
from scheduler.preemption import PRIORITY_GAP, Candidate, choose, distance

GIB = 1 << 30
TWO = Host((Node("n0", 4000, 8 * GIB, ("g0", "g1")), Node("n1", 4000, 8 * GIB)))


@pytest.mark.parametrize(
    ("free_cpu", "free_memory", "binpack"),
    [(0.0, 0.0, 18.0), (1.0, 1.0, 0.0), (0.5, 0.5, 13.675), (0.25, 0.75, 12.598)],
)
def test_fitness_is_nomads(free_cpu: float, free_memory: float, binpack: float) -> None:
    """The perfect, the worst and the middle fit of TestScoreFitBinPack, and one uneven."""
    assert fitness(free_cpu, free_memory, Spread.BINPACK) * 18 == pytest.approx(binpack, abs=1e-3)
    spread = fitness(free_cpu, free_memory, Spread.SPREAD) * 18
    assert spread == pytest.approx(18 - binpack, abs=1e-3)


def put(
    ledger: Ledger, need: Resources, spread: Spread = Spread.BINPACK, **near: int
) -> str | Refusal:
    """Place one and return the node's name."""
    found = place(need, ledger, spread, neighbours=near, wanted=4)
    return found if isinstance(found, Refusal) else "+".join(grant.node for grant in found)


def test_binpack_fills_and_spread_evens_out() -> None:
    need = Resources(1000, GIB)
    ledger = Ledger(TWO)
    assert [put(ledger, need) for _ in range(5)] == ["n0", "n0", "n0", "n0", "n1"]
    ledger = Ledger(TWO)
    assert [put(ledger, need, Spread.SPREAD) for _ in range(4)] == ["n0", "n1", "n0", "n1"]


def test_neighbours_repel_each_other() -> None:
    assert put(Ledger(TWO), Resources(100, GIB), n0=3) == "n1"


def test_gpus_are_given_by_name_and_once() -> None:
    ledger = Ledger(TWO)
    need = Resources(gpus=1)
    given_ = [place(need, ledger, Spread.SPREAD, neighbours={}) for _ in range(3)]
    assert [g[0].gpus for g in given_ if not isinstance(g, Refusal)] == [("g0",), ("g1",)]
    assert isinstance(given_[2], Refusal)
    assert "gpu needs 1, 0 free" in given_[2].reason


def test_what_fits_no_node_spans_several() -> None:
    ledger = Ledger(TWO)
    assert put(ledger, Resources(6000, 10 * GIB, 1)) == "n0+n1"
    assert sum(room.cpu_millis for room in ledger.rooms.values()) == 2000
    assert isinstance(put(ledger, Resources(6000)), Refusal)


def test_refusal_tells_every_node_and_number() -> None:
    ledger = Ledger(TWO)
    for _ in range(2):
        put(ledger, Resources(3500, GIB))
    refusal = put(ledger, Resources(1000, GIB))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "no room: n0: cpu needs 1, 0.5 free; n1: cpu needs 1, 0.5 free"
    assert not refusal.forever


def test_memory_is_given_away_once_like_cpu() -> None:
    ledger = Ledger(TWO)
    assert [put(ledger, Resources(10, 6 * GIB)) for _ in range(2)] == ["n0", "n1"]
    refusal = put(ledger, Resources(10, 6 * GIB))
    assert isinstance(refusal, Refusal)
    assert "n0: memory needs 6 GiB, 2 GiB free" in refusal.reason


def test_never_fits_is_told_from_not_now() -> None:
    refusal = never_fits(Resources(9000), TWO)
    assert refusal
    assert refusal.forever
    assert "cpu needs 9, 8 free" in refusal.reason
    assert never_fits(Resources(8000, 16 * GIB, 2), TWO) is None


def test_a_cordoned_host_takes_nothing() -> None:
    refusal = put(Ledger(Host(TWO.nodes, cordoned=True)), Resources())
    assert refusal == Refusal("the host is being drained")


@pytest.mark.parametrize(
    ("quota", "reason"),
    [
        (Quota("team", cpu_millis=2000), "cpu needs 1, 1.5 of 2 used"),
        (Quota("team", memory_bytes=GIB), "memory needs 1 GiB, 1 GiB of 1 GiB used"),
        (Quota("team", gpus=1), "gpu needs 1, 1 of 1 used"),
        (Quota("team", replicas=3), "replicas needs 1, 3 of 3 used"),
    ],
)
def test_quota_tells_its_numbers(quota: Quota, reason: str) -> None:
    used = Resources(1500, GIB, 1)
    refusal = over_quota(quota, used, 3, Resources(1000, GIB, 1))
    assert refusal == Refusal(f"quota team: {reason}")
    assert over_quota(Quota("team"), used, 3, Resources(1000, GIB, 1)) is None


# ---- preemption ---------------------------------------------------------------------------------


def full(*candidates: Candidate) -> Ledger:
    ledger = Ledger(TWO)
    for candidate in candidates:
        ledger.take(candidate.grants)
    return ledger


def candidate(name: str, priority: int, cpu: int, node: str = "n0", parallel: int = 1) -> Candidate:
    deployment = name.partition(".")[0]
    return Candidate(name, deployment, priority, (Grant(node, cpu, GIB),), parallel)


def names(chosen: tuple[Candidate, ...]) -> list[str]:
    return [c.id for c in chosen]


def test_choose_takes_the_lowest_priority_that_helps() -> None:
    here = [candidate("a.1", 30, 4000), candidate("b.1", 10, 4000, "n1")]
    assert names(choose(Resources(2000, GIB), 50, full(*here), here)) == ["b.1"]


def test_choose_takes_the_lowest_of_a_node_first_and_as_little_as_ten_lower() -> None:
    only = Ledger(Host((Node("n0", 4000, 8 * GIB),)))
    here = [candidate("a.1", 40, 2000), candidate("b.1", 20, 2000)]
    for held in here:
        only.take(held.grants)
    assert names(choose(Resources(2000, GIB), 50, only, here)) == ["b.1"]
    assert names(choose(Resources(2000, GIB), 50, only, here[:1])) == ["a.1"]


def test_choose_spares_the_second_of_a_deployment_that_may_lose_one() -> None:
    only = Ledger(Host((Node("n0", 3000, 8 * GIB),)))
    here = [candidate(name, 10, 1000) for name in ("a.1", "a.2", "b.1")]
    for held in here:
        only.take(held.grants)
    assert names(choose(Resources(2000, GIB), 50, only, here)) == ["a.1", "b.1"]


def test_choose_takes_the_nearest_in_size() -> None:
    here = [candidate("a.1", 10, 1000), candidate("b.1", 10, 2000), candidate("c.1", 10, 1000)]
    only = Host((Node("n0", 4000, 8 * GIB),))
    ledger = Ledger(only)
    for held in here:
        ledger.take(held.grants)
    assert names(choose(Resources(2000, GIB), 50, ledger, here)) == ["b.1"]


def test_choose_spares_whoever_is_not_needed_after_all() -> None:
    only = Host((Node("n0", 4000, 8 * GIB),))
    here = [candidate("a.1", 10, 500), candidate("b.1", 20, 3500)]
    ledger = Ledger(only)
    for held in here:
        ledger.take(held.grants)
    assert names(choose(Resources(3500, GIB), 50, ledger, here)) == ["b.1"]


def test_choose_spreads_the_loss_over_deployments() -> None:
    """A deployment that may lose one at a time is spared a second where another can lose it."""
    only = Host((Node("n0", 4000, 8 * GIB),))
    here = [candidate("a.1", 10, 1000), candidate("a.2", 10, 1000), candidate("b.1", 10, 2000)]
    ledger = Ledger(only)
    for held in here:
        ledger.take(held.grants)
    chosen = choose(Resources(3000, GIB), 50, ledger, here)
    assert len([c for c in chosen if c.deployment == "a"]) == 1


def test_choose_never_takes_an_equal() -> None:
    here = [candidate("a.1", 41, 4000), candidate("b.1", 41, 4000, "n1")]
    assert choose(Resources(1000, GIB), 50, full(*here), here) == ()


@given(
    st.integers(0, 100),
    st.integers(100, 4000),
    st.lists(
        st.tuples(st.integers(0, 100), st.integers(100, 2000), st.sampled_from(["n0", "n1"])),
        max_size=8,
    ),
)
def test_choose_never_inverts_priorities(
    priority: int, cpu: int, others: list[tuple[int, int, str]]
) -> None:
    here = [candidate(f"d{i}.1", p, size, node) for i, (p, size, node) in enumerate(others)]
    chosen = choose(Resources(cpu, GIB), priority, full(*here), here)
    assert all(priority - c.priority >= PRIORITY_GAP for c in chosen)
    if chosen:
        ledger = full(*(c for c in here if c not in chosen))
        assert not isinstance(put(ledger, Resources(cpu, GIB)), Refusal)


def test_distance_is_nomads() -> None:
    assert distance(Resources(2000, 256), Resources(2000, 256)) == 0.0
    assert distance(Resources(2000, 256), Resources(1000, 128)) == pytest.approx(0.7071, abs=1e-4)
