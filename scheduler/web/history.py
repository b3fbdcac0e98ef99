"""The last minutes of every deployment as a few numbers every two seconds: what the curves show.

Counters become rates here, once, however many people look. A thousand deployments are 5 MB: a
sample is eight single floats in an array. Next: ``curves.py``.
"""

from __future__ import annotations

import logging
import math
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Thread
from typing import NamedTuple

from minirun import MinirunError

from ..control import Control, Usage
from ..entry import Entry
from ..observed import Observed, Totals

PERIOD_S = 2.0
KEPT = 150
#: Of one CPU, at most; a host with thousands of replicas is looked at less often.
SHARE = 0.02
log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """A deployment at one moment, all replicas together.

    ``latency_ms`` is NaN where nothing was answered; a limit of 0 means there is none.
    """

    rps: float
    errors_per_s: float
    latency_ms: float
    in_flight: float
    cpu_millis: float
    cpu_limit_millis: float
    memory_bytes: float
    memory_limit_bytes: float


@dataclass(frozen=True, slots=True)
class _Counters:
    """Where the counters of a deployment stood at a sample."""

    at: float
    totals: Totals
    cpu_s: Mapping[str, float]


class History:
    """The last ``KEPT`` samples of every deployment. One thread adds, any may read.

    Args:
        control: whom to ask.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._kept: dict[str, array[float]] = {}
        self._before: dict[str, _Counters] = {}
        self._closing = Event()
        self._thread = Thread(target=self._run, name="history", daemon=True)

    def begin(self) -> None:
        """Take samples from now on."""
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def of(self, deployment: str, most: int = KEPT) -> list[Sample]:
        """Return a deployment's samples, the last ``most`` of them, oldest first."""
        width = len(Sample._fields)
        kept = self._kept.get(deployment, array("f"))[-most * width :]
        return [Sample(*kept[at : at + width]) for at in range(0, len(kept), width)]

    def _run(self) -> None:
        pause_s = 0.0
        while not self._closing.wait(pause_s):
            began = time.thread_time()
            try:
                self.take()
            except (MinirunError, OSError) as error:
                log.warning("no sample for the curves: %s", error)
            pause_s = max(PERIOD_S, (time.thread_time() - began) / SHARE)

    def take(self) -> None:
        """Take a sample of everything."""
        observed, usage = self._control.observed(), self._control.replicas.usage()
        entries, now = self._control.store.load().entries, self._control.clock()
        for name, entry in entries.items():
            self._add(name, entry, observed, usage, now)
        for name in self._kept.keys() - entries.keys():
            del self._kept[name]
        for name in self._before.keys() - entries.keys():
            del self._before[name]

    def _add(
        self, name: str, entry: Entry, observed: Observed, usage: Mapping[str, Usage], now: float
    ) -> None:
        used = {slot.id: usage[slot.id] for slot in entry.slots if slot.id in usage}
        after = _Counters(now, _totals(name, observed), {i: u.cpu_s for i, u in used.items()})
        before = self._before.setdefault(name, after)
        if now - before.at < PERIOD_S / 4:
            return  # a rate needs two moments, and over an instant it is noise
        self._before[name] = after
        kept = self._kept.setdefault(name, array("f"))
        kept.extend(
            (
                *_rates(before, after),
                _in_flight(name, entry, observed),
                _cpu_millis(before, after),
                sum(one.cpu_limit_millis for one in used.values()),
                sum(one.memory_bytes for one in used.values()),
                sum(one.memory_limit_bytes for one in used.values()),
            )
        )
        del kept[: -KEPT * len(Sample._fields)]


def _totals(name: str, observed: Observed) -> Totals:
    traffic = observed.traffic.get(name)
    pools = traffic.pools.values() if traffic else ()
    return Totals(
        sum(pool.requests for pool in pools),
        sum(pool.errors for pool in pools),
        sum(pool.latency_s_sum for pool in pools),
    )


def _rates(before: _Counters, after: _Counters) -> tuple[float, float, float]:
    """Return requests and errors per second, and the mean latency between two moments."""
    seconds, old, new = after.at - before.at, before.totals, after.totals
    requests = max(0, new.requests - old.requests)  # another gateway counts from 0
    errors = max(0, new.errors - old.errors)
    waited_s = max(0.0, new.latency_s_sum - old.latency_s_sum)
    latency_ms = waited_s / requests * 1000 if requests else math.nan
    return requests / seconds, errors / seconds, latency_ms


def _in_flight(name: str, entry: Entry, observed: Observed) -> int:
    servers = (observed.servers.get(slot.id) for slot in entry.slots)
    traffic = observed.traffic.get(name)
    return sum(server.in_flight for server in servers if server) + (traffic.held if traffic else 0)


def _cpu_millis(before: _Counters, after: _Counters) -> float:
    grown = (s - before.cpu_s.get(i, s) for i, s in after.cpu_s.items())
    return sum(max(0.0, s) for s in grown) / (after.at - before.at) * 1000
