"""Averages over the last seconds, for the autoscaler: buckets of one second each.

A window that has not been filled yet is averaged over what it has, and one that has heard nothing
lately has no average at all: a missing number is not a zero.

May not import anything with an effect. Next: ``autoscale.py``.
"""

from __future__ import annotations

from collections import deque

STALE_S = 6


class Window:
    """What was sampled in the last ``span_s`` seconds, which may be changed at any time."""

    def __init__(self, span_s: float = 60) -> None:
        self.span_s = span_s
        self._buckets: deque[list[float]] = deque()  # [second, sum, samples]

    def add(self, value: float, now: float) -> None:
        """Record one sample; samples of one second are averaged."""
        second = int(now)
        if self._buckets and second <= self._buckets[-1][0]:  # a clock may repeat a second
            self._buckets[-1][1] += value
            self._buckets[-1][2] += 1
            return
        self._buckets.append([second, value, 1])
        while self._buckets[0][0] <= second - self.span_s:
            self._buckets.popleft()

    def average(self, seconds: float, now: float) -> float | None:
        """Return the mean of the buckets of the last seconds, or None where there is no news."""
        if not self._buckets or now - self._buckets[-1][0] > STALE_S:
            return None
        means = [total / n for second, total, n in self._buckets if second > int(now) - seconds]
        return sum(means) / len(means) if means else None
