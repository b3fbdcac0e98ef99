"""Compose files: the Compose Specification in, deployments out, and back.

    document.py     YAML text → plain values; interpolation; nothing said twice
    fields.py       reading mappings so that every error names its path
    facts.py        a frozen dataclass ⇄ a mapping, by its annotations
    service.py      one service → one Deployment
    mounts.py       its ports, volumes and secrets
    render.py       deployments → YAML text

A field that is not supported is refused by its path, never ignored. What Compose has no word for is
in extensions, which ``docker compose`` passes over: ``x-autoscale``, ``x-canary``, ``x-cron``,
``x-job``, ``x-route``, ``x-timeouts``, ``x-probes``, ``x-update``, ``x-restart``, ``x-priority``,
``x-quota``, ``x-placement``, ``x-socket``, ``x-concurrency``, ``x-queue_limit``, ``x-paused``.
"""

from __future__ import annotations

from .project import Project, SecretSource, parse
from .render import render

__all__ = ["Project", "SecretSource", "parse", "render"]
