"""Published ports: a process for each, which passes connections on to the proxy as they are.

The proxy cannot be given another listening socket while it runs, and replacing it would split its
queues. A door has no queue and decides nothing, so it comes and goes with its port. What it carries
is cut by nothing but its own death: a port that is taken back only closes to new connections.
Next: ``process.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from minirun import MinirunError, ScheduleError

from .binary import Binary
from .config import render_door
from .process import Process


class Doors:
    """The doors of one gateway, by port.

    Args:
        folder: the gateway's.
        address: the IP address that ports are bound to.
        binary: what is run.
    """

    def __init__(self, folder: Path, address: str, binary: Binary) -> None:
        self._folder = folder
        self._address = f"[{address}]" if ":" in address else address
        self._binary = binary
        self._open: dict[int, Process] = {}

    def __iter__(self) -> Iterator[Process]:
        """Yield the processes."""
        return iter(self._open.values())

    def adopt(self, ports: Iterable[int]) -> dict[int, str]:
        """Take over what an earlier controller opened; close what nobody wants any more.

        Returns:
            the ports that could not be opened, and why.
        """
        wanted, failed = set(ports), {}
        for file in self._folder.glob("door-*.pid"):
            port = int(file.stem.removeprefix("door-"))
            if port not in wanted:
                process = self._process(port)
                process.find()
                process.finish()
                process.forget()
        for port in wanted:
            try:
                self.open(port)
            except MinirunError as error:
                failed[port] = error.message
        return failed

    def open(self, port: int) -> None:
        """Open a port; nothing happens where it is open.

        Raises:
            ScheduleError: with status 503, where it cannot be bound.
        """
        if port in self._open:
            return
        process = self._process(port)
        try:
            process.ensure(self.config(process), self._binary)
        except MinirunError as error:
            text = f"port {port} cannot be published: {error.message}"
            raise ScheduleError(text, status=503, hint=error.hint) from error
        self._open[port] = process

    def close(self, port: int) -> None:
        """Take no new connections at a port; nothing happens where it is not open."""
        if process := self._open.pop(port, None):
            process.finish()
            process.forget()

    def config(self, process: Process) -> str:
        """Return a door's configuration."""
        port = process.name.removeprefix("door-")
        return render_door(self._folder, process.socket, f"{self._address}:{port}")

    def _process(self, port: int) -> Process:
        return Process(self._folder, f"door-{port}")
