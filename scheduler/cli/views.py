"""The columns of every noun: what a table shows of what the API answers.

A View has the columns that fit a terminal, and ``wide`` ones for ``-o wide``. Next: ``get.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..units import cpu_text, size_text
from .output import Column, Row, age, span

REASON_WIDTH = 60


@dataclass(frozen=True, slots=True)
class View:
    """How one noun is shown."""

    columns: Sequence[Column]
    wide: Sequence[Column] = ()


def _of(name: str) -> Column:
    return name.upper().replace("_", "-"), lambda row: row[name]


def _age(field: str, heading: str = "AGE") -> Column:
    return heading, lambda row: age(row[field])


def _short(text: str, width: int = REASON_WIDTH) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# ── deployments and replicas ──────────────────────────────────────────────────────────────────


def why(row: Row) -> str:
    """Return the reason for a deployment's state, the most pressing first."""
    status = row["status"]
    return str(status["pending"] or status["reason"])


def _route(row: Row) -> str:
    exposure = row["spec"]["exposure"]
    parts = [*exposure["hosts"], exposure["prefix"]]
    if exposure["published"] is not None:
        parts.append(f":{exposure['published']}")
    return " ".join(filter(None, parts))


def _scaling(row: Row) -> str:
    auto = row["spec"]["autoscale"]
    return f"{auto['minimum']} to {auto['maximum']}" if auto else "fixed"


DEPLOYMENTS = View(
    (
        _of("name"),
        ("STATE", lambda row: row["status"]["state"]),
        ("READY", lambda row: f"{row['status']['ready']}/{row['status']['desired']}"),
        ("UPDATED", lambda row: row["status"]["updated"]),
        ("REVISION", lambda row: row["status"]["revision"]),
        ("IMAGE", lambda row: row["spec"]["image"]),
        ("REASON", lambda row: _short(why(row))),
    ),
    (
        ("KIND", lambda row: row["spec"]["kind"]),
        ("SCALING", _scaling),
        ("ROUTE", _route),
        ("PRIORITY", lambda row: row["spec"]["priority"]),
        ("LABELS", lambda row: ",".join(f"{k}={v}" for k, v in row["spec"]["labels"].items())),
    ),
)


def _usage(row: Row, name: str) -> float | None:
    """Return what a replica uses; None where it does not run."""
    used = row["usage"]
    return float(used[name]) if used else None


def _memory(row: Row) -> str | None:
    used, limit = _usage(row, "memory_bytes"), _usage(row, "memory_limit_bytes")
    if used is None:
        return None
    return size_text(int(used)) + (f"/{size_text(int(limit))}" if limit else "")


def _cpu_time(row: Row) -> str | None:
    used = _usage(row, "cpu_s")
    return None if used is None else f"{used:.1f}s"


def _replica_state(row: Row) -> str:
    """Return the slot's state, or what is more exact: the container's."""
    is_exact = row["state"] == "placed" or row["phase"] == "removing"
    return str(row["phase"] or row["state"]) if is_exact else str(row["state"])


REPLICAS = View(
    (
        ("REPLICA", lambda row: row["id"]),
        _of("revision"),
        ("STATE", _replica_state),
        ("READY", lambda row: "yes" if row["ready"] else "no"),
        _of("restarts"),
        ("IN-FLIGHT", lambda row: row["in_flight"]),
        ("MEMORY", _memory),
        ("AGE", lambda row: None if row["age_s"] is None else span(row["age_s"])),
        ("REASON", lambda row: _short(row["reason"])),
    ),
    (
        ("CPU-TIME", _cpu_time),
        ("ADDRESS", lambda row: row["address"]),
        ("EXIT", lambda row: row["exit_code"]),
        ("OOM", lambda row: "yes" if row["oom"] else "no"),
    ),
)

REVISIONS = View(
    (
        _of("number"),
        ("", lambda row: " ".join(word for word in ("current", "stable") if row[word])),
        _of("image"),
        _of("cause"),
        ("FAILED", lambda row: _short(row.get("failure", ""))),
    ),
    (_of("digest"),),
)

# ── everything else ───────────────────────────────────────────────────────────────────────────

EVENTS = View(
    (
        _age("unix_s"),
        _of("deployment"),
        _of("kind"),
        _of("message"),
    ),
    (_of("sequence"),),
)

IMAGES = View(
    (
        ("IMAGE", lambda row: row["reference"]),
        ("SIZE", lambda row: size_text(row["size_bytes"])),
        _age("created_unix_s", "CREATED"),
    ),
    (_of("digest"),),
)


def _bound(name: str, used: Callable[[Row], int], show: Callable[[int], str] = str) -> Column:
    """Return a column of what is used of a bound."""

    def cell(row: Row) -> str:
        bound = row[name]
        return f"{show(used(row))}/{'-' if bound is None else show(bound)}"

    return name.partition("_")[0].upper(), cell


QUOTAS = View(
    (
        _of("name"),
        _bound("cpu_millis", lambda row: row["used"]["cpu_millis"], cpu_text),
        _bound("memory_bytes", lambda row: row["used"]["memory_bytes"], size_text),
        _bound("gpus", lambda row: len(row["used"]["gpus"])),
        _bound("replicas", lambda row: row["used_replicas"]),
        ("DEPLOYMENTS", lambda row: ", ".join(row["deployments"])),
    )
)

SECRETS = View(
    (
        _of("name"),
        ("SIZE", lambda row: size_text(row["size"])),
        _age("created_unix_s"),
        _age("updated_unix_s", "UPDATED"),
    )
)

TOKENS = View((_of("name"), _of("scope"), _age("created_unix_s"), _age("used_unix_s", "LAST-USED")))


def _share(node: Row, name: str, show: Callable[[int], str]) -> str:
    return f"{show(node['allocated'][name])}/{show(node['capacity'][name])}"


NODES = View(
    (
        ("NODE", lambda row: row["id"]),
        ("CPU", lambda row: _share(row, "cpu_millis", cpu_text)),
        ("MEMORY", lambda row: _share(row, "memory_bytes", size_text)),
        ("GPUS", lambda row: f"{len(row['allocated']['gpus'])}/{len(row['capacity']['gpus'])}"),
        ("CORDONED", lambda row: "yes" if row["cordoned"] else "no"),
    )
)


def _run(row: Row, name: str) -> object:
    return (row["status"]["job"] or {}).get(name)


JOBS = View(
    (
        _of("name"),
        ("STATE", lambda row: row["status"]["state"]),
        ("RUN", lambda row: _run(row, "number")),
        ("SUCCEEDED", lambda row: _run(row, "succeeded")),
        ("FAILED", lambda row: _run(row, "failed")),
        ("OUTCOME", lambda row: _run(row, "outcome")),
        ("IMAGE", lambda row: row["spec"]["image"]),
        ("REASON", lambda row: _short(why(row))),
    )
)

RUNS = View(
    (
        _of("number"),
        _of("outcome"),
        _of("succeeded"),
        _of("failed"),
        _age("started_unix_s", "STARTED"),
        _age("ended_unix_s", "ENDED"),
    )
)

CRONS = View(
    (
        _of("name"),
        ("SCHEDULE", lambda row: row["spec"]["cron"]["schedule"]),
        ("STATE", lambda row: row["status"]["state"]),
        ("RUN", lambda row: _run(row, "number")),
        ("OUTCOME", lambda row: _run(row, "outcome")),
        ("IMAGE", lambda row: row["spec"]["image"]),
    )
)
