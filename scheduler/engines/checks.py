"""One question to a replica, asked without waiting: connect, send, look at the first line.

An Attempt is a small state machine over one descriptor. The prober's loop tells it when the
descriptor is ready, and it says what it came to; in between it holds nobody up, so a hundred
replicas that do not answer cost one thread.

Next: ``prober.py``.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..model import Template
from ..policy import Check, ExecCheck, HttpCheck

#: A status line is short; a replica that sends none is not asked for more than this.
_LINE_BYTES = 1024
_TRYING = (errno.EINPROGRESS, errno.EINTR)
GOOD, BAD = True, False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a replica is: what it was made of, its address, how to run a command in it."""

    template: Template
    address: str
    exec_argv: tuple[str, ...] = ()
    exec_env: Mapping[str, str] | None = None


class Attempt(Protocol):
    """A question that was asked; ``said`` is why the answer is no."""

    said: str

    @property
    def fd(self) -> int:
        """Return what to wait for."""

    @property
    def events(self) -> int:
        """Return how: ``select.POLLIN`` or ``POLLOUT``."""

    def proceed(self) -> bool | None:
        """Go on, the descriptor being ready; return the answer, None while there is none."""

    def close(self) -> None:
        """Give up, or clear away."""


def ask(check: Check, target: Target) -> Attempt | str:
    """Ask; return why, where the answer is no already.

    Raises:
        OSError: out of descriptors, or of processes.
    """
    if isinstance(check, ExecCheck):
        return ExecAttempt(check, target)
    request = b""
    if isinstance(check, HttpCheck):
        host = target.address if ":" not in target.address else "localhost"
        name = "localhost" if host.startswith("/") else host
        lines = f"GET {check.path} HTTP/1.1", f"Host: {name}", "User-Agent: minisched-probe"
        request = "\r\n".join((*lines, "Connection: close", "", "")).encode()
    port = check.port or target.template.port
    # A check with a port of its own goes there, also where requests go to a socket.
    to_socket = bool(target.template.socket) and check.port is None
    return _connect(target.address if to_socket else (_ip(target.address), port or 0), request)


def _ip(address: str) -> str:
    return address.rpartition(":")[0] or address


def _connect(where: str | tuple[str, int], request: bytes) -> Attempt | str:
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    link = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    problem = link.connect_ex(where)
    if problem in (0, *_TRYING):
        return SocketAttempt(link, request)
    link.close()
    return _in_words(problem)


def _in_words(problem: int) -> str:
    return os.strerror(problem).lower()


class SocketAttempt:
    """A connection that is being made, and for HTTP the answer to a request.

    Args:
        link: not connected yet; owned from now on.
        request: what to send; b"" is content with a connection.
    """

    def __init__(self, link: socket.socket, request: bytes) -> None:
        self._link = link
        self._request = request
        self._asked = request.partition(b" HTTP/")[0].decode()
        self._connected = False
        self._answer = b""
        self.said = ""

    @property
    def fd(self) -> int:
        """Return the socket."""
        return self._link.fileno()

    @property
    def events(self) -> int:
        """Return what to wait for."""
        return select.POLLIN if self._connected and not self._request else select.POLLOUT

    def proceed(self) -> bool | None:
        """Connect, then send, then read the status line."""
        try:
            if not self._connected:
                return self._connect()
            if not self._request:
                return self._receive()
            self._request = self._request[self._link.send(self._request) :]
        except BlockingIOError:
            return None
        except OSError as error:
            return self._no(_in_words(error.errno or 0))
        return None

    def _connect(self) -> bool | None:
        if problem := self._link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return self._no(_in_words(problem))
        self._connected = True
        return None if self._request else GOOD

    def _receive(self) -> bool | None:
        data = self._link.recv(_LINE_BYTES)
        self._answer += data
        line, newline, _ = self._answer.partition(b"\n")
        if not newline:
            is_short = data and len(self._answer) < _LINE_BYTES
            return None if is_short else self._no(f"{self._asked} had no answer of HTTP")
        words = line.split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            return self._no(f"{self._asked} had no answer of HTTP")
        status = int(words[1])
        return GOOD if 200 <= status < 400 else self._no(f"{self._asked} was answered {status}")

    def _no(self, said: str) -> bool:
        self.said = said
        return BAD

    def close(self) -> None:
        """Hang up."""
        self._link.close()


class ExecAttempt:
    """A command in the replica, as a process of its own."""

    def __init__(self, check: ExecCheck, target: Target) -> None:
        self._process = subprocess.Popen(
            [*target.exec_argv, *check.command],
            env=target.exec_env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._pidfd = os.pidfd_open(self._process.pid)
        self.said = ""

    @property
    def fd(self) -> int:
        """Return what becomes readable when it ends."""
        return self._pidfd

    @property
    def events(self) -> int:
        """Return what to wait for."""
        return select.POLLIN

    def proceed(self) -> bool | None:
        """Return whether it exited with 0."""
        code = self._process.wait()
        self.said = f"the command exited with {code}" if code else ""
        return code == 0

    def close(self) -> None:
        """Kill it if it still runs, and the command with it."""
        end(self._process)
        os.close(self._pidfd)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a ``minirun exec`` and the command that it waits for, and collect it."""
    if process.poll() is not None:
        return
    try:
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
            children = [os.pidfd_open(int(pid)) for pid in file.read().split()]
    except (OSError, ValueError):
        children = []
    process.kill()
    for child in children:
        try:
            signal.pidfd_send_signal(child, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(child)
    process.wait()
