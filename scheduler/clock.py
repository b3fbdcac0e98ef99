"""Seconds that never go back, also not at a reboot.

The store is full of moments: when a slot was made, when it is tried again. The kernel's monotonic
clock says them the same to every scheduler, until a reboot begins it anew. So it is shifted by
what the last boot had come to, and everything in the store stays in the past; so it is where the
clock of the same boot is behind, as in another time namespace. The wall clock could do that too,
but people and NTP turn it.

See: time_namespaces(7).

Next: ``controller.py``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from .entry import Desired

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Facts(Protocol):
    """The part of the store that is needed."""

    def load(self) -> Desired:
        """Return everything that is wanted."""

    def fact(self, name: str) -> str:
        """Return something that was noted by name, or ""."""

    def set_fact(self, name: str, value: str) -> None:
        """Note something by name."""


class BootClock:
    """The scheduler's clock.

    Args:
        store: holds the moments, and which boot they are counted from.
        boot_id: of this boot; "" asks the kernel.
    """

    def __init__(self, store: Facts, boot_id: str = "") -> None:
        boot_id = boot_id or _BOOT_ID.read_text(encoding="ascii").strip()
        known, _, offset = store.fact("clock").partition(" ")
        self._offset_s = float(offset) if known == boot_id else 0.0
        behind_s = _latest(store.load()) - self()
        if behind_s > 0:
            self._offset_s += behind_s + 1
        store.set_fact("clock", f"{boot_id} {self._offset_s!r}")

    def __call__(self) -> float:
        """Return the seconds."""
        return time.monotonic() + self._offset_s


def _latest(desired: Desired) -> float:
    """Return the latest moment that is remembered as past."""
    moments = [0.0]
    for entry in desired.entries.values():
        moments += [entry.decided_at, entry.rollout.progress_at, entry.rollout.canary_since]
        moments += [slot.since for slot in entry.slots]
    return max(moments)
