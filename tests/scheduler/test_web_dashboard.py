"""The door for browsers: who is let in through a port to a socket that makes everybody admin."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from scheduler.dashboard import Head, _BadHeadError
from tests.scheduler.api_lab import SPEC
from tests.scheduler.chromium import chromium
from tests.scheduler.served import ROOT, Served, serving
from tests.scheduler.web_lab import listening


@dataclass
class Door:
    """A dashboard that runs, and the cookie of whoever has opened its link."""

    link: str
    cookie: str = ""

    @property
    def origin(self) -> str:
        return "http://" + urlsplit(self.link).netloc

    def open_link(self) -> int:
        """Open the link as a browser does; return the status."""
        status, headers, _ = self.ask("GET", urlsplit(self.link).path)
        self.cookie = (headers.get("Set-Cookie") or "").partition(";")[0]
        return status

    def ask(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        with closing(self.connect()) as connection:
            named = {"Host": urlsplit(self.link).netloc, **headers}
            connection.request(method, path, body, self._with_cookie(named))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def connect(self) -> http.client.HTTPConnection:
        # As a browser does, and not every resolver: a name below localhost is this machine.
        return http.client.HTTPConnection("127.0.0.1", urlsplit(self.link).port, timeout=30)

    def _with_cookie(self, headers: dict[str, str]) -> dict[str, str]:
        return {"Cookie": f"a=b; {self.cookie}", **headers} if self.cookie else headers

    def form(self, **fields: str) -> str:
        _, _, page = self.ask("GET", "/deployments/web")
        word = re.findall(r'name="word" value="(\w+)"', page)[0]
        return urlencode({"word": word, **fields})

    def press(self, action: str, **fields: str) -> str:
        """Send a form of ours; return the page that it leads to."""
        return self._send(action, self.form(**fields), self.origin)[2]

    def scale(self, form: str, origin: str) -> int:
        """Send a form from somewhere; return the status."""
        return self._send("scale", form, origin)[0]

    def _send(
        self, action: str, form: str, origin: str
    ) -> tuple[int, http.client.HTTPMessage, str]:
        media = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", f"/deployments/web/{action}", form, Origin=origin, **media)


@contextmanager
def dashboard(address: str) -> Iterator[Door]:
    """Run ``minisched dashboard`` on any port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scheduler.cli", "dashboard", "--port", "0"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        env={**os.environ, "MINISCHED_ADDRESS": address, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout
    with process, process.stdout:
        try:
            yield Door(process.stdout.readline().split()[1])
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as found:
        assert found.ask("PUT", "/v1/deployments/web", SPEC)[0] == 201
        yield found


@pytest.fixture(scope="module")
def door(served: Served) -> Iterator[Door]:
    """Return a door that somebody has opened."""
    with dashboard(f"unix://{served.path}") as found:
        stranger = Door(found.link)
        assert stranger.ask("GET", "/")[0] == 403
        assert stranger.ask("GET", "/open/wrong")[0] == 403
        assert stranger.ask("HEAD", urlsplit(found.link).path)[0] == 403, "only a look"
        assert found.open_link() == 200
        yield found


def test_the_link_opens_once_and_its_cookie_shows_the_pages(door: Door) -> None:
    assert door.cookie.startswith(f"minisched-{urlsplit(door.link).port}=")
    status, _, page = door.ask("GET", "/deployments/web")
    assert status == 200
    assert "admin" in page
    assert "Log out" not in page
    late = Door(door.link)
    assert late.open_link() == 403
    for cookie in ("minisched-1=x", door.cookie[:-1], door.cookie.replace("=", "=x")):
        assert Door(door.link, cookie).ask("GET", "/")[0] == 403


