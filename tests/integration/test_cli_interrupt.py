"""Ctrl-C while the command line is still starting, or already over: 130, and never a traceback.

What Python does before the first line of ours is ``test_entries.py``'s matter, and the three lines
of ours that see to the rest are in neither. The moments come from no clock: the command interrupts
itself at a line.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.integration.cli_lab import Cli, fresh

#: Be the command; at the n-th line of minirun that it runs, have pressed Ctrl-C.
_PRESS = """
import os, sys
at, lines = int(sys.argv.pop(1)), 0
from minirun.cli import main
{sealed}

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
#: Who is sealed starts Python once more; this test may do without.
_AS_SEALED = "import minirun.seal; minirun.seal.is_sealed = lambda: True"
#: Be interrupted where Python cannot raise, then wait.
_DEAF = """
import os, signal
from minirun.cli import perform
import minirun.cli

class Deaf:
    def __del__(self):
        os.kill(os.getpid(), 2)

def deaf():
    Deaf()
    return signal.pause()

minirun.cli._command = lambda words: deaf
minirun.cli._end_at_ctrl_c()
os._exit(perform([]))
"""
MOMENTS = 12
FIRST = 4


def press(
    at: int, *words: str, ignored: bool = False, sealed: bool = False, env: Cli | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that interrupts itself; the caller of ours may have had SIGINT ignored."""
    program = _PRESS.replace("{sealed}", _AS_SEALED if sealed else "")
    return subprocess.run(
        [sys.executable, "-c", program, str(at), *words],
        capture_output=True, text=True, check=False, timeout=60,
        env=os.environ | (env.environment if env else {}),
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


@pytest.mark.requires("root", "overlay", "seccomp", "busybox")
def test_ctrl_c_at_any_line_of_a_detached_start_leaves_nothing() -> None:
    with fresh() as cli:
        words = ("run", "-d", "--network", "none", str(cli.rootfs), "sleep", "1000")
        quiet = press(-1, *words, sealed=True, env=cli)
        found = re.search(r"lines (\d+) $", quiet.stdout)
        assert found, quiet.stderr
        cli.clear()
        total = int(found[1])
        for at in (*range(FIRST, total, -(-total // MOMENTS)), *range(total - 30, total, 2)):
            done = press(at, *words, sealed=True, env=cli)
            assert "Traceback" not in done.stderr, (at, total)
            assert done.returncode in (-signal.SIGINT, 130, 0), (at, total, done.stderr)
            if done.returncode == 0:
                cli.clear()  # its id was said: it is there
            assert not cli.left(), (at, total)


def test_ctrl_c_where_python_cannot_raise_comes_again() -> None:
    """What if it comes in a callback, as each import has one? Python drops it, and says so."""
    done = subprocess.run(
        [sys.executable, "-c", _DEAF], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (130, "minirun: interrupted\n")
