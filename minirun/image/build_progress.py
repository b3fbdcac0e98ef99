"""How a build tells what it is doing, without printing: somebody else owns the terminal.

Stages are built at the same time, so a ``Board`` gives each of them a ``Progress`` of its own.
``Plain`` turns the events into the lines that ``docker build --progress=plain`` prints, ``RawJson``
into those of ``--progress=rawjson``:

    #4 [2/5] RUN pip install flask
    #4 1.234 Collecting flask
    #4 DONE 3.2s

    #5 [3/5] COPY app.py ./
    #5 CACHED

Next: ``build_parallel.py``, which passes the events of a stage on.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Protocol


class Progress(Protocol):
    """Receives the events of one stage, in order: one step after the other."""

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


class Board(Protocol):
    """Shows several stages at once."""

    def lane(self) -> Progress:
        """Return what is told about one of them."""


class Silent:
    """Tells nobody."""

    def lane(self) -> Progress:
        """Return itself."""
        return self

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
    """Writes one line per event and per line of output; the number says of which step.

    Args:
        write: called with each line, newline included.
        clock: returns seconds.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = monotonic
    ) -> None:
        self.write = write
        self.clock = clock
        self._number = 0

    def lane(self) -> Progress:
        """Return the lines of one stage."""
        return _PlainLane(self)

    def next_number(self) -> int:
        """Return the number of a step that begins."""
        self._number += 1
        return self._number


class _PlainLane:
    """The lines of one stage."""

    def __init__(self, board: Plain) -> None:
        self._board = board
        self._number = 0
        self._started = 0.0
        self._rest = b""

    def start(self, title: str) -> None:
        """Write the step's title below a new number."""
        self._number = self._board.next_number()
        self._started = self._board.clock()
        self._board.write(f"#{self._number} {title}\n")

    def output(self, data: bytes) -> None:
        """Write whole lines, with the seconds since the step began; keep the rest for later."""
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            self._line(line)

    def done(self, *, cached: bool) -> None:
        """Write how long it took, or that it did not have to be done."""
        self._flush()
        seconds = self._board.clock() - self._started
        said = "CACHED" if cached else f"DONE {seconds:.1f}s"
        self._board.write(f"#{self._number} {said}\n")
        self._board.write("\n")

    def failed(self, problem: str) -> None:
        """Write what went wrong."""
        self._flush()
        self._board.write(f"#{self._number} ERROR: {problem}\n")

    def warn(self, text: str) -> None:
        """Write a warning."""
        self._board.write(f"WARNING: {text}\n")

    def _flush(self) -> None:
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def _line(self, line: bytes) -> None:
        text = line.rpartition(b"\r")[2].decode("utf-8", "replace")
        seconds = self._board.clock() - self._started
        self._board.write(f"#{self._number} {seconds:.3f} {text}\n")


class RawJson:
    """Writes a JSON object per event, with the fields of buildkit's SolveStatus.

    Args:
        write: called with each line, newline included.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._number = 0

    def lane(self) -> Progress:
        """Return the events of one stage."""
        return _JsonLane(self)

    def next_digest(self, title: str) -> str:
        """Return the name of a step that begins."""
        self._number += 1
        return f"sha256:{hashlib.sha256(f'{self._number} {title}'.encode()).hexdigest()}"

    def put(self, kind: str, fields: dict[str, object]) -> None:
        """Write one event."""
        self._write(json.dumps({kind: [fields]}) + "\n")


class _JsonLane:
    """The events of one stage."""

    def __init__(self, board: RawJson) -> None:
        self._board = board
        self._vertex: dict[str, object] = {}

    def start(self, title: str) -> None:
        """Write a vertex that has started."""
        digest = self._board.next_digest(title)
        self._vertex = {"digest": digest, "name": title, "started": _now()}
        self._board.put("vertexes", self._vertex)

    def output(self, data: bytes) -> None:
        """Write a piece of log."""
        text = base64.b64encode(data).decode()
        log = {"vertex": self._vertex["digest"], "stream": 1, "data": text, "timestamp": _now()}
        self._board.put("logs", log)

    def done(self, *, cached: bool) -> None:
        """Write the vertex as completed."""
        cache = {"cached": True} if cached else {}
        self._board.put("vertexes", {**self._vertex, "completed": _now(), **cache})

    def failed(self, problem: str) -> None:
        """Write the vertex with its error."""
        self._board.put("vertexes", {**self._vertex, "completed": _now(), "error": problem})

    def warn(self, text: str) -> None:
        """Write a warning."""
        short = base64.b64encode(text.encode()).decode()
        vertex = self._vertex.get("digest", "")
        self._board.put("warnings", {"vertex": vertex, "level": 1, "short": short})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
