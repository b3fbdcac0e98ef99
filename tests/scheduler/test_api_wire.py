"""What is no HTTP, or ends in the middle: a 4xx and a problem, below the app as well as in it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.scheduler.served import Served, serving

HOST = b"Host: localhost\r\nConnection: close\r\n"
PUT = b"PUT /v1/deployments/web HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
CHUNKED = PUT + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /v1/host HTTP/1.1\r\n" + HOST


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("wire")) as made:
        yield made


def sent(served: Served, data: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes and nothing after them; return the first answer's status and body."""
    with closing(served.connect()) as connection:
        connection.sock.sendall(data)
        connection.sock.shutdown(socket.SHUT_WR)
        with connection.sock.makefile("rb") as stream:
            head, _, text = stream.read().partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, head
    return int(head.split()[1]), json.JSONDecoder().raw_decode(text.decode())[0]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400),
        (CHUNKED + b"10\r\n{", 400),
        (PUT + b"Content-Length: 20\r\n\r\n{", 400),
        (PUT + b"Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", 415),
        (PUT + b"Content-Length: -1\r\n\r\n", 400),
        (PUT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
        (PUT + b"Transfer-Encoding: zip, chunked\r\n\r\n", 400),
        (b"\x16\x03\x01 no HTTP\r\n\r\n", 400),
        (b"get /v1/host HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (GET + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (GET + b"".join(b"X-%d: a\r\n" % i for i in range(300)) + b"\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_as_a_problem(
    served: Served, data: bytes, status: int
) -> None:
    found, problem = sent(served, data)
    assert (found, problem["status"]) == (status, status)
    assert problem["detail"]
