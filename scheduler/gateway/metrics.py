"""The gateway's numbers for Prometheus, in its text format.

See: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from collections.abc import Iterator

from .haproxy import HaproxyGateway
from .meter import Gauge

_PREFIX = "minirun_gateway"


def exposition(gateway: HaproxyGateway) -> str:
    """Return the metrics of a gateway. No label needs escaping: see ``routing.py``."""
    return "\n".join((*_of_proxy(gateway), *_of_deployments(gateway.gauges()))) + "\n"


def _of_proxy(gateway: HaproxyGateway) -> Iterator[str]:
    yield from _head("up", "gauge", "Whether the proxy runs and answers.")
    yield f"{_PREFIX}_up {int(gateway.is_ready())}"
    yield from _head("restarts_total", "counter", "How often the proxy had to be replaced.")
    yield f"{_PREFIX}_restarts_total {gateway.status().restarts}"
    yield from _head("ejected", "gauge", "Replicas left out because they only failed.")
    yield f"{_PREFIX}_ejected {len(gateway.ejected())}"


def _of_deployments(gauges: dict[str, Gauge]) -> Iterator[str]:
    counters = (
        ("requests_total", "Requests answered.", "requests"),
        ("errors_total", "Requests answered with a status of 500 or more.", "errors"),
        ("latency_seconds_sum", "Time until the answers began.", "latency_s_sum"),
    )
    for metric, text, field in counters:
        yield from _head(metric, "counter", text)
        for name, gauge in gauges.items():
            for pool, totals in gauge.pools.items():
                labels = f'deployment="{name}",pool="{pool}"'
                yield f"{_PREFIX}_{metric}{{{labels}}} {getattr(totals, field):g}"
    levels = (
        ("in_flight", "Requests that replicas are answering."),
        ("queued", "Requests that wait for a busy replica."),
        ("held", "Requests that wait for a first replica."),
    )
    for metric, text in levels:
        yield from _head(metric, "gauge", text)
        for name, gauge in gauges.items():
            yield f'{_PREFIX}_{metric}{{deployment="{name}"}} {getattr(gauge, metric)}'


def _head(metric: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}_{metric} {text}"
    yield f"# TYPE {_PREFIX}_{metric} {kind}"
