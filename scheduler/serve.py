"""One scheduler, put together: store, runtime, gateway, control loop, API; and taken apart again.

    folders, sockets ─▶ store ─▶ clock ─▶ gateway ─▶ runtime ─▶ control loop ─▶ API

Each needs those before it, and what can be refused is refused first: a certificate, a port, a
folder that another scheduler has. What it leaves behind when it ends, or is killed, is meant to
stay: the replicas, the gateway with all that is in flight, and the launcher. The next one takes
them over; ``shutdown.py`` ends them as well.

Next: ``binding.py``, ``loop.py``, ``server.py``.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import socket
from threading import Event
from time import time

from minirun import Containers, default_home

from .app import create_app
from .binding import Binding, check_certificate
from .clock import BootClock
from .control import Control
from .control.hostpaths import allowed
from .controller import Controller
from .engines.afterlife import Afterlife
from .engines.capacity import Capacity
from .engines.inside import Inside
from .engines.load import Load
from .engines.local import LocalRuntime
from .engines.starter import Surroundings
from .gateway.haproxy import HaproxyGateway, Listen
from .gateway.metrics import exposition
from .loop import Loop
from .places import Places, claimed, default_places
from .server import Server
from .store import Store

log = logging.getLogger(__name__)

#: oom_score_adj(5): whatever is killed for memory, it should not be what starts it anew.
PROTECTED = "-900"


@dataclass(frozen=True, slots=True)
class Options:
    """What ``minisched serve`` was told.

    Args:
        places: its folders.
        gateway: where requests to deployments come in, ``host:port``; "" for a Unix socket alone.
        gateway_tls: the same with TLS; "" for none.
        gateway_pem: its certificate and key, in one file.
        publish_on: the address of published ports.
        listen: the API over TCP, with TLS; "" for its Unix socket alone.
        tls_cert: the API's certificate chain.
        tls_key: its key.
        socket_group: who may use the API's Unix socket, beside its owner.
        gpus: device nodes that count as one GPU each; None looks for them.
        mounts: paths of the host that not only an admin may give to replicas.
    """

    places: Places = field(default_factory=default_places)
    gateway: str = "127.0.0.1:8800"
    gateway_tls: str = ""
    gateway_pem: Path | None = None
    publish_on: str = "127.0.0.1"
    listen: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    socket_group: str = ""
    gpus: tuple[str, ...] | None = None
    mounts: tuple[str, ...] = ()


def serve(options: Options) -> int:
    """Be the scheduler until SIGTERM or SIGINT; call it in the main thread.

    Returns:
        The exit code.

    Raises:
        MinirunError: it cannot begin: another scheduler has the folder, a port is taken.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level="INFO")
    _protect()
    with ExitStack() as stack:
        _assemble(options, stack).serve()
        log.info("ending; replicas and gateway go on")
    return 0


def _protect() -> None:
    with suppress(OSError):  # needs CAP_SYS_RESOURCE; without it replicas are likelier victims yet
        Path("/proc/self/oom_score_adj").write_text(PROTECTED, "ascii")


def _assemble(options: Options, stack: ExitStack) -> Server:
    """Put everything together; the stack takes it apart in the opposite order."""
    places, wake, binding = options.places, Event(), _binding(options)
    capacity, mounts = Capacity(options.gpus), allowed(options.mounts)
    stack.enter_context(claimed(places.run))
    store = Store.open(places.data)
    stack.callback(store.close)
    store.on_change(wake.set)
    listeners = binding.listen()
    for listener in listeners:
        stack.callback(listener.close)
    clock = BootClock(store)

    around = _surroundings(places, store, clock, wake.set, capacity)
    runtime = LocalRuntime(Containers(default_home()), around)
    stack.callback(runtime.close)
    inside = Inside(runtime)
    gateway = _gateway(options, wake.set, Load(store, runtime, inside))
    gateway.start()
    stack.callback(gateway.close)
    runtime.open()

    loop = Loop(Controller(store, runtime, gateway, clock, time), wake)
    loop.start()
    stack.callback(loop.stop)

    control = Control(
        store,
        inside,
        inside,
        loop.observed,
        clock,
        gateway=options.gateway or str(places.gateway / "http.sock"),
        health=_health(loop, gateway, runtime),
        metrics=lambda: exposition(gateway),
        mounts=mounts,
    )
    return _server(control, binding, listeners)


def _surroundings(
    places: Places, store: Store, clock: BootClock, changed: Callable[[], None], capacity: Capacity
) -> Surroundings:
    return Surroundings(
        _owner(store),
        places.replicas,
        clock,
        store.secret_value,
        store.cordoned,
        changed,
        capacity,
        Afterlife(places.data / "logs", partial(_is_wanted, store)),
    )


def _server(control: Control, binding: Binding, listeners: Sequence[socket]) -> Server:
    app = create_app(control)
    hub = app.extensions["minisched"]
    hub.begin()
    log.info("API at %s", " and ".join(filter(None, (str(binding.path), binding.address))))
    log.info("requests to deployments at %s", control.gateway)
    return Server(app, binding, listeners, hub.close)


def _binding(options: Options) -> Binding:
    """Return where the API will listen; refuse certificates that are none, the gateway's too."""
    if options.gateway_pem:
        check_certificate(options.gateway_pem, options.gateway_pem)
    binding = Binding(
        options.places.socket,
        options.socket_group,
        options.listen,
        options.tls_cert,
        options.tls_key,
    )
    binding.check()
    return binding


def _is_wanted(store: Store, deployment: str) -> bool:
    entry = store.load().entries.get(deployment)
    return entry is not None and not entry.deleted


def _owner(store: Store) -> str:
    """Return by which name this scheduler finds its containers again."""
    owner = store.fact("owner")
    if not owner:
        owner = uuid.uuid4().hex
        store.set_fact("owner", owner)
    return owner


def _gateway(options: Options, wake: Callable[[], None], load: Load) -> HaproxyGateway:
    listen = Listen(
        address=options.gateway,
        tls_address=options.gateway_tls,
        tls_pem=options.gateway_pem,
        publish_on=options.publish_on,
    )
    return HaproxyGateway(options.places.gateway, listen, wake, load.cpu_percent)


def _health(
    loop: Loop, gateway: HaproxyGateway, runtime: LocalRuntime
) -> Callable[[], Mapping[str, str]]:
    def health() -> Mapping[str, str]:
        return {
            "control loop": loop.problem(),
            "gateway": "" if gateway.is_ready() else "the proxy does not answer",
            "launcher": "" if runtime.containers.launcher_pid() else "no launcher listens",
        }

    return health
