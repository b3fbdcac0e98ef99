"""``top``: what deployments use and answer, live.

Numbers come from the API's answers and from its ``/metrics``: rates are the difference of two
looks. Drawn again in place on a terminal; elsewhere each look is printed below the last.

Next: ``completion.py``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ..units import size_text
from .common import client, seconds
from .complaints import EXIT_INTERRUPTED
from .output import Column, layout, say
from .views import why

if TYPE_CHECKING:
    from ..client import Client

_HOME_AND_CLEAR = "\x1b[H\x1b[J"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything."""

    at: float
    deployments: list[dict[str, Any]]
    replicas: dict[str, list[dict[str, Any]]]
    requests: Mapping[str, float]


@click.command()
@click.option("--interval", default="2s", help="How often to look (2s).")
@click.option("--once", is_flag=True, help="Look twice, print once.")
def top_command(interval: str, *, once: bool) -> int:
    """Show what deployments use and answer, until Ctrl-C."""
    sched, every_s = client(), max(0.1, seconds(interval, "--interval"))
    in_place = sys.stdout.isatty() and not once
    before = _look(sched)
    try:
        while True:
            time.sleep(every_s)
            now = _look(sched)
            lines = _lines(before, now)
            say((_HOME_AND_CLEAR if in_place else "") + "\n".join(lines))
            sys.stdout.flush()
            if once:
                return 0
            before = now
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # this is how one leaves


def _look(sched: Client) -> Look:
    at = time.monotonic()
    deployments = sched.deployments()
    replicas = {row["name"]: sched.replicas(row["name"]) for row in deployments}
    text = sched.metrics()
    return Look(at, deployments, replicas, _requests(text.splitlines()))


def _requests(lines: Iterable[str]) -> Mapping[str, float]:
    r"""Return the requests that were answered, by deployment, whatever with.

    >>> _requests(['minisched_gateway_requests_total{deployment="web",pool="stable"} 3'])
    {'web': 3.0}
    """
    found: dict[str, float] = {}
    for line in lines:
        if line.startswith("minisched_gateway_requests_total{"):
            labels, _, value = line.rpartition(" ")
            name = labels.partition('deployment="')[2].partition('"')[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


def _lines(before: Look, now: Look) -> list[str]:
    rows = [_row(row, before, now) for row in now.deployments]
    running = sum(row["running"] for row in rows)
    head = f"{time.strftime('%H:%M:%S')}  {len(rows)} deployments, {running} replicas"
    return [head, "", *layout(rows, _COLUMNS)]


def _row(deployment: Mapping[str, Any], before: Look, now: Look) -> dict[str, Any]:
    name, status = deployment["name"], deployment["status"]
    replicas, passed_s = now.replicas[name], now.at - before.at
    usages = [row["usage"] for row in replicas if row["usage"]]
    answered = now.requests.get(name, 0.0) - before.requests.get(name, 0.0)
    return {
        "name": name,
        "state": status["state"],
        "ready": f"{status['ready']}/{status['desired']}",
        "running": sum(row["phase"] == "running" for row in replicas),
        "in_flight": sum(row["in_flight"] for row in replicas),
        "rate": f"{max(0.0, answered) / passed_s:.1f}",
        "cpu": f"{100 * _cpu_s(before, now, name) / passed_s:.0f}%" if usages else None,
        "memory": size_text(sum(usage["memory_bytes"] for usage in usages)) if usages else None,
        "why": why(deployment),
    }


def _cpu_s(before: Look, now: Look, name: str) -> float:
    """Return the CPU time that the replicas of both looks have used between them."""
    known = _cpu_times(before.replicas.get(name, []))
    used = _cpu_times(now.replicas[name])
    return sum(max(0.0, spent - known[key]) for key, spent in used.items() if key in known)


def _cpu_times(replicas: list[dict[str, Any]]) -> dict[str, float]:
    return {row["id"]: float(row["usage"]["cpu_s"]) for row in replicas if row["usage"]}


_COLUMNS: list[Column] = [
    ("DEPLOYMENT", lambda row: row["name"]),
    ("STATE", lambda row: row["state"]),
    ("READY", lambda row: row["ready"]),
    ("IN-FLIGHT", lambda row: row["in_flight"]),
    ("REQUESTS/S", lambda row: row["rate"]),
    ("CPU", lambda row: row["cpu"]),
    ("MEMORY", lambda row: row["memory"]),
    ("REASON", lambda row: row["why"]),
]
