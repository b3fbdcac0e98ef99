"""The proxy's Runtime API: one command, one answer, over its admin socket.

A command takes some 0.1 ms, and so does the connection: each has its own, and there is none to
keep alive or to repair. What may be in a command is checked in ``routing.py``.

See: the management guide, https://docs.haproxy.org/2.6/management.html#9.3.
Next: ``config.py``, which says what there is to command.
"""

from __future__ import annotations

import csv
import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from minirun import MinirunError

TIMEOUT_S = 2.0
_MOST_AT_ONCE = 100  # what is sent in one piece has to fit into the proxy's buffer of 16 KiB
Row = Mapping[str, str]


class AdminError(MinirunError):
    """The proxy did not answer, or did not do what it was told."""


class Admin:
    """The commands that the gateway uses.

    Args:
        path: the admin socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, command: str) -> str:
        """Send a command, or several with semicolons between them; return what is answered.

        Raises:
            AdminError: nobody answers.
        """
        try:
            with self._connect() as connection:
                connection.sendall(command.encode() + b"\n")
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
        except OSError as error:
            raise AdminError(f"the proxy at {self._path} does not answer: {error}") from error

    def tell(self, command: str) -> None:
        """Send a command that is answered with nothing when it is done.

        Raises:
            AdminError: with the answer.
        """
        if said := self.ask(command).strip():
            raise AdminError(f"{command}: {said}")

    def pid(self) -> int | None:
        """Return who listens at the socket, whether or not it answers; None for nobody."""
        try:
            with self._connect() as connection:
                size = struct.calcsize("iII")
                peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        except OSError:
            return None
        return int(struct.unpack("iII", peer)[0])

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(os.fspath(self._path))
        except OSError:
            connection.close()
            raise
        return connection

    # ---- what is there ----

    def server_rows(self) -> dict[tuple[str, str], Row]:
        """Return statistics by backend and server."""
        return {(r["pxname"], r["svname"]): r for r in _table(self.ask("show stat -1 4 -1"))}

    def in_flight(self) -> dict[tuple[str, str], int]:
        """Return how many requests each server is answering, by backend and server.

        A row for each replica, many times a second while there are more and more of them: so not
        the whole row. What stands before ``scur`` are names of ours and numbers; none is quoted.
        """
        rows = (line.split(",", 5) for line in self.ask("show stat -1 4 -1").splitlines())
        return {
            (row[0], row[1]): int(row[4] or 0)
            for row in rows
            if len(row) > 5 and not row[0].startswith("# ")
        }

    def backend_rows(self, names: Sequence[str]) -> dict[str, Row]:
        """Return statistics of some backends: all of them would be hundreds."""
        wanted = [f"show stat {name} 2 -1" for name in names]
        found: dict[str, Row] = {}
        for i in range(0, len(wanted), _MOST_AT_ONCE):
            said = self.ask(";".join(wanted[i : i + _MOST_AT_ONCE]))
            found |= {row["pxname"]: row for row in _table(said)}
        if missing := set(names) - found.keys():
            raise AdminError(f"the proxy at {self._path} does not tell of {min(missing)}")
        return found

    def states(self) -> dict[tuple[str, str], Row]:
        """Return the administrative state of each server, by backend and server."""
        lines = [line.split() for line in self.ask("show servers state").splitlines()]
        head = next((line[1:] for line in lines if line[:2] == ["#", "be_id"]), [])
        rows = (dict(zip(head, line, strict=True)) for line in lines if len(line) == len(head))
        return {(row["be_name"], row["srv_name"]): row for row in rows}

    def held(self) -> dict[str, int]:
        """Return how many requests wait for a first server, by place; see hold.lua."""
        lines = (line.split() for line in self.ask("show held").splitlines())
        return {line[0]: int(line[1]) for line in lines if len(line) == 2}

    def entries(self, file: Path) -> dict[str, str]:
        """Return a map's entries."""
        lines = (line.split() for line in self.ask(f"show map {file}").splitlines())
        return {line[1]: line[2] for line in lines if len(line) == 3}

    # ---- what is to be ----

    def update(self, file: Path, wanted: Mapping[str, str]) -> None:
        """Make a map have these entries and no others, new ones first."""
        present = self.entries(file)
        for key, value in wanted.items():
            if present.get(key) != value:
                verb = "set" if key in present else "add"
                self.tell(f"{verb} map {file} {key} {value}")
        for key in present.keys() - wanted.keys():
            self.tell(f"del map {file} {key}")

    def add_server(self, backend: str, name: str, address: str, weight: int, maxconn: int) -> bool:
        """Register a server, in maintenance; False if it exists already, and is as it was.

        Args:
            backend: where it will be.
            name: of the server.
            address: where it listens.
            weight: see ``set_weight``.
            maxconn: see ``set_maxconn``.
        """
        told = f"add server {backend}/{name} {address} weight {weight} maxconn {maxconn}"
        said = self.ask(told).strip()
        if "registered" not in said and "exists" not in said:
            raise AdminError(f"{told}: {said}")
        return "registered" in said

    def set_state(self, backend: str, name: str, state: str) -> None:
        """Make a server ``ready``, or let it ``drain``, or put it into ``maint``."""
        self.tell(f"set server {backend}/{name} state {state}")

    def set_weight(self, backend: str, name: str, weight: int) -> None:
        """Set a server's share relative to others; 100 is everybody's."""
        self.tell(f"set server {backend}/{name} weight {weight}")

    def set_maxconn(self, backend: str, name: str, maxconn: int) -> None:
        """Set how many requests a server is given at a time; 0 is any number."""
        self.tell(f"set maxconn server {backend}/{name} {maxconn}")

    def delete_server(self, backend: str, name: str, *, cut: bool = True) -> bool:
        """Give a server nothing more and forget it; False if it is not gone yet.

        Args:
            backend: where it is.
            name: of the server.
            cut: whether what is in flight to it is cut off.
        """
        self.ask(f"set server {backend}/{name} state maint")
        if cut:
            self.ask(f"shutdown sessions server {backend}/{name}")
        said = self.ask(f"del server {backend}/{name}")
        return "deleted" in said or "No such" in said


def _table(text: str) -> Iterable[Row]:
    """Return the rows of CSV answers, each of which begins with a line of names."""
    names: list[str] = []
    for row in csv.reader(line for line in text.splitlines() if line):
        if row[0].startswith("# "):
            names = [row[0][2:], *row[1:]]
        elif names and len(row) == len(names):
            yield dict(zip(names, row, strict=True))
