"""Which requests a deployment asks for, and who has them already.

A request is somebody's by its host and path, or by the port it came in at. ``<name>.localhost`` is
every deployment's own, so nobody may take it for another. The gateway refuses the same once more
(``gateway/routing.py``), but at a time when whoever asked has gone. May not import anything with an
effect. Next: ``validate.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from .model import Deployment, Kind

HOST_NAME = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", re.IGNORECASE)
PREFIX = re.compile(r"(?=.{0,1000}$)(/(?!\.\.?(/|$))[A-Za-z0-9._~%@:+,=-]+)*/?")
HEADER = re.compile(r"[A-Za-z0-9_-]{1,128}")


def faults(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield what could never be routed: the field, and what is wrong with it."""
    exposure, canary = deployment.exposure, deployment.canary
    for i, host in enumerate(exposure.hosts):
        if not HOST_NAME.fullmatch(host):
            yield f"exposure.hosts[{i}]", f"{host!r} is not a host name"
    if not PREFIX.fullmatch(exposure.prefix):
        yield "exposure.prefix", f"{exposure.prefix!r} is not a path such as /api"
    if canary and canary.header and not HEADER.fullmatch(canary.header):
        yield "canary.header", f"{canary.header!r} is not a header's name"
    port = exposure.published
    if port is not None and not 1 <= port <= 65535:
        yield "exposure.published", f"{port} is not between 1 and 65535"
    if not (exposure.hosts or exposure.prefix or port is not None):
        return
    if deployment.kind is not Kind.SERVICE:
        yield "exposure", f"is for services: nobody asks a {deployment.kind}"
    elif not (deployment.template.port or deployment.template.socket):
        yield "exposure", "there is no port or socket to send requests to"


def claims(deployment: Deployment) -> Mapping[str, str]:
    """Return what must be this deployment's alone, each with the field that asks for it.

    >>> from .model import Template
    >>> from .policy import Exposure
    >>> claims(Deployment("web", Template("x", port=80), exposure=Exposure(prefix="/api/")))
    {'web.localhost/': 'name', '/api/': 'exposure.prefix'}
    """
    template, exposure = deployment.template, deployment.exposure
    if deployment.kind is not Kind.SERVICE or not (template.port or template.socket):
        return {}
    found, prefix = {f"{deployment.name}.localhost/": "name"}, exposure.prefix.rstrip("/") + "/"
    if exposure.prefix and not exposure.hosts:
        found[prefix] = "exposure.prefix"
    for i, host in enumerate(exposure.hosts):
        found[host.lower() + prefix] = f"exposure.hosts[{i}]"
    if exposure.published is not None:
        found[f"port {exposure.published}"] = "exposure.published"
    return found


def taken(deployment: Deployment, others: Iterable[Deployment]) -> Iterator[tuple[str, str]]:
    """Yield what another deployment has already: the field, and whose it is."""
    mine = claims(deployment)
    for other in others if mine else ():
        if other.name == deployment.name:
            continue
        theirs = claims(other)
        for key in (key for key in mine if key in theirs):
            yield mine[key], f"{key.rstrip('/') or '/'} belongs to deployment {other.name}"
