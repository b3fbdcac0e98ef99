"""The last minutes of every deployment as a few numbers a second: what the page's curves are of.

Counters become rates here, once, however many people look. Next: ``metrics.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..entry import Entry
from ..observed import Observed, Totals
from ..tick import is_ready
from .context import Control
from .ports import Usage

KEPT = 150


@dataclass(frozen=True, slots=True)
class Sample:
    """A deployment at one moment; ``latency_ms`` is None where nothing was answered."""

    rps: float = 0.0
    errors_per_s: float = 0.0
    latency_ms: float | None = None
    in_flight: int = 0
    cpu_millis: float = 0.0
    memory_bytes: int = 0
    ready: int = 0


@dataclass(slots=True)
class _Counted:
    """Where the counters stood at the last sample."""

    at: float
    totals: Totals
    cpu_s: Mapping[str, float] = field(default_factory=dict)


class Samples:
    """The last ``KEPT`` samples of every deployment. One thread adds, any may read."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[Sample]] = {}
        self._before: dict[str, _Counted] = {}

    def of(self, deployment: str) -> tuple[Sample, ...]:
        """Return a deployment's samples, oldest first."""
        return tuple(self._kept.get(deployment, ()))

    def take(self, control: Control) -> None:
        """Take a sample of everything."""
        observed, usage, now = control.observed(), control.replicas.usage(), control.clock()
        entries = control.store.load().entries
        for name, entry in entries.items():
            kept = self._kept.setdefault(name, deque(maxlen=KEPT))
            kept.append(self._sample(name, entry, observed, usage, now))
        for name in self._kept.keys() - entries.keys():
            del self._kept[name]
            self._before.pop(name, None)

    def _sample(
        self, name: str, entry: Entry, observed: Observed, usage: Mapping[str, Usage], now: float
    ) -> Sample:
        ids = [slot.id for slot in entry.slots]
        used = {i: usage[i] for i in ids if i in usage}
        traffic = observed.traffic.get(name)
        totals = _sum(traffic.pools) if traffic else Totals()
        after = _Counted(now, totals, {i: u.cpu_s for i, u in used.items()})
        before, self._before[name] = self._before.get(name, after), after
        seconds = max(now - before.at, 1e-9)
        requests = max(0, totals.requests - before.totals.requests)
        waited_s = totals.latency_s_sum - before.totals.latency_s_sum
        cpu_s = sum(max(0.0, s - before.cpu_s.get(i, s)) for i, s in after.cpu_s.items())
        in_flight = sum(observed.servers[i].in_flight for i in ids if i in observed.servers)
        return Sample(
            requests / seconds if before is not after else 0.0,
            max(0, totals.errors - before.totals.errors) / seconds,
            waited_s / requests * 1000 if requests else None,
            in_flight + (traffic.held if traffic else 0),
            cpu_s / seconds * 1000,
            sum(u.memory_bytes for u in used.values()),
            sum(is_ready(observed.replicas.get(i)) for i in ids),
        )


def _sum(pools: Mapping[str, Totals]) -> Totals:
    return Totals(
        sum(pool.requests for pool in pools.values()),
        sum(pool.errors for pool in pools.values()),
        sum(pool.latency_s_sum for pool in pools.values()),
    )
