"""The lab behind a real server: gunicorn over a Unix socket, in a process of its own.

    python -m tests.scheduler.served FOLDER SOCKET [PORT]     serve until SIGTERM

Its world goes on by itself, five times as fast as ours.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gunicorn.app.base import BaseApplication

from minirun import MinirunError
from scheduler import worker
from tests.scheduler.api_lab import Lab

THREADS = 12
MAX_STREAMS = 6
ROOT = Path(__file__).parents[2]


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, set up as ``minisched serve`` does."""

    def __init__(self, folder: Path, binds: list[str]) -> None:
        self.folder = folder
        self.binds = binds
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": self.binds,
            "worker_class": "scheduler.worker.PatientWorker",
            "threads": THREADS,
            "control_socket_disable": True,
            "graceful_timeout": 2,
            "loglevel": "warning",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> object:
        lab = Lab(self.folder, max_streams=MAX_STREAMS)
        threading.Thread(target=_live, args=(lab,), daemon=True).start()
        return lab.app


def _live(lab: Lab) -> None:
    while True:
        with suppress(MinirunError):  # somebody changed what the loop decided on: it looks again
            lab.run(0.5)
        time.sleep(0.1)


# ---- the test's side ----------------------------------------------------------------------------


class Holdings(NamedTuple):
    """What a process holds."""

    threads: int
    descriptors: int
    resident_bytes: int


@dataclass
class Served:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    path: Path
    port: int

    def connect(self, timeout_s: float = 20) -> http.client.HTTPConnection:
        """Return a connection over the Unix socket."""
        connection = http.client.HTTPConnection("minisched", timeout=timeout_s)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout_s)
        try:
            connection.sock.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one request; return its status and what came back."""
        data = None if body is None else json.dumps(body)
        with closing(self.connect()) as connection:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            with connection.getresponse() as answer:  # it may have taken the socket over
                text = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, json.loads(text) if is_json and text else text

    def streams(self) -> int:
        """Return how many streams are open."""
        _, text = self.ask("GET", "/metrics")
        (line,) = (x for x in text.splitlines() if x.startswith(b"minisched_api_streams "))
        return int(line.split()[1])

    def holds(self) -> Holdings:
        """Return what the worker holds at the moment."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        (worker,) = children.read_text().split()
        threads, descriptors = (
            len(list(Path(f"/proc/{worker}/{kind}").iterdir())) for kind in ("task", "fd")
        )
        pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
        return Holdings(threads, descriptors, pages * os.sysconf("SC_PAGE_SIZE"))


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serve a new lab from a folder, on a Unix socket and on a port."""
    path = folder / "api.sock"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.scheduler.served", str(folder), str(path), str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    served = Served(process, path, port)
    try:
        _wait_until_it_answers(served)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(served: Served) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            served.ask("GET", "/healthz")
        except (OSError, http.client.HTTPException):
            assert served.process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    data, address, *ports = sys.argv[1:]
    worker.HEAD_S, worker.BODY_S = 1.0, 2.0
    Server(Path(data), [f"unix:{address}", *(f"127.0.0.1:{port}" for port in ports)]).run()
