"""Starts without a command line in the way: minirun's launcher, and docker's API.

This is what the scheduler's containers cost: a request to a process that is there already.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from minirun.container.options import NetworkOptions, RunOptions
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
            remove=True,
        )
        self._target = resolve(self._home, str(lab.rootfs))
        self._network = network

    def round(self) -> Mapping[str, float]:
        """Make a container, ask for its start, wait for its end; return what the first two took.

        The shim says ``started`` when the pipe to the container's init has been closed by execve.
        """
        begin = time.perf_counter()
        record = create(self._home, self._options, self._target)
        asked = time.perf_counter()
        session = start(self._home, record.id)
        session.wait_until_started()
        done = time.perf_counter()
        ending = session.wait_until_over()
        session.close()
        if ending is None or ending["exit_code"] != 0:
            raise BenchError(f"a container of the launcher ended badly: {ending}")
        return {
            f"launcher-{self._network}": (done - asked) * 1000,
            f"launcher-create-{self._network}": (done - begin) * 1000,
        }


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
        asked = time.perf_counter()
        self._ask("POST", f"/containers/{name}/start")
        done = time.perf_counter()
        self._ask("POST", f"/containers/{name}/wait")
        self._ask("DELETE", f"/containers/{name}?force=1")
        return {
            f"launcher-{self._network}": (done - asked) * 1000,
            f"launcher-create-{self._network}": (done - begin) * 1000,
        }

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, str]:
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
        found: dict[str, str] = json.loads(content) if content else {}
        return found
