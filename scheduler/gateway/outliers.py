"""Who is left out for a while, and who is not given a full share yet. Pure: ``now`` is an argument.

A replica that only fails is taken out of its pool for half a minute, for longer each time it does
so again (Envoy's outlier detection). It is never the last one, and never one more than half: when
everybody fails, the fault is elsewhere. A new replica gets a growing share while it warms up; its
concurrency is its own from the first request on, so a burst is not made to wait by this.

Next: ``process.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .admin import Row
from .meter import number

FAILURES = 5
EJECTION_S, LONGEST_EJECTION_S = 30.0, 300.0
FORGIVEN_AFTER_S = 600.0
FULL_WEIGHT, FIRST_WEIGHT = 100, 10
_BAD = ("hrsp_5xx", "econ", "eresp", "wretr", "wredis")
_GOOD = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx")


@dataclass
class Health:
    """What is known of one server's answers."""

    good: int = 0
    bad: int = 0
    failed_in_a_row: int = 0
    ejections: int = 0
    ejected_until: float | None = None
    ejected_last: float = 0.0

    def count(self, row: Row) -> None:
        """Add what happened since the last look; one good answer ends a row of failures."""
        good = sum(number(row, name) for name in _GOOD)
        bad = sum(number(row, name) for name in _BAD)
        if good != self.good:
            self.failed_in_a_row = 0
        else:
            self.failed_in_a_row += max(0, bad - self.bad)
        self.good, self.bad = good, bad

    def eject(self, now: float) -> None:
        """Leave it out from now on."""
        if now - self.ejected_last > FORGIVEN_AFTER_S:
            self.ejections = 0
        self.ejections += 1
        self.ejected_last = now
        self.ejected_until = now + min(EJECTION_S * self.ejections, LONGEST_EJECTION_S)
        self.failed_in_a_row = 0


class Outliers:
    """The health of all servers, by replica."""

    def __init__(self) -> None:
        self._known: dict[str, Health] = {}

    def keep(self, servers: Iterable[str]) -> None:
        """Forget everybody else."""
        wanted = set(servers)
        for gone in self._known.keys() - wanted:
            del self._known[gone]

    def look(self, pool: Mapping[str, Row], now: float) -> tuple[list[str], list[str]]:
        """Judge one pool's servers, without those that drain.

        Returns:
            who is to be left out, and who is to be taken back.
        """
        health = {name: self._known.setdefault(name, Health()) for name in pool}
        for name, row in pool.items():
            health[name].count(row)
        back = [n for n, h in health.items() if h.ejected_until and now >= h.ejected_until]
        for name in back:
            health[name].ejected_until = None
        out: list[str] = []
        absent = sum(h.ejected_until is not None for h in health.values())
        for name, one in health.items():
            failing = one.ejected_until is None and one.failed_in_a_row >= FAILURES
            if failing and absent + 1 <= len(pool) // 2:
                one.eject(now)
                out.append(name)
                absent += 1
        return out, back

    def ejected(self) -> set[str]:
        """Return who is left out now."""
        return {name for name, health in self._known.items() if health.ejected_until is not None}

    def pardon(self, names: Iterable[str]) -> list[str]:
        """Take back those of these who are left out; return them."""
        pardoned = sorted(self.ejected().intersection(names))
        for name in pardoned:
            self._known[name].ejected_until = None
        return pardoned


def weight(age_s: float, slow_start_s: float) -> int:
    """Return the share of a server that has been in its pool for so long.

    >>> [weight(age, 10.0) for age in (0.0, 5.0, 10.0)]
    [10, 50, 100]
    """
    if age_s >= slow_start_s:
        return FULL_WEIGHT
    return max(FIRST_WEIGHT, int(FULL_WEIGHT * age_s / slow_start_s))
