"""What a deployment's route is in the proxy's maps: which requests are its own, and how they wait.

    routes     web.test/api/ → q30-7               a host and a prefix, or either, to a place
    ports      8080          → q30-7               a published port to a place
    settings   q30-7         → 100|60000|60000|10|x-canary

What gets in here gets into commands and map files, where a space, a semicolon or a line's end would
say something else. So each part is checked against the few characters it may have. Pure.
Next: ``routes.py``, which tells them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from minirun import ScheduleError

from ..observed import Route
from .config import PLACES, places

MOST_MS = 2_000_000_000  # HAProxy counts milliseconds in 31 bits: 23 days
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
_PREFIX = re.compile(r"(?=.{0,1000}$)(/(?!\.\.?(/|$))[A-Za-z0-9._~%@:+,=-]+)*")
_HEADER = re.compile(r"[a-z0-9_-]{1,128}")
_SERVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SOCKET = re.compile(r"/[A-Za-z0-9._/+=:@-]{1,99}")
_TCP = re.compile(r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):\d{1,5}")


def check_route(route: Route) -> None:
    """Refuse a route that cannot be written down safely.

    Raises:
        ScheduleError: with status 422 and the part at fault.
    """
    _matches("deployment", _NAME, route.deployment)
    for host in route.hosts:
        _matches("host", _HOST, host.lower())
    _matches("prefix", _PREFIX, route.prefix.rstrip("/"))
    if route.canary_header:
        _matches("canary header", _HEADER, route.canary_header.lower())
    if route.published is not None and not 1 <= route.published <= 65535:
        raise _refused("published port", str(route.published))
    if route.queue_s > max(PLACES):
        longest = f"{max(PLACES)} s are the longest that a request can be queued"
        raise ScheduleError(f"queue_s: {route.queue_s:g} is too long", status=422, hint=longest)


def check_server(server_id: str, address: str) -> str:
    """Return a replica's address as the proxy writes it.

    >>> check_server("web.1", "/run/web.1.sock")
    'unix@/run/web.1.sock'

    Raises:
        ScheduleError: with status 422, where its id or its address cannot be written down safely.
    """
    _matches("replica", _SERVER, server_id)
    if address.startswith("/"):
        _matches("replica's socket", _SOCKET, address)
        return f"unix@{address}"
    _matches("replica's address", _TCP, address)
    return address


def keys(route: Route) -> frozenset[str]:
    """Return what a request's host and path have to begin with.

    >>> sorted(keys(Route("web", hosts=("A.test", "*.b.test"), prefix="/v1/")))
    ['*.b.test/v1/', 'a.test/v1/']
    """
    prefix = route.prefix.rstrip("/") + "/"
    if not route.hosts:
        return frozenset({prefix} if route.prefix else ())
    return frozenset(host.lower() + prefix for host in route.hosts)


def check_free(route: Route, others: Iterable[Route]) -> None:
    """Refuse a route that would take requests from another deployment.

    Raises:
        ScheduleError: with status 409 and whose they are.
    """
    for other in others:
        if other.deployment == route.deployment:
            continue
        if shared := keys(route) & keys(other):
            raise _taken(min(shared).rstrip("/") or "/", other)
        if route.published is not None and route.published == other.published:
            raise _taken(f"port {route.published}", other)


def route_map(routes: Mapping[str, Route], place_of: Mapping[str, str]) -> dict[str, str]:
    """Return the map of hosts and prefixes; ``<name>.localhost`` is everybody's own address."""
    own = {f"{name}.localhost/": place_of[name] for name in routes}
    asked = {key: place_of[name] for name, route in routes.items() for key in keys(route)}
    return own | asked


def port_map(routes: Mapping[str, Route], place_of: Mapping[str, str]) -> dict[str, str]:
    """Return the map of published ports."""
    published = {name: route.published for name, route in routes.items()}
    return {str(port): place_of[name] for name, port in published.items() if port is not None}


def settings(route: Route) -> str:
    """Return how a deployment's requests wait, in the order in which ``proxy.cfg`` takes it apart.

    >>> settings(Route("web", queue_limit=100, canary_weight=10))
    '100|60000|60000|10|'
    """
    limit = route.queue_limit if route.queue_s else 0
    request, activation = (
        min(max(round(seconds * 1000), 1), MOST_MS)
        for seconds in (route.request_s, route.activation_s)
    )
    return f"{limit}|{request}|{activation}|{route.canary_weight}|{route.canary_header.lower()}"


def suits(place: str, route: Route) -> bool:
    """Say whether a place's queue is the one for a route: not less patient, and not much more."""
    return _patience(place) == _class_of(route)


def find_place(route: Route, taken: Iterable[str]) -> str:
    """Return a place for a deployment that is nobody's.

    Raises:
        ScheduleError: with status 503; there are as many deployments as there can be.
    """
    used = frozenset(taken)
    for place, seconds in places():
        if seconds == _class_of(route) and place not in used:
            return place
    text = f"no place is left for deployment {route.deployment!r} at the gateway"
    hint = f"there are {PLACES[_class_of(route)]} for a queue_s of up to {_class_of(route)}"
    raise ScheduleError(text, status=503, hint=hint)


def _class_of(route: Route) -> int:
    return next(seconds for seconds in PLACES if seconds >= route.queue_s)


def _patience(place: str) -> int:
    return int(place.partition("-")[0].removeprefix("q"))


def _matches(what: str, pattern: re.Pattern[str], value: str) -> None:
    if not pattern.fullmatch(value):
        raise _refused(what, value)


def _refused(what: str, value: str) -> ScheduleError:
    hint = "the gateway takes letters, digits and a few signs; percent-encode the others"
    return ScheduleError(f"{what}: {value!r} cannot be routed", status=422, hint=hint)


def _taken(what: str, other: Route) -> ScheduleError:
    text = f"{what} belongs to deployment {other.deployment!r}"
    return ScheduleError(text, status=409, hint="choose another host, prefix or port")
