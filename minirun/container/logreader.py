"""``minirun logs``: the entries of a container's log, selected.

Docker's order of selection is kept: --tail counts entries from the end of all of them, --since and
--until then leave out what is too old or too new.

Next: ``health.py``.
"""

from __future__ import annotations

from ..quickjson import loads
from ..record import Record
from .follow import Follower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Entry(Record):
    """One line of output, or 16 KiB of one; ``log`` ends in a newline where the line does."""

    log: str
    stream: str
    time: str

    def text(self, *, timestamps: bool = False) -> str:
        """Return what to print: the output as it was, or with its time in front."""
        return f"{self.time} {self.log}" if timestamps else self.log


class Selection(Record):
    """Which entries: times as ``clock.moment`` makes them, "" for no bound; None for all."""

    since: str = ""
    until: str = ""
    tail: int | None = None


ALL = Selection()


def read(path: str, selection: Selection = ALL) -> Iterator[Entry]:
    """Yield the entries that the log holds now."""
    return _select(Follower(path).lines(selection.tail), selection)


def follow(path: str, running: Callable[[], bool], selection: Selection = ALL) -> Iterator[Entry]:
    """Yield the entries that the log holds and gets, until ``running`` says that it is complete."""
    return _select(Follower(path).follow(running, selection.tail), selection)


def glances(
    path: str, running: Callable[[], bool], selection: Selection = ALL
) -> Iterator[Entry | None]:
    """Yield as ``follow`` does, and None instead of waiting: there is nothing more now."""
    for line in Follower(path).glances(running, selection.tail):
        yield from (None,) if line is None else _select(iter((line,)), selection)


def _select(lines: Iterator[bytes], selection: Selection) -> Iterator[Entry]:
    for line in lines:
        entry = _parse(line)
        if entry is None or entry.time < selection.since:
            continue
        if selection.until and entry.time > selection.until:
            return
        yield entry


def _parse(line: bytes) -> Entry | None:
    """Return the entry, or None for a line that kill -9 cut short."""
    try:
        found = loads(line)
        entry = Entry(found["log"], found["stream"], found["time"])
    except (ValueError, KeyError, TypeError):
        return None
    return entry if all(isinstance(v, str) for v in (entry.log, entry.stream, entry.time)) else None
