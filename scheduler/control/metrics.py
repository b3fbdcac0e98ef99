"""Prometheus' text exposition format: the gateway's, the replicas' and the host's numbers.

Names follow Prometheus' rules: base units, ``_total`` for counters. See:
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..entry import Entry
from ..observed import Observed
from .capacity import host_status
from .context import Control
from .status import status_of


class Metric(NamedTuple):
    """One number of a family, with its labels."""

    family: str
    labels: dict[str, str]
    value: float


#: What there is: family, type, help.
FAMILIES = (
    ("minisched_deployment_state", "gauge", "1 for the state that a deployment is in"),
    ("minisched_replicas_desired", "gauge", "Replicas that are wanted"),
    ("minisched_replicas_ready", "gauge", "Replicas that may get requests"),
    ("minisched_replica_restarts", "gauge", "Restarts in a row that did not hold"),
    ("minisched_replica_cpu_seconds_total", "counter", "CPU time a replica has used"),
    ("minisched_replica_memory_bytes", "gauge", "Memory a replica holds"),
    ("minisched_gateway_requests_total", "counter", "Requests answered, by pool"),
    ("minisched_gateway_errors_total", "counter", "Requests answered with a 5xx, by pool"),
    ("minisched_gateway_latency_seconds_sum", "counter", "Time that answers took, added up"),
    ("minisched_gateway_in_flight", "gauge", "Requests that a replica is working on"),
    ("minisched_gateway_held", "gauge", "Requests that wait for a first replica"),
    ("minisched_node_cpu_millis", "gauge", "CPU of a node, in all and given away"),
    ("minisched_node_memory_bytes", "gauge", "Memory of a node, in all and given away"),
    ("minisched_host_cordoned", "gauge", "1 while nothing new is placed here"),
    ("minisched_events_total", "counter", "Events that were ever written"),
)


def exposition(control: Control) -> str:
    """Return everything that is worth watching."""
    by_family: dict[str, list[Metric]] = {family: [] for family, _, _ in FAMILIES}
    for metric in _metrics(control):
        by_family[metric.family].append(metric)
    return "".join(
        f"# HELP {family} {text}\n# TYPE {family} {kind}\n" + "".join(map(_line, found))
        for family, kind, text in FAMILIES
        if (found := by_family[family])
    )


def _line(metric: Metric) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in metric.labels.items())
    return f"{metric.family}{{{labels}}} {metric.value:.17g}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _metrics(control: Control) -> Iterator[Metric]:
    observed, entries = control.observed(), control.store.load().entries
    for name, entry in entries.items():
        yield from _of_deployment(name, entry, observed)
    yield from _of_replicas(control, entries.values(), observed)
    yield from _of_gateway(observed)
    yield from _of_host(control)
    yield Metric("minisched_events_total", {}, control.store.last_sequence())


def _of_deployment(name: str, entry: Entry, observed: Observed) -> Iterator[Metric]:
    status, labels = status_of(entry, observed), {"deployment": name}
    yield Metric("minisched_deployment_state", {**labels, "state": status.state}, 1)
    yield Metric("minisched_replicas_desired", labels, status.desired)
    yield Metric("minisched_replicas_ready", labels, status.ready)


def _of_replicas(
    control: Control, entries: Iterable[Entry], observed: Observed
) -> Iterator[Metric]:
    usage = control.replicas.usage()
    for entry in entries:
        for slot in entry.slots:
            labels = {"deployment": entry.deployment.name, "replica": slot.id}
            yield Metric("minisched_replica_restarts", labels, slot.failures)
            if used := usage.get(slot.id):
                yield Metric("minisched_replica_cpu_seconds_total", labels, used.cpu_s)
                yield Metric("minisched_replica_memory_bytes", labels, used.memory_bytes)
            if server := observed.servers.get(slot.id):
                yield Metric("minisched_gateway_in_flight", labels, server.in_flight)


def _of_gateway(observed: Observed) -> Iterator[Metric]:
    for name, traffic in observed.traffic.items():
        yield Metric("minisched_gateway_held", {"deployment": name}, traffic.held)
        for pool, totals in traffic.pools.items():
            labels = {"deployment": name, "pool": pool}
            yield Metric("minisched_gateway_requests_total", labels, totals.requests)
            yield Metric("minisched_gateway_errors_total", labels, totals.errors)
            yield Metric("minisched_gateway_latency_seconds_sum", labels, totals.latency_s_sum)


def _of_host(control: Control) -> Iterator[Metric]:
    status = host_status(control)
    yield Metric("minisched_host_cordoned", {}, status.cordoned)
    for node in status.nodes:
        for of, amounts in (("capacity", node.capacity), ("allocated", node.allocated)):
            labels = {"node": node.id, "of": of}
            yield Metric("minisched_node_cpu_millis", labels, amounts.cpu_millis)
            yield Metric("minisched_node_memory_bytes", labels, amounts.memory_bytes)
