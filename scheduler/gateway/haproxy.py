"""The gateway: HAProxy in a process of its own, told what to do over its Runtime API.

    set_route, add, drain …        ─▶ state file ─▶ proxy     what is written is what will be
    a start, a proxy that died     ─▶ restore    ─▶ proxy     is what is written

The proxy outlives every controller, and a controller outlives every proxy. One thread watches: it
replaces a proxy that died, passes on that somebody waits, and reads the counters.

Read next, in this order: ``config.py`` with ``proxy.cfg`` and ``hold.lua``, ``routing.py``,
``routes.py``, ``watch.py``, ``pools.py``, ``state.py``, ``admin.py``, ``certificate.py``,
``meter.py``, ``outliers.py``, ``process.py``, ``doors.py``, ``binary.py``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minirun import MinirunError

from ..actions import AddServer
from ..observed import Route, Server, Traffic
from . import binary as binaries
from .admin import AdminError
from .certificate import Certificate
from .config import Listen, render
from .doors import Doors
from .meter import Gauge, Meter
from .pools import Pools
from .process import Process
from .routes import Routes
from .state import State
from .watch import Watch

__all__ = ["HaproxyGateway", "Listen", "ProxyStatus"]

LONGEST_FOLDER = 70  # of the 107 bytes of a socket's path; the proxy adds a suffix while it binds
MOST_THREADS = 4
SILENCE_S = 6.0
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """The proxy as people ask for it."""

    pid: int | None
    version: str
    restarts: int
    address: str


class HaproxyGateway:
    """What stands between clients and replicas (``protocol.py``).

    From ``start`` to ``close`` its methods may be called from any thread.

    Args:
        folder: for its files and sockets; made where it is missing.
        listen: where requests come in.
        on_wake: called from a thread when the controller should look at once.
        cpu_percent: what a deployment's replicas use of the CPU they requested, None if unknown.
        binary: the HAProxy to run; the wheel's or the system's otherwise.
        slow_start_s: for how long a new replica's share grows.

    Raises:
        MinirunError: there is no HAProxy, or the folder's path is too long.
    """

    def __init__(
        self,
        folder: Path,
        listen: Listen | None = None,
        on_wake: Callable[[], None] = lambda: None,
        cpu_percent: Callable[[str], float | None] = lambda _: None,
        *,
        binary: Path | None = None,
        slow_start_s: float = 10.0,
    ) -> None:
        if len(os.fsencode(folder)) > LONGEST_FOLDER:
            hint = f"give it a folder with a path of {LONGEST_FOLDER} bytes at most"
            raise MinirunError(f"the gateway's folder {folder} has too long a path", hint=hint)
        self._folder = folder
        self._listen = listen or Listen()
        self._on_wake = on_wake
        self._cpu_percent = cpu_percent
        self._found = binaries.find(binary)
        self._proxy = Process(folder, "proxy")
        self._doors = Doors(folder, self._listen.publish_on, self._found)
        self._state = State(folder / "state.json")
        self._routes = Routes(folder, self._state, self._proxy.admin, self._doors)
        self._pools = Pools(self._state, self._proxy.admin, slow_start_s)
        self._certificate = Certificate(self._listen.tls_pem, self._proxy.admin)
        self._meter = Meter()
        self._watch: Watch | None = None
        self._lock = threading.RLock()
        self._restarts = 0
        self._silent_since: float | None = None
        self._retry_at, self._retry_s = 0.0, FIRST_RETRY_S

    # ---- lifecycle ----

    def start(self) -> None:
        """Take over the proxy that runs, or start one; then watch it.

        Raises:
            MinirunError: it cannot listen where it should.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o711)  # http.sock is for every user of this machine
        with self._lock:
            self._state.load()
            self._routes.write()
            self._proxy.ensure(self._config(), self._found)
            self._certificate.follow()
            self._restore()
            for port, problem in self._routes.open_doors().items():
                LOG.error("port %d: %s", port, problem)
        wake = self._folder / "wake.sock"
        self._watch = Watch(wake, self._pidfds, self._mend, self._look, self._on_wake)

    def close(self) -> None:
        """Stop watching. The proxy goes on, and serves what it knows."""
        self._end(Process.close)

    def shutdown(self) -> None:
        """Stop watching, and end the proxy with everything that is in flight."""
        self._end(Process.kill)

    def is_ready(self) -> bool:
        """Say whether the proxy runs and answers."""
        try:
            return bool(self._proxy.admin.ask("show info"))
        except AdminError:
            return False

    def status(self) -> ProxyStatus:
        """Return what runs, and where it listens."""
        version, address = self._found.version, self._listen.address
        return ProxyStatus(self._proxy.pid, version, self._restarts, address)

    # ---- what the scheduler asks ----

    def servers(self) -> dict[str, Server]:
        """Return every server by its replica's id."""
        with self._lock:
            with self._patience():
                self._pools.count()
            return self._pools.servers()

    def routes(self) -> dict[str, Route]:
        """Return every route by its deployment."""
        with self._lock:
            return dict(self._state.routes)

    def traffic(self) -> dict[str, Traffic]:
        """Return averages and counters by deployment; one without numbers is left out."""
        with self._lock, self._patience():
            self._sample()
        now, gauges = time.monotonic(), self.gauges()
        told = {name: g.traffic(self._cpu_percent(name), now) for name, g in gauges.items()}
        return {name: traffic for name, traffic in told.items() if traffic}

    def gauges(self) -> dict[str, Gauge]:
        """Return the last numbers of each deployment."""
        with self._lock:
            return dict(self._meter.gauges)

    def ejected(self) -> set[str]:
        """Return the replicas that are left out for a while, because all they do is fail."""
        with self._lock:
            return self._pools.ejected()

    def add(self, server: AddServer) -> None:
        """Send requests to a replica.

        Raises:
            ScheduleError: its id or address cannot be used, or there is no route to its deployment.
        """
        with self._told():
            self._pools.add(server)

    def drain(self, server_id: str, pool: str) -> None:
        """Send no new requests to a replica."""
        with self._told():
            self._pools.drain(server_id, pool)

    def remove(self, server_id: str, pool: str) -> None:
        """Forget a replica; what is still in flight to it is cut off."""
        with self._told():
            self._pools.remove(server_id, pool)

    def set_route(self, route: Route) -> None:
        """Say which requests belong to a deployment, and how they wait.

        Raises:
            ScheduleError: it cannot be written down (422), it would take requests from another
                deployment (409), or there is no room for it, or its port cannot be bound (503).
        """
        with self._told():
            self._routes.set(route)

    def remove_route(self, deployment: str) -> None:
        """Forget a deployment; what waits for it is answered with 503."""
        with self._told():
            self._routes.remove(deployment)

    # ---- the proxy ----

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Do one thing at a time. A proxy that dies meanwhile is told by its successor's start."""
        with self._lock:
            try:
                yield
            except AdminError:
                if self._proxy.is_alive():
                    raise

    def _config(self) -> str:
        # One carries some 50,000 requests a second: the other processors are the replicas'.
        threads = min(MOST_THREADS, max(1, (os.cpu_count() or 1) // 2))
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return render(self._folder, self._listen, threads, open_files)

    def _restore(self) -> None:
        self._routes.tell()
        self._pools.restore()

    # ---- the watching thread ----

    def _pidfds(self) -> list[int]:
        with self._lock:
            return [p.pidfd for p in (self._proxy, *self._doors) if p.pidfd >= 0]

    def _mend(self) -> None:
        """Replace a process that ended; one that cannot be started is tried again, less often."""
        with self._lock:
            if time.monotonic() < self._retry_at:
                return
            try:
                if not self._proxy.is_alive():
                    self._replace_proxy()
                for door in self._doors:
                    if not door.is_alive():
                        door.ensure(self._doors.config(door), self._found)
            except MinirunError as error:
                LOG.warning("%s", error)
                self._retry_at = time.monotonic() + self._retry_s
                self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)
            else:
                self._retry_s = FIRST_RETRY_S

    def _replace_proxy(self) -> None:
        LOG.warning("the proxy has ended; another one is started")
        self._restarts += 1
        self._routes.write()
        self._proxy.ensure(self._config(), self._found)
        self._restore()
        self._on_wake()

    def _look(self) -> None:
        """Read the counters."""
        with self._lock, self._patience():
            self._sample()
            self._certificate.follow()
            self._pools.tend(time.monotonic())

    @contextlib.contextmanager
    def _patience(self) -> Iterator[None]:
        """Bear a proxy that says nothing to anybody; after a while it is killed, so replaced."""
        began = time.monotonic()
        try:
            yield
        except AdminError as error:
            LOG.warning("%s", error)
            self._silent_since = self._silent_since or began
            if time.monotonic() - self._silent_since >= SILENCE_S:
                self._proxy.kill()
        else:
            self._silent_since = None

    def _sample(self) -> None:
        if self._meter.sample(self._proxy.admin, self._state):
            self._on_wake()  # once told may be lost: a controller was not there yet

    def _end(self, how: Callable[[Process], None]) -> None:
        if self._watch:
            self._watch.stop()
        with self._lock:
            for process in (self._proxy, *self._doors):
                how(process)
