"""How a model server lives and ends as a process: listeners, memory, drain, clean exit."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.images.conftest import Server, serving

MEMORY_KIB = 200 << 10
"""What may be resident, to fit a 256 MiB container with room for the page cache."""


@pytest.fixture
def folder(trained: dict[str, Path]) -> Path:
    """Return the folder of a model whose server a test may stop."""
    return trained["iris"]


def connect(server: Server) -> socket.socket:
    """Open a raw connection, to send a request in pieces."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(server.socket))
    return connection


def start_request(connection: socket.socket, body: bytes) -> None:
    """Send a request's head, and return when the server has taken it up and waits for the body.

    ``Expect: 100-continue`` makes the server say so: no sleeping, no guessing.
    """
    head = (
        "POST /predict HTTP/1.1\r\nHost: model\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode())
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 Continue")


def processes(server: Server) -> list[int]:
    """Return the server's process and its children."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def test_server_finishes_the_request_in_flight_on_sigterm(image_python: Path, folder: Path) -> None:
    body = json.dumps({"features": [5.1, 3.5, 1.4, 0.2]}).encode()
    with serving(image_python, folder) as server, connect(server) as connection:
        start_request(connection, body)

        server.process.send_signal(signal.SIGTERM)
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

        assert answer.startswith(b"HTTP/1.1 200")
        assert b"setosa" in answer
        assert server.process.wait(timeout=20) == 0


def test_server_leaves_no_socket_behind(image_python: Path, folder: Path) -> None:
    with serving(image_python, folder) as server:
        path = server.socket

    assert not path.exists()


def test_server_writes_nothing_beside_its_code(image_python: Path, folder: Path) -> None:
    """What if the root filesystem is read-only: nothing may depend on writing there."""
    before = sorted(folder.rglob("*"))
    with serving(image_python, folder) as server:
        assert server.client.get("/healthz").status_code == 200

    after = sorted(folder.rglob("*"))

    assert [path for path in after if path not in before and "__pycache__" not in path.parts] == []


def test_server_fits_its_memory(server: Server) -> None:
    """Count what is resident once, though both processes map it: proportional set size."""
    total = 0
    for pid in processes(server):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += int(re.findall(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[0])

    assert total < MEMORY_KIB


def test_server_without_a_model_says_so_and_ends(
    image_python: Path, folder: Path, tmp_path: Path
) -> None:
    """What if training was skipped: end at once, rather than restart a worker for ever."""
    for name in ("serve.py", "tensors.py", "model.py", "gunicorn.conf.py"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())

    result = subprocess.run(
        [image_python, "-m", "gunicorn", "serve:app"],
        cwd=tmp_path,
        env=os.environ | {"PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode != 0
    assert "iris.joblib" in result.stderr
    assert "Listening" not in result.stderr
