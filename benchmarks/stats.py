"""Medians, percentiles and ratios. Pure.

A ratio is taken within each round, where both contenders ran a moment apart under the same
conditions; then its median and percentiles are quoted. A machine that is slower for a minute moves
both times and leaves the ratio alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """What a series of samples is quoted as."""

    n: int
    median: float
    p10: float
    p90: float
    worst: float


def summarise(samples: Sequence[float]) -> Summary:
    """Return the figures of a series.

    >>> summarise([3, 1, 2])
    Summary(n=3, median=2, p10=1.2, p90=2.8, worst=3)
    """
    return Summary(
        len(samples),
        statistics.median(samples),
        percentile(samples, 10),
        percentile(samples, 90),
        max(samples),
    )


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return a percentile, interpolated between its neighbours.

    >>> percentile([1, 2, 3, 4, 5], 50)
    3.0
    """
    ordered = sorted(samples)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * (place - low), 6)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return ours / theirs, round by round.

    >>> ratios([1, 3], [2, 4])
    [0.5, 0.75]
    """
    return [a / b for a, b in zip(ours, theirs, strict=True)]
