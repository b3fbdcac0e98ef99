"""A host of its own for every network test: namespaces, cables and programs that talk.

    left 198.51.100.2 ──up0── host 198.51.100.1, 203.0.113.1 ──up1── right 203.0.113.2
                               │ bridge
                         containers

The test itself moves into the namespace called host, so minirun's effects (links, filter tables,
kernel parameters) are real and nothing of the machine is touched. Left and right are other
machines, and they are set up with ip(8): a witness that shares no code with minirun.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minirun import kernel
from minirun.flags import PR_SET_PDEATHSIG, Clone

LEFT, HOST, RIGHT = "198.51.100.2", "198.51.100.1", "203.0.113.2"
PATIENCE_S = 10.0  # an answer takes a millisecond; a dropped packet never answers
IMPATIENCE_S = 0.3


def sh(command: str) -> str:
    """Run a command in the namespace we are in; returns what it printed."""
    done = subprocess.run(
        ["sh", "-ec", command], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Namespace:
    """A network namespace, alive until ``close``, and the programs that run in it."""

    def __init__(self) -> None:
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        kernel.unshare(Clone.CLONE_NEWNET)
        self.fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.holder = os.fork()  # ip(8) names a namespace by a process in it
        if self.holder == 0:
            kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a test that is killed leaves nobody
            os.closerange(3, 4096)  # what it inherits would stay open as long as it lives
            signal.pause()
        kernel.setns(here, Clone.CLONE_NEWNET)
        os.close(here)
        self._programs = [self.holder]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside for a while."""
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        kernel.setns(self.fd, Clone.CLONE_NEWNET)
        try:
            yield
        finally:
            kernel.setns(here, Clone.CLONE_NEWNET)
            os.close(here)

    def sh(self, command: str) -> str:
        """Run a command inside."""
        with self.entered():
            return sh(command)

    def serve(self, name: str, port: int, protocol: str = "tcp", ip: str = "") -> None:
        """Start a program that answers with its name and the address of who asked."""
        with self.entered():
            kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
            server = socket.socket(socket.AF_INET, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((ip, port))
            if protocol == "tcp":
                server.listen(16)
            pid = os.fork()
        if pid == 0:
            os.closerange(3, server.fileno())
            os.closerange(server.fileno() + 1, 4096)
            _answer_for_ever(server, name)
        server.close()
        self._programs.append(pid)

    def ask(
        self, ip: str, port: int, protocol: str = "tcp", timeout_s: float = PATIENCE_S
    ) -> str | None:
        """Return the answer of whoever serves there, or None."""
        with self.entered():
            return ask(ip, port, protocol, timeout_s)

    def close(self) -> None:
        """End the programs and let the namespace go."""
        for pid in self._programs:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._programs.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _answer_for_ever(server: socket.socket, name: str) -> None:
    while True:
        if server.type == socket.SOCK_DGRAM:
            _, peer = server.recvfrom(100)
            server.sendto(f"{name} {peer[0]}".encode(), peer)
        else:
            connection, peer = server.accept()
            connection.sendall(f"{name} {peer[0]}".encode())
            connection.close()


def ask(ip: str, port: int, protocol: str = "tcp", timeout_s: float = PATIENCE_S) -> str | None:
    """Ask from the namespace we are in; None when nobody answers."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(timeout_s)
        try:
            client.connect((ip, port))
            if protocol == "udp":
                client.send(b"?")
            return client.recv(100).decode() or None
        except OSError:
            return None


def in_child(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start work in a forked child; calling the result waits, and returns what it returned."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)

    def result() -> Any:  # noqa: ANN401 - whatever the work returned
        data = b"".join(iter(lambda: os.read(reader, 65536), b""))
        os.close(reader)
        os.waitpid(pid, 0)
        return json.loads(data) if data else None

    return result


class Lab:
    """The namespaces of one test, and what minirun left in the one called host."""

    def __init__(self) -> None:
        self.left, self.right = Namespace(), Namespace()
        self.others: list[Namespace] = []
        sh("ip link set lo up")
        for link, net, end in (("up0", "198.51.100", self.left), ("up1", "203.0.113", self.right)):
            sh(f"ip link add {link} type veth peer name eth0 netns {end.holder}")
            sh(f"ip addr add {net}.1/24 dev {link}; ip link set {link} up")
            end.sh(f"ip link set lo up; ip addr add {net}.2/24 dev eth0; ip link set eth0 up")
            end.sh(f"ip route add default via {net}.1")
        sh(f"ip route add default via {LEFT}")

    def namespace(self) -> Namespace:
        """Return a new, empty namespace."""
        made = Namespace()
        self.others.append(made)
        return made

    def close(self) -> None:
        """End everything."""
        for namespace in (self.left, self.right, *self.others):
            namespace.close()
