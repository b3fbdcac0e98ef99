"""Starts without end: what one container leaves behind, a thousand make visible.

``MINIRUN_CYCLES=1000 pytest tests/integration/test_churn.py`` is the long version.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.engine_lab import Engine, hear
from tests.integration.test_launcher import launcher

__all__ = ["launcher"]

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")

CYCLES = int(os.environ.get("MINIRUN_CYCLES", "30"))


def held(launcher_pid: int, engine: Engine) -> dict[str, object]:
    """Return what could grow from start to start."""
    return {
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "descriptors of the launcher": len(os.listdir(f"/proc/{launcher_pid}/fd")),
        "state": {name for name in os.listdir(engine.home.root) if name[0] != "."},
        "records": os.listdir(f"{engine.home.data}/containers"),
    }


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_churn_leaves_nothing(engine: Engine, launcher: int) -> None:
    """The leak witness around this test knows the rest: groups, links, processes, rules."""
    after: list[dict[str, object]] = []
    memory: list[int] = []
    for number in range(CYCLES):
        network = "bridge" if number % 2 else "none"
        record = engine.create("true", mode=network, remove=True)
        assert hear(engine.start(record), started=True).code == 0
        if number in (9, CYCLES - 1):
            after.append(held(launcher, engine))
            memory.append(resident_kib(launcher))
    assert after[0] == after[-1]
    assert memory[-1] < memory[0] + 512