def test_the_cookie_is_for_no_script_and_no_other_site(served: Served) -> None:
    with dashboard(f"unix://{served.path}") as another:
        _, headers, _ = another.ask("GET", urlsplit(another.link).path)
    assert headers["Set-Cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.requires("chromium")
def test_the_cookie_is_for_no_other_port(served: Served) -> None:
    """What if somebody else has a port of this machine, and a browser goes there too?"""
    shown = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers.get("Cookie"))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with (
        dashboard(f"unix://{served.path}") as another,
        listening(ThreadingHTTPServer(("127.0.0.1", 0), Stranger)) as address,
        chromium() as page,
    ):
        page.ask("Page.navigate", url=another.link)
        page.wait("document.querySelector('.list')")
        for name in ("127.0.0.1", "elsewhere.localhost"):
            page.open(f"http://{name}:{address.rpartition(':')[2]}/")
    assert len(shown) >= 2
    assert not any(shown)


def test_buttons_work_and_another_site_s_do_not(served: Served, door: Door) -> None:
    form = door.form(replicas="3")
    assert door.scale(form, "http://evil.test") == 403
    assert door.scale(form, "null") == 403
    assert served.ask("GET", "/v1/deployments/web")[1]["spec"]["replicas"] == 2
    assert door.scale(form, door.origin) == 303
    assert served.ask("GET", "/v1/deployments/web")[1]["spec"]["replicas"] == 3


def test_a_name_that_was_rebound_to_this_machine_is_refused(door: Door) -> None:
    host = f"evil.test:{urlsplit(door.link).port}"
    for path in ("/", "/v1/deployments"):
        assert door.ask("GET", path, Host=host)[0] == 403


def test_streams_pass_through_and_end_with_their_reader(served: Served, door: Door) -> None:
    connection = door.connect()
    connection.request("GET", "/deployments/web/events?after=0", headers={"Cookie": door.cookie})
    answer = connection.getresponse()
    assert answer.getheader("Content-Type", "").startswith("text/event-stream")
    while not answer.readline().startswith(b"data: "):
        pass
    assert served.streams() == 1
    connection.close()
    answer.close()
    until = time.monotonic() + 30
    while served.streams():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_second_request_on_a_connection_is_not_passed_on(served: Served, door: Door) -> None:
    """What if bytes follow the request that was judged: nobody has looked at those."""
    parts = urlsplit(door.link)
    first = f"GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: {door.cookie}\r\n\r\n"
    second = "POST /v1/host/cordon HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", parts.port), 30) as client:
        client.sendall((first + second).encode())
        said = b""
        while piece := client.recv(4096):
            said += piece
    assert said.count(b"HTTP/1.1 ") == 1
    assert not served.ask("GET", "/v1/host")[1]["cordoned"]


def test_a_scheduler_that_is_not_there_is_told_before_a_port_is_opened(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scheduler.cli", "dashboard"],
        env={**os.environ, "MINISCHED_ADDRESS": f"unix://{tmp_path}/none", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 125
    assert "no scheduler at" in done.stderr


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: x\r\n folded: y",
        "GET / HTTP/1.1\r\nno colon",
        "GET / HTTP/1.1\r\nname : x",
        "GET / HTTP/1.1\r\na: b\nc: d",
        "GET http://evil.test/ HTTP/1.1\r\nHost: x",
        "GET /a b HTTP/1.1\r\nHost: x",
        "GET /",
        "",
    ],
)
def test_what_is_no_request_is_not_passed_on(head: str) -> None:
    with pytest.raises(_BadHeadError):
        Head.read(f"{head}\r\n\r\n".encode())


def test_what_is_ours_is_not_passed_on_and_what_is_theirs_is_added() -> None:
    sent = "GET /a HTTP/1.1\r\nHost: h\r\nCookie: c\r\nAuthorization: a\r\nConnection: x\r\nA: b"
    passed = Head.read(f"{sent}\r\n\r\n".encode()).passed_on("mrs_token").decode()
    assert passed.split("\r\n") == [
        "GET /a HTTP/1.1",
        "host: h",
        "a: b",
        "connection: close",
        "authorization: Bearer mrs_token",
        "",
        "",
    ]
