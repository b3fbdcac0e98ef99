"""Cron schedules: five fields, in UTC, answered for a moment in time.

    ┌ minute 0-59   ┌ hour 0-23   ┌ day 1-31   ┌ month 1-12   ┌ weekday 0-7 (0 and 7 are Sunday)
    */15            9-17          *            *              mon-fri

As in every cron since Version 7: where both day and weekday are restricted, either is enough.
May not import anything with an effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
WEEKDAYS = "sun mon tue wed thu fri sat".split()
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes at which something is due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool


def parse(text: str) -> Schedule:
    """Return the schedule that a line of a crontab names.

    Raises:
        ValueError: the line is not five fields, or one of them is out of its range.
    """
    fields = NICKNAMES.get(text.strip().lower(), text).split()
    if len(fields) != len(BOUNDS):
        raise ValueError(f"{text!r} has {len(fields)} fields, a schedule has 5")
    sets = [_field(field, low, high) for field, (low, high) in zip(fields, BOUNDS, strict=True)]
    weekdays = frozenset(day % 7 for day in sets[4])
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    return Schedule(sets[0], sets[1], sets[2], sets[3], weekdays, either)


def last_due(schedule: Schedule, after_s: float, until_s: float) -> float | None:
    """Return the latest due minute in (after, until], in Unix seconds, or None.

    A scheduler that slept through many of them runs one: nobody wants yesterday's five reports.
    """
    moment = datetime.fromtimestamp(until_s // 60 * 60, UTC)
    while moment.timestamp() > after_s:
        if not _is_day(schedule, moment):
            moment = moment.replace(hour=0, minute=0) - timedelta(minutes=1)
        elif moment.hour not in schedule.hours:
            moment = moment.replace(minute=0) - timedelta(minutes=1)
        elif moment.minute not in schedule.minutes:
            moment -= timedelta(minutes=1)
        else:
            return moment.timestamp()
    return None


def _is_day(schedule: Schedule, moment: datetime) -> bool:
    by_date = moment.day in schedule.days
    by_weekday = moment.isoweekday() % 7 in schedule.weekdays
    matches = by_date or by_weekday if schedule.either_day else by_date and by_weekday
    return moment.month in schedule.months and matches


def _field(text: str, low: int, high: int) -> frozenset[int]:
    return frozenset(number for part in text.split(",") for number in _part(part, low, high))


def _part(text: str, low: int, high: int) -> range:
    span, slash, step = text.partition("/")
    first, dash, last = span.partition("-")
    if span == "*":
        start, end = low, high
    else:
        start = _number(first, low, high)
        end = _number(last, low, high) if dash else (high if slash else start)
    every = int(step) if step.isdecimal() else 0 if slash else 1
    if every < 1 or start > end:
        raise ValueError(f"{text!r} is not a range with a step")
    return range(start, end + 1, every)


def _number(text: str, low: int, high: int) -> int:
    names = {12: MONTHS, 7: WEEKDAYS}.get(high, [])
    value = names.index(text.lower()) + low if text.lower() in names else -1
    if text.isdecimal():
        value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{text!r} is not between {low} and {high}")
    return value
