"""Ctrl-C while the command line is still starting, or already over: 130, and never a traceback.

What Python does before the first line of ours cannot be helped, nor the three lines of ours that
see to the rest. So the moments come from no clock: the command interrupts itself at a line.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

#: Be the command; at the n-th line of minirun that it runs, have pressed Ctrl-C.
_PRESS = """
import os, sys
at, lines = int(sys.argv.pop(1)), 0
from minirun.cli import main

def trace(frame, event, argument):
    global lines
    if not frame.f_code.co_filename.startswith(os.path.dirname(main.__code__.co_filename)):
        return None
    lines += event == "line"
    if lines == at and event == "line":
        os.kill(os.getpid(), 2)
    return trace

def count(code, leave=os._exit):
    os.write(1, f"lines {lines} ".encode())
    leave(code)

if at < 0:
    os._exit = count
sys.settrace(trace)
main()
"""
MOMENTS = 12
FIRST = 4


def press(at: int, *words: str, ignored: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command that interrupts itself; the caller of ours may have had SIGINT ignored."""
    return subprocess.run(
        [sys.executable, "-c", _PRESS, str(at), *words],
        capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    "words", [("version",), ("inspect", "nobody"), ("run", "--help")], ids=" ".join
)
def test_ctrl_c_at_any_line_is_no_traceback(words: tuple[str, ...]) -> None:
    quiet = press(-1, *words)
    found = re.search(r"lines (\d+) $", quiet.stdout)
    assert found, quiet.stderr
    total = int(found[1])
    assert total > MOMENTS
    codes = set()
    spread = range(FIRST, total, -(-total // MOMENTS))
    for at in {*spread, *range(FIRST, FIRST + 5), *range(total - 4, total + 1)}:
        done = press(at, *words)
        assert "Traceback" not in done.stderr, (at, total)
        codes.add(done.returncode)
    # It kills, it is answered, or it comes when all is said.
    assert codes <= {-signal.SIGINT, 130, quiet.returncode}
    assert -signal.SIGINT in codes


def test_ctrl_c_that_the_caller_ignores_is_ignored() -> None:
    """What if we are a job in the background of a shell without job control, or below nohup?"""
    assert {press(at, "version", ignored=True).returncode for at in (FIRST, 20, 200)} == {0}
