"""The scheduler's clock: whatever the kernel's says, nothing in the store is still to come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler import apply
from scheduler.clock import BootClock
from scheduler.entry import Slot
from scheduler.model import Deployment, Template
from scheduler.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state")
    yield opened
    opened.close()


def remember(store: Store, moment: float) -> None:
    """Let the store hold a slot that was made at a moment."""
    entry = apply.created(Deployment("web", Template("good", port=80)), 1.0)
    slots = (Slot("web.1", 1, (), since=moment),)
    store.commit({"web": replace(entry, slots=slots)}, ())


def test_the_clock_of_a_new_store_is_the_kernel_s(store: Store) -> None:
    assert BootClock(store, "a")() == pytest.approx(time.monotonic(), abs=5)


def test_after_a_reboot_everything_is_past(store: Store) -> None:
    long_ago = BootClock(store, "a")() + 1_000_000
    remember(store, long_ago)
    clock = BootClock(store, "b")
    assert clock() > long_ago
    assert BootClock(store, "b")() == pytest.approx(clock(), abs=5), "the same to the next"


def test_a_kernel_s_clock_that_is_behind_in_the_same_boot_is_followed_up(store: Store) -> None:
    """What if this one was started in another time namespace than the one before."""
    BootClock(store, "a")
    later = time.monotonic() + 3600
    remember(store, later)
    assert BootClock(store, "a")() > later


def test_a_clock_that_is_ahead_goes_on_from_there(store: Store) -> None:
    """What if the last boot was short: no moment is given out twice, and none is waited for."""
    BootClock(store, "a")
    remember(store, 1.0)
    assert BootClock(store, "b")() == pytest.approx(time.monotonic(), abs=5)
