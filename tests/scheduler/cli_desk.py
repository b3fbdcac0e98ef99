"""A command line in front of a real API on a Unix socket, whose host is in memory and runs fast."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from scheduler.cli import perform
from tests.scheduler.api_lab import Lab


class Quiet(WSGIRequestHandler):
    """Serves without a word."""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: ANN401 - werkzeug's
        """Say nothing."""


class Desk:
    """What an operator has: commands, and what they print."""

    def __init__(self, lab: Lab, printed: pytest.CaptureFixture[str]) -> None:
        self.lab = lab
        self._printed = printed

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run a command that ends with this code; return what it printed, errors last."""
        self._printed.readouterr()
        found = perform(words)
        out, err = self._printed.readouterr()
        assert found == code, f"{words}: {found}: {out}{err}"
        assert "Traceback" not in err
        assert "mistake" not in err
        return out + err

    def rows(self, *words: str) -> list[list[str]]:
        """Run a command that prints a table; return its words, without the headings."""
        return [line.split() for line in self(*words).splitlines()[1:]]


@contextmanager
def desk(
    folder: Path, patch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    """Yield a desk; its world goes on, half a second of it in a hundredth of ours."""
    lab, lock, over = Lab(folder), threading.Lock(), threading.Event()
    address = f"unix://{folder}/api.sock"
    server = make_server(
        address, 0, _with_socket(lab.app, lock), threaded=True, request_handler=Quiet
    )

    def go_on() -> None:
        while not over.wait(0.01):
            with lock:
                lab.run(0.5)

    threads = [
        threading.Thread(target=server.serve_forever, args=(0.02,)),
        threading.Thread(target=go_on),
    ]
    for thread in threads:
        thread.start()
    patch.setenv("MINISCHED_ADDRESS", address)
    patch.setenv("XDG_CONFIG_HOME", str(folder))
    try:
        yield Desk(lab, printed)
    finally:
        over.set()
        lab.app.extensions["minisched"].close()
        server.shutdown()
        for thread in threads:
            thread.join()
        server.server_close()
        lab.close()


def _with_socket(app: Callable[..., Iterable[bytes]], lock: threading.Lock) -> Any:  # noqa: ANN401
    """Say what connection a request came by, as gunicorn does; one request at a time."""

    def called(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        environ["gunicorn.socket"] = environ["werkzeug.socket"]
        with lock:
            return app(environ, start_response)

    return called
