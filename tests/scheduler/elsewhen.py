"""A scheduler whose clocks are not ours.

    python -m tests.scheduler.elsewhen SECONDS FILE ARGUMENTS_OF_SERVE…

Its monotonic clock is off by so many seconds, by a time namespace of its own. Its wall clock is off
by the seconds that the file says at the moment, which may be changed while it runs: the kernel has
but one wall clock, and it belongs to everybody.

See: time_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

CLONE_NEWTIME = 0x80
TURNED = "MINISCHED_TEST_WALL"


def shift_monotonic(seconds: int) -> None:
    """Move to a time namespace whose monotonic clock is off; it holds from the next execve on.

    Raises:
        OSError: the kernel has no time namespaces, or does not let us make one.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWTIME) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWTIME)")
    Path("/proc/self/timens_offsets").write_text(f"monotonic {seconds} 0\n")


def turn_wall_clock(file: Path) -> None:
    """Let ``time.time`` say what the kernel does, and the seconds in the file more."""
    kernel = time.time
    time.time = lambda: kernel() + float(file.read_text() if file.exists() else "0")


def main() -> None:
    """Begin again in the other time, and serve there."""
    if TURNED not in os.environ:
        seconds, file, *arguments = sys.argv[1:]
        shift_monotonic(int(seconds))
        os.environ[TURNED] = file
        os.execv(sys.executable, (sys.executable, "-m", "tests.scheduler.elsewhen", *arguments))
    turn_wall_clock(Path(os.environ.pop(TURNED)))
    from scheduler.cli import perform

    sys.exit(perform(("serve", *sys.argv[1:])))


if __name__ == "__main__":
    main()
