"""The proxy's counters, as the autoscaler and the canary's judge want them: averages and totals.

Each sample goes into windows (``scheduler/window.py``). What could not be read is no sample: the
windows run dry, and then a deployment has no numbers rather than zeros.
Next: ``outliers.py``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..observed import Route, Totals, Traffic
from ..window import Window
from .admin import Admin, Row
from .config import POOLS
from .state import State

#: HAProxy's averages are plain ones up to so many requests, and sliding ones beyond.
SLIDING = 512
_TIMES = ("qtime", "ctime", "rtime")
ANSWERS = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")


@dataclass
class Gauge:
    """What is known of one deployment's traffic."""

    route: Route
    concurrency: Window = field(default_factory=Window)
    rps: Window = field(default_factory=Window)
    held: int = 0
    in_flight: int = 0
    queued: int = 0
    pools: dict[str, Totals] = field(default_factory=dict)
    before: dict[str, Row] = field(default_factory=dict)
    spent_s: dict[str, float] = field(default_factory=dict)
    at: float | None = None

    def follow(self, route: Route) -> None:
        """Average over what the route says from now on."""
        self.route = route
        self.concurrency.span_s = self.rps.span_s = route.stable_s

    def sample(self, rows: Mapping[str, Row], in_flight: int, held: int, now: float) -> None:
        """Take one look at the deployment's pools.

        Args:
            rows: the statistics of each pool's backend, by pool.
            in_flight: how many requests its replicas are answering.
            held: how many requests wait for a first server.
            now: monotonic seconds.
        """
        self.held = held
        here = sum(number(row, "scur") for row in rows.values())
        # A backend's own qcur leaves out what waits for one server: two were sent to it at once.
        self.in_flight, self.queued = in_flight, max(0, here - in_flight)
        self.concurrency.add(here + held, now)
        arrived = 0
        for pool, row in rows.items():
            arrived += self._count(pool, row)
        if self.at is not None and now > self.at:
            self.rps.add(arrived / (now - self.at), now)
        self.at = now

    def _count(self, pool: str, row: Row) -> int:
        """Add what a pool has answered since the last look; return how many requests came in."""
        before = self.before.get(pool, {})
        if number(row, "stot") < number(before, "stot"):
            before = {}  # another proxy, which counts from 0
        self.before[pool] = row

        def since(*names: str) -> int:
            return sum(number(row, name) - number(before, name) for name in names)

        answered, total = since(*ANSWERS), self.pools.get(pool, Totals())
        spent_s = self.spent_s.get(pool, 0.0) + spent_ms(before, row) / 1000
        self.spent_s[pool] = spent_s
        self.pools[pool] = Totals(
            total.requests + answered,
            total.errors + since("hrsp_5xx"),
            max(total.latency_s_sum, spent_s),
        )
        return since("stot")

    def traffic(self, cpu_percent: float | None, now: float) -> Traffic | None:
        """Return the averages, None where there has been no look lately."""
        stable_s, panic_s = self.route.stable_s, self.route.panic_s
        stable = self.concurrency.average(stable_s, now)
        if stable is None:
            return None
        return Traffic(
            stable,
            self.concurrency.average(panic_s, now),
            self.rps.average(stable_s, now),
            self.rps.average(panic_s, now),
            cpu_percent,
            self.held,
            dict(self.pools),
        )


class Meter:
    """The gauges of all deployments, by name."""

    def __init__(self) -> None:
        self.gauges: dict[str, Gauge] = {}

    def sample(self, admin: Admin, state: State) -> bool:
        """Take one look at everything; say whether somebody waits for a first replica.

        Raises:
            AdminError: the proxy does not answer; nothing is taken down.
        """
        pools = admin.backend_rows([f"{p}-{pool}" for p in state.places.values() for pool in POOLS])
        servers, held, now = admin.in_flight(), admin.held(), time.monotonic()
        busy: Counter[str] = Counter()
        for (backend, _), requests in servers.items():
            busy[backend] += requests
        for gone in self.gauges.keys() - state.places.keys():
            del self.gauges[gone]
        for name, place in state.places.items():
            backends = {pool: f"{place}-{pool}" for pool in POOLS}
            rows = {pool: pools[backend] for pool, backend in backends.items()}
            in_flight = sum(busy[backend] for backend in backends.values())
            route = state.routes.get(name, Route(name))
            gauge = self.gauges.setdefault(name, Gauge(route))
            gauge.follow(route)
            gauge.sample(rows, in_flight, held.get(place, 0), now)
        return any(place in held for place in state.places.values())


def spent_ms(before: Row, row: Row) -> float:
    """Return for how long the requests between two looks waited for their answers, together.

    The proxy tells no sum, but an average: of all requests, or beyond ``SLIDING`` of them of about
    that many, of which each new one takes its share away. Turned round, that is a sum again.

    >>> first = {"req_tot": "100", "rtime": "2"}
    >>> spent_ms({}, first), spent_ms(first, {"req_tot": "110", "rtime": "11"})
    (150.0, 1005.0)
    """
    slid = max(0, number(row, "req_tot") - max(SLIDING, number(before, "req_tot")))
    taken = sum(number(before, name) + number(row, name) for name in _TIMES) / 2
    return _held_ms(row) - _held_ms(before) + slid * taken


def _held_ms(row: Row) -> float:
    """Return the sum that an average was made of; it was rounded up."""
    means = (max(0.0, number(row, name) - 0.5) for name in _TIMES)
    return min(number(row, "req_tot"), SLIDING) * sum(means)


def number(row: Row, name: str) -> int:
    """Return a counter; an empty field is one that has not counted yet."""
    return int(row.get(name) or 0)
