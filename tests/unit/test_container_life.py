"""Health and restart: docker's two small state machines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.container.command import HealthCheck
from minirun.container.health import (
    HEALTHY,
    MAX_OUTPUT_BYTES,
    MAX_RESULTS,
    STARTING,
    UNHEALTHY,
    Health,
    Result,
    after,
    next_probe_ns,
)
from minirun.container.restart import Ended, delay_ms, starts_at_boot
from minirun.container.security import RestartPolicy

SECOND = 10**9
CHECK = HealthCheck(("true",), start_period_ns=10 * SECOND, retries=2)


def run(codes: str, age_s: int = 100) -> Health:
    """Return the health after probes that were good (+) or bad (-)."""
    health = Health()
    for code in codes:
        health = after(health, Result("s", "e", int(code == "-")), CHECK, age_s * SECOND)
    return health


@pytest.mark.parametrize(
    ("codes", "status", "streak"),
    [
        ("", STARTING, 0),
        ("+", HEALTHY, 0),
        ("-", STARTING, 1),
        ("--", UNHEALTHY, 2),
        ("+-", HEALTHY, 1),
        ("+--", UNHEALTHY, 2),
        ("+-+-", HEALTHY, 1),
        ("---+", HEALTHY, 0),
    ],
)
def test_health_counts_failures_in_a_row(codes: str, status: str, streak: int) -> None:
    found = run(codes)
    assert (found.status, found.failing_streak) == (status, streak)


def test_failures_in_the_start_period_do_not_count_until_it_was_healthy() -> None:
    assert run("-----", age_s=5).status == STARTING
    assert run("-----", age_s=5).failing_streak == 0
    assert run("+--", age_s=5).status == UNHEALTHY


def test_health_keeps_five_results_of_four_kib() -> None:
    health = Health()
    for number in range(9):
        result = Result("s", "e", 0, f"{number}" + "é" * MAX_OUTPUT_BYTES)
        health = after(health, result, CHECK, 0)
    assert len(health.log) == MAX_RESULTS
    assert [result.output[0] for result in health.log] == list("45678")
    assert all(len(r.output.encode()) <= MAX_OUTPUT_BYTES for r in health.log)


def test_probes_are_closer_while_it_may_still_be_starting() -> None:
    assert next_probe_ns(Health(), CHECK, 0) == 5 * SECOND
    assert next_probe_ns(Health(HEALTHY), CHECK, 0) == 30 * SECOND
    assert next_probe_ns(Health(), CHECK, 10 * SECOND) == 30 * SECOND


@pytest.mark.parametrize(
    ("policy", "ended", "delay"),
    [
        (RestartPolicy(), Ended(1, 0.1), None),
        (RestartPolicy("always"), Ended(0, 0.1), 100),
        (RestartPolicy("always"), Ended(0, 0.1, delay_ms=100), 200),
        (RestartPolicy("always"), Ended(0, 0.1, delay_ms=50_000), 60_000),
        (RestartPolicy("always"), Ended(0, 0.1, delay_ms=60_000), 60_000),
        (RestartPolicy("always"), Ended(0, 10.0, delay_ms=60_000), 100),
        (RestartPolicy("always"), Ended(0, 0.1, stopped_by_user=True), None),
        (RestartPolicy("unless-stopped"), Ended(0, 0.1, stopped_by_user=True), None),
        (RestartPolicy("unless-stopped"), Ended(1, 0.1), 100),
        (RestartPolicy("on-failure"), Ended(0, 0.1), None),
        (RestartPolicy("on-failure"), Ended(1, 0.1, restarts=1000), 100),
        (RestartPolicy("on-failure", 3), Ended(1, 0.1, restarts=2), 100),
        (RestartPolicy("on-failure", 3), Ended(1, 0.1, restarts=3), None),
    ],
)
def test_restart_delay(policy: RestartPolicy, ended: Ended, delay: int | None) -> None:
    assert delay_ms(policy, ended) == delay


@given(st.integers(0, 200))
def test_restart_delay_stays_within_a_minute(restarts: int) -> None:
    delay = 0
    for _ in range(restarts):
        delay = delay_ms(RestartPolicy("always"), Ended(1, 0.0, delay_ms=delay)) or 0
    assert delay <= 60_000


def test_only_unless_stopped_remembers_the_user_over_a_reboot() -> None:
    assert starts_at_boot(RestartPolicy("always"), stopped_by_user=True)
    assert not starts_at_boot(RestartPolicy("unless-stopped"), stopped_by_user=True)
    assert starts_at_boot(RestartPolicy("unless-stopped"), stopped_by_user=False)
    assert not starts_at_boot(RestartPolicy("on-failure"), stopped_by_user=False)
