"""Starts without a command line in the way: minirun's launcher, and docker's API.

This is what the scheduler's containers cost: a request to a process that is there already.
"""

from __future__ import annotations

import calendar
import contextlib
import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minirun.container.options import NetworkOptions, RunOptions
from minirun.container.removal import remove_files
from minirun.engine.create import create
from minirun.engine.home import Home, default_home
from minirun.engine.images import resolve
from minirun.engine.start import launcher_socket, start

from .engines import IMAGE, own_command
from .lab import Lab
from .timing import BenchError


class Launcher:
    """A client of the launcher that asks for containers which run ``true``.

    Args:
        lab: where the root file system is.
        network: of the containers.
    """

    def __init__(self, lab: Lab, network: str) -> None:
        self._home = default_home()
        self._options = RunOptions(
            command=("true",),
            network=NetworkOptions(mode=network),
            cgroup_parent=f"{lab.cgroup}/minirun",
        )
        self._target = resolve(self._home, str(lab.rootfs))
        self._network = network

    def round(self) -> Mapping[str, float]:
        """Make a container, start it, wait for its end, remove it; return what the first two took.

        When the program began is in the record: it is written down as soon as execve has closed
        the pipe to the container's init.
        """
        begin = time.perf_counter()
        record = create(self._home, self._options, self._target)
        asked_ns, asked = time.time_ns(), time.perf_counter()
        session = start(self._home, record.id)
        session.wait_until_started()
        done = time.perf_counter()
        ending = session.wait_until_over()
        session.close()
        if ending is None or ending["exit_code"] != 0:
            raise BenchError(f"a container of the launcher ended badly: {ending}")
        started_at = self._home.containers.read(record.id).state.started_at
        remove_files(self._home.containers, record.id)
        return _durations(self._network, begin, asked_ns, started_at, asked, done)


def _durations(
    network: str, begin: float, asked_ns: int, started_at: str, asked: float, done: float
) -> Mapping[str, float]:
    """Return milliseconds: to the program, to the answer, and to the answer with the making."""
    return {
        f"launcher-{network}": (unix_ns(started_at) - asked_ns) / 1e6,
        f"launcher-told-{network}": (done - asked) * 1000,
        f"launcher-create-{network}": (done - begin) * 1000,
    }


def unix_ns(text: str) -> int:
    """Return the nanoseconds of a time that ends in Z, as both engines write it.

    >>> unix_ns("1970-01-01T00:00:01.5Z")
    1500000000
    """
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int(fraction.ljust(9, "0") or 0)


@contextlib.contextmanager
def launcher() -> Iterator[Home]:
    """Run a launcher for the lab's home."""
    home = default_home()
    silent = subprocess.DEVNULL
    argv = (own_command("minirun"), "launcher")
    process = subprocess.Popen(argv, stdin=silent, stdout=silent)
    try:
        _wait_for(Path(launcher_socket(home)), process)
        yield home
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError("the launcher did not start")
        time.sleep(0.01)


class DockerApi:
    """A client of dockerd's API: the same two requests without the docker command.

    Args:
        path: of the daemon's socket.
        network: of the containers.
    """

    def __init__(self, path: Path, network: str) -> None:
        self._path = path
        self._network = network

    def round(self) -> Mapping[str, float]:
        """Create a container and start it; return what that took, and remove it again."""
        config = {
            "Image": IMAGE,
            "Cmd": ["true"],
            "HostConfig": {"NetworkMode": self._network},
        }
        begin = time.perf_counter()
        name = self._ask("POST", "/containers/create", config)["Id"]
        asked_ns, asked = time.time_ns(), time.perf_counter()
        self._ask("POST", f"/containers/{name}/start")
        done = time.perf_counter()
        self._ask("POST", f"/containers/{name}/wait")
        started_at = self._ask("GET", f"/containers/{name}/json")["State"]["StartedAt"]
        self._ask("DELETE", f"/containers/{name}?force=1")
        return _durations(self._network, begin, asked_ns, started_at, asked, done)

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make one request; docker answers with an object, or with nothing."""
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        with contextlib.closing(connection):
            connection.sock.connect(str(self._path))
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            content = answer.read()
        if answer.status >= 400:
            raise BenchError(f"docker: {method} {path}: {content.decode(errors='replace')}")
        found: dict[str, Any] = json.loads(content) if content else {}
        return found
