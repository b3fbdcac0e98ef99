"""One measured act: a command run to its end, or several at once.

The clock is the caller's: from before the process is made until it has been collected. So it counts
what a person waits for: the command line's own start, the daemon's work and the container's end.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

Argv = Sequence[str]

#: What would change how Python starts or how it prints; nobody's measurement depends on it.
_KEPT = ("PATH", "LANG", "TERM")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BenchError(Exception):
    """The benchmark cannot go on.

    Args:
        message: what failed.
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\nhint: {hint}" if hint else message)


def clean_environment(home: Path) -> None:
    """Leave this process, and so all it starts, PATH and a HOME without anybody's settings."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept)
    os.environ["PATH"] = ":".join((*kept.get("PATH", "").split(":"), *_PATH.split(":"))).strip(":")
    os.environ["HOME"] = str(home)


def run(argv: Argv, *, stdin: bytes = b"", timeout_s: float = 120) -> str:
    """Run a command that must succeed; return its standard output.

    Raises:
        BenchError: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(str(error)) from error
    if done.returncode != 0:
        raise BenchError(_complaint(argv, done.returncode, done.stderr.decode(errors="replace")))
    return done.stdout.decode()


def _complaint(argv: Argv, code: int, said: str) -> str:
    last = said.strip().splitlines()[-3:]
    return f"{' '.join(argv)}: exit code {code}: {' / '.join(last)}"


def time_ms(argv: Argv) -> float:
    """Return how long a command takes from fork to its collected end.

    Raises:
        BenchError: it failed: a fast failure is no result.
    """
    return together_ms([argv])


def together_ms(commands: Sequence[Argv]) -> float:
    """Return how long commands that start at once take until the last has ended.

    Raises:
        BenchError: one of them failed.
    """
    # A file, not a pipe: a daemon that inherits it must not keep anybody waiting.
    with tempfile.TemporaryFile() as said, open(os.devnull, "r+b") as null:
        begin = time.perf_counter()
        started = [
            subprocess.Popen(argv, stdin=null, stdout=null, stderr=said) for argv in commands
        ]
        codes = [process.wait() for process in started]
        elapsed_ms = (time.perf_counter() - begin) * 1000
        for argv, code in zip(commands, codes, strict=True):
            if code != 0:
                said.seek(0)
                raise BenchError(_complaint(argv, code, said.read().decode(errors="replace")))
    return elapsed_ms


def in_turn_ms(argv: Argv, times: int) -> float:
    """Return how long the same command takes, this many times one after the other."""
    return sum(time_ms(argv) for _ in range(times))
