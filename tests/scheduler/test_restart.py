"""The back-off curve, and what is and is not started again."""

from __future__ import annotations

from random import Random

import pytest

from scheduler.entry import Slot, State
from scheduler.observed import Phase, Replica
from scheduler.policy import Restart, RestartPolicy
from scheduler.restart import after_exit, delay_s

MIB = 1 << 20


def ended(code: int = 1, ran_s: float = 5.0, **more: object) -> Replica:
    return Replica(
        "web.1", "web", 1, Phase.EXITED, started_at=100.0, ended_at=100.0 + ran_s,
        exit_code=code, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_delay_doubles_from_one_second_to_sixty() -> None:
    curve = [delay_s(RestartPolicy(), n, lambda: 0.5) for n in range(1, 10)]
    assert curve == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_delay_jitters_by_a_tenth() -> None:
    random = Random(1)
    drawn = [delay_s(RestartPolicy(), 5, random.random) for _ in range(1000)]
    assert 7.2 <= min(drawn) < 7.3
    assert 8.7 < max(drawn) <= 8.8


def test_delay_of_a_very_long_loop_is_still_the_cap() -> None:
    assert delay_s(RestartPolicy(), 10**6, lambda: 0.5) == 60.0


def test_after_exit_counts_and_forgets_after_ten_minutes() -> None:
    slot = Slot("web.1", 1, failures=5)
    again, _ = after_exit(RestartPolicy(), slot, ended(), 200.0, lambda: 0.5)
    assert (again.failures, again.retry_at) == (6, 216.0)
    healed, _ = after_exit(RestartPolicy(), slot, ended(ran_s=600.0), 800.0, lambda: 0.5)
    assert (healed.failures, healed.retry_at) == (1, 800.0)


def test_after_exit_of_one_that_never_started_is_no_long_life() -> None:
    """What if the image is missing: it ended, and its start is the beginning of time."""
    missing = Replica("web.1", "web", 1, Phase.EXITED, ended_at=5000.0, problem="no image")
    slot, _ = after_exit(
        RestartPolicy(), Slot("web.1", 1, failures=5), missing, 5000.0, lambda: 0.5
    )
    assert slot.failures == 6


@pytest.mark.parametrize(
    ("condition", "code", "want"),
    [
        (Restart.ALWAYS, 0, State.WAITING),
        (Restart.ALWAYS, 1, State.WAITING),
        (Restart.ON_FAILURE, 0, State.ENDED),
        (Restart.ON_FAILURE, 1, State.WAITING),
        (Restart.NEVER, 0, State.ENDED),
        (Restart.NEVER, 1, State.ENDED),
    ],
)
def test_after_exit_follows_the_condition(condition: Restart, code: int, want: State) -> None:
    policy = RestartPolicy(condition)
    slot, _ = after_exit(policy, Slot("web.1", 1), ended(code), 200.0, lambda: 0.5)
    assert slot.state is want


def test_after_exit_gives_up_after_so_many_attempts() -> None:
    policy = RestartPolicy(max_attempts=2)
    slot, _ = after_exit(policy, Slot("web.1", 1, failures=1), ended(), 200.0, lambda: 0.5)
    assert slot.state is State.WAITING
    slot, _ = after_exit(policy, slot, ended(), 200.0, lambda: 0.5)
    assert slot.state is State.ENDED
    assert "gave up after 2 restarts" in slot.reason


def test_after_exit_names_an_oom_loop_with_its_peak() -> None:
    slot, killed = Slot("web.1", 1), ended(137, oom=True, peak_memory_bytes=512 * MIB)
    for now in (200.0, 300.0):
        slot, event = after_exit(RestartPolicy(), slot, killed, now, lambda: 0.5)
        assert event.kind == "exited"
    slot, event = after_exit(RestartPolicy(), slot, killed, 400.0, lambda: 0.5)
    assert event.kind == "crash-loop"
    assert slot.reason == "CrashLoop(OOM): out of memory at 512 MiB, 3 times in 10 min"
    assert event.inputs["peak_memory_bytes"] == 512 * MIB
    slot, event = after_exit(RestartPolicy(), slot, killed, 1001.0, lambda: 0.5)
    assert event.kind == "exited", "the first three are forgotten by then"


@pytest.mark.parametrize(
    ("replica", "reason"),
    [
        (ended(3), "exited with 3"),
        (ended(139), "ended by signal 11"),
        (ended(1, problem="image x not found"), "image x not found"),
    ],
)
def test_after_exit_says_why(replica: Replica, reason: str) -> None:
    slot, event = after_exit(RestartPolicy(), Slot("web.1", 1), replica, 200.0, lambda: 0.5)
    assert slot.reason == reason
    assert event.message == f"web.1: {reason}"
