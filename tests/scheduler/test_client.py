"""The client's transport, against peers that a scheduler's address may turn out to have."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scheduler.client import Client
from scheduler.transport import ApiError, Transport, refusal
from tests.scheduler.api_lab import SPEC
from tests.scheduler.served import serving


@contextmanager
def peer(listener: socket.socket, answer: bytes) -> Iterator[list[bytes]]:
    """Answer every connection with the same bytes; yield what was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(_request(connection))
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        # Closing alone does not wake an accept() in another thread.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _request(connection: socket.socket) -> bytes:
    """Read a request's head, and its body where it has one."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(length[0].split(b":")[1]) if length else 0
    while len(body) < wanted:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def unix(path: Path) -> tuple[socket.socket, str]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener, f"unix://{path}"


def answer(status: str, body: str, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(head).encode()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Callable[[bytes], tuple[Client, list[bytes]]]]:
    """Return a function that makes a client, and a peer that answers it with these bytes."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(text: bytes) -> tuple[Client, list[bytes]]:
            listener, address = unix(tmp_path / "api.sock")
            asked = stack.enter_context(peer(listener, text))
            return Client(address), asked

        yield make


Talk = Callable[[bytes], tuple[Client, list[bytes]]]


def test_client_asks_and_reads_over_a_unix_socket(talk: Talk) -> None:
    client, asked = talk(answer("200 OK", '{"items": [{"name": "web"}]}'))
    assert client.deployments({"app": "a b"}) == [{"name": "web"}]
    assert asked[0].startswith(b"GET /v1/deployments?label=app%3Da+b&limit=1000 HTTP/1.1\r\n")


def test_client_puts_with_the_generation_it_means(talk: Talk) -> None:
    client, asked = talk(answer("201 CREATED", '{"name": "web"}'))
    made, is_new = client.apply("web", {"image": "x"}, generation=0)
    assert (made, is_new) == ({"name": "web"}, True)
    assert b"If-None-Match: *" in asked[0]
    assert json.loads(asked[0].partition(b"\r\n\r\n")[2]) == {"image": "x"}
    client.apply("web", {"image": "x"}, generation=7)
    assert b'If-Match: "7"' in asked[1]


def test_client_lists_what_is_more_than_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.client.PAGE", 2)
    with serving(tmp_path) as served:
        client = Client(f"unix://{served.path}")
        for name in "abcde":
            client.apply(name, SPEC)
        assert [row["name"] for row in client.deployments()] == list("abcde")


def test_client_quotes_a_name_that_is_a_path(talk: Talk) -> None:
    client, asked = talk(answer("200 OK", "{}"))
    client.deployment("../tokens?x")
    assert asked[0].startswith(b"GET /v1/deployments/..%2Ftokens%3Fx HTTP/1.1")


def test_client_tells_what_the_scheduler_refused(talk: Talk) -> None:
    problem = {
        "title": "Unprocessable Content",
        "detail": "the body is not right",
        "hint": "see /docs",
        "errors": [{"pointer": "/replicas", "detail": "should be an integer"}],
    }
    client, _ = talk(answer("422 UNPROCESSABLE", json.dumps(problem)))
    with pytest.raises(ApiError) as caught:
        client.scale("web", -1)
    assert caught.value.status == 422
    assert str(caught.value) == "the body is not right: /replicas should be an integer"
    assert caught.value.hint == "see /docs"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"HTTP/1.1 500 X\r\nContent-Length: 3\r\n\r\n<p>", "status 500, without a reason"),
        (b"HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n[]", "status 404, without a reason"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<p>", "the answer is not JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7", "the answer is no object: '7'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "lost the scheduler at"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no scheduler at"),
        (b"", "no scheduler at"),
    ],
)
def test_client_names_a_peer_that_is_no_scheduler(talk: Talk, text: bytes, said: str) -> None:
    client, _ = talk(text)
    with pytest.raises(ApiError, match=said):
        client.deployment("web")


def test_client_says_that_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="no such file or directory") as caught:
        Client(f"unix://{tmp_path}/none.sock").deployments()
    assert "minisched serve" in caught.value.hint
    assert caught.value.status == 0


def test_watch_yields_events_and_passes_over_comments(talk: Talk) -> None:
    stream = (
        b'HTTP/1.1 200 OK\r\n\r\n: hello\n\nid: 4\nevent: x\ndata: {"sequence": 4}\n\n: bye\n\n'
    )
    client, asked = talk(stream)
    assert list(client.watch(deployment="web", after=3)) == [{"sequence": 4}]
    assert asked[0].startswith(b"GET /v1/events/watch?deployment=web&after=3 ")


def test_watch_left_early_closes_the_connection(talk: Talk) -> None:
    client, _ = talk(b'HTTP/1.1 200 OK\r\n\r\ndata: {"n": 1}\n\ndata: {"n": 2}\n\n')
    stream = client.watch()
    assert next(stream) == {"n": 1}
    stream.close()  # type: ignore[attr-defined] # a generator; an open socket would be a warning


@pytest.mark.parametrize(
    "address", ["", "/run/x", "unix://x", "ftp://h", "http://", "https://", "http://h:99999x"]
)
def test_transport_refuses_what_is_no_address(address: str) -> None:
    with pytest.raises(ApiError) as caught:
        Transport(address)
    assert caught.value.hint


def test_transport_never_shows_a_token_to_a_network() -> None:
    with pytest.raises(ApiError, match="show the token"):
        Transport("http://10.0.0.1:80", token="t")
    Transport("http://127.0.0.1:80", token="t")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a key and a certificate of its own for localhost, in one file."""
    pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", key, "-out", pem],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_text(pem.read_text() + key.read_text())
    return pem


def test_transport_checks_the_certificate(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"https://127.0.0.1:{listener.getsockname()[1]}"
    asked: list[bytes] = []

    def serve() -> None:
        for _ in range(2):
            raw, _peer = listener.accept()
            try:
                with context.wrap_socket(raw, server_side=True) as connection:
                    asked.append(_request(connection))
                    connection.sendall(answer("200 OK", '{"items": []}'))
            except OSError:
                raw.close()  # a client that does not trust us hangs up

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(ApiError, match="certificate") as caught:
        Client(address, token="secret").deployments()
    assert "--ca-file" in caught.value.hint
    assert Client(address, token="secret", ca_file=str(certificate)).deployments() == []
    thread.join()
    listener.close()
    assert len(asked) == 1, "a token was sent to somebody whose certificate was not trusted"
    assert b"Authorization: Bearer secret" in asked[0]


def test_refusal_of_anything_is_an_error_with_a_status() -> None:
    for content in (b"", b"{}", b"null", b'"x"', b'{"errors": null}', b"\xff"):
        assert refusal(503, content).status == 503


def test_logs_of_a_scheduler_that_hangs_end_unless_they_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.client.TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()
        with pytest.raises(ApiError, match="timed out"):
            list(Client(f"unix://{tmp_path}/api.sock").logs("web"))
