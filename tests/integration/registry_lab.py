"""Registries to talk to: Debian's real one, a wire to it that can be cut, and a hostile one."""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from minirun.image.model import Descriptor, Digest
from minirun.image.registry.credentials import Credential
from minirun.image.registry.remote import Access
from minirun.image.registry.settings import Patience, Settings

#: bcrypt of "secret": the registry takes nothing weaker, and Python has no bcrypt.
HTPASSWD = "ada:$2b$04$uCMREGhLWtgqwsvYH8PNSuuJ8y63VdEZm8vI7zirkRAmaTtebtu.q\n"
ADA = Credential("ada", "secret")
QUICK = Patience(attempts=4, first_s=0.01, longest_s=0.5, silence_s=10.0)


def access(
    credential: Credential | None = None,
    settings: Settings | None = None,
    patience: Patience = QUICK,
) -> Access:
    """Return an access that does not look at this host's files."""
    return Access(settings or Settings(), lambda _: credential, patience)


@contextlib.contextmanager
def registry(
    folder: Path, *, htpasswd: bool = False, tls: bool = False, extra: str = ""
) -> Iterator[str]:
    """Run docker-registry; yields its host and port."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text(_config(folder, htpasswd=htpasswd, tls=tls) + extra)
    (folder / "htpasswd").write_text(HTPASSWD)
    if tls:
        make_certificate(folder)
    argv = ["docker-registry", "serve", str(config)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        yield _listening(process)
    finally:
        process.kill()
        process.communicate()


def _config(folder: Path, *, htpasswd: bool, tls: bool) -> str:
    secure = f", tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}" if tls else ""
    auth = f"auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n" if htpasswd else ""
    return (
        "version: 0.1\n"
        "log: {level: info, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f'http: {{addr: "127.0.0.1:0", secret: s{secure}}}\n{auth}'
    )


def _listening(process: subprocess.Popen[str]) -> str:
    """Return the address that the registry's log names; then let the rest of the log go by."""
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(r"listening on ([\d.]+:\d+)", line):
            threading.Thread(target=_drain, args=(process,), daemon=True).start()
            return match[1]
    raise AssertionError("docker-registry did not start")


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    with contextlib.suppress(ValueError):
        for _ in process.stderr:
            pass


def make_certificate(folder: Path) -> None:
    """Make a certificate that is its own authority, for 127.0.0.1."""
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-days", "3", "-subj", "/CN=localhost", "-addext"]
    argv += ["subjectAltName=DNS:localhost,IP:127.0.0.1"]
    argv += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(argv, check=True, capture_output=True)


class Wire:
    """A TCP proxy: counts what goes down it, and can be cut, corrupted or held.

    Args:
        upstream: host and port.
    """

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.partition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.down = 0
        self.up = 0
        self.connections = 0
        #: Called with each piece on its way down, or up; what it returns is sent, None cuts.
        self.on_down: Callable[[bytes], bytes | None] = lambda data: data
        self.on_up: Callable[[bytes], bytes | None] = lambda data: data
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            _hang_up(one)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._open.add(near)
                far = socket.create_connection(self._upstream)
                self._open.add(far)
                self.connections += 1
                self._start(self._pump, near, far, True)
                self._start(self._pump, far, near, False)

    def _pump(self, source: socket.socket, target: socket.socket, is_up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept = (self.on_up if is_up else self.on_down)(data)
                if kept is None:
                    break
                if is_up:
                    self.up += len(kept)
                else:
                    self.down += len(kept)
                target.sendall(kept)
        _hang_up(source)
        _hang_up(target)


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


def cut_after(count: int, times: int = 1) -> Callable[[bytes], bytes | None]:
    """Return a hook that cuts the wire after so many bytes, so many times."""
    left, cuts = count, times

    def hook(data: bytes) -> bytes | None:
        nonlocal left, cuts
        if cuts == 0:
            return data
        left -= len(data)
        if left > 0:
            return data
        left, cuts = count, cuts - 1
        return None

    return hook


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands each request to a function of the test."""

    protocol_version = "HTTP/1.1"
    reply: Callable[[Handler], None]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Answer whatever the method."""
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        type(self).reply(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_any

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; underscores in header names become hyphens."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up are what these tests are about."""


@contextlib.contextmanager
def server(reply: Callable[[Handler], None]) -> Iterator[str]:
    """Run an HTTP server whose every answer is a function's; yields its host and port."""
    handler = type("TestHandler", (Handler,), {"reply": staticmethod(reply), "timeout": 5})
    with _Server(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()


def skopeo(*argv: str) -> str:
    """Run skopeo; returns what it prints."""
    done = subprocess.run(["skopeo", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def described(data: bytes, media_type: str) -> Descriptor:
    """Return the descriptor of some bytes."""
    import hashlib

    return Descriptor(media_type, Digest(f"sha256:{hashlib.sha256(data).hexdigest()}"), len(data))
