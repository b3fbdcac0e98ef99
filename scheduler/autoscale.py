"""How many replicas the traffic asks for: Knative's arithmetic, then four cautions.

Two windows look at the same numbers. The stable one (60 s) decides; the panic one (6 s) takes over
when it asks for twice what is ready, and while it does nothing is scaled down. Then:

    dead band       within 10 % of the target nothing changes
    stabilisation   down only to the highest number asked for in the last minute
    zero            only after a whole idle window, a grace, with nobody waiting, and when the
                    revision has worked: a bad one has to be found out and rolled back
    memory guard    no more replicas than free memory holds

A metric that is missing never scales anything down; where all are missing nothing happens at all.

May not import anything with an effect. Next: ``reconcile.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .entry import Scale
from .observed import Traffic
from .policy import Autoscale

GUARD = 0.9
SLOW_START_S = 10.0
SLOW_STABILIZATION_S = 300.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the metrics ask for, before any caution; ``missing`` names those without a value."""

    stable: int
    panic: int
    idle: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision is made from, beside the traffic.

    ``unproven``: a revision is on its way that has not worked yet, and would go to sleep unseen.
    """

    ready: int
    current: int
    memory_free_bytes: int | None = None
    delta_bytes: int = 0
    slow_start: bool = False
    unproven: bool = False


def after_restart(ready: int, now: float) -> Scale:
    """Return the state to start with: with more than one replica, in panic.

    The windows are empty then, and an empty window must not scale down what is serving.
    """
    if ready > 1:
        return Scale(desired=ready, panic_since=now, max_panic=ready)
    return Scale(desired=ready, max_panic=ready)


def decide(
    spec: Autoscale, scale: Scale, traffic: Traffic | None, situation: Situation, now: float
) -> Scale:
    """Return the autoscaler's next state; ``desired`` and ``reason`` are its decision."""
    if scale.desired is None:
        return _initial(spec, scale, situation, now)
    if traffic is None:
        return _within_bounds(spec, scale)
    if scale.desired == 0 and traffic.held > 0:
        return _activate(spec, scale, traffic, situation, now)
    if now < scale.next_tick_at:
        return _within_bounds(spec, scale)
    scale = replace(scale, next_tick_at=now + spec.tick_s)
    asked = asks(spec, traffic, situation.ready)
    if asked is None:
        return _within_bounds(spec, scale)
    return _cautious(spec, scale, asked, traffic, situation, now)


def _initial(spec: Autoscale, scale: Scale, at: Situation, now: float) -> Scale:
    wanted = _bounded(spec, spec.initial)
    first = max(spec.minimum, guard(wanted, 0, at, spec.shared_bytes))
    reason = "initial scale" if first == wanted else _short(first, wanted)
    return replace(scale, desired=first, next_tick_at=now + spec.tick_s, reason=reason)


def asks(spec: Autoscale, traffic: Traffic, ready: int) -> Asked | None:
    """Return what the metrics ask for, the largest winning, or None where all are missing."""
    stable: list[int] = []
    panic: list[int] = []
    missing: list[str] = []
    idle = True
    for name, target in (("concurrency", spec.concurrency), ("rps", spec.rps)):
        if not target:
            continue
        value = getattr(traffic, f"stable_{name}")
        burst = getattr(traffic, f"panic_{name}")
        if value is None or burst is None:
            missing.append(name)
            continue
        stable.append(_steady(spec, value, target * spec.utilization, ready))
        panic.append(math.ceil(burst / (target * spec.utilization)))
        idle = idle and value == 0
    if spec.cpu_percent:
        if traffic.cpu_percent is None:
            missing.append("cpu")
        else:
            stable.append(_steady(spec, traffic.cpu_percent * ready, spec.cpu_percent, ready))
    if not stable:
        return None
    return Asked(max(stable), max(panic, default=0), idle and not missing, tuple(missing))


def _steady(spec: Autoscale, value: float, target: float, ready: int) -> int:
    """Return ceil(value / target), or what there is where that is within the dead band."""
    if ready and abs(value / (target * ready) - 1) <= spec.tolerance:
        return ready
    return math.ceil(value / target)


def kpa(spec: Autoscale, scale: Scale, asked: Asked, ready: int, now: float) -> tuple[Scale, int]:
    """Return the panic state and the number Knative's autoscaler would ask for."""
    ready = max(1, ready)
    most, least = math.ceil(spec.max_up_rate * ready), math.floor(ready / spec.max_down_rate)
    stable, panic = (min(max(n, least), most) for n in (asked.stable, asked.panic))
    if asked.panic / ready >= spec.panic_threshold:
        scale = replace(scale, panic_since=now)
    elif scale.panic_since is not None and scale.panic_since + spec.stable_window_s < now:
        scale = replace(scale, panic_since=None, max_panic=0)
    if scale.panic_since is None:
        return scale, stable
    ratchet = max(scale.max_panic, stable, panic)
    return replace(scale, max_panic=ratchet), ratchet


