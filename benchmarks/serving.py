"""``minisched serve`` in the lab, and clients that count what it answers.

Its replicas are a static busybox that serves a page: what is measured is the scheduler's work, not
a model's. Next: ``scheduler.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scheduler.client import ApiError, Client

from .engines import own_command
from .lab import Lab
from .timing import BenchError, run

IMAGE = "bench-server"
#: What a replica runs; docker's containers run the same.
SERVER = ("busybox", "httpd", "-f", "-p", "8000", "-h", "/www")
GATEWAY = ("127.0.0.1", 8800)
PATIENCE_S = 120.0


class Serving:
    """A scheduler, and what a benchmark does to it. It starts when it is first asked for something.

    Args:
        lab: where its folders are.
    """

    def __init__(self, lab: Lab) -> None:
        folder = lab.folder("sched")
        os.environ["MINISCHED_DATA"] = str(folder / "data")
        os.environ["MINISCHED_RUN"] = str(lab.volatile("sched"))
        self._lab = lab
        self._client = Client()
        self._log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Client:
        """Return what asks it, once there is somebody to ask."""
        if self.process is None:
            build(self._lab)
            self.start()
        return self._client

    def start(self) -> None:
        """Start it; return when it answers."""
        argv = (own_command("minisched"), "serve", "--gateway", f"{GATEWAY[0]}:{GATEWAY[1]}")
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait(self._client.ready, "minisched serve answers", every_s=0.005)

    def kill(self) -> None:
        """End the scheduler alone, without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Delete what is deployed, and end it."""
        if self.process is None:
            return
        with contextlib.suppress(ApiError):
            for row in self.client.deployments():
                self.client.delete(row["name"])
            self.wait(lambda: not self.client.deployments(), "nothing is deployed")
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def deploy(self, name: str, replicas: int, **more: Any) -> None:  # noqa: ANN401
        """Deploy the small server, and wait until it serves."""
        spec: dict[str, Any] = {
            "image": IMAGE,
            "port": 8000,
            "replicas": replicas,
            "probes": {"readiness": {"tcp": {}, "period_s": 1.0}},
            "update": {"min_ready_s": 0.0, "surge": {"value": 30}},
            "timeouts": {"stop_s": 1.0},
        }
        self.client.apply(name, spec | more)
        self.wait_ready(name, replicas if more.get("autoscale") is None else 1)

    def wait_ready(self, name: str, ready: int) -> None:
        """Return when the scheduler says that so many replicas serve.

        What it is asked takes from what it does: so the more are missing, the less often.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (found := self.client.deployment(name)["status"]["ready"]) != ready:
            if time.monotonic() > deadline:
                raise BenchError(f"never: {ready} replicas of {name} are ready")
            time.sleep(max(0.005, 0.1 * abs(ready - found) / max(ready, 4)))

    def wait_only(self, name: str, count: int) -> None:
        """Return when there are no more replicas than these: what left has gone."""
        self.wait(lambda: len(self.client.replicas(name)) == count, f"{count} replicas are left")

    def addresses(self, name: str) -> list[tuple[str, int]]:
        """Return where the replicas listen."""
        found = [row["address"].rpartition(":") for row in self.client.replicas(name)]
        return [(host, int(port)) for host, _, port in found]

    def wait(self, true: Callable[[], bool], what: str, *, every_s: float = 0.02) -> None:
        """Look again and again.

        Raises:
            BenchError: it never came true, or the scheduler ended.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            if self.process is not None and self.process.poll() is not None:
                raise BenchError(f"minisched serve ended: {self._log.read_text()[-500:]}")
            if time.monotonic() > deadline:
                raise BenchError(f"never: {what}")
            time.sleep(every_s)


def build(lab: Lab) -> Path:
    """Build the server's image, and return the folder that it is made of."""
    context = lab.folder("server")
    root = context / "root"
    if not root.exists():
        shutil.copytree(lab.rootfs, root, symlinks=True)
        (root / "www").mkdir()
        (root / "www/index.html").write_text("well\n")
        steps = ("FROM scratch", "COPY root/ /", "ENV PATH=/bin", f"CMD {json.dumps(SERVER)}")
        (context / "Dockerfile").write_text("\n".join(steps) + "\n")
    run((own_command("minirun"), "build", "-q", "-t", IMAGE, str(context)))
    return root


# ── clients ───────────────────────────────────────────────────────────────────────────────────


def get(address: tuple[str, int], host: str = "bench", timeout_s: float = 30.0) -> int:
    """Send one request; return the status, 0 where there was no answer."""
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection(address, timeout_s) as connection:
            connection.sendall(request)
            head = connection.recv(65536)
            while b"\r\n" not in head and (more := connection.recv(65536)):
                head += more
    except OSError:
        return 0
    return int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0


def wait_serving(addresses: list[tuple[str, int]]) -> None:
    """Return when each of these answers with 200.

    Raises:
        BenchError: one never does.
    """
    deadline = time.monotonic() + PATIENCE_S
    left = set(addresses)
    while left:
        left = {address for address in left if get(address, timeout_s=5) != 200}
        if time.monotonic() > deadline:
            raise BenchError(f"never answered: {left}")


class Load:
    """Clients that ask a deployment without a pause, each over one connection at a time."""

    def __init__(self, name: str, clients: int = 4) -> None:
        self.statuses: Counter[int] = Counter()
        self._host = f"{name}.localhost"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End, once each request has its answer."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, total: int) -> None:
        """Return when so many requests have been answered."""
        while self.statuses.total() < total:
            time.sleep(0.01)

    @property
    def failed(self) -> int:
        """Return how many were not answered with 200."""
        return self.statuses.total() - self.statuses[200]

    def _ask(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(GATEWAY, 30) as connection:
                self._keep_asking(connection)

    def _keep_asking(self, connection: socket.socket) -> None:
        """Ask over one connection until the gateway closes it."""
        request = f"GET / HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
        while not self._over.is_set():
            connection.sendall(request)
            status = _status_of(connection)
            self.statuses[status] += 1
            if not status:
                return


def _status_of(connection: socket.socket) -> int:
    """Read one answer with its body; 0 where the connection ended before."""
    data = b""
    while True:
        head, found, body = data.partition(b"\r\n\r\n")
        if found:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(body) >= length:
                return int(head.split(b" ", 2)[1])
        more = connection.recv(65536)
        if not more:
            return 0
        data += more
