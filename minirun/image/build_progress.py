"""How a build tells what it is doing, without printing: somebody else owns the terminal.

``Plain`` turns the events into the lines that ``docker build --progress=plain`` prints:

    #4 [2/5] RUN pip install flask
    #4 1.234 Collecting flask
    #4 DONE 3.2s
    #5 [3/5] COPY app.py ./
    #5 CACHED

Next: ``build.py``, which sends the events.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol


class Progress(Protocol):
    """Receives the events of a build, in order."""

    def start(self, title: str) -> None:
        """A step begins; ``title`` is as in ``[build 2/5] RUN make``."""

    def output(self, data: bytes) -> None:
        """The step's command printed something."""

    def done(self, *, cached: bool) -> None:
        """The step is complete."""

    def failed(self, problem: str) -> None:
        """The step failed, and with it the build."""

    def warn(self, text: str) -> None:
        """Something is odd, and the build goes on."""


class Silent:
    """Tells nobody."""

    def start(self, title: str) -> None:
        """Ignore it."""

    def output(self, data: bytes) -> None:
        """Ignore it."""

    def done(self, *, cached: bool) -> None:
        """Ignore it."""

    def failed(self, problem: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""


class Plain:
    """Writes one line per event and per line of output.

    Args:
        write: called with each line, newline included.
        clock: returns seconds.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._number = 0
        self._started = 0.0
        self._rest = b""

    def start(self, title: str) -> None:
        """Write the step's title below a new number."""
        self._number += 1
        self._started = self._clock()
        self._write(f"#{self._number} {title}\n")

    def output(self, data: bytes) -> None:
        """Write whole lines, with the seconds since the step began; keep the rest for later."""
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            self._line(line)

    def done(self, *, cached: bool) -> None:
        """Write how long it took, or that it did not have to be done."""
        self._flush()
        seconds = self._clock() - self._started
        self._write(f"#{self._number} " + ("CACHED\n" if cached else f"DONE {seconds:.1f}s\n"))

    def failed(self, problem: str) -> None:
        """Write what went wrong."""
        self._flush()
        self._write(f"#{self._number} ERROR: {problem}\n")

    def warn(self, text: str) -> None:
        """Write a warning."""
        self._write(f"WARNING: {text}\n")

    def _flush(self) -> None:
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def _line(self, line: bytes) -> None:
        text = line.rpartition(b"\r")[2].decode("utf-8", "replace")
        self._write(f"#{self._number} {self._clock() - self._started:.3f} {text}\n")