def _cautious(
    spec: Autoscale, scale: Scale, asked: Asked, traffic: Traffic, at: Situation, now: float
) -> Scale:
    """Apply the four cautions to what the arithmetic asks for."""
    current = scale.desired or 0
    scale, wanted = kpa(spec, scale, asked, at.ready, now)
    scale = replace(scale, idle_since=_idle_since(scale, asked, traffic, at, now))
    # What is remembered is what was asked for, before the limit on how fast: else every halving
    # would be waited for as long as the first.
    needed = wanted if scale.panic_since is not None else min(wanted, asked.stable)
    # A model that still loads has answered nothing, and that nobody asks for it yet says nothing.
    if asked.missing or not at.ready:
        wanted = needed = max(wanted, current)
    scale, highest = _stabilised(spec, scale, needed, current, at, now)
    wanted = max(wanted, highest)
    if wanted == 0 and current > 0:
        wanted = 1 if at.unproven else _zero(spec, scale, now)
    wanted = _bounded(spec, wanted)
    guarded = guard(wanted, current, at, spec.shared_bytes)
    return replace(scale, desired=guarded, reason=_reason(scale, asked, wanted, guarded))


def _idle_since(
    scale: Scale, asked: Asked, traffic: Traffic, at: Situation, now: float
) -> float | None:
    if not asked.idle or traffic.held or not at.ready:
        return None
    return now if scale.idle_since is None else scale.idle_since


def _stabilised(
    spec: Autoscale, scale: Scale, wanted: int, current: int, at: Situation, now: float
) -> tuple[Scale, int]:
    """Return the highest number asked for within the window: down late, up at once.

    ``recent`` keeps only what can still become the highest, so it is short and falls.
    """
    span = spec.down_stabilization_s
    if at.slow_start and span:
        span = max(span, SLOW_STABILIZATION_S)
    recent = scale.recent or ((now, current),)
    kept = tuple((t, n) for t, n in recent if t > now - span and n > wanted)
    scale = replace(scale, recent=(*kept, (now, wanted)))
    return scale, scale.recent[0][1] if scale.recent[0][1] > 1 else wanted


def _zero(spec: Autoscale, scale: Scale, now: float) -> int:
    """Return 1 until the grace has passed, and then 0."""
    graced = scale.idle_since is not None and now - scale.idle_since >= spec.zero_grace_s
    return 0 if graced else 1


def guard(wanted: int, current: int, at: Situation, shared_bytes: int) -> int:
    """Return the number of replicas that free memory holds; what runs already is not taken away.

    What still loads has not taken its memory yet, and will.
    """
    if at.memory_free_bytes is None or not at.delta_bytes:
        return wanted
    loading = max(0, current - at.ready) * at.delta_bytes
    free = at.memory_free_bytes * GUARD - loading - (0 if current else shared_bytes)
    return min(wanted, current + max(0, math.floor(free / at.delta_bytes)))


def _activate(spec: Autoscale, scale: Scale, traffic: Traffic, at: Situation, now: float) -> Scale:
    """Leave zero at once: somebody is waiting."""
    per_replica = spec.concurrency * spec.utilization
    wanted = math.ceil(traffic.held / per_replica) if per_replica else 1
    wanted = guard(_bounded(spec, max(1, wanted)), 0, at, spec.shared_bytes)
    reason = f"{traffic.held} requests are held" + ("" if wanted else ", but memory is short")
    tick = now + spec.tick_s
    return replace(
        scale, desired=wanted, next_tick_at=tick, idle_since=None, recent=(), reason=reason
    )


def _bounded(spec: Autoscale, wanted: int) -> int:
    return min(max(wanted, spec.minimum), spec.maximum)


def _within_bounds(spec: Autoscale, scale: Scale) -> Scale:
    """Return the state with new bounds applied, which need no metric."""
    wanted = _bounded(spec, scale.desired or 0)
    if wanted == scale.desired:
        return scale
    return replace(scale, desired=wanted, reason=f"bounds are {spec.minimum} to {spec.maximum}")


def _reason(scale: Scale, asked: Asked, wanted: int, guarded: int) -> str:
    if guarded < wanted:
        return _short(guarded, wanted)
    if asked.missing:
        return f"no {', '.join(asked.missing)} measured, so not below what runs"
    if not guarded:
        return "no requests"
    return "a burst (panic window)" if scale.panic_since is not None else "load (stable window)"


def _short(guarded: int, wanted: int) -> str:
    return f"memory holds {guarded} of {wanted}"
