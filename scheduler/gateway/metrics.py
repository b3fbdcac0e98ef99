"""The gateway's own numbers for Prometheus, beside those of the deployments it serves.

What it has counted for each deployment is part of every look at the world (``meter.py``), and is
told with the rest of it: ``../control/metrics.py``, whose text this one is appended to.

See: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from collections.abc import Iterator

from .haproxy import HaproxyGateway

_PREFIX = "minisched_gateway"


def exposition(gateway: HaproxyGateway) -> str:
    """Return the metrics of a gateway. No label needs escaping: see ``routing.py``."""
    return "\n".join(_lines(gateway)) + "\n"


def _lines(gateway: HaproxyGateway) -> Iterator[str]:
    yield from _head("up", "gauge", "Whether the proxy runs and answers")
    yield f"{_PREFIX}_up {int(gateway.is_ready())}"
    yield from _head("restarts_total", "counter", "How often the proxy had to be replaced")
    yield f"{_PREFIX}_restarts_total {gateway.status().restarts}"
    yield from _head("ejected", "gauge", "Replicas left out because they only failed")
    yield f"{_PREFIX}_ejected {len(gateway.ejected())}"
    yield from _head("queued", "gauge", "Requests that wait for a busy replica")
    for name, gauge in gateway.gauges().items():
        yield f'{_PREFIX}_queued{{deployment="{name}"}} {gauge.queued}'


def _head(metric: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}_{metric} {text}"
    yield f"# TYPE {_PREFIX}_{metric} {kind}"
