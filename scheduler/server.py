"""The API's server: gunicorn's threaded worker in this very process, without its arbiter.

The arbiter would fork the worker, watch it and start it anew. The scheduler has threads and a state
of its own, so it must not be forked; and whoever started it starts it anew. What remains is the
worker: it accepts, parses and answers, on a Unix socket and, where asked for, on TCP with TLS.

See: unix(7). Next: ``worker.py``.
"""

from __future__ import annotations

import copy
import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.config import Config
from gunicorn.glogging import Logger

from minirun import MinirunError

from .worker import PatientWorker

#: The app lets so many streams be open at a time; the others are for everybody else.
THREADS = 64
GRACE_S = 2
BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the API listens.

    Args:
        path: of the Unix socket.
        group: who may use it beside its owner; "" for nobody.
        address: ``host:port`` of the TCP socket; "" for none.
        cert: its certificate chain.
        key: the certificate's key.
    """

    path: Path
    group: str = ""
    address: str = ""
    cert: Path | None = None
    key: Path | None = None


class Server(PatientWorker):
    """The API's server; ``run`` returns after SIGTERM or SIGINT.

    Args:
        app: what it serves.
        binding: where.
        ending: called when it was told to end, to let long answers go.

    Raises:
        MinirunError: it cannot listen there.
    """

    cfg: Config

    def __init__(self, app: Flask, binding: Binding, ending: Callable[[], None]) -> None:
        config = _config(binding)
        self._plain = copy.deepcopy(config)
        self._plain.set("certfile", None)
        self._plain.set("keyfile", None)
        self._ending = ending
        self._app = app
        sockets = _sockets(binding)
        super().__init__(0, os.getppid(), sockets, self, GRACE_S, config, Logger(config))

    def wsgi(self) -> Flask:
        """Return the app, as gunicorn's loader would."""
        return self._app

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT; call it in the main thread."""
        self.init_process()

    def init_signals(self) -> None:
        """End in peace on the two signals that mean it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401 - gunicorn's own
        """Stop accepting, and let go of those who would listen for ever."""
        super().handle_exit(sig, frame)
        self.method_queue.defer(self._ending)

    def is_parent_alive(self) -> bool:
        """Return True: a scheduler does not end with the shell that started it."""
        return True

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; encrypted are those over TCP alone."""
        ours = self.cfg
        self.cfg = self._plain if listener.family == socket.AF_UNIX else ours
        try:
            super().accept(listener)
        finally:
            self.cfg = ours


def _config(binding: Binding) -> Config:
    config = Config()
    config.set("threads", THREADS)
    config.set("graceful_timeout", GRACE_S)
    config.set("keepalive", 30)
    config.set("loglevel", "warning")
    if binding.cert and binding.key:
        config.set("certfile", str(binding.cert))
        config.set("keyfile", str(binding.key))
    return config


def _sockets(binding: Binding) -> list[socket.socket]:
    try:
        unix = _unix_socket(binding)
        return [unix, _tcp_socket(binding.address)] if binding.address else [unix]
    except (OSError, ValueError, LookupError) as error:
        where = binding.address or binding.path
        raise MinirunError(f"cannot listen at {where}: {error}") from error


def _unix_socket(binding: Binding) -> socket.socket:
    """Return the listening socket, which the group may connect to; an old one is replaced."""
    binding.path.unlink(missing_ok=True)  # its owner has gone: we hold the store's lock
    made = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o117)
    try:
        made.bind(str(binding.path))
    finally:
        os.umask(umask)
    if binding.group:
        shutil.chown(binding.path, group=binding.group)
    made.listen(BACKLOG)
    return made


def _tcp_socket(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
