"""Cron schedules at moments in time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cron import last_due, parse


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("schedule", "now", "want"),
    [
        ("* * * * *", "2026-03-01T10:15:30", "2026-03-01T10:15:00"),
        ("*/15 * * * *", "2026-03-01T10:29:59", "2026-03-01T10:15:00"),
        ("0 3 * * *", "2026-03-01T02:59:00", "2026-02-28T03:00:00"),
        ("30 9-17/4 * * mon-fri", "2026-03-01T12:00:00", "2026-02-27T17:30:00"),
        ("0 0 29 feb *", "2026-03-01T00:00:00", "2024-02-29T00:00:00"),
        ("0 0 13 * fri", "2026-03-14T00:00:00", "2026-03-13T00:00:00"),
        ("0 0 13 * fri", "2026-03-08T00:00:00", "2026-03-06T00:00:00"),
        ("0 0 1,15 * *", "2026-03-14T00:00:00", "2026-03-01T00:00:00"),
        ("0 12 * * 7", "2026-03-01T12:00:00", "2026-03-01T12:00:00"),
        ("@hourly", "2026-03-01T12:59:00", "2026-03-01T12:00:00"),
    ],
)
def test_last_due(schedule: str, now: str, want: str) -> None:
    assert last_due(parse(schedule), at("2020-01-01"), at(now)) == at(want)


def test_last_due_is_none_where_it_was_done() -> None:
    done = at("2026-03-01T03:00:00")
    assert last_due(parse("0 3 * * *"), done, at("2026-03-02T02:59:00")) is None
    assert last_due(parse("0 0 31 feb *"), at("2020-01-01"), at("2026-01-01")) is None


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *",
             "a * * * *", "* * * foo *", "1- * * * *", "*/ * * * *", "@never", "-1 * * * *"]
)  # fmt: skip
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|fields"):
        parse(text)


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 2**31))
def test_last_due_is_not_in_the_future_and_within_a_day(minute: int, hour: int, now: int) -> None:
    due = last_due(parse(f"{minute} {hour} * * *"), now - 86400 - 60, float(now))
    assert due is not None
    assert now - 86400 - 60 < due <= now
