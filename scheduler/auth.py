"""Who calls, and what that allows: the socket's file mode, or a token.

A connection over the Unix socket is an admin's, for only those whom the socket's mode lets in can
make one; that is asked of the connection itself and of no header. Any other shows a token
(``Authorization: Bearer``), of which the store keeps a hash.

May not answer requests. Next: ``api/operation.py``.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Request

from minirun import ScheduleError

from .control import Control
from .store import Scope

_OURS = re.compile(r"(?:[^.]*|.*\.localhost|\d+(?:\.\d+){3}|\[.*\])(?::\d+)?")
_HINT = "send Authorization: Bearer <token>, or use the Unix socket"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever calls, under the name that events tell."""

    name: str
    scope: Scope | None


ANYBODY = Caller("anybody", None)
SOCKET = Caller("the socket", Scope.ADMIN)


def authorize(control: Control, request: Request, needed: Scope | None) -> Caller:
    """Return who calls.

    Args:
        control: whose tokens count.
        request: the call.
        needed: the scope that the operation needs; None where it needs none.

    Raises:
        ScheduleError: there is no valid token (401), or its scope is too small (403).
    """
    if needed is None:
        return ANYBODY
    caller = identify(control, request)
    if caller.scope is None or not caller.scope.allows(needed):
        text = f"token {caller.name} has the scope {caller.scope}, this needs {needed}"
        raise ScheduleError(text, status=403, hint=f"use a token with the scope {needed}")
    return caller


def identify(control: Control, request: Request) -> Caller:
    """Return who calls, whatever they may do.

    Raises:
        ScheduleError: there is no valid token (401).
    """
    if is_local(request):
        _refuse_other_sites(request)
        return SOCKET
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise ScheduleError("there is no token", status=401, hint=_HINT)
    info = control.store.check_token(token.strip())
    if info is None:
        raise ScheduleError("the token is not valid", status=401, hint=_HINT)
    return Caller(info.name, info.scope)


def _refuse_other_sites(request: Request) -> None:
    """Refuse what a browser sends for another site through a port that leads to the socket.

    A site whose name suddenly means this machine (DNS rebinding) is of one origin with itself; it
    is known by the name: ours has no dot, or is an address, or ends in localhost.

    Raises:
        ScheduleError: it comes from another origin (403).
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    is_other = origin is not None and urlsplit(origin).netloc != request.host
    if site not in {"none", "same-origin"} or is_other or not _OURS.fullmatch(request.host):
        text = "another site may not use the socket"
        raise ScheduleError(text, status=403, hint="use a program, or a token over TCP")


def is_local(request: Request) -> bool:
    """Return whether the connection came over a Unix socket."""
    connection = request.environ.get("gunicorn.socket")
    return getattr(connection, "family", None) == socket.AF_UNIX
