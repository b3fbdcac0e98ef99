"""A new revision is judged by its answers before it gets more than a share of the requests.

While the stage is ``canary``, the stable revision keeps all its replicas and the canaries stand
beside them in a pool of their own at the gateway. The judgement compares what both pools answered
since the canaries were ready.

May not import anything with an effect. Next: ``autoscale.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .observed import Totals
from .policy import Canary
from .rollout import resolve


class Judgement(StrEnum):
    """What the answers so far say."""

    HOLD = "hold"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement with the numbers it was made from."""

    judgement: Judgement
    reason: str
    inputs: Mapping[str, object] = field(default_factory=dict)


def size(canary: Canary, count: int) -> int:
    """Return how many canaries stand beside ``count`` stable replicas: one at least."""
    return max(1, resolve(canary.replicas, count, up=True)) if count else 0


def since(now: Totals, base: Totals) -> Totals:
    """Return what was counted since the base; a gateway that restarted counts from 0 again."""
    if now.requests < base.requests:
        return now
    return Totals(
        now.requests - base.requests,
        max(0, now.errors - base.errors),
        max(0.0, now.latency_s_sum - base.latency_s_sum),
    )


def judge(canary: Canary, stable: Totals, trial: Totals, held_s: float) -> Verdict:
    """Compare the canary's answers with the stable revision's.

    Args:
        canary: the limits.
        stable: the stable pool's answers since the canaries were ready.
        trial: the canary pool's.
        held_s: for how long the canaries have been ready.
    """
    inputs = _inputs(stable, trial, held_s)
    if trial.requests < canary.min_requests:
        waiting = f"{trial.requests} of {canary.min_requests} requests"
        return Verdict(Judgement.HOLD, waiting, inputs)
    if problem := _problem(canary, stable, trial):
        return Verdict(Judgement.ABORT, problem, inputs)
    if held_s < canary.duration_s:
        return Verdict(Judgement.HOLD, f"good for {held_s:.0f} of {canary.duration_s:g} s", inputs)
    if not canary.auto_promote:
        return Verdict(Judgement.HOLD, "good; waits to be promoted by hand", inputs)
    return Verdict(Judgement.PROMOTE, f"good after {trial.requests} requests", inputs)


def _problem(canary: Canary, stable: Totals, trial: Totals) -> str:
    if _rate(trial) > _rate(stable) + canary.error_rate:
        return f"error rate {_rate(trial):.2%}, stable has {_rate(stable):.2%}"
    slow = canary.latency_ratio and stable.requests >= canary.min_requests
    if slow and _latency(trial) > _latency(stable) * canary.latency_ratio:
        return f"mean latency {_latency(trial):.3f} s, stable has {_latency(stable):.3f} s"
    return ""


def _rate(totals: Totals) -> float:
    return totals.errors / totals.requests if totals.requests else 0.0


def _latency(totals: Totals) -> float:
    return totals.latency_s_sum / totals.requests if totals.requests else 0.0


def _inputs(stable: Totals, trial: Totals, held_s: float) -> dict[str, object]:
    return {
        "stable_requests": stable.requests,
        "stable_error_rate": _rate(stable),
        "stable_latency_s": _latency(stable),
        "canary_requests": trial.requests,
        "canary_error_rate": _rate(trial),
        "canary_latency_s": _latency(trial),
        "held_s": held_s,
    }
