"""A real gateway before real servers, and clients that count what became of their requests."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

from scheduler.actions import AddServer
from scheduler.gateway.haproxy import HaproxyGateway, Listen
from scheduler.gateway.meter import Gauge

PATIENCE_S = 20.0


class Replica(ThreadingMixIn, UnixStreamServer):
    """A server on a Unix socket. What a request asks for is in its path.

    /wait        the answer comes when the replica is told to finish
    /sleep/S     … after S seconds
    /status/N    … with this status
    /events      three server-sent events, each when the replica is told to ``step``
    /upgrade     the connection becomes an echo of bytes, as a WebSocket's does
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.name = name
        self.path = path
        self.finished = threading.Event()
        self.steps = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.busy = self.most_busy = self.served = 0
        self.delay_s = 0.0
        self.status = 200
        self.heard: Mapping[str, str] = {}
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request while it is worked on. Once it is answered, another may come at once."""
        with self.lock:
            self.busy += 1
            self.most_busy = max(self.busy, self.most_busy)
        yield
        with self.lock:
            self.busy -= 1
            self.served += 1

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.finished.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that went away is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One request, answered as its path says."""

    protocol_version = "HTTP/1.1"
    server: Replica

    def address_string(self) -> str:
        """Return a name: a Unix socket's client has no address."""
        return "client"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer as the path says."""
        replica = self.server
        replica.heard = dict(self.headers)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        verb, _, argument = self.path.removeprefix("/").partition("?")[0].partition("/")
        if verb == "events":
            return self._events(replica)
        if verb == "upgrade":
            return self._upgrade()
        with replica.counted():
            if verb == "wait":
                replica.finished.wait(PATIENCE_S)
            time.sleep(float(argument) if verb == "sleep" else replica.delay_s)
        status = int(argument) if verb == "status" else replica.status
        self._send(status, body or f"{replica.name} {self.path}".encode())

    do_POST = do_GET

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Replica", self.server.name)
        self.end_headers()
        self.wfile.write(body)

    def _events(self, replica: Replica) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(3):
            self.wfile.write(f"data: {number}\n\n".encode())
            self.wfile.flush()
            replica.steps.acquire(timeout=PATIENCE_S)

    def _upgrade(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        key = self.headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(4096):
            self.connection.sendall(data)


class Lab:
    """One gateway, its replicas and its clients (``contract.GatewayLab``)."""

    def __init__(self, binary: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="minirun-gw-"))
        self.binary = binary
        self.port = free_port()
        self.woken = threading.Event()
        self.fates: Counter[str] = Counter()
        self.replicas: dict[str, Replica] = {}
        self._clients: list[threading.Thread] = []
        self.gateway = self.new_gateway()
        self.gateway.start()

    def new_gateway(self, *, slow_start_s: float = 0.0) -> HaproxyGateway:
        """Return another controller's view of the same gateway."""
        return HaproxyGateway(
            self.folder / "gateway",
            Listen(f"127.0.0.1:{self.port}"),
            self.woken.set,
            binary=self.binary,
            slow_start_s=slow_start_s,
        )

    def close(self) -> None:
        """End everything."""
        self.finish()
        self.gateway.shutdown()
        for replica in self.replicas.values():
            replica.stop()
        for client in self._clients:
            client.join(PATIENCE_S)
        shutil.rmtree(self.folder)

    # ---- servers ----

    def replica(self, name: str) -> Replica:
        """Start a replica."""
        self.replicas[name] = Replica(name, self.folder / f"{name}.sock")
        return self.replicas[name]

    def server(self, name: str, pool: str = "stable", concurrency: int = 0) -> AddServer:
        """Start a replica; return how it is added."""
        return self.added(self.replica(name), pool, concurrency)

    def added(
        self, replica: Replica, pool: str = "stable", concurrency: int = 0, to: str = "web"
    ) -> AddServer:
        """Return how a replica is added."""
        return AddServer(replica.name, to, pool, str(replica.path), concurrency)

    def finish(self) -> None:
        """Let every request end."""
        for replica in self.replicas.values():
            replica.finished.set()

    def gauge(self) -> Gauge:
        """Return the numbers of the deployment, as they are now."""
        self.gateway.traffic()
        return self.gateway.gauges()["web"]

    # ---- clients ----

    def get(
        self,
        path: str = "/",
        host: str = "web.test",
        *,
        port: int = 0,
        body: bytes = b"",
        **headers: str,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request; return the answer's status, headers and body."""
        client = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=PATIENCE_S)
        with contextlib.closing(client):
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            client.request("POST", path, body, {"Host": host} | sent)
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()

    def connection(self, path: str, headers: str = "") -> socket.socket:
        """Send a request and return the connection, for the caller to read from or to close."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n".encode())
        return connection

    def begin(self, path: str = "/wait", host: str = "web.test") -> None:
        """Send one request in the background."""
        self._clients.append(threading.Thread(target=self._try, args=(path, host), daemon=True))
        self._clients[-1].start()

    def flood(self, clients: int, path: str = "/") -> Callable[[], int]:
        """Send requests one after the other, from so many clients.

        Returns:
            what ends it, and returns how many were sent.
        """
        ending = threading.Event()
        before = self.fates.total()

        def send() -> None:
            while not ending.is_set():
                self._try(path, "web.test")

        threads = [threading.Thread(target=send, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()

        def end() -> int:
            ending.set()
            for thread in threads:
                thread.join(PATIENCE_S)
            return self.fates.total() - before

        return end

    def _try(self, path: str, host: str) -> None:
        try:
            status = self.get(path, host)[0]
            self.fates["ok" if status == 200 else str(status)] += 1
        except (OSError, http.client.HTTPException) as error:
            self.fates[type(error).__name__] += 1

    def answered(self) -> int:
        """Return how many requests have been answered well."""
        return self.fates["ok"]

    def lost(self) -> int:
        """Return how many were answered badly, or not at all."""
        return self.fates.total() - self.fates["ok"]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Let time pass until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"it never came to be; fates: {dict(self.fates)}"
            time.sleep(0.005)


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def lab(binary: Path | None = None) -> Iterator[Lab]:
    """Give a lab, and end it."""
    made = Lab(binary)
    try:
        yield made
    finally:
        made.close()
