"""What a long build shows: every line, or on a terminal one line per step.

Next: ``build.py``.
"""

from __future__ import annotations

import sys
from time import monotonic

from ..image.build_progress import Plain, RawJson, Silent
from .output import colour_wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..image.build_progress import Board, Progress

#: The words of ``--progress``.
KINDS = ("auto", "plain", "tty", "rawjson", "quiet")
#: What a failed step printed last, to be shown then.
_KEPT_LINES = 40


def chosen(kind: str) -> Board:
    """Return the listener for one of ``KINDS``; all of them write to stderr."""
    if kind == "quiet":
        return Quiet()
    if kind == "rawjson":
        return RawJson(_write)
    if kind == "tty" or (kind == "auto" and sys.stderr.isatty()):
        return Terminal()
    return Plain(_write)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


class Quiet(Silent):
    """Says nothing, until a step fails: then what that step printed."""

    def lane(self) -> Progress:
        """Return what keeps the output of one stage's step."""
        return _QuietLane()


class _QuietLane(Silent):
    """What the step under way printed last."""

    def __init__(self) -> None:
        self._said: list[bytes] = []

    def start(self, title: str) -> None:
        """Forget the step before."""
        self._said = []

    def output(self, data: bytes) -> None:
        """Keep it; most steps succeed."""
        self._said = b"".join([*self._said, data]).splitlines(keepends=True)[-_KEPT_LINES:]

    def failed(self, problem: str) -> None:
        """Show it: that is where the reason is."""
        _write(b"".join(self._said).decode("utf-8", "replace"))


class Terminal:
    """A line per step that is complete, and below them one for each that is under way."""

    def __init__(self) -> None:
        self._lanes: list[_Lane] = []
        self._drawn = 0
        self.green, self.dim = ("\x1b[32m", "\x1b[2m") if colour_wanted(sys.stderr) else ("", "")
        self.plain = "\x1b[0m" if self.green else ""

    def lane(self) -> Progress:
        """Return the line of one stage."""
        return _Lane(self)

    def begin(self, lane: _Lane) -> None:
        """Show a step as under way."""
        self._lanes.append(lane)
        self.draw()

    def end(self, lane: _Lane, lines: list[str]) -> None:
        """Leave some lines where the step's was."""
        if lane in self._lanes:
            self._lanes.remove(lane)
        self.draw(lines)

    def draw(self, lines: list[str] | None = None) -> None:
        """Replace what is under way, below lines that stay."""
        import shutil

        width = shutil.get_terminal_size().columns
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        shown = [*(lines or []), *(lane.line(width) for lane in self._lanes)]
        self._drawn = len(self._lanes)
        _write(f"\r{up}\x1b[J" + "".join(f"{line}\n" for line in shown))


class _Lane:
    """The step of one stage: its title, its time, and the last thing that it printed."""

    def __init__(self, board: Terminal) -> None:
        self._board = board
        self._title = ""
        self._started = 0.0
        self._said: list[str] = []

    def start(self, title: str) -> None:
        """Show the step's title as under way."""
        self._title, self._started, self._said = title, monotonic(), []
        self._board.begin(self)

    def output(self, data: bytes) -> None:
        """Show the last line of what the step prints, beside its title."""
        lines = data.decode("utf-8", "replace").replace("\r", "\n").split("\n")
        self._said += [line for line in lines if line.strip()]
        del self._said[:-_KEPT_LINES]
        self._board.draw()

    def done(self, *, cached: bool) -> None:
        """Leave the line as it is, with the time it took."""
        text = "cached" if cached else f"{monotonic() - self._started:.1f}s"
        mark = f"{self._board.green}✓{self._board.plain}"
        self._board.end(self, [f"{mark} {self._title}  {text}"])

    def failed(self, problem: str) -> None:
        """Show what the step printed: that is where the reason is."""
        said = (f"    {_printable(line)}" for line in self._said)
        self._board.end(self, [f"✗ {self._title}", *said, f"  {problem}"])

    def warn(self, text: str) -> None:
        """Show a warning."""
        self._board.draw([f"warning: {text}"])

    def line(self, width: int) -> str:
        """Return the line of a step that is under way, no longer than the terminal is wide."""
        text = f"… {self._title}  {monotonic() - self._started:.1f}s"
        room = width - len(text) - 3
        said = _printable(self._said[-1]) if self._said else ""
        more = f"  {self._board.dim}{said[:room]}{self._board.plain}" if room > 8 and said else ""
        return f"{text[: width - 1]}{more}"


def _printable(text: str) -> str:
    """Return what of a command's output is safe to show: no escape sequences."""
    return "".join(character for character in text if character.isprintable())
