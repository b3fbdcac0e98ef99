"""A whole scheduler of real processes: ``minisched serve``, its launcher, gateway and replicas.

Each lab has folders of its own below one with a short name (a socket's path has 108 bytes), and
ends with nothing left: the deployments are deleted first, then whatever the test's folder is named
by is killed, so that a test that failed leaves no more than one that passed.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scheduler.client import Client

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
#: The machine is small and shared: what takes half a second alone may take many.
PATIENCE_S = 120.0
_LETTERS = itertools.cycle(string.ascii_lowercase)
_APPLETS = "sh sleep httpd cat echo true dd tail touch printf kill od".split()
#: What replicas of the tests run: a server of a few hundred kilobytes that starts at once.
SERVER = ("httpd", "-f", "-p", "8000", "-h", "/www")


class Lab:
    """One scheduler.

    Args:
        top: a folder of its own, with a short name.
        images: MINIRUN_DATA, where the image ``tiny`` is.
    """

    def __init__(self, top: Path, images: Path) -> None:
        self.top = top
        self.port = free_port()
        self.environment = {
            "MINISCHED_DATA": str(top / "data"),
            "MINISCHED_RUN": str(top / "run"),
            "MINIRUN_DATA": str(images),
            "MINIRUN_ROOT": str(top / "state"),
            # Of its own: two labs may be there at once, and each takes its bridge away.
            "MINIRUN_BRIDGE": f"minirun-t{os.getpid() % 10**5}{next(_LETTERS)}",
            "MINISCHED_ADDRESS": f"unix://{top}/run/api.sock",
            "XDG_CONFIG_HOME": str(top / "config"),
            "PYTHONWARNINGS": "",
        }
        self.client = Client(self.environment["MINISCHED_ADDRESS"])
        self.server: subprocess.Popen[bytes] | None = None
        self._log = (top / "serve.log").open("ab")

    # ── the scheduler ─────────────────────────────────────────────────────────────────────────

    def start(
        self, *more: str, wait: bool = True, program: tuple[str, ...] = ("-m", "scheduler.cli")
    ) -> subprocess.Popen[bytes]:
        """Start the scheduler; return when it answers.

        Args:
            more: arguments of ``minisched serve``.
            wait: False returns at once.
            program: what to run in place of ``minisched``, as arguments of Python.
        """
        words = ("serve",) if program[1] == "scheduler.cli" else ()
        self.server = subprocess.Popen(
            [sys.executable, *program, *words, "--gateway", f"127.0.0.1:{self.port}", *more],
            stdout=self._log,
            stderr=self._log,
            cwd=ROOT,
            env=os.environ | self.environment,
        )
        if wait:
            self.wait_ready()
        return self.server

    def wait_ready(self) -> None:
        """Return when the API says that all of it is well."""
        wait_until(self._is_ready, "the scheduler is ready", self.log)

    def _is_ready(self) -> bool:
        assert self.server is None or self.server.poll() is None, self.log()
        return self.client.ready()

    def log(self) -> str:
        """Return what the scheduler printed."""
        return (self.top / "serve.log").read_text()[-6000:]

    def kill(self) -> None:
        """Let the scheduler die without a word."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()

    def stop(self) -> int:
        """Ask the scheduler to end; replicas and gateway go on."""
        assert self.server is not None
        self.server.terminate()
        return self.server.wait(PATIENCE_S)

    def __call__(
        self, *words: str, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a command of minisched; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "scheduler.cli", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S * 2,
            cwd=ROOT,
            env={**os.environ, **self.environment, **(environment or {})},
        )
        assert "Traceback" not in done.stderr
        assert not check or done.returncode == 0, f"{words}: {done.returncode}: {done.stderr}"
        return done.stdout + done.stderr

    # ── deployments ───────────────────────────────────────────────────────────────────────────

    def deploy(self, name: str, replicas: int = 2, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """Deploy the tiny server under a name; return the answer."""
        made, _ = self.client.apply(name, spec(replicas=replicas, **more))
        return made

    def wait_running(self, name: str, ready: int, *, revision: int = 0) -> None:
        """Return when so many replicas are ready, no other is left, and no rollout is under way.

        Args:
            name: of the deployment.
            ready: how many.
            revision: of which they have to be; 0 is any.
        """

        def is_so() -> bool:
            status = self.client.deployment(name)["status"]
            done = status["state"] in ("running", "idle") and status["ready"] == ready
            is_it = done and revision in (0, status["revision"])
            return is_it and len(self.client.replicas(name)) == ready

        wait_until(is_so, f"{ready} of {name} ready", self.told)

    def wait_ready_replicas(self, name: str, ready: int) -> None:
        """Return when so many replicas are ready, whatever else goes on."""

        def is_so() -> bool:
            return bool(self.client.deployment(name)["status"]["ready"] == ready)

        wait_until(is_so, f"{ready} of {name} ready", self.told)

    def told(self) -> str:
        """Return the last events and the scheduler's own words, for a test that failed."""
        with suppress(Exception):
            rows = self.client.events(limit=40)
            return "\n".join(f"{e['deployment']} {e['kind']}: {e['message']}" for e in rows)
        return self.log()

    def ask(self, name: str, path: str = "/", timeout_s: float = 30.0) -> int:
        """Send one request to a deployment through the gateway; return the answer's status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers={"Host": f"{name}.localhost"})
            with connection.getresponse() as response:  # it may have taken the socket over
                response.read()
            return response.status
        finally:
            connection.close()

    def run_once(self) -> None:
        """Run a replica and delete it: then the bridge and all folders are there, and no leak."""
        self.deploy("first", 1)
        self.wait_running("first", 1)
        self.delete("first")

    def delete(self, name: str) -> None:
        """Delete a deployment; return when nothing of it is left."""
        self.client.delete(name)
        wait_until(lambda: not self._is_there(name), f"{name} is gone", self.told)

    def _is_there(self, name: str) -> bool:
        return name in {row["name"] for row in self.client.deployments()}

    def delete_all(self) -> None:
        """Delete every deployment; return when no replica is left."""
        for row in self.client.deployments():
            self.client.delete(row["name"])
        wait_until(lambda: not self.client.deployments(), "all deployments are gone", self.told)
        wait_until(lambda: not self.containers(), "all containers are gone", self.told)

    # ── what it stands on ─────────────────────────────────────────────────────────────────────

    def minirun(self, *words: str) -> str:
        """Run a command of minirun on the same containers; return what it printed."""
        done = subprocess.run(
            [BIN / "minirun", *words],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | self.environment,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def containers(self) -> set[str]:
        """Return the names of all containers, whether they run or not."""
        return set(self.minirun("ps", "-a", "--format", "{{.Names}}").split())

    def proxies(self) -> list[int]:
        """Return the gateway's processes."""
        return processes_of(self.top, "haproxy")

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Leave nothing: neither process, nor mount, nor folder."""
        if self.server is not None and self.server.poll() is None:
            with suppress(Exception):
                self.delete_all()
            self.server.terminate()
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()
        wait_until(self._kill_everybody, "no process of it is left")
        if left := self.minirun("ps", "-aq", "--no-trunc").split():
            self.minirun("rm", "-fv", *left)
        # The kernel takes the links of a dead container away when it has time to.
        wait_until(self._prune_bridge, "the bridge is gone")
        for mount in reversed(mounts_below(self.top)):
            subprocess.run(["umount", "-l", mount], check=True)
        shutil.rmtree(self.top)

    def _kill_everybody(self) -> bool:
        """Kill what is there; what a dying one has just forked is there the next time."""
        found = processes_of(self.top)
        for pid in found:
            kill_9(pid)
        return not found

    def _prune_bridge(self) -> bool:
        self.minirun("system", "prune", "-f")
        return not Path("/sys/class/net", self.environment["MINIRUN_BRIDGE"]).exists()


def spec(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - a body of the API
    """Return what a tiny server's deployment asks for; it is quick in everything."""
    asked: dict[str, Any] = {
        "image": "tiny",
        "port": 8000,
        "probes": {"readiness": {"http": {"path": "/"}, "period_s": 0.1, "timeout_s": 2.0}},
        "update": {"min_ready_s": 0.1, "progress_deadline_s": 4.0},
        "timeouts": {"stop_s": 2.0, "drain_s": 5.0},
        "restart": {"condition": "always", "initial_s": 0.05},
    }
    return asked | more


# ── load ──────────────────────────────────────────────────────────────────────────────────────


class Load:
    """Clients that ask without a pause until the block ends; ``statuses`` says what came back.

    A connection that broke counts as status 0. One that was refused has lost nothing: it is tried
    again, and ``refused_s`` says for how long nobody listened.
    """

    def __init__(self, lab: Lab, name: str, *, clients: int = 4, path: str = "/") -> None:
        self.statuses: Counter[int] = Counter()
        self.refused_s = 0.0
        self._lab, self._name, self._path = lab, name, path
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Load:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End, once every request has been answered."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                status = self._lab.ask(self._name, self._path)
            except ConnectionRefusedError:
                self.refused_s += 0.01 / len(self._threads)
                self._over.wait(0.01)
                continue
            except (OSError, http.client.HTTPException):
                status = 0
            self.statuses[status] += 1
            # The machine is shared: a few hundred requests a second find what is lost as well.
            self._over.wait(0.002)

    def wait_for(self, more: int) -> None:
        """Return when so many more requests have been answered."""
        goal = self.statuses.total() + more
        wait_until(lambda: self.statuses.total() >= goal, f"{more} more answers")

    @property
    def failed(self) -> dict[int, int]:
        """Return what was not answered well, by status."""
        return {status: count for status, count in self.statuses.items() if status != 200}


# ── the host ──────────────────────────────────────────────────────────────────────────────────


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def processes_of(top: Path, part: str = "") -> list[int]:
    """Return the processes whose command line or environment names a folder, and has a part."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
            if os.fsencode(top) in words and part.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def kill_9(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process of this test, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until(true: Callable[[], object], what: str, told: Callable[[], str] = str) -> None:
    """Look again and again, for a thing that has no descriptor to wait for."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"never: {what}\n{told()}"
        time.sleep(0.02)


def mounts_below(top: Path) -> list[str]:
    """Return where something is mounted below a folder, in the order in which it was."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{top}/")]


def build_tiny(images: Path, scratch: Path) -> None:
    """Build the image ``tiny``: a static busybox that serves a page, and one that is a 500."""
    root = scratch / "root"
    for folder in ("bin", "tmp", "www/cgi-bin", "dev", "proc", "sys"):
        (root / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin/busybox")
    for applet in _APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "www/index.html").write_text("well\n")
    bad = root / "www/cgi-bin/bad"
    bad.write_text("#!/bin/sh\nprintf 'Status: 500 Bad\\r\\n\\r\\nbad'\n")
    slow = root / "www/cgi-bin/slow"
    slow.write_text("#!/bin/sh\nsleep 1\nprintf 'Content-Type: text/plain\\r\\n\\r\\nslow'\n")
    for script in (bad, slow):
        script.chmod(0o755)
    # A first process ignores SIGTERM unless it asks for it, and busybox does not.
    steps = ("FROM scratch", "COPY root/ /", "STOPSIGNAL SIGKILL", f"CMD {json.dumps(SERVER)}")
    (scratch / "Dockerfile").write_text("\n".join(steps) + "\n")
    env = os.environ | {"MINIRUN_DATA": str(images), "MINIRUN_ROOT": str(images / "build")}
    subprocess.run(
        [BIN / "minirun", "build", "-q", "-t", "tiny", str(scratch)],
        check=True, capture_output=True, env=env,
    )  # fmt: skip


@contextmanager
def lab(images: Path) -> Iterator[Lab]:
    """Yield a scheduler's lab, with nothing started yet."""
    top = Path(tempfile.mkdtemp(prefix="minirun-"))
    top.chmod(0o711)
    made = Lab(top, images)
    try:
        yield made
    finally:
        made.close()
