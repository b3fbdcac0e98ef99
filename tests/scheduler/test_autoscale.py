"""The autoscaler against Knative's own tables, and the cautions that come after them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.autoscale import Asked, Situation, after_restart, decide, guard, kpa
from scheduler.entry import Scale
from scheduler.observed import Traffic
from scheduler.policy import Autoscale
from scheduler.window import Window

#: What Knative's tests use: a target that is already a share, no dead band, ten times up and down.
KNATIVE = Autoscale(utilization=1.0, tolerance=0.0, max_up_rate=10.0, max_down_rate=10.0)


def knative(
    scale: Scale, target: float, stable: float, panic: float, ready: int, now: float, **rates: float
) -> tuple[Scale, int]:
    asked = Asked(math.ceil(stable / target), math.ceil(panic / target), stable == 0, ())
    return kpa(replace(KNATIVE, **rates), scale, asked, ready, now)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("label", "target", "stable", "panic", "ready", "rates", "want"),
    [
        ("no data at zero", 10, 0, 0, 1, {}, 0),
        ("stable mode, unlimited burst", 181, 21, 26, 1, {}, 1),
        ("burst of none", 10, 50, 49, 1, {}, 5),
        ("no change", 10, 50, 50, 1, {}, 5),
        ("already scaled", 10, 50, 50, 5, {}, 5),
        ("small scale up rate", 1, 3, 3.1, 2, {"max_up_rate": 1.1}, 3),
        ("small scale down rate", 10, 1, 1, 100, {"max_down_rate": 1.1}, 90),
        ("panic doubles", 10, 50, 100, 1, {}, 10),
        ("stable increase", 10, 50, 10, 1, {}, 5),
        ("rate limits up", 10, 1000, 1001, 1, {}, 10),
        ("rate limits up again", 10, 1000, 1001, 10, {}, 100),
        ("rate limits down", 10, 1, 1, 100, {}, 10),
        ("no pod counts as one", 10, 1000, 888, 0, {}, 10),
        ("decrease", 10, 50, 50, 8, {}, 5),
    ],
)
def test_kpa_table(
    label: str,
    target: float,
    stable: float,
    panic: float,
    ready: int,
    rates: dict[str, float],
    want: int,
) -> None:
    assert knative(Scale(), target, stable, panic, ready, 100.0, **rates)[1] == want, label


@pytest.mark.parametrize(("stable", "panic", "want"), [(50, 30, 50), (20, 30, 30)])
def test_kpa_in_panic_takes_the_larger_window(stable: int, panic: int, want: int) -> None:
    state = Scale(panic_since=95.0, max_panic=5)
    assert knative(state, 1, stable, panic, 5, 100.0)[1] == want


def test_kpa_unpanics_after_a_slow_increase() -> None:
    state, wanted = knative(Scale(), 1, 11, 25, 10, 0.0)
    assert (wanted, state.panic_since) == (25, 0.0)
    state, wanted = knative(state, 1, 30, 41, 40, 30.0)
    assert (wanted, state.panic_since) == (41, 0.0), "not over the threshold: not extended"
    state, wanted = knative(state, 1, 50, 56, 55, 62.0)
    assert (wanted, state.panic_since) == (50, None)


def test_kpa_extends_its_panic_while_the_surge_goes_on() -> None:
    state, _ = knative(Scale(), 1, 11, 25, 10, 0.0)
    state, wanted = knative(state, 1, 30, 80, 40, 30.0)
    assert (wanted, state.panic_since) == (80, 30.0)


def test_kpa_does_not_scale_down_in_panic() -> None:
    state, wanted = knative(Scale(), 10, 100, 1000, 10, 0.0)
    assert wanted == 100
    state, wanted = knative(state, 10, 1, 1, 10, 30.0)
    assert wanted == 100
    state, wanted = knative(state, 10, 1, 1, 10, 61.0)
    assert wanted == 1


def test_kpa_tracks_exponential_growth() -> None:
    state, ready = Scale(), 1
    for second, concurrency in enumerate((6, 36, 216, 1296)):
        state, ready = knative(state, 1, concurrency, concurrency, ready, float(second))
        assert (ready, state.panic_since) == (concurrency, float(second))


@pytest.mark.parametrize(("ready", "in_panic"), [(0, False), (1, False), (2, True)])
def test_after_restart_panics_with_more_than_one(ready: int, in_panic: bool) -> None:
    state = after_restart(ready, 5.0)
    assert (state.panic_since is not None, state.max_panic) == (in_panic, ready)


# ---- the cautions -------------------------------------------------------------------------------

SPEC = Autoscale(minimum=0, maximum=20, concurrency=10.0, down_stabilization_s=60.0)


def traffic(stable: float | None, panic: float | None = None, **more: object) -> Traffic:
    return Traffic(stable, stable if panic is None else panic, **more)  # type: ignore[arg-type]


def run(
    scale: Scale, spec: Autoscale, seen: Traffic | None, now: float, ready: int | None = None
) -> Scale:
    current = scale.desired or 0
    return decide(spec, scale, seen, Situation(current if ready is None else ready, current), now)


def test_decide_starts_with_the_initial_scale() -> None:
    assert run(Scale(), replace(SPEC, initial=3), None, 0.0).desired == 3


def test_decide_starts_with_no_more_than_memory_holds() -> None:
    spec, at = replace(SPEC, initial=8), Situation(0, 0, 1000, 300)
    begun = decide(spec, Scale(), None, at, 0.0)
    assert (begun.desired, begun.reason) == (3, "memory holds 3 of 8")
    assert decide(replace(spec, minimum=5), Scale(), None, at, 0.0).desired == 5


@pytest.mark.parametrize("seen", [None, Traffic()])
def test_decide_does_nothing_without_metrics(seen: Traffic | None) -> None:
    before = Scale(desired=7)
    assert run(before, SPEC, seen, 10.0).desired == 7


def test_decide_waits_for_its_tick() -> None:
    before = Scale(desired=2, next_tick_at=12.0)
    assert run(before, SPEC, traffic(100.0), 11.9) is before
    assert run(before, SPEC, traffic(100.0), 12.0).desired == 15  # 100 / (10 x 0.7)


@pytest.mark.parametrize(("concurrency", "want"), [(70.0, 10), (76.9, 10), (77.8, 12), (63.1, 10)])
def test_decide_has_a_dead_band(concurrency: float, want: int) -> None:
    before = Scale(desired=10)
    assert run(before, SPEC, traffic(concurrency), 10.0).desired == want


def test_decide_scales_down_only_to_the_highest_of_the_last_minute() -> None:
    scale = Scale(desired=10)
    for now in range(0, 60, 2):
        scale = run(scale, SPEC, traffic(35.0), float(now))
        assert scale.desired == 10
    scale = run(scale, SPEC, traffic(35.0), 62.0)
    assert scale.desired == 5


def test_decide_lets_go_of_a_slow_starter_later() -> None:
    """What took long to load is kept for five minutes: it would take as long again."""
    scale, at = Scale(desired=10), Situation(10, 10, slow_start=True)
    for now in range(0, 300, 20):
        scale = decide(SPEC, scale, traffic(35.0), at, float(now))
        assert scale.desired == 10
    assert decide(SPEC, scale, traffic(35.0), at, 302.0).desired == 5


def test_decide_halves_at_most_in_a_tick() -> None:
    scale = run(Scale(desired=16), replace(SPEC, down_stabilization_s=0.0), traffic(7.0), 0.0)
    assert scale.desired == 8


def test_decide_waits_once_and_not_at_every_halving() -> None:
    """What if six replicas are idle: a minute later there are 3, and at the next ticks 1 and 0."""
    scale = run(Scale(desired=6), SPEC, traffic(0.0), 0.0)
    for now in range(2, 62, 2):
        assert scale.desired == 6
        scale = run(scale, SPEC, traffic(0.0), float(now))
    steps = []
    for now in range(62, 68, 2):
        scale = run(scale, SPEC, traffic(0.0), float(now))
        steps.append(scale.desired)
    assert steps == [1, 0, 0]


def test_decide_goes_to_zero_after_an_idle_window_and_the_grace() -> None:
    scale = Scale(desired=1)
    for now in range(0, 30, 2):
        scale = run(scale, SPEC, traffic(0.0), float(now))
        assert scale.desired == 1
    assert run(scale, SPEC, traffic(0.0), 30.0).desired == 0


def test_decide_keeps_one_of_a_revision_that_has_not_worked_yet() -> None:
    """What if a bad image is rolled out and nobody asks? Asleep it would never be found out."""
    scale, at = Scale(desired=1, idle_since=0.0), Situation(1, 1, unproven=True)
    assert decide(SPEC, scale, traffic(0.0), at, 100.0).desired == 1
    assert decide(SPEC, scale, traffic(0.0), replace(at, unproven=False), 100.0).desired == 0


@pytest.mark.parametrize("seen", [traffic(0.01), traffic(0.0, held=1)])
def test_decide_starts_the_grace_anew_when_somebody_calls(seen: Traffic) -> None:
    scale = run(Scale(desired=1), SPEC, traffic(0.0), 0.0)
    scale = run(scale, SPEC, seen, 20.0)
    assert scale.idle_since is None
    assert run(scale, SPEC, traffic(0.0), 32.0).desired == 1


def test_decide_leaves_zero_at_once_for_a_held_request() -> None:
    asleep = Scale(desired=0, next_tick_at=1000.0)
    assert run(asleep, SPEC, traffic(0.0, held=1), 10.0).desired == 1
    assert run(asleep, SPEC, traffic(0.0, held=30), 10.0).desired == 5


def test_decide_gives_what_was_woken_a_grace_of_its_own() -> None:
    """What if it is ready and has answered before the next tick: it was idle long ago."""
    asleep = Scale(desired=0, idle_since=1.0, recent=((90.0, 0),))
    woken = run(asleep, SPEC, traffic(0.0, held=1), 100.0)
    assert run(woken, SPEC, traffic(0.0), 102.0).desired == 1


def test_decide_keeps_what_runs_where_one_metric_is_missing() -> None:
    spec = replace(SPEC, cpu_percent=50.0, down_stabilization_s=0.0)
    before = Scale(desired=8)
    assert run(before, spec, traffic(7.0), 10.0).desired == 8
    assert run(before, spec, traffic(7.0, cpu_percent=5.0), 10.0).desired == 4
    assert run(before, spec, traffic(140.0), 10.0).desired == 20


@pytest.mark.parametrize(("cpu", "want"), [(25.0, 2), (50.0, 4), (54.0, 4), (100.0, 8)])
def test_decide_follows_cpu_like_the_hpa(cpu: float, want: int) -> None:
    spec = replace(SPEC, concurrency=0.0, cpu_percent=50.0, minimum=1, down_stabilization_s=0.0)
    assert run(Scale(desired=4), spec, Traffic(cpu_percent=cpu), 10.0).desired == want


def test_decide_takes_the_largest_of_its_metrics() -> None:
    spec = replace(SPEC, rps=100.0, cpu_percent=50.0)
    seen = Traffic(7.0, 7.0, 420.0, 420.0, cpu_percent=20.0)
    assert run(Scale(desired=2), spec, seen, 10.0).desired == 6


def test_decide_is_bounded_without_waiting_for_a_metric() -> None:
    scale = run(Scale(desired=9, next_tick_at=99.0), replace(SPEC, maximum=4), None, 1.0)
    assert scale.desired == 4
    assert "bounds" not in run(Scale(desired=9), SPEC, None, 1.0).reason


@pytest.mark.parametrize(
    ("current", "free", "shared", "want"),
    [(0, 1000, 0, 9), (0, 1000, 500, 4), (2, 1000, 500, 10), (2, 50, 0, 2), (9, 0, 0, 9)],
)
def test_guard_counts_the_weights_once(current: int, free: int, shared: int, want: int) -> None:
    assert guard(10, current, Situation(current, current, free, 100), shared) == min(10, want)


def test_guard_knows_that_what_loads_will_take_its_memory() -> None:
    """What if three of four still read their weights: the room for these is not free."""
    assert guard(10, 4, Situation(1, 4, 700, 100), 0) == 7
    assert guard(10, 4, Situation(0, 4, 200, 100), 0) == 4


@given(
    st.integers(0, 50),
    st.one_of(st.none(), st.floats(0, 5000)),
    st.one_of(st.none(), st.floats(0, 5000)),
    st.integers(0, 5),
    st.integers(0, 50),
)
def test_decide_stays_within_its_bounds(
    current: int, stable: float | None, panic: float | None, minimum: int, ready: int
) -> None:
    spec = replace(SPEC, minimum=minimum, maximum=30)
    scale = decide(
        spec, Scale(desired=current), Traffic(stable, panic), Situation(ready, current), 100.0
    )
    assert minimum <= (scale.desired or 0) <= 30
    if stable is None or panic is None:
        assert scale.desired == min(max(current, minimum), 30)


# ---- the window ---------------------------------------------------------------------------------


def test_window_averages_what_it_has() -> None:
    window = Window()
    assert window.average(60, 0.0) is None
    for second in range(10):
        window.add(10.0 if second >= 5 else 0.0, float(second))
    assert window.average(60, 9.5) == 5.0
    assert window.average(5, 9.5) == 10.0


def test_window_forgets_and_goes_stale() -> None:
    window = Window(10)
    for second in range(100):
        window.add(float(second), float(second))
    assert window.average(60, 99.0) == sum(range(90, 100)) / 10
    assert window.average(60, 106.1) is None, "a missing number is not a zero"


def test_decide_never_puts_to_sleep_what_still_loads() -> None:
    """What if a model takes longer to load than nobody asking for it is let pass?"""
    spec = Autoscale(initial=3, concurrency=4.0, zero_grace_s=1.0, down_stabilization_s=0.0)
    quiet = Traffic(stable_concurrency=0.0, panic_concurrency=0.0)
    scale = decide(spec, Scale(), quiet, Situation(0, 0, None, 0, slow_start=False), 0.0)
    for now in range(2, 600, 2):
        loading = Situation(0, 3, None, 0, slow_start=False)
        scale = decide(spec, scale, quiet, loading, float(now))
    assert scale.desired == 3
    for now in range(600, 700, 2):
        loaded = Situation(scale.desired or 0, scale.desired or 0, None, 0, slow_start=False)
        scale = decide(spec, scale, quiet, loaded, float(now))
    assert scale.desired == 0
