"""One request through the gateway, as a client of the deployment would send it.

It goes to the gateway's own address under the host name that every deployment has there, so it is
balanced, queued and counted like all others.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import closing
from dataclasses import dataclass

from minirun import ScheduleError

from ..control import Control

TIMEOUT_S = 30.0
#: Of an answer, so much is shown.
SHOWN_BYTES = 64 << 10
METHODS = ("GET", "POST")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person typed into the form."""

    method: str = "GET"
    path: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was answered; ``truncated`` where only the beginning of it is shown."""

    status: int
    reason: str
    media: str
    text: str
    took_ms: float
    truncated: bool = False


def predict(control: Control, name: str, wanted: Wanted) -> Prediction:
    """Send a request to a deployment and return its answer.

    Raises:
        ScheduleError: it cannot be sent (400, 409), or nothing answers (502, 504).
    """
    if not control.gateway:
        raise ScheduleError("this scheduler has no gateway", status=409)
    if wanted.method not in METHODS or not wanted.path.startswith("/"):
        hint = "for example GET /v2/models/digits"
        raise ScheduleError("a request has a method and a path", status=400, hint=hint)
    began = time.monotonic()
    try:
        with closing(_connection(control.gateway)) as connection:
            return _ask(connection, name, wanted, began)
    except TimeoutError as error:
        text = f"no answer within {TIMEOUT_S:g} seconds"
        raise ScheduleError(text, status=504, hint="its events and logs say more") from error
    except (http.client.InvalidURL, UnicodeError) as error:
        hint = "spaces and other letters are written as %20 and the like"
        raise ScheduleError("the path cannot be sent", status=400, hint=hint) from error
    except (OSError, http.client.HTTPException) as error:
        text = f"the gateway at {control.gateway} does not answer: {error}"
        raise ScheduleError(text, status=502, hint="/readyz tells how it is") from error


def _ask(
    connection: http.client.HTTPConnection, name: str, wanted: Wanted, began: float
) -> Prediction:
    headers = {"Host": f"{name}.localhost", "Accept": "*/*"}
    body = None
    if wanted.method == "POST":
        body = wanted.body.encode()
        headers["Content-Type"] = "application/json"
    connection.request(wanted.method, wanted.path, body, headers)
    answer = connection.getresponse()
    found = _read(answer, began + TIMEOUT_S)
    return Prediction(
        answer.status,
        answer.reason,
        answer.getheader("Content-Type", ""),
        _readable(found[:SHOWN_BYTES]),
        (time.monotonic() - began) * 1000,
        len(found) > SHOWN_BYTES,
    )


def _read(answer: http.client.HTTPResponse, until: float) -> bytes:
    """Return what is shown of an answer; of one that goes on, what has come in time."""
    found = b""
    while len(found) <= SHOWN_BYTES and time.monotonic() < until:
        piece = answer.read1(SHOWN_BYTES)
        if not piece:
            break
        found += piece
    return found


def _readable(found: bytes) -> str:
    """Return an answer as text, JSON on several lines."""
    text = found.decode(errors="replace")
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _connection(gateway: str) -> http.client.HTTPConnection:
    """Return a connection to ``host:port`` or to a socket's path."""
    if not gateway.startswith("/"):
        host, _, port = gateway.rpartition(":")
        host = "127.0.0.1" if host in {"", "*"} else host.strip("[]")
        return http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(TIMEOUT_S)
    try:
        connection.sock.connect(gateway)
    except OSError:
        connection.close()
        raise
    return connection
