"""Is it well? Docker's health check as a state machine: results in, status out.

    starting ──success──▶ healthy ──`retries` failures in a row──▶ unhealthy ──success──▶ healthy
        └────`retries` failures in a row, those in the start period not counted────▶ unhealthy

Who runs the probe and when is the shim's business: it asks ``next_probe_ns`` how long to wait.

Pure. Next: ``restart.py``.
"""

from __future__ import annotations

from ..record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from .command import HealthCheck

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
MAX_RESULTS = 5
MAX_OUTPUT_BYTES = 4096
TIMED_OUT = -1
"""The exit code of a probe that had to be killed, as docker reports it."""


class Result(Record):
    """One probe; times as RFC 3339 with nanoseconds. Named as docker's inspect names them."""

    __json__: ClassVar = {
        "start": "Start",
        "end": "End",
        "exit_code": "ExitCode",
        "output": "Output",
    }

    start: str
    end: str
    exit_code: int
    output: str = ""


class Health(Record):
    """What ``ps`` and ``inspect`` show; ``log`` holds the last five results, oldest first."""

    __json__: ClassVar = {"status": "Status", "failing_streak": "FailingStreak", "log": "Log"}

    status: str = STARTING
    failing_streak: int = 0
    log: tuple[Result, ...] = ()


def after(health: Health, result: Result, check: HealthCheck, age_ns: int) -> Health:
    """Return the health after one more result.

    Args:
        health: before it.
        result: what the probe said; 0 is well, anything else is not.
        check: how many failures in a row count, and how long the container may take to start.
        age_ns: how old the container was when the probe started.
    """
    kept = replace(result, output=_clipped(result.output))
    log = (*health.log, kept)[-MAX_RESULTS:]
    if result.exit_code == 0:
        return Health(HEALTHY, 0, log)
    if health.status == STARTING and age_ns < check.start_period_ns:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    status = UNHEALTHY if streak >= check.retries else health.status
    return Health(status, streak, log)


def _clipped(output: str) -> str:
    """Return the first 4 KiB; a character that the cut goes through is left out."""
    return output.encode("utf-8", "replace")[:MAX_OUTPUT_BYTES].decode("utf-8", "ignore")


def next_probe_ns(health: Health, check: HealthCheck, age_ns: int) -> int:
    """Return how long to wait after a probe: shorter while the container may still be starting."""
    starting = health.status == STARTING and age_ns < check.start_period_ns
    return check.start_interval_ns if starting else check.interval_ns
