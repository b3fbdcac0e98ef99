"""What the templates show, put into words and numbers that people read. Next: ``curves.py``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from ..control.capacity import HostStatus
from ..control.status import DeploymentStatus
from ..model import Deployment
from ..units import cpu_text, size_text
from .curves import curve
from .history import KEPT, PERIOD_S, Sample

#: A page shows so many deployments, and the small curve in a row so many samples.
PAGE, ROW = 50, 60
STATES = (
    "running", "progressing", "pending", "degraded", "failed", "paused", "idle", "done", "deleting",
)  # fmt: skip
_SPAN = f"over the last {KEPT * PERIOD_S / 60:.0f} minutes"
#: Colours and cursor movements of terminals, and what else is no text.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Row:
    """A deployment in the list."""

    deployment: Deployment
    status: DeploymentStatus
    rps: str
    curve: Markup


@dataclass(frozen=True, slots=True)
class Chart:
    """One curve of a deployment, and what it is at now."""

    title: str
    now: str
    beside: str
    curve: Markup


@dataclass(frozen=True, slots=True)
class Meter:
    """How much of something is given away, in thousandths, and in words."""

    title: str
    share: int
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a long list, of which there are ``last``; ``total`` is how long the list is."""

    names: Sequence[str]
    number: int
    last: int
    total: int


def page_of(names: Sequence[str], wanted: int) -> Page:
    """Return a page of a list; the nearest where there is no such page.

    >>> page_of([str(i) for i in range(120)], 9).names[0], page_of([], 1).last
    ('100', 1)
    """
    last = max(1, math.ceil(len(names) / PAGE))
    number = min(max(1, wanted), last)
    return Page(names[(number - 1) * PAGE : number * PAGE], number, last, len(names))


# ---- curves -------------------------------------------------------------------------------------


def row(deployment: Deployment, status: DeploymentStatus, samples: Sequence[Sample]) -> Row:
    """Return a deployment's row."""
    rates = [sample.rps for sample in samples]
    text = _number(rates[-1]) if rates else "-"
    label = f"requests per second of {deployment.name}, now {text}"
    return Row(deployment, status, text, curve(rates, label, most=ROW))


def charts(samples: Sequence[Sample]) -> tuple[Chart, ...]:
    """Return the curves of a deployment."""
    last = samples[-1] if samples else Sample(0, 0, math.nan, 0, 0, 0, 0, 0)
    latency = "-" if math.isnan(last.latency_ms) else f"{_number(last.latency_ms)} ms"
    errors = f"{_number(last.errors_per_s)} errors/s" if last.errors_per_s else "no errors"
    cpu, cpu_limit = f"{last.cpu_millis / 1000:.2f}", cpu_text(round(last.cpu_limit_millis))
    memory, limit = size_text(int(last.memory_bytes)), size_text(int(last.memory_limit_bytes))
    return (
        _chart("Requests", f"{_number(last.rps)}/s", errors, [s.rps for s in samples]),
        _chart("Latency", latency, "mean", [s.latency_ms for s in samples]),
        _chart("In flight", _number(last.in_flight), "", [s.in_flight for s in samples]),
        _chart("CPU", cpu, cpu_limit, [s.cpu_millis for s in samples], last.cpu_limit_millis),
        _chart("Memory", memory, limit, [s.memory_bytes for s in samples], last.memory_limit_bytes),
    )


def _chart(
    title: str, now: str, beside: str, values: Sequence[float], limit: float | None = None
) -> Chart:
    """Return a chart; with a limit that is not None, ``beside`` is its text."""
    if limit is not None:
        beside = f"of {beside}" if limit else "no limit"
    label = f"{title} {_SPAN}, now {now} {beside}".rstrip()
    return Chart(title, now, beside, curve(values, label, most=KEPT, limit=limit or 0.0))


def _number(value: float) -> str:
    """Return a number in three digits or so.

    >>> _number(0), _number(0.25), _number(12.34), _number(1234.5)
    ('0', '0.25', '12.3', '1,234')
    """
    if value < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


# ---- host ---------------------------------------------------------------------------------------


def meters(host: HostStatus) -> tuple[Meter, ...]:
    """Return how much of the host is given away."""
    cpu = sum(node.capacity.cpu_millis for node in host.nodes)
    memory = sum(node.capacity.memory_bytes for node in host.nodes)
    gpus = sum(len(node.capacity.gpus) for node in host.nodes)
    given_cpu = sum(node.allocated.cpu_millis for node in host.nodes)
    given_memory = sum(node.allocated.memory_bytes for node in host.nodes)
    given_gpus = sum(len(node.allocated.gpus) for node in host.nodes)
    found = (
        _meter("CPU", given_cpu, cpu, f"{cpu_text(given_cpu)} of {cpu_text(cpu)}"),
        _meter("Memory", given_memory, memory, f"{size_text(given_memory)} of {size_text(memory)}"),
    )
    return (*found, _meter("GPUs", given_gpus, gpus, f"{given_gpus} of {gpus}")) if gpus else found


def _meter(title: str, given: int, capacity: int, text: str) -> Meter:
    return Meter(title, round(1000 * given / capacity) if capacity else 0, text)


# ---- filters of the templates -------------------------------------------------------------------


def plain(text: str) -> str:
    r"""Return a line without what only a terminal understands.

    >>> plain("\x1b[31mred\x1b[0m")
    'red'
    """
    return _CONTROL.sub("", text)


def ago(seconds: float | None) -> str:
    """Return a length of time in its largest unit.

    >>> ago(7), ago(150), ago(4000 * 60), ago(None)
    ('7 s', '2 min', '2 d', '-')
    """
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def clock(unix_s: float) -> str:
    """Return the time of day of a moment, in UTC."""
    return _moment(unix_s).strftime("%H:%M:%S")


def iso(unix_s: float) -> str:
    """Return a moment as machines write it."""
    return _moment(unix_s).isoformat(timespec="milliseconds")


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(min(max(0.0, unix_s), 4e9), UTC)


def inputs(values: Mapping[str, object]) -> str:
    """Return what an event was decided by, on one line.

    >>> inputs({"by": "ci", "ready": 2})
    'by=ci ready=2'
    """
    return " ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


FILTERS = (plain, ago, clock, iso, inputs, size_text, cpu_text)


def counted(states: Iterable[str]) -> dict[str, int]:
    """Return how many deployments are in each state that any is in, in the order of STATES."""
    found = list(states)
    return {state: found.count(state) for state in STATES if state in found}


def addresses(deployment: Deployment, gateway: str) -> tuple[str, ...]:
    """Return where requests to a deployment may be sent; none where it takes none.

    >>> from ..model import Template
    >>> addresses(Deployment("web", Template("web", port=80)), "127.0.0.1:8800")
    ('http://web.localhost:8800/',)
    """
    if not (deployment.template.port or deployment.template.socket):
        return ()
    exposed = deployment.exposure
    found = [f"http://127.0.0.1:{exposed.published}/"] if exposed.published else []
    if gateway and not gateway.startswith("/"):
        port = gateway.rpartition(":")[2]
        hosts = (*exposed.hosts, f"{deployment.name}.localhost")
        found += [f"http://{host}:{port}{exposed.prefix or '/'}" for host in hosts]
    return tuple(found)
