"""What a long build shows: every line, or on a terminal one line per step.

Next: ``build.py``.
"""

from __future__ import annotations

import sys
from time import monotonic

from ..image.build_progress import Plain
from .output import colour_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..image.build_progress import Progress

#: What a failed step printed last, to be shown then.
_KEPT_LINES = 40


def chosen(kind: str) -> Progress:
    """Return the listener for ``plain``, ``tty`` or ``auto``; all of them write to stderr."""
    if kind == "tty" or (kind == "auto" and sys.stderr.isatty()):
        return Terminal()
    return Plain(_write)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class Terminal:
    """One line per step, which grows its time; below it the last thing that the step printed."""

    def __init__(self) -> None:
        self._title = ""
        self._started = 0.0
        self._said: list[str] = []
        green, dim = ("\x1b[32m", "\x1b[2m") if colour_wanted(sys.stderr) else ("", "")
        self._green, self._dim = green, dim
        self._plain = "\x1b[0m" if green else ""

    def start(self, title: str) -> None:
        """Show the step's title as under way."""
        self._title, self._started, self._said = title, monotonic(), []
        self._draw("")

    def output(self, data: bytes) -> None:
        """Show the last line of what the step prints, beside its title."""
        lines = data.decode("utf-8", "replace").replace("\r", "\n").split("\n")
        self._said += [line for line in lines if line.strip()]
        del self._said[:-_KEPT_LINES]
        if self._said:
            self._draw(self._said[-1])

    def done(self, *, cached: bool) -> None:
        """Leave the line as it is, with the time it took."""
        text = "cached" if cached else f"{monotonic() - self._started:.1f}s"
        _write(f"\r\x1b[K{self._green}✓{self._plain} {self._title}  {text}\n")

    def failed(self, problem: str) -> None:
        """Show what the step printed: that is where the reason is."""
        _write(f"\r\x1b[K✗ {self._title}\n")
        for line in self._said:
            _write(f"    {line}\n")
        _write(f"  {problem}\n")

    def warn(self, text: str) -> None:
        """Show a warning."""
        _write(f"\r\x1b[Kwarning: {text}\n")

    def _draw(self, said: str) -> None:
        import shutil

        width = shutil.get_terminal_size().columns
        text = f"… {self._title}  {monotonic() - self._started:.1f}s"
        room = width - len(text) - 3
        printable = "".join(char for char in said if char.isprintable())
        more = f"  {self._dim}{printable[:room]}{self._plain}" if room > 8 and printable else ""
        _write(f"\r\x1b[K{text[: width - 1]}{more}")
