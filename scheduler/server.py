"""The API's server: gunicorn's threaded worker in this very process, without its arbiter.

The arbiter would fork the worker, watch it and start it anew. The scheduler has threads and a state
of its own, so it must not be forked; and whoever started it starts it anew. What remains is the
worker: it accepts, parses and answers, on a Unix socket and, where asked for, on TCP with TLS.

Next: ``worker.py``.
"""

from __future__ import annotations

import copy
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask
from gunicorn.config import Config
from gunicorn.glogging import Logger

from .binding import Binding
from .worker import PatientWorker

#: The app lets so many streams be open at a time; the others are for everybody else.
THREADS = 64
GRACE_S = 2


class Server(PatientWorker):
    """The API's server; ``run`` returns after SIGTERM or SIGINT.

    Args:
        app: what it serves.
        binding: where, and with which certificate.
        listeners: the sockets that listen there; closed when it ends.
        ending: called when it was told to end, to let long answers go.
    """

    cfg: Config

    def __init__(
        self,
        app: Flask,
        binding: Binding,
        listeners: Sequence[socket.socket],
        ending: Callable[[], None],
    ) -> None:
        config = _config(binding)
        self._plain = copy.deepcopy(config)
        self._plain.set("certfile", None)
        self._plain.set("keyfile", None)
        self._ending = ending
        self._app = app
        super().__init__(0, os.getppid(), list(listeners), self, GRACE_S, config, Logger(config))

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
